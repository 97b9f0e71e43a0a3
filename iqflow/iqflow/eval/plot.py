"""Learning curves from the logs of one or more seeds: ``python plot.py RUN1/log.csv RUN2/log.csv --out curves``."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common import plotting
from common.cli import StrictParser, UserError, run_main

TOTALS = {
    "reward_env_total": "environment reward, all agents",
    "total_env_reward": "environment reward per episode",
}


def read_log(path: Path) -> tuple[str, np.ndarray, np.ndarray]:
    """The name of the total column, episodes [T] and totals [T] of a ``log.csv``.

    Raises:
        UserError: it is not there, or is no such log.
    """
    if not path.is_file():
        raise UserError(f"no log at {path}")
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    total = next((name for name in TOTALS if rows and name in rows[0]), None)
    if total is None:
        raise UserError(f"{path} is not a log.csv of a training run with at least one evaluation")
    return total, *(np.array([float(row[name]) for row in rows]) for name in ("episode", total))


def body(argv: Sequence[str] | None) -> int:
    """Read, check that the logs belong together, draw."""
    parser = StrictParser(prog="plot.py", description="Draw the learning curves of a run's seeds.")
    parser.add_argument("logs", nargs="+", type=Path, help="log.csv of every seed")
    parser.add_argument(
        "--out", type=Path, default=Path("curves"), help="the picture's path without .png, .svg"
    )
    options = parser.parse_args(argv)
    logs = [read_log(path) for path in options.logs]
    if len({total for total, *_ in logs}) > 1:
        raise UserError("these logs are of different kinds of experiment; draw them one kind at a time")
    length = min(len(episodes) for _, episodes, _ in logs)
    episodes = logs[0][1][:length]
    if any(not np.array_equal(other[:length], episodes) for _, other, _ in logs):
        raise UserError("these logs were evaluated at different episodes; draw them apart")
    figure, (ax,) = plotting.new_figure()
    plotting.learning_curves(
        ax, episodes, np.stack([values[:length] for *_, values in logs]), "mean over the seeds"
    )
    ax.set(xlabel="episode", ylabel=TOTALS[logs[0][0]])
    plotting.legend_below(figure, [ax])
    for path in plotting.save(figure, options.out.parent, options.out.name):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(body, program="plot.py"))
