"""Learning curves of the Coin Game: from run records to the rows, panels and numbers of `-coin` and `-ablations`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from common import plotting
from common.runs import RunFolder
from common.stats import mean_interval
from common.verdicts import Measurement

Row = dict[str, Any]
ORIGINAL = "original code"

#: our columns and the metrics they come from (`mean_rewards` of two seats is their mean)
COLUMNS = {
    "self": ("mean_rewards_0", "mean_rewards_1"),
    "self_0": ("mean_rewards_0",),
    "self_1": ("mean_rewards_1",),
    "vs_defect": ("always_defect_0_mean_rewards_a",),
    "defect_gets": ("always_defect_0_mean_rewards_d",),
    "vs_cooperate": ("always_cooperate_0_mean_rewards_a",),
    "cooperate_gets": ("always_cooperate_0_mean_rewards_d",),
}
#: what scripted players earn on 3 x 3, reward per step (spec 3.2)
MUTUAL_COOPERATION, EXPLOITING, EXPLOITED = 0.349, 0.636, -0.263
#: (each other, against always-defect) of the thresholds of spec 5.10, times `distance_scale`
THRESHOLDS = {"weak": (0.05, -1.2), "medium": (0.1, -0.5), "strong": (0.2, -0.2)}


def tabulate(runs: Mapping[str, Iterable[RunFolder]]) -> list[Row]:
    """One row per evaluation: agent (the run's name), seed, iteration, side of the board, and `COLUMNS`."""
    rows = []
    for name, folders in runs.items():
        for run in folders:
            hp = run.config["hp"]
            for point in run.metrics():
                row = {
                    "agent": name,
                    "seed": hp["seed"],
                    "iteration": point["iteration"],
                    "side": hp["game"]["width"],
                }
                row |= {
                    column: round(float(np.mean([point[key] for key in keys])), 6)
                    for column, keys in COLUMNS.items()
                }
                rows.append(row)
    return sorted(rows, key=lambda row: (list(runs).index(row["agent"]), row["seed"], row["iteration"]))


def original(record: Mapping[str, Any]) -> list[Row]:
    """Rows of the original program's recorded runs: ``{"columns": [...], "runs": {seed: [[...], ...]}}``."""
    return [
        {"agent": ORIGINAL, "seed": int(seed)} | dict(zip(record["columns"], point, strict=True))
        for seed, points in record["runs"].items()
        for point in points
    ]


def table(rows: Sequence[Row], agent: str, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Iterations ``[T]`` and ``[seeds, T]`` values of an agent, cut to the iterations that every seed has."""
    per_seed: dict[int, dict[int, float]] = {}
    for row in rows:
        if row["agent"] == agent:
            per_seed.setdefault(row["seed"], {})[row["iteration"]] = row[column]
    if not per_seed:
        return np.empty(0), np.empty((0, 0))
    steps = sorted(set.intersection(*(set(points) for points in per_seed.values())))
    return np.array(steps), np.array([[points[step] for step in steps] for points in per_seed.values()])


def last(rows: Sequence[Row], agent: str, column: str, evaluations: int) -> np.ndarray:
    """Each seed's mean over its last evaluations, [seeds]; empty without a run."""
    steps, values = table(rows, agent, column)
    return values[:, -evaluations:].mean(axis=1) if len(steps) else np.empty(0)


def measurement(scores: np.ndarray, note: str = "") -> Measurement | None:
    """Mean over seeds with its Student interval; the note names every seed's value."""
    if not len(scores):
        return None
    value, low, high = (float(part) for part in mean_interval(scores, kind="student"))
    each = "seeds: " + ", ".join(f"{score:.3f}" for score in scores)
    ends = (low, high) if math.isfinite(low) else (None, None)
    return Measurement(value, *ends, n=len(scores), note=f"{note}; {each}" if note else each)


def difference(one: np.ndarray, two: np.ndarray) -> Measurement | None:
    """Mean of `one` minus mean of `two` with a 95 % interval of independent means."""
    if not len(one) or not len(two):
        return None
    first, second = measurement(one), measurement(two)
    value = first.value - second.value
    if None in (first.low, second.low):
        return Measurement(value, n=min(len(one), len(two)))
    half = math.hypot(first.value - first.low, second.value - second.low)
    return Measurement(value, value - half, value + half, n=min(len(one), len(two)))


def distance_scale(side: int) -> int:
    """Factor of a normalised reward on a square board: grows with the way to a coin."""
    return 2 * (side // 2)


def first_pass(rows: Sequence[Row], agent: str, threshold: str) -> dict[int, float]:
    """The iteration at which each seed first passes a threshold; infinite where it never does."""
    passed: dict[int, float] = {}
    each_other, defect = THRESHOLDS[threshold]
    for row in rows:
        if row["agent"] != agent:
            continue
        scale = distance_scale(row["side"])
        passed.setdefault(row["seed"], math.inf)
        if scale * row["self"] > each_other and scale * row["vs_defect"] > defect:
            passed[row["seed"]] = min(passed[row["seed"]], row["iteration"])
    return passed


def passed_by(rows: Sequence[Row], agent: str, threshold: str, iteration: int) -> Measurement | None:
    """Share of the seeds that pass a threshold by an iteration."""
    when = first_pass(rows, agent, threshold)
    if not when:
        return None
    each = ", ".join("never" if math.isinf(at) else f"{at:g}" for at in when.values())
    share = sum(at <= iteration for at in when.values()) / len(when)
    return Measurement(share, n=len(when), note=f"first passed at iterations {each}")


# --- drawing -----------------------------------------------------------------------------------------------------

PANELS = (
    ("self", "Against itself", MUTUAL_COOPERATION),
    ("vs_defect", "Against always-defect", EXPLOITED),
    ("vs_cooperate", "Against always-cooperate", MUTUAL_COOPERATION),
)


def draw_curves(axes, rows: Sequence[Row], agents: Sequence[str]) -> None:
    """Three panels of the agent's reward over iterations; recorded runs of the original as thin lines."""
    for ax, (column, title, cooperation) in zip(axes, PANELS, strict=True):
        for kind, agent in enumerate(agents):
            steps, values = table(rows, agent, column)
            if len(steps):
                # Student's interval of two seeds is thirteen times their spread and would hide the rest.
                band = "student" if len(values) > 2 else None
                plotting.learning_curves(ax, steps, values, agent, kind, band=band)
        for number, seed in enumerate(sorted({row["seed"] for row in rows if row["agent"] == ORIGINAL})):
            mine = [row for row in rows if row["agent"] == ORIGINAL and row["seed"] == seed]
            at, values = ([row[key] for row in mine] for key in ("iteration", column))
            label = ORIGINAL + ", each seed" if number == 0 else None
            ax.plot(at, values, color="#222222", linewidth=0.8, linestyle=(0, (1, 1)), label=label)
        plotting.reference_line(ax, cooperation, "always-cooperate in its place", 0)
        ax.set(title=title, xlabel="iteration", ylabel="reward per step")


def draw_bars(ax, rows: Sequence[Row], agents: Sequence[str], evaluations: int, title: str) -> None:
    """Rewards at the end: per agent, against itself and both scripted players, what it gets and what the other gets."""
    groups = (
        ("vs itself", "self"),
        ("vs always-defect", "vs_defect"),
        ("always-defect gets", "defect_gets"),
        ("vs always-cooperate", "vs_cooperate"),
        ("always-cooperate gets", "cooperate_gets"),
    )
    for kind, agent in enumerate(agents):
        scores = [last(rows, agent, column, evaluations) for _, column in groups]
        if not len(scores[0]):
            continue
        width = 0.8 / len(agents)
        at = np.arange(len(groups)) + (kind - (len(agents) - 1) / 2) * width
        colour = plotting.COLOURS[kind % len(plotting.COLOURS)]
        ax.bar(
            at,
            [each.mean() for each in scores],
            width * 0.92,
            label=agent if len(agents) > 1 else None,
            color=colour,
            alpha=0.45,
            edgecolor="#222222",
            linewidth=0.6,
            hatch=plotting.HATCHES[kind % len(plotting.HATCHES)],
        )
        for place, each in zip(at, scores, strict=True):
            ax.plot(np.full(len(each), place), each, plotting.MARKERS[kind], color="#222222", markersize=3)
    ax.axhline(0.0, color="#222222", linewidth=0.8)
    ax.set_xticks(
        range(len(groups)), [label for label, _ in groups], rotation=25, ha="right", rotation_mode="anchor"
    )
    ax.set(title=title, ylabel="reward per step")
