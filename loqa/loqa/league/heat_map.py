"""The league's picture: families against families, each cell split between the row's and the column's return."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from common import plotting
from loqa.league.agents import FAMILIES

LIMITS = (-0.6, 0.6)
UNIT = "mean reward per step"


def returns_matrix(
    means: Sequence[Mapping[str, Any]], families: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """What the row's and what the column's family earns, [families, families] each; NaN where nobody played.

    Args: `means` rows of `results.family_means`. Both orders of seats are averaged: over the two of a pair of
    families (weighted by their pairs) and, within a family, over the two seats.
    """
    size, place = len(families), {family: number for number, family in enumerate(families)}
    total, weight = np.zeros((size, size)), np.zeros((size, size))
    for row in means:
        if row["pairs"] != "all":
            continue
        i, j, n = place[row["family1"]], place[row["family2"]], row["n"]
        for own, other, mean in ((i, j, row["mean_1"]), (j, i, row["mean_2"])):
            total[own, other] += n * mean
            weight[own, other] += n
    with np.errstate(invalid="ignore"):
        earned = total / weight
    return earned, earned.T


def families_of(means: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every family of a table, in the paper's order; others stand before M-FOS."""
    found = list(dict.fromkeys(row[side] for row in means for side in ("family1", "family2")))
    first = [family for family in FAMILIES[:4] if family in found]
    last = [family for family in FAMILIES[4:] if family in found]
    return first + [family for family in found if family not in FAMILIES] + last


def draw(ax: Axes, means: Sequence[Mapping[str, Any]], title: str = "", families: Sequence[str] = ()) -> None:
    """Lower left triangle: the row's return, upper right: the column's; red to green from -0.6 to 0.6.

    Args: `means` rows of `results.family_means`; `families` order of rows and columns (as in the paper).
    """
    families = list(families) or families_of(means)
    own, others = returns_matrix(means, families)
    plotting.cross_play_heatmap(
        ax, own, others, families, families, UNIT, form="{:z.2f}", limits=LIMITS, cmap="RdYlGn"
    )
    ax.set(title=title, xlabel="column's family (upper right)", ylabel="row's family (lower left)")


def picture(means: Sequence[Mapping[str, Any]], title: str):
    """A figure of one heat map, sized by the number of families."""
    side = 2.6 + 0.72 * len(families_of(means))
    figure, (ax,) = plotting.new_figure(panel=(side + 0.8, side))
    with plotting.house_style():
        draw(ax, means, title)
    return figure
