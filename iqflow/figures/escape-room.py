"""Result 2: total environment reward of an Escape Room episode over training."""

import numpy as np

from common import plotting
from common.stats import mean_interval, success_proportion
from common.verdicts import Measurement

SIZES = {"(5,2)": 28.0, "(10,5)": 45.0}
SERIES = ("IQ-Flow", "ID", "no incentive")
LAST = 5  # evaluations


def tabulate(runs):
    """One row per evaluation of every seed."""
    rows = []
    for name, group in runs.items():
        series, _, size = name.rpartition(" ")
        for run in group:
            own = {"size": size, "series": series, "seed": run.config["seed"]}
            rows += [
                {**own, "episode": row["episode"], "reward": round(row["total_env_reward"], 4)}
                for row in run.metrics()
            ]
    return rows


def _table(rows, series, size):
    """Episodes [T] and per-seed means of the last `LAST` evaluations [S, T]; None without runs."""
    own = [row for row in rows if row["series"] == series and row["size"] == size]
    if not own:
        return None
    seeds, episodes = (sorted({row[key] for row in own}) for key in ("seed", "episode"))
    values = {(row["seed"], row["episode"]): row["reward"] for row in own}
    table = np.array([[values.get((seed, episode), np.nan) for episode in episodes] for seed in seeds])
    smooth = [table[:, max(0, end - LAST) : end].mean(1) for end in range(1, len(episodes) + 1)]
    return np.array(episodes), np.stack(smooth, 1)


def draw(rows):
    """One panel per size: every algorithm's seeds and their mean, each point a mean over five evaluations."""
    sizes = [size for size in SIZES if any(_table(rows, series, size) for series in SERIES)]
    figure, axes = plotting.new_figure(len(sizes), panel=(4.8, 3.4))
    for ax, size in zip(axes, sizes, strict=True):
        for kind, series in enumerate(SERIES):
            found = _table(rows, series, size)
            if found:
                plotting.learning_curves(ax, *found, series, kind)
        plotting.reference_line(ax, SIZES[size], "optimum")
        ax.set(xlabel="episode", ylabel="total environment reward per episode")
        ax.set_title(f"Escape Room {size}")
    plotting.legend_below(figure, axes)
    return figure


def _by(found, threshold, episode):
    """Share of the seeds that have reached `threshold` at some evaluation up to `episode`; None if not run so far."""
    if not found or found[0][-1] < episode:
        return None
    episodes, table = found
    share = success_proportion(table[:, episodes <= episode].max(1) >= threshold)
    return Measurement(share.value, share.low, share.high, share.n)


def _end(found):
    if not found:
        return None
    final = found[1][:, -1]
    interval = mean_interval(final, kind="student" if len(final) > 1 else "normal")
    return Measurement(*map(float, interval), n=len(final))


def _gap(first, second):
    """Difference of the mean ends of two algorithms, with a 95 % interval."""
    if not first or not second:
        return None
    ends = [found[1][:, -1] for found in (first, second)]
    value = float(ends[0].mean() - ends[1].mean())
    se = float(np.sqrt(sum(end.var(ddof=1) / len(end) for end in ends if len(end) > 1)))
    return Measurement(value, value - 1.96 * se, value + 1.96 * se, min(map(len, ends)), se)


def measure(rows):
    """Every claim's number, as far as its runs are there."""
    small, large = _table(rows, "IQ-Flow", "(5,2)"), _table(rows, "IQ-Flow", "(10,5)")
    found = {
        "qflow-5-2-8000": _by(small, 25.0, 8_000),
        "qflow-5-2-12000": _by(small, 27.0, 12_000),
        "id-5-2": _end(_table(rows, "ID", "(5,2)")),
        "none-5-2": _end(_table(rows, "no incentive", "(5,2)")),
        "qflow-above-id-5-2": _gap(small, _table(rows, "ID", "(5,2)")),
        "qflow-10-5": _end(large),
        "qflow-above-id-10-5": _gap(large, _table(rows, "ID", "(10,5)")),
    }
    return {name: value for name, value in found.items() if value is not None}
