"""Offline MABCQ from recorded play, a reward model and an imitation policy."""

import sys
from collections.abc import Sequence

from common.cli import run_main
from marlhf.programs import parse

PROGRAM = "train/bcq_offline_rm.py"


def body(argv: Sequence[str] | None = None) -> int:
    """Command line to configuration, configuration to runs."""
    launch = parse(PROGRAM, argv)
    from marlhf import works  # a wrong key is answered without waiting for JAX

    return works.learn_offline(launch, PROGRAM, "mabcq")


if __name__ == "__main__":
    sys.exit(run_main(body, program=PROGRAM))
