"""Record the play of graded agents, joint or with one of them deviating."""

import sys
from collections.abc import Sequence

from common.cli import run_main
from marlhf.programs import parse

PROGRAM = "train/vdn_collect.py"


def body(argv: Sequence[str] | None = None) -> int:
    """Command line to configuration, configuration to runs."""
    launch = parse(PROGRAM, argv)
    from marlhf import works  # a wrong key is answered without waiting for JAX

    return works.record_play(launch)


if __name__ == "__main__":
    sys.exit(run_main(body, program=PROGRAM))
