"""Scalability: how long LOQA takes to reach three thresholds on boards of growing size, and its learning curves."""

import json
from pathlib import Path

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator

from common import plotting
from common.stats import mean_interval, success_proportion
from common.verdicts import Measurement
from loqa import scalability
from loqa.scalability import OURS, PAPER, THRESHOLDS

#: where a series stands beside its grid size, so that the markers of two series do not cover each other
PLACES = {OURS: 0.0, f"{PAPER}LOQA": -0.22, f"{PAPER}POLA": 0.22, f"{PAPER}M-FOS": 0.36}


def tabulate(runs):
    """Our learning curves and first passes, then those of the paper."""
    paper = json.loads(Path(__file__).with_name("scalability_paper.json").read_text("utf-8"))
    rows = [row for group in runs.values() for run in group for row in scalability.curve(run)]
    return sorted(rows, key=lambda row: (row["grid"], row["seed"])) + scalability.published(paper["seconds"])


def draw(rows):
    """The picture; `common.plotting` writes it.

    DEVIATION(Q22): the file called .png is a PNG; one of the published outputs with that name is a PDF.
    """
    figure, axes = plotting.new_figure(3, 2, panel=(4.1, 3.3))
    for ax, name in zip(axes, THRESHOLDS, strict=False):
        _seconds(ax, rows, name)
    low, high = min(ax.get_ylim()[0] for ax in axes[:3]), max(ax.get_ylim()[1] for ax in axes[:3])
    for ax in axes[:3]:
        ax.set_ylim(low, high)
    _curves(axes[3], rows, "each_other", "Normalised reward against each other")
    _curves(axes[4], rows, "against_defect", "Normalised reward against always-defect")
    _iterations(axes[5], rows)
    figure.suptitle(_about(rows), fontsize=9)
    plotting.legend_below(figure, axes, ncols=5)
    return figure


def _about(rows):
    runs = {(row["grid"], row["seed"]) for row in rows if row["source"] == OURS}
    last = max((row["iteration"] for row in rows if "each_other" in row), default=0)
    return (
        f"Ours: {len(runs)} runs of up to {last:,} iterations, seconds on the machine of this verdict. Paper: one A100, "
        "batch 2048, 3 runs a size.\nDashed lines join the means of the runs that passed; runs that never passed have no "
        "marker. Curves: seeds thin, mean thick with its 95 % band, evaluations i-10 to i+9 averaged"
    )


def _seconds(ax, rows, name):
    """One panel of the published figure: time to a threshold by grid size."""
    threshold = THRESHOLDS[name]
    for source, place in PLACES.items():
        found = scalability.passes(rows, name, source)
        if not found:
            continue
        ours, style = source == OURS, _style(source)
        sizes = np.array(list(found))
        ax.plot(sizes + place, [np.mean(values) for values in found.values()], **style["mean"])
        at = np.concatenate([np.full(len(values), size + place) for size, values in found.items()])
        points = np.concatenate(list(found.values()))
        ax.plot(at, points, label=source, zorder=3 if ours else 2, **style["points"])
    reached, of = scalability.passed(rows, name)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(numticks=12))
    _sizes(ax, rows)
    ax.set(
        title=f"{name}: each other > {threshold.each_other:g}, defector > {threshold.against_defect:g}"
        f"\nours: {reached} of {of} runs pass",
        ylabel="seconds to threshold (log scale)",
    )


def _style(source):
    kind = list(PLACES).index(source)
    colour = plotting.COLOURS[kind]
    face = colour if source == OURS else "none"
    strength = 1.0 if source == OURS else 0.55
    marker = {"marker": plotting.MARKERS[kind], "markerfacecolor": face, "color": colour, "alpha": strength}
    return {
        "mean": {"color": colour, "linestyle": "--", "linewidth": 1.0, "alpha": strength},
        "points": marker | {"linestyle": "none", "markersize": 6 if source == OURS else 5},
    }


def _sizes(ax, rows):
    sizes = sorted({row["grid"] for row in rows})
    ax.set_xticks(sizes, [f"{size}x{size}" for size in sizes])
    ax.set(xlabel="board", xlim=(min(sizes) - 0.6, max(sizes) + 0.6))


def _table(rows, grid, column):
    """Iterations ``[T]`` and values ``[seeds, T]`` of our runs on a board, cut to what every seed has."""
    per_seed = {}
    for row in rows:
        if row["grid"] == grid and column in row:
            per_seed.setdefault(row["seed"], {})[row["iteration"]] = row[column]
    steps = sorted(set.intersection(*(set(points) for points in per_seed.values())))
    return np.array(steps), np.array([[points[step] for step in steps] for points in per_seed.values()])


def _curves(ax, rows, column, title):
    """Our learning curves with the thresholds (the paper's second scalability figure, by iteration)."""
    for kind, grid in enumerate(sorted({row["grid"] for row in rows if column in row})):
        steps, values = _table(rows, grid, column)
        plotting.learning_curves(ax, steps, values, f"ours, {grid}x{grid}", kind)
    for name, threshold in THRESHOLDS.items():
        level = threshold.each_other if column == "each_other" else threshold.against_defect
        ax.axhline(level, color="#555555", linestyle="--", linewidth=0.9, zorder=1.5)
        beside = {"xycoords": ("axes fraction", "data"), "ha": "left", "va": "center"}
        ax.annotate(name, (1.01, level), fontsize=7, color="#555555", **beside)
    ax.set(title=title, xlabel="iteration", ylabel="reward per step x 2 floor(N/2)")
    ax.xaxis.set_major_locator(MaxNLocator(6))


def _iterations(ax, rows):
    """Time to the thresholds in iterations, which no machine changes."""
    for kind, name in enumerate(THRESHOLDS):
        found = scalability.passes(rows, name, OURS, "iteration")
        if not found:
            continue
        place, style = (kind - 1) * 0.15, plotting.series_style(kind + 3)
        sizes = np.array(list(found)) + place
        ax.plot(
            sizes, [np.mean(values) for values in found.values()], **style | {"marker": "", "linewidth": 1.0}
        )
        at = np.concatenate(
            [np.full(len(values), x) for x, values in zip(sizes, found.values(), strict=True)]
        )
        points = np.concatenate(list(found.values()))
        ax.plot(at, points, label=f"ours, {name}", **style | {"linestyle": "none", "markersize": 6})
    _sizes(ax, [row for row in rows if row["source"] == OURS])
    ax.set(title="Ours: iterations to threshold", ylabel="iteration", ylim=(0, None))


def _share(rows, threshold, grid=None, by=np.inf):
    reached, of = scalability.passed(rows, threshold, grid, by)
    if not of:
        return None
    share = success_proportion([True] * reached + [False] * (of - reached))
    return Measurement(share.value, share.low, share.high, of, note=f"{reached} of {of} runs")


def _mean(rows, threshold, grid):
    """Mean iterations to a threshold over the runs that passed it."""
    values = scalability.passes(rows, threshold, OURS, "iteration").get(grid)
    if not values:
        return None
    interval = mean_interval(values, kind="student")
    low, high = (float(end) if np.isfinite(end) else None for end in interval[1:])
    return Measurement(float(interval.value), low, high, len(values))


def _times(rows, threshold, grid):
    """Iterations to a threshold, run by run; a run that never passes counts with its last one. And how many passed."""
    last, found = {}, {}
    for row in rows:
        if row["source"] == OURS and row["grid"] == grid:
            if "each_other" in row:
                last[row["seed"]] = max(last.get(row["seed"], 0), row["iteration"])
            elif row.get("threshold") == threshold and "iteration" in row:
                found[row["seed"]] = row["iteration"]
    return list((last | found).values()), len(found)


def _growth(rows, threshold, small, large):
    """Iterations to a threshold on a large board over those on a small one, at least: see `_times`."""
    (first, passed), (second, reached) = (_times(rows, threshold, grid) for grid in (small, large))
    if not second or not first or passed < len(first) or not sum(first):
        return None
    note = (
        f"{np.mean(second):.0f} iterations on {large}x{large} ({reached} of {len(second)} runs pass, the others count "
        f"with their length), {np.mean(first):.0f} on {small}x{small}"
    )
    return Measurement(float(np.mean(second) / np.mean(first)), n=min(len(first), len(second)), note=note)


def measure(rows):
    """Shares of runs that pass a threshold, iterations that it takes, and their growth with the board."""
    found = {
        "all-weak": _share(rows, "weak"),
        "all-medium": _share(rows, "medium"),
        "strong-3x3": _share(rows, "strong", 3, by=3000),
        "strong-larger": _share([row for row in rows if row["grid"] > 3], "strong"),
        "strong-3x3-iterations": _mean(rows, "strong", 3),
        "strong-7x7": _share(rows, "strong", 7),
        "growth": _growth(rows, "medium", 3, 5),
    }
    return {name: value for name, value in found.items() if value is not None}
