"""Train IQ-Flow or a baseline: ``python train_multiprocess.py --alg qflow --exp ipd --n_seeds 5 --config config_img_qflow``.

The seeds are lanes of one compiled program in one process, each with a run folder of its own.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from common.cli import run_main
from iqflow.config.loading import Settings, parse


def body(argv: Sequence[str] | None) -> int:
    """Parse, then train; 1 when a seed failed (the others are finished all the same)."""
    launch = parse(argv)
    from iqflow.trainer import frozen, program, training

    def trainer(settings: Settings) -> training.Trainer:
        mechanism = frozen.load(launch.mechanism, settings) if launch.mechanism else None
        return training.Trainer(settings, mechanism)

    summaries = program.run(launch, Path(__file__), trainer)
    return 1 if None in summaries.values() else 0


if __name__ == "__main__":
    sys.exit(run_main(body, program="train_multiprocess.py"))
