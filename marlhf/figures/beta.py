"""The penalty coefficient beta: the return of what is learned with it, and without."""

import numpy as np

from common import plotting
from common.verdicts import Measurement
from marlhf import curves
from marlhf.skill import position

#: the range over which the paper finds hardly any difference
LARGE = (1.0, 10.0, 100.0)

tabulate = curves.tabulate


def draw(rows):
    """The return's position against beta."""
    figure, (ax,) = plotting.new_figure(panel=(5.6, 3.6))
    betas = sorted({row["beta"] for row in rows})
    found = [curves.values(rows, "position", beta=beta) for beta in betas]
    curves.draw_groups(ax, [curves.Group("offline VDN", found, 0)], [f"{beta:g}" for beta in betas], True)
    policy = [position(row["imitation_return"], row["random"], row["expert"]) for row in rows]
    if policy:
        plotting.reference_line(ax, np.mean(policy), "the imitation policy, sampled", 2)
    curves.draw_ends(ax)
    ax.set(xlabel="penalty coefficient beta", ylabel="position of the test return")
    ax.set_title(curves.seeds_drawn(rows))
    plotting.legend_below(figure, [ax], ncols=2)
    return figure


def measure(rows):
    """How much the large coefficients differ, and what they gain over none (returns, per agent and episode)."""
    groups = {beta: curves.values(rows, "return", beta=beta) for beta in LARGE}
    none, found = curves.values(rows, "return", beta=0.0), {}
    if all(len(group) for group in groups.values()):
        means = {beta: group.mean() for beta, group in groups.items()}
        note = ", ".join(f"{beta:g}: {mean:.2f}" for beta, mean in means.items())
        spread = max(means.values()) - min(means.values())
        found["large-alike"] = Measurement(float(spread), n=len(groups[1.0]), note=note)
        large = np.mean(list(groups.values()), axis=0)
        found["none-not-better"] = curves.difference(large, none, f"{large.mean():.2f} and {none.mean():.2f}")
    return {name: value for name, value in found.items() if value is not None}
