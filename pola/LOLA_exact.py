"""LOLA and outer POLA with exact values: Figures 1 and 3 and Appendix B.1.6."""

import sys

from common.cli import run_main
from pola.exact.config import PROGRAM
from pola.exact.program import main

if __name__ == "__main__":
    sys.exit(run_main(main, program=PROGRAM))
