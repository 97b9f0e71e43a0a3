"""Train agents of graded skill for Overcooked with IPPO."""

import sys
from collections.abc import Sequence

from common.cli import run_main
from marlhf.programs import parse

PROGRAM = "train/ippo_ff_overcooked.py"


def body(argv: Sequence[str] | None = None) -> int:
    """Command line to configuration, configuration to runs."""
    launch = parse(PROGRAM, argv)
    from marlhf import works  # a wrong key is answered without waiting for JAX

    return works.train_cooks(launch)


if __name__ == "__main__":
    sys.exit(run_main(body, program=PROGRAM))
