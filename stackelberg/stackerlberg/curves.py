"""What the figures share: learning curves from run folders, final values, measurements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from common import plotting
from common.runs import RunFolder
from common.stats import mean_interval, success_proportion
from common.verdicts import Measurement

#: a phase's steps -> column of data.csv
_STEPS = {
    "leader_results/timesteps_total": "env_steps",
    "leader_results/game_timesteps_total": "game_steps",
    "pretraining_results/timesteps_total": "env_steps",
    "posttraining_results/timesteps_total": "env_steps",
}
#: a metric -> column of data.csv
_METRICS = {
    "leader_results/policy_reward_mean/agent_0": "leader",
    "leader_results/policy_reward_mean/agent_1": "follower",
    "leader_results/evaluation/policy_reward_mean/agent_0": "evaluation",
    "leader_results/evaluation_greedy/policy_reward_mean/agent_0": "greedy",
    "leader_results/evaluation_greedy/policy_reward_mean/agent_1": "greedy_follower",
    "posttraining_results/evaluation/policy_reward_mean/agent_0": "evaluation",
    "exact/leader_value": "exact",
    "exact/stackelberg_value": "stackelberg",
    "follower_best_responds/sum": "regret",
    "follower_best_responds/optimal": "optimal",
    "follower_best_responds/tables": "tables",
}
#: what is drawn; the rest is judged only
_DRAWN = ("leader", "evaluation", "greedy", "regret")
CURVE, END = "curve", "end"
#: iterations over which a training return is averaged at the end
LAST = 50


def tabulate(runs: Mapping[str, Sequence[RunFolder]]) -> list[dict[str, Any]]:
    """What the figures draw and judge, as rows of two kinds.

    ``curve``: per run, condition, phase and logged iteration, mean and standard deviation (population) over the n seeds.
    ``end``: per seed, where it ended: ``leader`` and ``follower`` are means over the last 50 iterations, the others the
    last row's; ``actions`` is the greedy leader's table (``001``).
    """
    groups: dict[tuple, dict[int, dict[int, dict]]] = {}
    for name, folders in runs.items():
        for folder in folders:
            for found in folder.metrics():
                place = groups.setdefault((name, found["condition"], found["phase"]), {})
                place.setdefault(found["iteration"], {})[folder.config["seed"]] = found
    rows = []
    for (name, condition, phase), by_iteration in groups.items():
        head = {"run": name, "condition": condition, "phase": phase}
        rows += [_curve(head, iteration, list(found.values())) for iteration, found in by_iteration.items()]
    for (name, condition, phase), by_iteration in groups.items():
        head = {"run": name, "condition": condition, "phase": phase}
        rows += _ends(head, by_iteration)
    return rows


def _curve(head: Mapping[str, Any], iteration: int, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    row = {"kind": CURVE, **head, "iteration": iteration, "n": len(found)}
    row |= {short: found[0][key] for key, short in _STEPS.items() if key in found[0]}
    for key, short in _METRICS.items():
        if short in _DRAWN and key in found[0]:
            values = np.array([each[key] for each in found])
            row |= {
                f"{short}_mean": round(float(values.mean()), 4),
                f"{short}_sd": round(float(values.std()), 4),
            }
    return row


def _ends(head: Mapping[str, Any], by_iteration: Mapping[int, Mapping[int, Mapping]]) -> list[dict[str, Any]]:
    last, rows = max(by_iteration), []
    for seed, found in sorted(by_iteration[last].items()):
        row = {"kind": END, **head, "iteration": last, "seed": seed}
        for key, short in _METRICS.items():
            if key in found:
                values = [found[key]]
                if short in ("leader", "follower"):
                    values = [
                        each[seed][key]
                        for i, each in by_iteration.items()
                        if i > last - LAST and seed in each
                    ]
                row[short] = _rounded(np.mean(values).item() if len(values) > 1 else values[0])
        actions = [found[key] for key in found if key.startswith("leader_action_")]
        if actions:
            row["actions"] = "".join(map(str, actions))
        rows.append(row)
    return rows


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def select(
    rows: Iterable[Mapping[str, Any]], run: str, *parts: str, phase: int = 1, kind: str = CURVE
) -> list[Mapping[str, Any]]:
    """The rows of a run in whose condition's label every one of `parts` (``key=value``) occurs."""
    return [
        row
        for row in rows
        if row["run"] == run
        and row["phase"] == phase
        and row["kind"] == kind
        and all(f",{part}," in f",{row['condition']}," for part in parts)
    ]


def ends(rows, run: str, *parts: str, phase: int = 1, column: str = "leader") -> np.ndarray:
    """A column of the rows of kind ``end``: [S]."""
    found = select(rows, run, *parts, phase=phase, kind=END)
    return np.array([row[column] for row in found if column in row])


def at(curve: Sequence[Mapping[str, Any]], iteration: int, column: str = "leader") -> Measurement | None:
    """A curve's mean over seeds at an iteration, with a 95 % interval; None if it is not there."""
    for row in curve:
        if row["iteration"] == iteration:
            half = 1.96 * row[f"{column}_sd"] / np.sqrt(row["n"])
            value = row[f"{column}_mean"]
            return Measurement(value, float(value - half), float(value + half), row["n"])
    return None


def mean(values: np.ndarray) -> Measurement | None:
    """Mean over seeds with a 95 % interval (Student's)."""
    if not len(values):
        return None
    if len(values) == 1:
        return Measurement(float(values[0]), n=1)
    found = mean_interval(values, kind="student")
    return Measurement(float(found.value), float(found.low), float(found.high), len(values))


def median(values: np.ndarray) -> Measurement | None:
    """Median over seeds; its interval is that of order statistics under a binomial, at least 95 %."""
    n = len(values)
    if not n:
        return None
    ordered, k = np.sort(values), max(0, int(np.floor(n / 2 - 1.96 * np.sqrt(n) / 2)) - 1)
    return Measurement(float(np.median(values)), float(ordered[k]), float(ordered[n - 1 - k]), n)


def share(flags: Sequence[bool]) -> Measurement | None:
    """Share of seeds with its Wilson interval."""
    if not len(flags):
        return None
    found = success_proportion(flags)
    return Measurement(found.value, found.low, found.high, found.n)


def difference(a: np.ndarray, b: np.ndarray, statistic=np.mean) -> Measurement | None:
    """Difference of a statistic of two groups of seeds."""
    if not len(a) or not len(b):
        return None
    return Measurement(float(statistic(a) - statistic(b)), n=min(len(a), len(b)))


def known(measurements: Mapping[str, Measurement | None]) -> dict[str, Measurement]:
    """Those that there is data for."""
    return {name: value for name, value in measurements.items() if value is not None}


def draw(
    ax,
    curve: Sequence[Mapping[str, Any]],
    label: str,
    kind: int,
    *,
    scale=lambda y: y,
    x="env_steps",
    y="leader",
) -> None:
    """Mean over seeds with one standard deviation: the paper's kind of band."""
    if not curve:
        return
    steps = np.array([row[x] for row in curve])
    mean, deviation = (np.array([row[f"{y}_{part}"] for row in curve]) for part in ("mean", "sd"))
    style, every = plotting.series_style(kind), max(1, len(steps) // 8)
    if curve[0]["n"] > 1:
        ax.fill_between(
            steps,
            scale(mean - deviation),
            scale(mean + deviation),
            color=style["color"],
            alpha=0.2,
            linewidth=0,
        )
    ax.plot(steps, scale(mean), label=label, markevery=(kind * every // 4, every), linewidth=1.8, **style)


def seeds_note(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the bands are, for a figure's head."""
    seeds = max(row["n"] for row in rows if row["kind"] == CURVE)
    return f"Mean over up to {seeds} seeds; band: one standard deviation, not an interval of the mean"
