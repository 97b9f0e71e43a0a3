"""Show pairs of recorded episodes in a page on this machine and write down which one a person prefers."""

import sys
from collections.abc import Sequence

from common.cli import run_main
from marlhf.programs import parse

PROGRAM = "train/label_preferences.py"


def body(argv: Sequence[str] | None = None) -> int:
    """Command line to configuration, configuration to runs."""
    launch = parse(PROGRAM, argv)
    from marlhf import works  # a wrong key is answered without waiting for JAX

    return works.label_preferences(launch)


if __name__ == "__main__":
    sys.exit(run_main(body, program=PROGRAM))
