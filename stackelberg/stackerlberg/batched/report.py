"""Rows of ``metrics.jsonl`` under the original's metric names (spec 6), and what is said about a follower."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.cli import UserError

from ..experiments.catalogue import Condition
from ..protocol import all_tables
from .schedule import LEADER, POST, PRE, Spec
from .translate import counters

_RESULTS = {PRE: "pretraining_results", LEADER: "leader_results", POST: "posttraining_results"}
_LEARNER = {
    "policy_loss", "vf_loss", "kl", "entropy", "cur_kl_coeff", "total_loss", "loss", "parameter_noise", "grad_norm",
}  # fmt: skip
#: of the results on which later ones build, in a row's order
REGRET = "follower_best_responds"


def row(
    spec: Spec,
    phase: int,
    iteration: int,
    condition: Condition,
    found: Mapping[str, np.ndarray],
    lane: int,
    stackelberg: float | None,
    last: bool,
) -> dict[str, Any]:
    """One lane's row after `iteration` iterations of a phase.

    Args:
        found: a phase's report, lanes last.
        stackelberg: the exact value of the lane's game, with the offset; None with tabular Q.
        last: the phase ends here; the regret of every leader table and the leader's logits are added.
    """
    prefix, who = _RESULTS[phase], "agent_0" if phase == LEADER else "agent_1"
    made = {"phase": phase, "iteration": iteration, "condition": condition.label}
    made |= {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in condition.varied.items()
    }
    made[f"{prefix}/policy_reward_mean/agent_0"] = float(found["return_leader"][lane])
    made[f"{prefix}/policy_reward_mean/agent_1"] = float(found["return_follower"][lane])
    made |= _steps(spec, phase, iteration)
    for name in sorted(_LEARNER & set(found)):
        made[f"{prefix}/info/learner/{who}/learner_stats/{name}"] = float(found[name][lane])
    # DEVIATION(Q16): pre-training reports the exact regret; the original's evaluation met random leaders
    if "regret" in found:
        regrets = found["regret"][:, lane]
        made[f"{REGRET}/sum"] = 0.0 - float(regrets.sum())
        made[f"{REGRET}/optimal"] = int(found["optimal_tables"][lane])
        made[f"{REGRET}/tables"] = len(regrets)
        if spec.stop_on_optimal and phase == PRE:
            made["pre_training_stopped_at"] = int(found["optimal_at"][lane])
        if last:
            made |= {
                f"{REGRET}/leader_{bits}": 0.0 - float(r)
                for bits, r in zip(_names(spec), regrets, strict=True)
            }
    if "leader_values" in found:
        made |= _evaluation(spec, prefix, found, lane, stackelberg, last)
    return made


def _steps(spec: Spec, phase: int, iteration: int) -> dict[str, int]:
    """Both counters (Q15): env steps with queries, and those of them that are play."""
    counts = counters(spec)
    if phase == LEADER:
        # DEVIATION(Q15): two counters; the original's counts queries and leaves pre-training out
        return {
            "leader_results/timesteps_total": iteration * counts["leader"],
            "leader_results/game_timesteps_total": iteration * counts["leader_game"],
        }
    return {f"{_RESULTS[phase]}/timesteps_total": iteration * counts["follower"]}


def _names(spec: Spec) -> list[str]:
    tables = all_tables(spec.protocol.observation_counts(spec.actions)[0], spec.actions[0])
    return ["".join(map(str, table)) for table in tables]


def _evaluation(spec: Spec, prefix: str, found, lane: int, stackelberg, last: bool) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for k, name in enumerate(("leader", "follower")):
        made[f"{prefix}/evaluation/policy_reward_mean/agent_{k}"] = float(found[f"evaluation_{name}"][lane])
        # DEVIATION(Q14): the greedy leader is evaluated too
        if f"greedy_{name}" in found:
            made[f"{prefix}/evaluation_greedy/policy_reward_mean/agent_{k}"] = float(
                found[f"greedy_{name}"][lane]
            )
    values = found["leader_values"][..., lane]
    made |= {f"leader_action_{o}": int(action) for o, action in enumerate(values.argmax(0))}
    if "exact_leader" in found:
        made["exact/leader_value"] = float(found["exact_leader"][lane])
    if stackelberg is not None:
        made["exact/stackelberg_value"] = stackelberg
    if last:
        # DEVIATION(Q8): the weights of the trainer that trained, after each phase
        made["leader_weights"] = values.tolist()
    return made


def printed(seed: int, made: Mapping[str, Any]) -> str:
    """A row for a person: one line of JSON."""
    return json.dumps({"seed": seed, **made})


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The last row of every condition and phase."""
    last: dict[str, dict[str, Any]] = {}
    for each in rows:
        last.setdefault(each["condition"], {})[str(each["phase"])] = dict(each)
    return {"conditions": last}


def certify(
    how: str, conditions: Sequence[Condition], seeds: Sequence[int], found: Mapping[str, np.ndarray]
) -> None:
    """Say, or refuse, that a pre-trained follower does not best-respond to every leader table.

    Raises:
        UserError: with ``refuse``, naming the first such follower.
    """
    if how == "report":
        return
    optimal, tables = found["optimal_tables"], found["regret"].shape[0]
    wanting = [lane for lane in range(len(optimal)) if optimal[lane] < tables]
    if not wanting:
        return
    lane = wanting[0]
    label = conditions[lane // len(seeds)].label or "the follower"
    text = (
        f"{len(wanting)} of {len(optimal)} followers do not best-respond to every leader table; the first: {label}, "
        f"seed {seeds[lane % len(seeds)]}, {int(optimal[lane])} of {tables}, regret {found['regret'][:, lane].sum():.3g}"
    )
    if how == "refuse":
        raise UserError(f"{text}; pre-train longer or leave out --certify refuse")
    print(f"warning: {text}", file=sys.stderr)
