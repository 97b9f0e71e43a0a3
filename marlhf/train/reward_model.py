"""Train a reward model from preferences over recorded play: `python train/reward_model.py ENV_NAME=... MSE_LOSS_COEF=1`."""

import sys
from collections.abc import Sequence

from common.cli import run_main
from marlhf.programs import parse

PROGRAM = "train/reward_model.py"


def body(argv: Sequence[str] | None = None) -> int:
    """Command line to configuration, configuration to runs."""
    launch = parse(PROGRAM, argv)
    from marlhf import works  # a wrong key is answered without waiting for JAX

    return works.train_reward_model(launch)


if __name__ == "__main__":
    sys.exit(run_main(body, program=PROGRAM))
