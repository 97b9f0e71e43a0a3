"""The tournament: ``python play.py``; ``--help`` lists the flags."""

import sys
from collections.abc import Sequence

from common.cli import run_main
from tournament.config import PROGRAM, parse


def body(argv: Sequence[str] | None = None) -> int:
    """Play what a command line asks for."""
    config = parse(argv)
    from tournament.program import run  # a wrong flag or player file is answered at once

    return run(config)


if __name__ == "__main__":
    sys.exit(run_main(body, program=PROGRAM))
