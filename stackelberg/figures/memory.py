"""Leaders that are told whether a step is a query against leaders that are not, and what retraining followers does."""

import numpy as np

from common import plotting
from stackerlberg import curves

RATES = ("0.004", "0.008", "0.015", "0.03")
NAMES = ("not told", "told")
MAIN = ("lr=0.008",)
STEPS = 5

tabulate = curves.tabulate


def scaled(returns):
    """Mean payoff per step minus 4."""
    return returns / STEPS - 1.5


def draw(rows):
    figure, axes = plotting.new_figure(3, panel=(4.2, 3.6), sharey=True)
    value = scaled(next(row["stackelberg"] for row in rows if "stackelberg" in row))
    for ax, name in zip(axes, NAMES, strict=False):
        for kind, rate in enumerate(RATES):
            curves.draw(
                ax, curves.select(rows, name, f"lr={rate}"), f"learning rate {rate}", kind, scale=scaled
            )
        ax.set(xlabel="leader's environment steps, queries included", ylabel="payoff per step minus 4")
        ax.set_title(f"Leader {name}: training")
    for kind, name in enumerate(NAMES):
        found = curves.select(rows, name, *MAIN, phase=2)
        label = f"{name}, learning rate 0.008"
        curves.draw(axes[2], found, label, kind + 4, scale=scaled, x="iteration", y="evaluation")
    axes[2].set(xlabel="iterations of follower retraining", ylabel="payoff per step minus 4")
    axes[2].set_title("Evaluation of the frozen leader")
    for ax in axes:
        plotting.reference_line(ax, value, "exact Stackelberg value")
    figure.suptitle(curves.seeds_note(rows), fontsize=9)
    plotting.legend_below(figure, axes, ncols=4)
    return figure


def measure(rows):
    def end(name, column="leader", phase=1, rate=MAIN):
        return curves.ends(rows, name, *rate, phase=phase, column=column)

    before, after = end("not told", "evaluation"), end("not told", "evaluation", phase=2)
    found = {
        "untold-final": curves.mean(end("not told")),
        "untold-greedy": curves.share(end("not told", "actions", rate=()) == "101"),
        "told-final": curves.mean(end("told")),
        "told-greedy": curves.share(np.isin(end("told", "actions"), ("111001", "111101"))),
        "told-collapse": curves.mean(end("told", "evaluation", phase=2)),
        "untold-stays": curves.mean(after - before),
    }
    return curves.known(found)
