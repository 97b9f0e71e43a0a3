"""LOQA on the Coin Game: `python coin_train.py hp=loqa_iclr hp.seed=42 ...`; --help lists the groups, --cfg job the keys."""

import sys
from collections.abc import Sequence
from pathlib import Path

from common.cli import run_main
from loqa.coin.config import PROGRAM, parse


def body(argv: Sequence[str] | None = None) -> int:
    """Command line to configuration, configuration to runs."""
    launch = parse(argv)
    from loqa import program  # a wrong key is answered without waiting for JAX
    from loqa.coin.training import Trainer

    return program.run(launch, Path(__file__), Trainer(launch.hp))


if __name__ == "__main__":
    sys.exit(run_main(body, program=PROGRAM))
