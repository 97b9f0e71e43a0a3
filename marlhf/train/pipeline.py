"""One row of a table from agents to return: play, reward model, imitation policy, offline learner, each made where it lacks."""

import sys
from collections.abc import Sequence
from pathlib import Path

from common.cli import run_main
from marlhf.programs import parse

PROGRAM = "train/pipeline.py"


def body(argv: Sequence[str] | None = None) -> int:
    """Command line to configuration, configuration to runs."""
    launch = parse(PROGRAM, argv)
    from marlhf import pipeline  # a wrong key is answered without waiting for JAX

    return pipeline.run(launch, Path(__file__))


if __name__ == "__main__":
    sys.exit(run_main(body, program=PROGRAM))
