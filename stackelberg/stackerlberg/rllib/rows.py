"""A row of ``metrics.jsonl`` under the original's metric names (spec 6), key by key as the batched engine writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from .. import exact
from ..experiments.catalogue import Condition
from ..games import FOLLOWER, LEADER
from ..protocol import all_tables
from .environment import EpisodeEnv
from .setting import Setting

PRE, LEAD, POST = 0, 1, 2
RESULTS = {PRE: "pretraining_results", LEAD: "leader_results", POST: "posttraining_results"}
REGRET = "follower_best_responds"
#: below this a follower's regret counts as none
OPTIMAL = 1e-4


def begun(phase: int, iteration: int, condition: Condition) -> dict[str, Any]:
    """A row's first keys."""
    made = {"phase": phase, "iteration": iteration, "condition": condition.label}
    return made | {k: v if isinstance(v, str) else json.dumps(v) for k, v in condition.varied.items()}


def trained(phase: int, iteration: int, setting: Setting, statistics: Mapping[str, float]) -> dict[str, Any]:
    """Training returns, step counters and the learner's statistics."""
    prefix, who = RESULTS[phase], LEADER if phase == LEAD else FOLLOWER
    made: dict[str, Any] = {
        f"{prefix}/policy_reward_mean/{name.removeprefix('return/')}": value
        for name, value in sorted(statistics.items())
        if name.startswith("return/")
    }
    counts = setting.counters()
    if phase == LEAD:
        # DEVIATION(Q15): two counters; the original's counts queries and leaves pre-training out
        made["leader_results/timesteps_total"] = iteration * counts["leader"]
        made["leader_results/game_timesteps_total"] = iteration * counts["leader_game"]
    else:
        made[f"{prefix}/timesteps_total"] = iteration * counts["follower"]
    for name, value in sorted(statistics.items()):
        if not name.startswith("return/"):
            made[f"{prefix}/info/learner/{who}/learner_stats/{name}"] = value
    return made


class Referee:
    """Exact numbers of a condition that follows the query protocol."""

    def __init__(self, setting: Setting):
        self.game, self.protocol = setting.game, setting.protocol
        self._responses = exact.best_responses(self.game, self.protocol)
        self.stackelberg = float(exact.stackelberg_value(self.game, self.protocol))

    def regret(self, replies: np.ndarray) -> np.ndarray:
        """Regret per leader table of a greedy follower [codes]."""
        # DEVIATION(Q1): the follower is asked under its true codes in every game
        followers = self.protocol.by_context(replies, self.game.actions)
        return exact.follower_regret(self.game, self.protocol, followers, self._responses).regret

    def leader_value(self, chances: np.ndarray, replies: np.ndarray) -> float:
        """The exact return of a leader [codes, A0] against a greedy follower [codes] (spec 8.4)."""
        own = self.protocol.observation_counts(self.game.actions)[0]
        followers = self.protocol.by_context(replies, self.game.actions)
        play, answers = chances[:own], chances[-own:]
        return float(exact.protocol_value(self.game, self.protocol, play, followers, answers)[0])

    def names(self) -> list[str]:
        """Every leader table, written as its actions."""
        own = self.protocol.observation_counts(self.game.actions)[0]
        return ["".join(map(str, table)) for table in all_tables(own, self.game.actions[0])]


def regrets(referee: Referee, found: np.ndarray, last: bool) -> dict[str, Any]:
    """What is logged of a follower's regrets [tables]; each table's at a phase's end."""
    made: dict[str, Any] = {
        f"{REGRET}/sum": 0.0 - float(found.sum()),
        f"{REGRET}/optimal": int((found < OPTIMAL).sum()),
        f"{REGRET}/tables": len(found),
    }
    if last:
        pairs = zip(referee.names(), found, strict=True)
        made |= {f"{REGRET}/leader_{bits}": 0.0 - float(regret) for bits, regret in pairs}
    return made


def evaluated(phase: int, sampled: Mapping[str, float], greedy: Mapping[str, float]) -> dict[str, Any]:
    """Mean returns of an evaluation, and of one greedy episode."""
    made = {}
    for agent, value in sorted(sampled.items()):
        made[f"{RESULTS[phase]}/evaluation/policy_reward_mean/{agent}"] = value
        # DEVIATION(Q14): the greedy leader is evaluated too
        if agent in greedy:
            made[f"{RESULTS[phase]}/evaluation_greedy/policy_reward_mean/{agent}"] = greedy[agent]
    return made


def observations_of(setting: Setting, agent: str) -> np.ndarray | None:
    """All that an agent can see, as its module takes it, in the order of the codes of spec 3.3: [codes] or [codes, F].

    None where it is not a finite list.
    """
    space = setting.machine.observation_spaces[agent]
    if isinstance(space, spaces.Discrete):
        return np.arange(int(space.n))
    if setting.protocol is None:
        return None
    env = EpisodeEnv({"factory": setting.configuration.env, **setting.configuration.env_config})
    return np.stack([env._converted({agent: seen})[agent] for seen in _entries(setting, agent)])


def _entries(setting: Setting, agent: str) -> list[dict[str, Any]]:
    """Every dictionary observation: the query bit, or the own observation, is the most significant."""
    protocol, actions = setting.protocol, setting.game.actions
    own = protocol.observation_counts(actions)
    if agent == LEADER:
        return [{"is_query": bit, "original_space": seen} for bit in range(2) for seen in range(own[0])]
    names = protocol.answer_names(actions)
    every = all_tables(*protocol.kept_answers(actions))

    def kept(value: int) -> Any:
        """An answer as the environment shows it."""
        if protocol.samples_summarize == "list":
            return int(value)
        return np.array([np.float32(value) / np.float32(protocol.n_samples)], np.float32)

    return [
        {"original_space": seen, **dict(zip(names, map(kept, answers), strict=True))}
        for seen in range(own[1])
        for answers in every
    ]
