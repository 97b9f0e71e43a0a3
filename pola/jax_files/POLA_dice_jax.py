"""LOLA-DiCE, POLA-DiCE and POLA-OM on the iterated prisoner's dilemma and the Coin Game; --help lists the flags."""

import sys
from collections.abc import Sequence
from pathlib import Path

from common.cli import run_main
from pola.dice.config import PROGRAM, parse


def body(argv: Sequence[str] | None = None) -> int:
    """Flags to configuration, configuration to runs."""
    config = parse(argv)
    from pola.dice.program import run  # a wrong flag is answered without waiting for JAX

    return run(config, Path(__file__))


if __name__ == "__main__":
    sys.exit(run_main(body, program=PROGRAM))
