"""Spread with four to seven agents and five landmarks: the test return beside random play's and the expert's."""

from common import plotting
from marlhf import curves

tabulate = curves.tabulate


def _agents(rows):
    return sorted({row["environment"] for row in rows})


def draw(rows):
    """Returns per agent and episode against the number of agents."""
    figure, (ax,) = plotting.new_figure(panel=(5.6, 3.6))
    names = _agents(rows)
    ticks = [name.removeprefix("spread_na") for name in names]
    shown = (("return", "offline VDN"), ("random", "random actions"), ("expert", "the data's expert"))
    groups = [
        curves.Group(label, [curves.values(rows, column, environment=name) for name in names], kind)
        for kind, (column, label) in enumerate(shown)
    ]
    curves.draw_groups(ax, groups, ticks, True)
    ax.set(xlabel="agents", ylabel="return per agent and episode")
    ax.set_title(curves.seeds_drawn(rows))
    plotting.legend_below(figure, [ax], ncols=3)
    return figure


def measure(rows):
    """What is gained over random play, for every number of agents."""
    found = {}
    for name in _agents(rows):
        returns, random = (curves.values(rows, column, environment=name) for column in ("return", "random"))
        note = f"return {returns.mean():.2f}, random {random.mean():.2f}"
        found[f"{name.replace('spread_na', 'n')}-above-random"] = curves.measurement(returns - random, note)
    return found
