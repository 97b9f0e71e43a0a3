"""Why the released command defects: what alone repairs it, and what alone breaks a repaired recipe."""

import numpy as np

from common import plotting
from loqa.ipd import bars

GROUPS = (
    ("The released command and one change", lambda name: name.startswith(("released", "+"))),
    ("Monte-Carlo recipe and what it needs", lambda name: name.startswith(("repaired", "-", "at"))),
    ("Scaled recipe and what it needs", lambda name: name.startswith("scaled")),
)
Q_CHANGES = (
    "+ Q target ends with the episode",
    "+ squared error",
    "+ fast target network (0.9)",
    "+ time as t/T",
)
WITHOUT_SHAPING = ("+ centred advantage, no shaping", "- shaping")

tabulate = bars.tabulate


def draw(rows):
    every = bars.names(rows)
    groups = [(title, [name for name in every if mine(name)]) for title, mine in GROUPS]
    groups = [(title, found) for title, found in groups if found]
    figure, axes = plotting.new_figure(
        nrows=len(groups),
        panel=(7.4, 0.45 + 0.34 * len(every) / len(groups)),
        height_ratios=[len(found) + 1.2 for _, found in groups],
    )
    for ax, (title, found) in zip(axes, groups, strict=True):
        labels, means = [], []
        for name in found:
            p = bars.policies(rows, name)
            successes = bars.is_tit_for_tat(p).sum(), bars.reciprocates(p).sum()
            early = np.mean([row["early_advantage"] for row in rows if row["run"] == name])
            advantage = f"{early:+.1f}".replace("-", "\N{MINUS SIGN}")
            labels.append(f"{name}  [{successes[0]}, {successes[1]} of {len(p)}; {advantage}]")
            means.append(p.mean(axis=0))
        plotting.heatmap(ax, means, labels, bars.STATES, "p(cooperate)", limits=(0, 1))
        ax.set_title(title)
    axes[-1].set_xlabel(
        "[seeds that learn tit-for-tat, that answer like with like; mean advantage up to iteration "
        f"{bars.EARLY}]",
        x=0.2,
    )
    return figure


def measure(rows):
    def largest(wanted):
        found = [bars.share(rows, name, bars.reciprocates) for name in wanted]
        found = [value for value in found if value is not None]
        return max(found, key=lambda value: value.value) if len(found) == len(wanted) else None

    found = {"no-single-q-change": largest(Q_CHANGES), "shaping-needed": largest(WITHOUT_SHAPING)}
    return {name: value for name, value in found.items() if value is not None}
