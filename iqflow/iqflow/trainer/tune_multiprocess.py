"""Search hyper-parameters: ``python tune_multiprocess.py --alg qflow --exp er --config config_er_qflow``; run again to go on."""

import sys
from collections.abc import Sequence
from pathlib import Path

from common.cli import run_main
from iqflow.trainer import search


def body(argv: Sequence[str] | None) -> int:
    """Parse, then search; 1 when a trial failed."""
    wanted = search.parse(argv)
    from iqflow.trainer import program, training

    script = Path(__file__).with_name("train_multiprocess.py")
    return search.run(wanted, lambda launch: program.run(launch, script, training.Trainer))


if __name__ == "__main__":
    sys.exit(run_main(body, program="tune_multiprocess.py"))
