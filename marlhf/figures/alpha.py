"""The MSE coefficient alpha: smoothness and quality of the reward model, and the return of what is learned from it."""

import numpy as np

from common import plotting
from common.verdicts import Measurement
from marlhf import curves

tabulate = curves.tabulate


def _alphas(rows):
    return sorted({row["alpha"] for row in rows})


def _by_alpha(rows, column):
    return [curves.values(rows, column, alpha=alpha) for alpha in _alphas(rows)]


def draw(rows):
    """Roughness, correlations and the return's position against alpha."""
    figure, axes = plotting.new_figure(3, panel=(4.2, 3.3))
    ticks = [f"{alpha:g}" for alpha in _alphas(rows)]
    curves.draw_groups(axes[0], [curves.Group("roughness", _by_alpha(rows, "roughness"), 0)], ticks, True)
    axes[0].set(yscale="log", ylabel="sum of squared steps of the reward")
    axes[0].set_title("Roughness of the standardised reward")
    shown = (("corr_return_all", "of returns"), ("corr_step_all", "of single steps"))
    groups = [
        curves.Group(label, _by_alpha(rows, column), kind) for kind, (column, label) in enumerate(shown, 1)
    ]
    curves.draw_groups(axes[1], groups, ticks, True)
    axes[1].set_title("Correlation with the true reward")
    curves.draw_groups(axes[2], [curves.Group("test return", _by_alpha(rows, "position"), 3)], ticks, True)
    curves.draw_ends(axes[2])
    axes[2].set_title("Position of the test return")
    for ax in axes:
        ax.set_xlabel("MSE coefficient alpha")
    figure.suptitle(curves.seeds_drawn(rows), fontsize=9)
    plotting.legend_below(figure, axes, ncols=4)
    return figure


def measure(rows):
    """Whether the reward gets smoother with alpha, and what alpha = 1 does against none."""
    means = [found.mean() for found in _by_alpha(rows, "roughness")]
    found = {}
    if len(means) > 1:
        falls = np.diff(means) < 0
        note = ", ".join(f"{alpha:g}: {mean:.3g}" for alpha, mean in zip(_alphas(rows), means, strict=True))
        found["roughness-falls"] = Measurement(float(falls.mean()), n=len(falls), note=note)
    for claim, column in (("step-correlation", "corr_step_all"), ("return", "position")):
        none, one = (curves.values(rows, column, alpha=alpha) for alpha in (0.0, 1.0))
        if len(none) and len(one):
            found[claim] = curves.difference(one, none, f"{one.mean():.3f} and {none.mean():.3f}")
    return found
