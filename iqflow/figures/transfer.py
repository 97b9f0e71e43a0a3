"""Result 4: environment reward of fresh learners under a frozen mechanism, a shared reward, and neither."""

import numpy as np

from common import plotting
from common.stats import mean_interval
from common.verdicts import Measurement

LEARNERS = {"JAX": "This project's learners (JAX)", "Keras": "Independent learners (Keras on TensorFlow)"}
REWARDS = {
    "incentive": "frozen IQ-Flow mechanism",
    "shared": "shared reward",
    "selfish": "own reward, no mechanism",
}
BEST, RANDOM = 39.3, 1.33  # scripted cleaner and harvester; random play (spec 8.2)
LAST = 5  # evaluations


def tabulate(runs):
    """One row per evaluation of every seed."""
    rows = []
    for name, group in runs.items():
        learners, reward = name.split(", ")
        for run in group:
            own = {"learners": learners, "rule": reward, "seed": run.config["seed"]}
            rows += [
                {**own, "episode": row["episode"], **_evaluation(row)}
                for row in run.metrics()
                if "step" in row
            ]
    return rows


def _evaluation(row):
    found = {
        "reward": round(row["reward_env_total"], 4),
        "cleaned": round(row["A1_waste_cleared"] + row["A2_waste_cleared"], 4),
    }
    if "A1_received" in row:
        found["received"] = round((row["A1_received"] + row["A2_received"]) / 2, 4)
    return found


def _table(rows, learners, rule):
    """Episodes [T] and per-seed rewards [S, T], means over the last `LAST` evaluations; None without runs."""
    own = [row for row in rows if row["learners"] == learners and row["rule"] == rule]
    if not own:
        return None
    seeds, episodes = (sorted({row[key] for row in own}) for key in ("seed", "episode"))
    values = {(row["seed"], row["episode"]): row["reward"] for row in own}
    table = np.array([[values.get((seed, episode), np.nan) for episode in episodes] for seed in seeds])
    means = [table[:, max(0, end - LAST) : end].mean(1) for end in range(1, len(episodes) + 1)]
    return np.array(episodes), np.stack(means, 1)


def draw(rows):
    """One panel per implementation of the learners: every rule's seeds and their mean."""
    figure, axes = plotting.new_figure(len(LEARNERS), panel=(4.8, 3.4), sharey=True)
    for ax, (learners, title) in zip(axes, LEARNERS.items(), strict=True):
        for kind, (rule, label) in enumerate(REWARDS.items()):
            found = _table(rows, learners, rule)
            if found:
                plotting.learning_curves(ax, *found, label, kind)
        for kind, (reward, label) in enumerate(
            ((BEST, "scripted cleaner and harvester"), (RANDOM, "random play"))
        ):
            plotting.reference_line(ax, reward, label, kind)
        ax.set(xlabel="episode of the fresh learners", ylabel="total environment reward per episode")
        ax.set_title(title)
    plotting.legend_below(figure, axes, ncols=3)
    return figure


def _gap(rows, learners, other):
    """Difference of the ends, mechanism less `other`, mean over the seeds that both have, with a 95 % interval."""
    found = [_table(rows, learners, rule) for rule in ("incentive", other)]
    if None in found:
        return None
    seeds = min(len(table) for _, table in found)
    first, second = (table[:seeds, -1] for _, table in found)
    gaps = first - second
    interval = mean_interval(gaps, kind="student" if seeds > 1 else "normal")
    note = f"means {first.mean():.1f} and {second.mean():.1f}"
    return Measurement(*map(float, interval), n=seeds, note=note)


def measure(rows):
    """Every claim's number, as far as its runs are there."""
    found = {
        f"{learners.lower()}-above-{other}": _gap(rows, learners, other)
        for learners in LEARNERS
        for other in ("shared", "selfish")
    }
    return {name: value for name, value in found.items() if value is not None}
