"""Train IQ-Flow or a baseline: ``python train_multiprocess.py --alg qflow --exp ipd --n_seeds 5 --config config_img_qflow``.

The seeds are lanes of one compiled program in one process, each with a run folder of its own.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from common.cli import run_main
from iqflow.config.loading import parse


def body(argv: Sequence[str] | None) -> int:
    """Parse, then train; 1 when a seed failed (the others are finished all the same)."""
    launch = parse(argv)
    from iqflow.trainer import program, training

    summaries = program.run(launch, Path(__file__), training.Trainer)
    return 1 if None in summaries.values() else 0


if __name__ == "__main__":
    sys.exit(run_main(body, program="train_multiprocess.py"))
