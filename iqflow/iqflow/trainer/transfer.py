"""Give a trained mechanism, frozen, to fresh learners, or train them without one (result 4):

python transfer.py --reward incentive --mechanism RUN/agents/agents_20000
python transfer.py --reward incentive --mechanism RUN/agents/agents_20000 --followers keras
python transfer.py --reward shared
python transfer.py --reward selfish
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from common.cli import run_main
from iqflow.transfer.settings import parse


def body(argv: Sequence[str] | None) -> int:
    """Parse, fetch the mechanism, then train; 1 when a seed failed (the others are finished all the same)."""
    transfer = parse(argv)
    from iqflow.trainer import program
    from iqflow.transfer import keras_program
    from iqflow.transfer.lanes import LaneTrainer
    from iqflow.transfer.mechanisms import mechanisms

    program.choose_device(transfer.device, transfer.gpus)
    paid = mechanisms(transfer)
    if transfer.followers == "keras":
        summaries = keras_program.run(transfer, Path(__file__), paid)
    else:
        summaries = program.run(transfer, Path(__file__), lambda settings: LaneTrainer(settings, paid))
    return 1 if None in summaries.values() else 0


if __name__ == "__main__":
    sys.exit(run_main(body, program="transfer.py"))
