"""Run an experiment of the paper: ``python stackerlberg/train/run_experiment.py --experiment=NAME``; ``--help`` lists all."""

import sys
from collections.abc import Sequence

from common.cli import run_main
from stackerlberg import launch, program


def body(argv: Sequence[str] | None = None) -> int:
    """Run what a command line asks for."""
    return program.run(launch.parse(argv))


if __name__ == "__main__":
    sys.exit(run_main(body, program="run_experiment.py"))
