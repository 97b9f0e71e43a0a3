"""From the runs of a figure to its rows, statistics and panels: one row per run of `train/pipeline.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from common import plotting
from common.runs import RunFolder
from common.stats import mean_interval
from common.verdicts import Measurement
from marlhf.skill import SCALES, position

Row = dict[str, Any]

#: a run's test return is the mean of so many last tests: one has a standard error of about 0.3
LAST_TESTS = 5
TITLES = {"spread": "Spread", "reference": "Reference", "tag": "Tag", "overcooked": "Overcooked"}


def original_position(environment: str, value: float) -> float:
    """Where a return of the paper lies between random play and the original's expert."""
    return SCALES[environment].skill(value)


def environment_of(config: Mapping[str, Any]) -> str:
    """``spread``, ``spread_na5``, ``reference``, ... of a run's configuration."""
    env = config["env"]
    name = env["env_name"].removeprefix("MPE_simple_").removesuffix("_v3")
    number = env["env_kwargs"]["num_agents"]
    return f"{name}_na{number}" if name == "spread" and number not in (0, 3) else name


def _row(name: str, run: RunFolder) -> Row:
    config, summary = run.config, run.summary
    row: Row = {
        "run": name,
        "environment": environment_of(config),
        "mix": config["mix"].partition("/")[0],
        "algorithm": config["alg"]["algorithm"],
        "alpha": config["rm"]["mse_loss_coef"],
        "beta": config["alg"]["ref_log_coef"],
        "layout": config["layout"],
        "alignment": config["alignment"],
        "upstream_seeds": config["upstream_seeds"],
        "seed": config["seed"],
        "random": summary["random_return"],
        "expert": summary["expert_return"],
    }
    tests = [point["test_returns"] for point in run.metrics() if "test_returns" in point][-LAST_TESTS:]
    if tests:
        row["return"] = float(np.mean(tests))
        row["position"] = position(row["return"], row["random"], row["expert"])
    if "imitation" in summary:
        row["imitation_return"] = summary["imitation"]["test_return"]
        row["imitation_loss"] = summary["imitation"]["IL_loss"]
    model, quality = summary["reward_model"], summary["quality"]
    row["test_value_loss"], row["mse_loss"] = model["test value loss"], model["mse loss"]
    for column in ("corr_return_all", "pair_accuracy_all", "corr_step_all", "roughness", "concentration"):
        row[column] = quality[column]
    return {key: value for key, value in row.items() if value is not None}


def tabulate(runs: Mapping[str, Iterable[RunFolder]]) -> list[Row]:
    """One row per run, in the manifest's order."""
    return [_row(name, run) for name, folders in runs.items() for run in folders]


def values(rows: Sequence[Row], column: str, **where: Any) -> np.ndarray:
    """A column `[S]`, one value per run for which the other columns have these values."""
    chosen = [row for row in rows if all(row.get(key) == value for key, value in where.items())]
    return np.array([row[column] for row in chosen if column in row], np.float64)


def measurement(found: np.ndarray, note: str = "") -> Measurement | None:
    """Mean with a 95 % interval over seeds; None without a value."""
    if not len(found):
        return None
    if len(found) == 1:
        return Measurement(float(found[0]), n=1, note=note)
    mean, low, high = (float(part) for part in mean_interval(found, kind="student"))
    return Measurement(mean, low, high, len(found), float(found.std(ddof=1) / len(found) ** 0.5), note)


def difference(first: np.ndarray, second: np.ndarray, note: str = "") -> Measurement | None:
    """Mean of `first` less that of `second`, with a 95 % interval: seed by seed where they pair, else of the means."""
    if not len(first) or not len(second):
        return None
    if len(first) == len(second) > 1:
        return measurement(first - second, note)
    return Measurement(float(first.mean() - second.mean()), n=min(len(first), len(second)), note=note)


class Group(NamedTuple):
    """One series of a panel: a label and, per tick, its values over seeds `[S]` (empty: not drawn)."""

    label: str
    values: Sequence[np.ndarray]
    kind: int


def draw_groups(ax: Any, groups: Sequence[Group], ticks: Sequence[str], joined: bool = False) -> None:
    """Seeds as small marks, their mean as a large one with its 95 % interval (from three seeds on), side by side."""
    if not ticks or not groups:
        return
    width = 0.7 / len(groups)
    for number, group in enumerate(groups):
        style = plotting.series_style(group.kind)
        shift = 0.0 if joined else (number - (len(groups) - 1) / 2) * width
        drawn = [(at + shift, found) for at, found in enumerate(group.values) if len(found)]
        for at, found in drawn:
            ax.plot(np.full(len(found), at), found, ".", color=style["color"], alpha=0.5, markersize=4)
        if not drawn:
            continue
        x, means = np.array([at for at, _ in drawn]), np.array([found.mean() for _, found in drawn])
        reach = np.array([_reach(found) for _, found in drawn])
        line = style | ({} if joined else {"linestyle": "none"})
        ax.errorbar(x, means, reach, label=group.label, capsize=3, elinewidth=1, **line)
    ax.set_xticks(range(len(ticks)), ticks)
    ax.set_xlim(-0.5, len(ticks) - 0.5)


def _reach(found: np.ndarray) -> float:
    if len(found) < 3:  # of two seeds it would reach six times their distance
        return 0.0
    mean, _, high = mean_interval(found, kind="student")
    return float(high - mean)


def draw_ends(ax: Any) -> None:
    """The two ends of the scale of positions."""
    plotting.reference_line(ax, 1.0, "the data's expert", 0)
    plotting.reference_line(ax, 0.0, "random actions", 1)


def seeds_drawn(rows: Sequence[Row]) -> str:
    """What the small and the large marks are, for a figure's title."""
    count = len({row["seed"] for row in rows})
    if count < 2:
        return "One seed" if count else "Nothing yet"
    interval = " with its 95 % interval" if count > 2 else ""
    return f"{count} seeds: each a dot, the mean a mark{interval}"
