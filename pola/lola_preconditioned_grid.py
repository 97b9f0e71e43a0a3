"""LOLA with pre-conditioned policies over a grid of step sizes: does it ever find tit-for-tat? (Figure 3)"""

import sys

from common.cli import run_main
from pola.exact.grid import main
from pola.exact.grid_config import GRID_PROGRAM

if __name__ == "__main__":
    sys.exit(run_main(main, program=GRID_PROGRAM))
