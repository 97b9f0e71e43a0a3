"""Overcooked, cramped room: offline VDN, MAIQL and MABCQ by data mix."""

from common import plotting
from marlhf import curves

ALGORITHMS = {"vdn": "VDN", "maiql": "MAIQL", "mabcq": "MABCQ"}
MIXES = ("diversified", "mix-unilateral")

tabulate = curves.tabulate


def draw(rows):
    """Returns of an episode of 400 steps, 20 a soup."""
    figure, (ax,) = plotting.new_figure(panel=(6.0, 3.6))
    mixes = [mix for mix in MIXES if any(row["mix"] == mix for row in rows)]
    mixes = mixes or list(dict.fromkeys(row["mix"] for row in rows))
    groups = [
        curves.Group(
            label, [curves.values(rows, "return", mix=mix, algorithm=algorithm) for mix in mixes], kind
        )
        for kind, (algorithm, label) in enumerate(ALGORITHMS.items())
    ]
    imitation = [curves.values(rows, "imitation_return", mix=mix, algorithm="vdn") for mix in mixes]
    curves.draw_groups(ax, [*groups, curves.Group("imitation policy, sampled", imitation, 3)], mixes)
    for kind, (column, label) in enumerate((("expert", "the data's expert"), ("random", "random actions"))):
        for value in {row[column] for row in rows}:
            plotting.reference_line(ax, value, label, kind)
    ax.set_ylabel("return of an episode")
    ax.set_title(curves.seeds_drawn(rows))
    plotting.legend_below(figure, [ax], ncols=3)
    return figure


def measure(rows):
    """What every algorithm gets with the diversified mix."""
    found = {}
    for algorithm in ALGORITHMS:
        returns = curves.values(rows, "return", mix="diversified", algorithm=algorithm)
        found[f"{algorithm}-cooks"] = curves.measurement(returns)
    found["reward-model"] = curves.measurement(
        curves.values(rows, "corr_return_all", mix="diversified", algorithm="vdn")
    )
    return {name: value for name, value in found.items() if value is not None}
