"""Hidden against observed queries for three kinds of leader, on the paper's scale: 0 is the Stackelberg value."""

import numpy as np

from common import plotting
from common.verdicts import Measurement
from stackerlberg import curves

HIDDEN, OBSERVED = "hidden_queries=true", "hidden_queries=false"
LEADERS = ("PG", "SimpleQ", "ES")
STEPS = 5
#: an iteration before SimpleQ's replay buffer is full and forgets
EARLY = 500

tabulate = curves.tabulate


def scaled(returns):
    """Mean payoff per step minus 4: the environment takes 2.5 off every step."""
    return returns / STEPS - 1.5


def draw(rows):
    figure, axes = plotting.new_figure(3, panel=(4.2, 3.4), sharey=True)
    for ax, leader in zip(axes, LEADERS, strict=True):
        measured = "leader" if leader == "PG" else "greedy"
        for kind, (condition, label) in enumerate(
            ((OBSERVED, "observed queries"), (HIDDEN, "hidden queries"))
        ):
            found = curves.select(rows, leader, condition)
            curves.draw(ax, found, label, kind, scale=scaled, y=measured)
        seeds = max((row["n"] for row in curves.select(rows, leader)), default=0)
        what = "training return" if leader == "PG" else "greedy evaluation"
        plotting.reference_line(ax, 0.0, "exact Stackelberg value")
        ax.set(xlabel="leader's environment steps, queries included", ylabel="payoff per step minus 4")
        ax.set_title(f"{leader} leader ({what}, {seeds} seeds)")
    figure.suptitle(curves.seeds_note(rows), fontsize=9)
    plotting.legend_below(figure, axes)
    return figure


def measure(rows):
    def end(leader, condition, column="leader"):
        return curves.ends(rows, leader, condition, column=column)

    observed, hidden = (end("PG", condition) for condition in (OBSERVED, HIDDEN))
    trained = [curves.ends(rows, "PG", OBSERVED, phase=0, column=column) for column in ("optimal", "tables")]
    early = [curves.at(curves.select(rows, "SimpleQ", c), EARLY, "greedy") for c in (OBSERVED, HIDDEN)]
    evolved = [end("ES", condition, "greedy") for condition in (OBSERVED, HIDDEN)]
    found = {
        "pretraining": curves.share(trained[0] == trained[1]),
        "pretraining-at-100": curves.at(curves.select(rows, "PG", OBSERVED, phase=0), 100, "regret"),
        "observed-final": curves.mean(observed),
        "observed-greedy": curves.share(end("PG", OBSERVED, "actions") == "001"),
        "observed-at-200": curves.at(curves.select(rows, "PG", OBSERVED), 200),
        "hidden-final": curves.median(hidden),
        "hidden-low": curves.share(hidden < -1.5),
        "gap": curves.difference(observed, hidden, np.median),
        "simple-q-gap": Measurement(early[0].value - early[1].value, n=early[0].n) if all(early) else None,
        "es-no-gap": curves.difference(*evolved),
        "es-above-hidden": curves.difference(evolved[1], end("PG", HIDDEN, "greedy"), np.median),
    }
    return curves.known(found)
