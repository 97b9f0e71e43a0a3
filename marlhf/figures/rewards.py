"""Predicted and true reward over the time steps of the expert's episodes, for several MSE coefficients."""

import numpy as np

from common import plotting
from marlhf import curves

POLICY = "expert"


def tabulate(runs):
    """One row per run and step: the mean over episodes, and one episode as it is; true rewards on the predictions' scale."""
    rows = []
    for group in runs.values():
        for run in group:
            quality = run.summary["quality"]
            own = quality["per_policy"][POLICY]
            true = _like(own["true_by_step"], own["by_step"])
            for step, predicted in enumerate(own["by_step"]):
                rows.append(
                    {
                        "alpha": run.config["rm"]["mse_loss_coef"],
                        "seed": run.config["seed"],
                        "step": step,
                        "predicted": predicted,
                        "true": true[step],
                        "one": own["one"][step],
                        "true_one": _like(own["true_one"], own["one"])[step],
                        "concentration": quality["concentration"],
                    }
                )
    return rows


def _like(values, scale):
    """Values moved and stretched to the mean and spread of `scale`, so that shapes can be compared."""
    values, scale = np.asarray(values), np.asarray(scale)
    spread = values.std()
    moved = (values - values.mean()) / spread * scale.std() if spread > 0 else np.zeros_like(values)
    return [round(float(value), 5) for value in moved + scale.mean()]


def _table(rows, alpha, column):
    """[S, T]."""
    seeds = sorted({row["seed"] for row in rows if row["alpha"] == alpha})
    return np.array(
        [[row[column] for row in rows if row["alpha"] == alpha and row["seed"] == seed] for seed in seeds]
    )


def draw(rows):
    """Left the mean over episodes, right one episode; solid predicted, grey true (moved to the same scale)."""
    alphas = sorted({row["alpha"] for row in rows})
    figure, axes = plotting.new_figure(2, panel=(5.2, 3.5))
    if not rows:
        return figure
    steps = np.arange(_table(rows, alphas[0], "predicted").shape[1])
    for ax, column, true in zip(axes, ("predicted", "one"), ("true", "true_one"), strict=True):
        for kind, alpha in enumerate(alphas):
            found = _table(rows, alpha, column)
            found = found if column == "predicted" else found[:1]
            plotting.learning_curves(ax, steps, found, f"predicted, alpha {alpha:g}", kind, band=None)
        middle = alphas[len(alphas) // 2]
        real = _table(rows, middle, true)
        ax.plot(
            steps,
            real.mean(axis=0) if column == "predicted" else real[0],
            color="#777777",
            label="true, rescaled",
        )
        ax.set(xlabel="time step of the episode", ylabel="standardised reward")
    axes[0].set_title("Expert's play, mean over episodes")
    axes[1].set_title("One agent in one episode")
    plotting.legend_below(figure, axes, ncols=3)
    return figure


def measure(rows):
    """How far the time courses agree, and how much of a trajectory's deviation lies on its three largest steps."""
    alphas, found = sorted({row["alpha"] for row in rows}), {}
    if not rows:
        return found
    if 1.0 in alphas:
        pairs = zip(_table(rows, 1.0, "predicted"), _table(rows, 1.0, "true"), strict=True)
        agree = np.array([np.corrcoef(*pair)[0, 1] for pair in pairs])
        found["follows"] = curves.measurement(agree)
    ends = [_table(rows, alpha, "concentration")[:, 0] for alpha in (alphas[0], alphas[-1])]
    note = f"alpha {alphas[0]:g}: {ends[0].mean():.3f}, {alphas[-1]:g}: {ends[1].mean():.3f}"
    found["spreads"] = curves.difference(*ends, note)
    return found
