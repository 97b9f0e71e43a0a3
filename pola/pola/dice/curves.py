"""Learning curves of the sampled games: from run records to the rows, panels and numbers of Figures 4 and 5."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common import plotting
from common.runs import RunFolder
from common.stats import mean_interval
from common.verdicts import Measurement

ALGORITHMS = ("LOLA-DiCE", "POLA-DiCE", "POLA-OM", "LOLA-DiCE, Adam kept")
PAPER = "paper: "  # rows that were read off the paper's figure carry this before the algorithm's name
Row = dict[str, Any]


@dataclass(frozen=True)
class Panel:
    """One panel: a column of the rows, and what always-cooperate and always-defect would score in it."""

    column: str
    title: str
    cooperate: float
    defect: float | None
    ylabel: str = "score per step (mean of both agents)"


def panels(env: str, contrib_factor: float, rollout_len: int, every: bool = False) -> list[Panel]:
    """The panels of Figure 4 (``ipd``) or 5 (``coin``); `every` adds those that the paper measured and left out.

    The references of the IPD follow from its payoffs, those of the Coin Game are scores of scripted players.
    """
    if env == "ipd":
        c = contrib_factor
        both, exploited, exploiting = c - 1, c / 2 - 1, c / 2
        extra = [
            Panel("vs_cooperate", "Against always-cooperate", both, exploiting),
            Panel("vs_tft", "Against tit-for-tat", both, exploiting / rollout_len),
        ]
        main = [
            Panel("each_other", "Against each other", both, 0.0),
            Panel("vs_defect", "Against always-defect", exploited, 0.0),
        ]
    else:
        same = Panel("same_proportion", "Coins of one's own colour", 1.0, 0.5, "share of all coins taken")
        main = [
            same,
            Panel("each_other", "Against each other", 1 / 3, 0.0),
            Panel("vs_defect", "Against always-defect", -0.26, 0.0),
        ]
        extra = [
            Panel("vs_cooperate", "Against always-cooperate", 1 / 3, 0.622),
            Panel("vs_tft", "Against tit-for-tat", 1 / 3, None),
        ]
    return main + extra if every else main


def algorithm(config: Mapping[str, Any]) -> str:
    """The paper's name for a configuration of the sampled program: LOLA-DiCE is K = M = 1 without penalties."""
    if config["opp_model"]:
        return "POLA-OM"
    plain = config["inner_steps"] == config["outer_steps"] == 1
    if not plain or config["inner_beta"] or config["outer_beta"]:
        return "POLA-DiCE"
    return "LOLA-DiCE, Adam kept" if config["persistent_adam"] else "LOLA-DiCE"


def tabulate(runs: Iterable[RunFolder], last_step: float = math.inf) -> list[Row]:
    """One row per evaluation: means over both agents, by algorithm, seed and outer steps (per agent)."""
    rows = []
    for run in runs:
        named = {"algorithm": algorithm(run.config), "seed": run.config["seed"]}
        for point in run.metrics():
            if "score" not in point or point["outer_steps"] > last_step:
                continue
            game = {key: run.config[key] for key in ("rollout_len", "contrib_factor")}
            row = named | {"outer_steps": point["outer_steps"]}
            row |= {key: value for key, value in game.items() if value is not None}
            scores = {"each_other": "score", "vs_defect": "vs_defect", "vs_cooperate": "vs_cooperate"}
            for column, key in (scores | {"vs_tft": "vs_tft"}).items():
                row[column] = round(float(np.mean(point[key])), 6)
            if "same" in point:
                taken = point["same"] + point["diff"]
                row["same_proportion"] = round(point["same"] / taken, 6) if taken else 0.5
            rows.append(row)
    return sorted(rows, key=lambda row: (ALGORITHMS.index(row["algorithm"]), row["seed"], row["outer_steps"]))


def published(curves: Mapping[str, Mapping[str, Sequence]], columns: Mapping[str, str]) -> list[Row]:
    """The paper's own means as rows.

    Args:
        curves: panel → algorithm → list of (outer steps, mean).
        columns: panel → our column.
    """
    rows: dict[tuple, Row] = {}
    for panel, column in columns.items():
        for name, points in curves[panel].items():
            for step, value in points:
                row = rows.setdefault(
                    (name, step), {"algorithm": PAPER + name, "seed": 0, "outer_steps": step}
                )
                row[column] = value
    return list(rows.values())


def table(rows: Sequence[Row], name: str, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Outer steps ``[T]`` and ``[seeds, T]`` values of an algorithm, cut to the steps that every seed has."""
    mine = [row for row in rows if row["algorithm"] == name and column in row]
    per_seed: dict[int, dict[float, float]] = {}
    for row in mine:
        per_seed.setdefault(row["seed"], {})[row["outer_steps"]] = row[column]
    if not per_seed:
        return np.empty(0), np.empty((0, 0))
    steps = sorted(set.intersection(*(set(points) for points in per_seed.values())))
    return np.array(steps), np.array([[points[step] for step in steps] for points in per_seed.values()])


def draw(rows: Sequence[Row], env: str, *, note: str = "", every: bool = False):
    """The figure: a panel per measure, algorithms as mean, seeds and the paper's band (1.96 sd / sqrt(n))."""
    game = {"contrib_factor": 1.33} | next((row for row in rows if "rollout_len" in row), {"rollout_len": 50})
    chosen = panels(env, game["contrib_factor"], game["rollout_len"], every)
    figure, axes = plotting.new_figure(len(chosen), panel=(4.1, 3.6))
    seeds = 0
    for ax, panel in zip(axes, chosen, strict=True):
        for kind, name in enumerate(ALGORITHMS):
            steps, values = table(rows, name, panel.column)
            if len(steps):
                plotting.learning_curves(ax, steps, values, name, kind)
                seeds = max(seeds, len(values))
            steps, values = table(rows, PAPER + name, panel.column)
            if len(steps):
                style = {"color": plotting.COLOURS[kind], "linewidth": 0.9, "marker": "x", "markersize": 4}
                ax.plot(steps, values[0], label=PAPER + name, **style)
        plotting.reference_line(ax, panel.cooperate, "always cooperate", 0)
        if panel.defect is not None:
            plotting.reference_line(ax, panel.defect, "always defect", 1)
        ax.set(title=panel.title, xlabel="outer steps per agent", ylabel=panel.ylabel)
    drawn = f"Mean of {seeds} seeds with 95 % band, each seed as a thin line" if seeds > 1 else "One seed"
    figure.suptitle(f"{note}\n{drawn}" if note else drawn, fontsize=9)
    plotting.legend_below(figure, axes, ncols=3)
    return figure


def at(rows: Sequence[Row], name: str, column: str, step: float) -> Measurement | None:
    """Mean over seeds, with its Student interval, at the evaluation nearest to `step`; None without one near."""
    steps, values = table(rows, name, column)
    if not len(steps):
        return None
    nearest = int(np.argmin(np.abs(steps - step)))
    if abs(steps[nearest] - step) > 0.05 * step:
        return None
    scores = values[:, nearest]
    interval = mean_interval(scores, kind="student")
    return Measurement(*_ends(interval), n=len(scores), note=f"after {steps[nearest]:g} outer steps")


def _ends(interval) -> tuple[float, float | None, float | None]:
    """Value, low and high as floats; None for the ends that one seed can't give."""
    value, low, high = (float(x) for x in interval)
    return value, low if math.isfinite(low) else None, high if math.isfinite(high) else None


def difference(rows: Sequence[Row], first: str, second: str, column: str, step: float) -> Measurement | None:
    """Mean of `first` minus mean of `second` at equal outer steps, with a normal interval of independent means."""
    one, two = at(rows, first, column, step), at(rows, second, column, step)
    if one is None or two is None:
        return None
    value = one.value - two.value
    if None in (one.low, two.low):
        return Measurement(value, n=min(one.n, two.n))
    half = math.hypot(one.value - one.low, two.value - two.low)
    return Measurement(value, value - half, value + half, n=min(one.n, two.n), note=one.note)
