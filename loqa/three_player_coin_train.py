"""LOQA on the Coin Game with three players, an extra: `python three_player_coin_train.py hp=loqa_iclr hp.seed=42 ...`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from common.cli import run_main
from loqa.three_player.config import PROGRAM, parse


def body(argv: Sequence[str] | None = None) -> int:
    """Command line to configuration, configuration to runs."""
    launch = parse(argv)
    from loqa import program  # a wrong key is answered without waiting for JAX
    from loqa.three_player.training import Trainer

    return program.run(launch, Path(__file__), Trainer(launch.hp))


if __name__ == "__main__":
    sys.exit(run_main(body, program=PROGRAM))
