"""What the original's cutting (Q1, Q2) and resets (Q5) change: quality of the reward model and test return."""

from common import plotting
from marlhf import curves

KINDS = ("FF", "RNN")
VERSIONS = {
    ("corrected", "corrected"): "corrected",
    ("original", "corrected"): "original cutting (Q1, Q2)",
    ("corrected", "original"): "original resets (Q5)",
    ("original", "original"): "both as in the original",
}


def tabulate(runs):
    """One row per run, with the kind of reward model."""
    rows = curves.tabulate(runs)
    kinds = [run.config["rm"]["reward_model_type"] for group in runs.values() for run in group]
    return [row | {"kind": kind} for row, kind in zip(rows, kinds, strict=True)]


def _values(rows, column, kind, version):
    layout, alignment = version
    return curves.values(rows, column, kind=kind, layout=layout, alignment=alignment)


def draw(rows):
    """Position of the test return, and correlation of predicted with true reward over the steps of all play."""
    figure, axes = plotting.new_figure(2, panel=(4.8, 3.5))
    for ax, column in zip(axes, ("position", "corr_step_all"), strict=True):
        kinds = [
            kind for kind in KINDS if any(row["kind"] == kind and row.get(column) is not None for row in rows)
        ]
        groups = [
            curves.Group(label, [_values(rows, column, kind, version) for kind in kinds], number)
            for number, (version, label) in enumerate(VERSIONS.items())
        ]
        curves.draw_groups(ax, groups, [f"{kind} reward model" for kind in kinds])
    axes[0].set_title("Position of the test return")
    axes[1].set_title("Predicted and true reward of a step, correlation")
    figure.suptitle(curves.seeds_drawn(rows), fontsize=9)
    plotting.legend_below(figure, axes, ncols=2)
    return figure


def measure(rows):
    """What each correction changes, and where the original's settings land."""
    right, cutting, resets, both = VERSIONS
    found = {
        "original-level": curves.measurement(_values(rows, "position", "FF", both)),
        "cutting-quality": curves.difference(
            _values(rows, "corr_return_all", "FF", right), _values(rows, "corr_return_all", "FF", cutting)
        ),
        "cutting-return": curves.difference(
            _values(rows, "position", "FF", right), _values(rows, "position", "FF", cutting)
        ),
        "resets-return": curves.difference(
            _values(rows, "position", "FF", right), _values(rows, "position", "FF", resets)
        ),
        "cutting-quality-rnn": curves.difference(
            _values(rows, "corr_return_all", "RNN", right), _values(rows, "corr_return_all", "RNN", cutting)
        ),
    }
    return {name: value for name, value in found.items() if value is not None}
