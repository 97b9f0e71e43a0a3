"""The exact program: a command line, checked, then run."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pola.exact.config import PROGRAM, parse


def main(argv: Sequence[str] | None = None) -> int:
    """Parse a command line and run it."""
    config = parse(argv)
    from pola.exact.run import run  # loads PyTorch, which a mistyped flag need not wait for

    return run(config, [PROGRAM, *(sys.argv[1:] if argv is None else argv)])
