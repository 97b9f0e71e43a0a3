"""Policies at the end of runs of `ipd.py`: rows, success rates and pictures of the two IPD figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.runs import RunFolder
from common.stats import success_proportion
from common.verdicts import Measurement

STATES = ("START", "CC", "CD", "DC", "DD")
#: the mean advantage is averaged over the evaluations up to this iteration
EARLY = 1000
Row = dict[str, Any]


def tabulate(runs: Mapping[str, Sequence[RunFolder]]) -> list[Row]:
    """One row per run and seed: the policy of its last evaluation, and the reward per step beside it."""
    rows = []
    for name, folders in runs.items():
        for run in sorted(folders, key=lambda folder: folder.config["hp"]["seed"]):
            hp, log = run.config["hp"], run.metrics()
            last, early = log[-1], [line["advantage_0"] for line in log if line["iteration"] <= EARLY]
            row = {
                "run": name,
                "seed": hp["seed"],
                "iteration": last["iteration"],
                "batch_size": hp["batch_size"],
            }
            row |= {f"p_{state}": last[f"p_0_{state}_C"] for state in STATES}
            row["mean_reward"] = round(last["agent0_mean_rewards"] - hp["reward_offset"], 6)
            row["early_advantage"] = round(float(np.mean(early)), 6)
            rows.append(row)
    return rows


def policies(rows: Sequence[Row], name: str) -> np.ndarray:
    """p(cooperate) [seeds, 5 states] of a run."""
    found = [[row[f"p_{state}"] for state in STATES] for row in rows if row["run"] == name]
    return np.asarray(found, dtype=np.float64).reshape(-1, len(STATES))


def names(rows: Sequence[Row]) -> list[str]:
    """The runs in their order."""
    return list(dict.fromkeys(row["run"] for row in rows))


def is_tit_for_tat(p: np.ndarray) -> np.ndarray:
    """Per seed, whether p [seeds, 5] is tit-for-tat: START, CC, DC above 0.9, CD below 0.3, DD below 0.05.

    (spec A12; epsilon-greedy play flips moves, so that forgiving a little pays and p(CD) need not be near 0.)
    """
    start, cc, cd, dc, dd = p.T
    return (start > 0.9) & (cc > 0.9) & (dc > 0.9) & (cd < 0.3) & (dd < 0.05)


def reciprocates(p: np.ndarray) -> np.ndarray:
    """Per seed, whether p [seeds, 5] answers like with like: CC, DC above 0.8, CD below 0.45, DD below 0.2 (spec 8.3)."""
    _, cc, cd, dc, dd = p.T
    return (cc > 0.8) & (dc > 0.8) & (cd < 0.45) & (dd < 0.2)


def share(rows: Sequence[Row], name: str, test=is_tit_for_tat) -> Measurement | None:
    """Share of the seeds of a run that pass a test, with its Wilson interval."""
    p = policies(rows, name)
    if not len(p):
        return None
    found = success_proportion(test(p))
    return Measurement(
        found.value, found.low, found.high, found.n, note=f"{found.successes} of {found.n} seeds"
    )


def most_cooperative(rows: Sequence[Row], name: str) -> Measurement | None:
    """The largest probability of cooperation over seeds and states."""
    p = policies(rows, name)
    if not len(p):
        return None
    seed, state = np.unravel_index(p.argmax(), p.shape)
    chosen = [row["seed"] for row in rows if row["run"] == name][seed]
    return Measurement(
        float(p.max()), n=len(p), note=f"largest of all seeds and states: {STATES[state]}, seed {chosen}"
    )
