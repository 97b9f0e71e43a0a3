"""Scalability in the grid size (paper, scalability section; spec 5.10): normalised rewards and first passes.

A larger board has longer ways to a coin, so rewards are multiplied by 2 * floor(N / 2), the scale of the mean
distance on an N x N torus (2, 4, 4, 6, 6 for N = 3..7), before they are compared with a threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from common.cli import UserError
from common.runs import RunFolder
from common.stats import first_time_to_threshold

OURS = "LOQA, ours"
PAPER = "paper: "  # before the algorithm's name in rows that were read off the published figure
#: entries of metrics.jsonl (spec 6.2)
EACH_OTHER = ("mean_rewards_0", "mean_rewards_1")
AGAINST_DEFECT = "always_defect_0_mean_rewards_a"
Row = dict[str, Any]


class Threshold(NamedTuple):
    """What both normalised rewards must exceed at one and the same evaluation."""

    each_other: float
    against_defect: float


#: from the easiest to the hardest
THRESHOLDS = {
    "weak": Threshold(0.05, -1.2),
    "medium": Threshold(0.1, -0.5),
    "strong": Threshold(0.2, -0.2),
}


def normaliser(size: int) -> int:
    """What a reward per step on a `size` x `size` board is multiplied by."""
    return 2 * (size // 2)


def first_pass(threshold: Threshold, each_other: ArrayLike, against_defect: ArrayLike) -> int | None:
    """Number of the first evaluation at which both are above a threshold; None if there is none.

    Args:
        each_other: ``[T]`` normalised reward in self-play, the mean of both players.
        against_defect: ``[T]`` normalised reward of the agent against always-defect.
    """
    passed = (np.asarray(each_other) > threshold.each_other) & (
        np.asarray(against_defect) > threshold.against_defect
    )
    return first_time_to_threshold(np.arange(passed.size), passed, 1)


def smooth(values: ArrayLike) -> np.ndarray:
    """``[T]`` evaluations, each replaced by the mean of those from i - 10 to i + 9; windows end with the data."""
    values = np.asarray(values, dtype=np.float64)
    return np.array([values[max(i - 10, 0) : i + 10].mean() for i in range(len(values))])


def curve(run: RunFolder) -> list[Row]:
    """The evaluations of a run of `coin_train.py`, smoothed and normalised, and its first passes.

    DEVIATION(Q23): "each other" is the mean of both players on every board; the published panels of 3x3 to 6x6 show
    player 0 alone.

    Returns:
        A row per evaluation (``each_other``, ``against_defect``), then one per threshold; a threshold that the run
        never passes has no ``iteration`` and no ``seconds``.
    Raises:
        UserError: the board of the run is not square.
    """
    hp, points = run.config["hp"], [point for point in run.metrics() if EACH_OTHER[0] in point]
    size = hp["game"]["height"]
    if hp["game"]["width"] != size:
        raise UserError(
            f"{run.path} has a board of {size} x {hp['game']['width']}; the figure has square ones"
        )
    scale = normaliser(size)
    each_other = scale * np.array([[point[name] for name in EACH_OTHER] for point in points]).mean(1)
    against = scale * np.array([point[AGAINST_DEFECT] for point in points])
    named = {"source": OURS, "grid": size, "seed": hp["seed"]}
    rows = []
    for point, *scores in zip(points, smooth(each_other), smooth(against), strict=True):
        each, defect = (round(float(score), 6) for score in scores)
        row = named | {"iteration": point["iteration"], "seconds": round(point["walltime"], 3)}
        rows.append(row | {"each_other": each, "against_defect": defect})
    for name, threshold in THRESHOLDS.items():
        row, at = named | {"threshold": name}, first_pass(threshold, each_other, against)
        if at is not None:
            row |= {"iteration": points[at]["iteration"], "seconds": round(points[at]["walltime"], 3)}
        rows.append(row)
    return rows


def published(seconds: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]) -> list[Row]:
    """The passes of the paper's own runs as rows: threshold -> algorithm -> list of (grid size, seconds)."""
    return [
        {"source": PAPER + name, "grid": grid, "threshold": threshold, "seconds": float(value)}
        for threshold, algorithms in seconds.items()
        for name, points in algorithms.items()
        for grid, value in points
    ]


def passes(
    rows: Sequence[Row], threshold: str, source: str, column: str = "seconds"
) -> dict[int, list[float]]:
    """Grid size -> `column` of the runs that passed, in the order of the sizes; a size without one is absent."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if row.get("threshold") == threshold and row["source"] == source and column in row:
            found.setdefault(row["grid"], []).append(row[column])
    return dict(sorted(found.items()))


def passed(
    rows: Sequence[Row], threshold: str, grid: int | None = None, by: float = np.inf
) -> tuple[int, int]:
    """How many of our runs (of a grid size, or all) passed a threshold by an iteration, and of how many."""
    mine = [row for row in rows if row["source"] == OURS and row.get("threshold") == threshold]
    mine = [row for row in mine if grid in (None, row["grid"])]
    return sum("iteration" in row and row["iteration"] <= by for row in mine), len(mine)
