"""Result 3: environment reward, incentives and what scripted agents would be paid, over training in Cleanup."""

import numpy as np

from common import plotting
from common.stats import mean_interval, success_proportion
from common.verdicts import Measurement

SERIES = ("IQ-Flow", "ID", "no incentive")
MAPS = {"7x7": (39.3, 1.33), "10x10": (15.4, 0.42)}  # scripted cleaner and harvester; random play (spec 8.2)
PROBES = {"A1": "A1: wanders at the river", "A2": "A2: cleans", "A3": "A3: cleans in vain"}
LAST = 5  # evaluations
LIFE = 2_000  # episodes after which IQ-Flow's followers on 7x7 are new


def tabulate(runs):
    """One row per evaluation of every seed, and one per scripted agent of every probe."""
    rows = []
    for name, group in runs.items():
        series, _, size = name.rpartition(" ")
        for run in group:
            own = {"map": size, "series": series, "seed": run.config["seed"]}
            for row in run.metrics():
                at = {**own, "episode": row["episode"]}
                rows += [{"kind": "evaluation", **at, **_evaluation(row)}] if "step" in row else []
                rows += [{"kind": "probe", **at, **paid} for paid in _probe(row)]
    return rows


def _evaluation(row):
    found = {
        "reward": round(row["reward_env_total"], 4),
        "cleaned": round(row["A1_waste_cleared"] + row["A2_waste_cleared"], 4),
    }
    if "A1_received" in row:
        found["received"] = round((row["A1_received"] + row["A2_received"]) / 2, 4)
    return found


def _probe(row):
    """What every scripted agent is paid per episode, mean over the two followers that it stands in for."""
    if "probe" not in row:
        return []
    paid = np.mean(row["probe"], axis=0)[:, 0]
    return [{"agent": agent, "paid": round(float(one), 4)} for agent, one in zip(PROBES, paid, strict=True)]


def _table(rows, size, series, column="reward", **more):
    """Episodes [T] and per-seed values [S, T] of one series; None without runs."""
    wanted = {"kind": "evaluation", "map": size, "series": series, **more}
    own = [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]
    if not own:
        return None
    seeds, episodes = (sorted({row[key] for row in own}) for key in ("seed", "episode"))
    values = {(row["seed"], row["episode"]): row[column] for row in own}
    table = [[values.get((seed, episode), np.nan) for episode in episodes] for seed in seeds]
    return np.array(episodes), np.array(table)


def _smooth(found):
    episodes, table = found
    means = [table[:, max(0, end - LAST) : end].mean(1) for end in range(1, len(episodes) + 1)]
    return episodes, np.stack(means, 1)


def _draw_rewards(ax, rows, size):
    for kind, series in enumerate(SERIES):
        found = _table(rows, size, series)
        if found:
            plotting.learning_curves(ax, *_smooth(found), series, kind)
    for kind, (reward, label) in enumerate(
        zip(MAPS[size], ("cleaner and harvester", "random play"), strict=True)
    ):
        plotting.reference_line(ax, reward, label, kind)
    ax.set(xlabel="episode", ylabel="total environment reward per episode")
    ax.set_title(f"Cleanup {size}")


def draw(rows):
    """Reward on both maps (each point a mean over five evaluations); on 7x7 what is paid, and to whom it would be."""
    figure, axes = plotting.new_figure(2, 2, panel=(4.8, 3.3))
    for ax, size in zip(axes, MAPS, strict=False):
        _draw_rewards(ax, rows, size)
    for kind, series in enumerate(SERIES[:2]):
        found = _table(rows, "7x7", series, "received")
        if found:
            plotting.learning_curves(axes[2], *_smooth(found), series, kind)
    axes[2].set(xlabel="episode", ylabel="incentive per agent and episode", ylim=(0, 105))
    axes[2].set_title("7x7: what the followers are paid")
    for kind, (agent, label) in enumerate(PROBES.items()):
        found = _table(rows, "7x7", "IQ-Flow", "paid", kind="probe", agent=agent)
        if found:
            plotting.learning_curves(axes[3], *found, label, kind + len(SERIES))
    axes[3].set(xlabel="episode", ylabel="incentive per episode", ylim=(0, 105))
    axes[3].set_title("7x7: what IQ-Flow would pay scripted agents")
    plotting.legend_below(figure, axes, ncols=4)
    return figure


def _measurement(values):
    values = np.asarray(values)
    interval = mean_interval(values, kind="student" if len(values) > 1 else "normal")
    return Measurement(*map(float, interval), n=len(values))


def _start(found, last):
    """Mean over the evaluations of the first `last` episodes; None if there are fewer."""
    if not found or found[0][-1] < last // 100 * 100:
        return None
    episodes, table = found
    return _measurement(table[:, episodes <= last].mean(1))


def _ends(found, size):
    """Per seed, the mean of the last evaluations of every life of the followers on 7x7, of the run on 10x10."""
    if not found:
        return None
    episodes, table = found
    lives = range(LIFE, episodes[-1] + 1, LIFE) if size == "7x7" else [episodes[-1]]
    ends = [table[:, episodes <= end][:, -LAST:].mean(1) for end in lives]
    return np.mean(ends, axis=0) if ends else None


def _above(rows, size, first, second):
    """Share of the seeds in which `first` ends above `second`."""
    one, other = (_ends(_table(rows, size, series), size) for series in (first, second))
    if one is None or other is None:
        return None
    seeds = min(len(one), len(other))
    share = success_proportion(one[:seeds] > other[:seeds])
    note = f"means {one.mean():.1f} and {other.mean():.1f}"
    return Measurement(share.value, share.low, share.high, share.n, note=note)


def _preference(rows):
    """What the cleaner A2 is paid at the last probe, less the better paid of A1 and A3."""
    paid = {agent: _table(rows, "7x7", "IQ-Flow", "paid", kind="probe", agent=agent) for agent in PROBES}
    if any(found is None or len(found[0]) < 2 for found in paid.values()):
        return None
    ends = {agent: found[1][:, -1] for agent, found in paid.items()}
    return _measurement(ends["A2"] - np.maximum(ends["A1"], ends["A3"]))


def measure(rows):
    """Every claim's number, as far as its runs are there."""
    found = {
        "qflow-start-reward": _start(_table(rows, "7x7", "IQ-Flow"), 450),
        "qflow-start-incentive": _start(_table(rows, "7x7", "IQ-Flow", "received"), 450),
        "none-start-reward": _start(_table(rows, "7x7", "no incentive"), 850),
        "probe-7x7": _preference(rows),
        "qflow-above-none-7x7": _above(rows, "7x7", "IQ-Flow", "no incentive"),
        "qflow-above-id-7x7": _above(rows, "7x7", "IQ-Flow", "ID"),
        "id-above-none-7x7": _above(rows, "7x7", "ID", "no incentive"),
        "qflow-above-none-10x10": _above(rows, "10x10", "IQ-Flow", "no incentive"),
        "qflow-above-id-10x10": _above(rows, "10x10", "IQ-Flow", "ID"),
    }
    return {name: value for name, value in found.items() if value is not None}
