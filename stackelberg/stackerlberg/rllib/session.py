"""One condition and seed on RLlib: pre-train the follower, train the leader, retrain the follower (spec 5.1).

Every random number comes from (seed, phase, iteration), so a session that is taken up from its arrays goes on bit for
bit, in another process or on another node.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode

from ..experiments.catalogue import Condition
from ..games import FOLLOWER, LEADER
from . import rows
from .algorithms import Episodic, mean_returns
from .environment import EpisodeEnv
from .rows import LEAD, POST, PRE
from .setting import Setting


@dataclass(frozen=True)
class Block:
    """Some iterations of a phase, logged as one row."""

    phase: int
    first: int
    count: int
    last: bool


def blocks_of(setting: Setting, log_every: int, max_env_steps: int | None) -> list[Block]:
    """A session's rows in turn."""
    configuration = setting.configuration
    leader = configuration.outer_iterations * configuration.inner_iterations_leader
    if max_env_steps is not None:
        leader = min(leader, math.ceil(max_env_steps / setting.counters()["leader"]))
    lengths = {
        PRE: configuration.pre_training_iterations,
        LEAD: leader,
        POST: configuration.post_training_iterations,
    }
    return [
        Block(phase, first, min(log_every, length - first), first + log_every >= length)
        for phase, length in lengths.items()
        for first in range(0, length, log_every)
    ]


def seed_everything(*numbers: int) -> None:
    """Python's, NumPy's and torch's global generators, from a list of numbers."""
    first, second, third = np.random.SeedSequence(list(numbers)).generate_state(3)
    random.seed(int(first))
    np.random.seed(int(second))
    torch.manual_seed(int(third))


class Session:
    """The training of one condition and seed, row by row.

    Args:
        log_every: iterations per row.
        max_env_steps: the leader stops after so many.
        follower: its parameters at the start, where a file holds them.
        refuse: end after the pre-training if the follower does not best-respond to every leader table.

    Attributes:
        weights: every agent's parameters, as they were handed over last.
        number: rows that are done.
        refused: it ended for that reason.
    """

    def __init__(
        self,
        condition: Condition,
        seed: int,
        *,
        log_every: int,
        max_env_steps: int | None = None,
        follower: Mapping[str, np.ndarray] | None = None,
        refuse: bool = False,
    ):
        torch.set_num_threads(1)
        self.condition, self.seed, self.refuse = condition, seed, refuse
        self.setting = Setting(condition.configuration)
        self.blocks = blocks_of(self.setting, log_every, max_env_steps)
        self.referee = None if self.setting.protocol is None else rows.Referee(self.setting)
        drawn = np.random.default_rng([seed, 99])
        self.weights = {agent: self.setting.fresh(agent, drawn) for agent in self.setting.agents}
        if follower is not None:
            self.weights[FOLLOWER] = {name: np.array(value, np.float32) for name, value in follower.items()}
        self.number, self.optimal_at, self.refused = 0, -1, False
        self._trainers: dict[str, Episodic] = {}
        self._given: dict[str, dict[str, Any]] = {}  # what each trainer has of the others
        self._evaluator, self._seen = None, {}

    @property
    def done(self) -> bool:
        return self.refused or self.number >= len(self.blocks)

    # --- trainers -----------------------------------------------------------------------------------------------

    def _trainer(self, name: str) -> Episodic:
        """The trainer of a phase, made when it is needed, with every policy as it is."""
        if name not in self._trainers:
            trained = LEADER if name == "leader" else FOLLOWER
            made = self.setting.trainer_for(trained, pre=name == "pre")
            self._given[name] = {agent: self.weights[agent] for agent in made.config.policies}
            made.hand_over(self._given[name])
            self._trainers[name] = made
        return self._trainers[name]

    def _iterate(self, name: str, *seeds: int) -> dict[str, float]:
        """One iteration of a trainer; its policy is everybody's afterwards."""
        trainer = self._trainer(name)
        given = self._given[name]
        moved = {
            a: self.weights[a] for a in given if a != trainer.trained and given[a] is not self.weights[a]
        }
        if moved:
            trainer.hand_over(moved)
            given.update(moved)
        seed_everything(self.seed, *seeds)
        trainer.train()
        self.weights[trainer.trained] = trainer.policy(trainer.trained)
        return trainer.statistics

    def close(self) -> None:
        """Stop every trainer."""
        for trainer in self._trainers.values():
            trainer.stop()
        if self._evaluator is not None:
            self._evaluator.stop()
        self._trainers, self._evaluator = {}, None

    # --- rows -----------------------------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """The next block: its row."""
        block = self.blocks[self.number]
        sums: dict[str, float] = {}
        for iteration in range(block.first, block.first + block.count):
            for name, value in self._iteration(block.phase, iteration).items():
                sums[name] = sums.get(name, 0.0) + value
        after = block.first + block.count
        means = {name: value / block.count for name, value in sums.items()}
        row = rows.begun(block.phase, after, self.condition)
        row |= rows.trained(block.phase, after, self.setting, means)
        if block.phase != LEAD and self.referee is not None:
            found = self.referee.regret(self._values(FOLLOWER).argmax(1))
            row |= rows.regrets(self.referee, found, block.last)
            if self.setting.configuration.pre_training_stop_on_optimal and block.phase == PRE:
                row["pre_training_stopped_at"] = self.optimal_at
            if block.phase == PRE and block.last:
                self.refused = self.refuse and bool((found >= rows.OPTIMAL).any())
        if block.phase != PRE:
            row |= self._evaluation(block, after)
        self.number += 1
        if block.last:
            for name in list(self._trainers):
                if name != "leader" or block.phase != LEAD:
                    self._trainers.pop(name).stop()
        return row

    def _iteration(self, phase: int, iteration: int) -> dict[str, float]:
        configuration = self.setting.configuration
        if phase == PRE:
            return self._pretrain(iteration)
        if phase == POST:
            return self._iterate("post", POST, iteration)
        if iteration % max(1, configuration.inner_iterations_leader) == 0:
            for k in range(configuration.inner_iterations_follower):
                self._iterate("follower", LEAD, iteration, 50 + k)
        return self._iterate("leader", LEAD, iteration)

    def _pretrain(self, iteration: int) -> dict[str, float]:
        """One iteration; once the follower is optimal it stays as it is, where the configuration asks for that."""
        stops = self.setting.configuration.pre_training_stop_on_optimal and self.referee is not None
        kept = self.weights[FOLLOWER]
        statistics = self._iterate("pre", PRE, iteration)
        if not stops:
            return statistics
        if self.optimal_at >= 0:
            self.weights[FOLLOWER] = kept
            self._trainers["pre"].hand_over({FOLLOWER: kept})
        elif (self.referee.regret(self._values(FOLLOWER).argmax(1)) < rows.OPTIMAL).all():
            self.optimal_at = iteration
        return statistics

    def _observations(self, agent: str) -> np.ndarray | None:
        if agent not in self._seen:
            self._seen[agent] = rows.observations_of(self.setting, agent)
        return self._seen[agent]

    def _values(self, agent: str) -> np.ndarray:
        """Logits or action values of all that an agent can see: [codes, A]."""
        activity, weights = self._observations(agent), self.weights[agent]
        layers = sum(name.endswith("weight") and name.startswith("layers") for name in weights)
        for k in range(layers):
            matrix = weights[f"layers.{k}.weight"]
            activity = matrix.T[activity] if activity.ndim == 1 else activity @ matrix.T
            activity = activity + weights.get(f"layers.{k}.bias", 0)
            activity = np.tanh(activity) if k < layers - 1 else activity
        return activity

    # --- evaluation -----------------------------------------------------------------------------------------------

    def _play(self, episodes: int, explore: bool) -> list[MultiAgentEpisode]:
        found: list[MultiAgentEpisode] = []
        while len(found) < episodes:
            count = min(episodes - len(found), self._evaluator.num_envs)
            found += self._evaluator.sample(num_episodes=count, explore=explore)
        self._evaluator.get_metrics()
        return found[:episodes]

    def _evaluation(self, block: Block, after: int) -> dict[str, Any]:
        """Sampled and greedy returns, exact values, greedy actions of the leader as it is."""
        if self._evaluator is None:
            self._evaluator = self.setting.evaluator()
        states = {agent: self.weights[agent] for agent in self.setting.agents}
        self._evaluator.set_state({"rl_module": states})
        seed_everything(self.seed, block.phase + 2, after)
        sampled = mean_returns(self._play(self.setting.configuration.leader.evaluation_duration, True))
        greedy = mean_returns(self._play(1, False))
        made = rows.evaluated(block.phase, sampled, greedy)
        if self._observations(LEADER) is None:
            return made
        values = self._values(LEADER)
        made |= {f"leader_action_{o}": int(action) for o, action in enumerate(values.argmax(1))}
        if self.referee is not None:
            replies = self._values(FOLLOWER).argmax(1)
            made["exact/leader_value"] = self.referee.leader_value(self._chances(values), replies)
            made["exact/stackelberg_value"] = self.referee.stackelberg
        if block.last:
            # DEVIATION(Q8): the weights of the trainer that trained, after each phase
            made["leader_weights"] = values.T.tolist()
        return made

    def _chances(self, values: np.ndarray) -> np.ndarray:
        """How the leader is evaluated: its softmax, or greedily if it is SimpleQ."""
        if self.setting.configuration.leader_algorithm == "SimpleQ":
            return np.eye(values.shape[1])[values.argmax(1)]
        raised = np.exp(values.astype(np.float64) - values.max(1, keepdims=True))
        return raised / raised.sum(1, keepdims=True)

    # --- state ------------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, np.ndarray]:
        """All that has to be kept to go on."""
        found = {"number": np.array(self.number), "optimal_at": np.array(self.optimal_at)}
        for agent, weights in self.weights.items():
            found |= {f"weights/{agent}/{name}": value for name, value in weights.items()}
        for name, trainer in self._trainers.items():
            found |= {f"trainer/{name}/{key}": value for key, value in trainer.arrays().items()}
            found |= _carried(name, trainer.runner)
        if self._evaluator is not None:
            found |= _carried("evaluator", self._evaluator)
        return found

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from what `arrays` gave."""
        self.close()
        self.number, self.optimal_at = int(arrays["number"]), int(arrays["optimal_at"])
        kept: dict[str, dict[str, np.ndarray]] = {}
        for key, value in arrays.items():
            kind, _, rest = key.partition("/")
            owner, _, name = rest.partition("/")
            if kind == "weights":
                self.weights[owner] = self.weights[owner] | {name: np.array(value, np.float32)}
            elif kind == "trainer":
                kept.setdefault(owner, {})[name] = value
        for name, own in kept.items():
            self._trainer(name).restore_arrays(own)
        for key, table in arrays.items():
            if key.startswith("carried/"):
                owner = key.removeprefix("carried/")
                if owner == "evaluator":
                    self._evaluator = self.setting.evaluator()
                runner = self._evaluator if owner == "evaluator" else self._trainers[owner].runner
                _env_of(runner).carried = np.array(table)


def _env_of(runner: Any) -> EpisodeEnv:
    return runner.env.envs[0].unwrapped


def _carried(name: str, runner: Any) -> dict[str, np.ndarray]:
    """The follower's table that a runner's environment carries, if it does."""
    table = _env_of(runner).carried
    return {} if table is None else {f"carried/{name}": np.array(table)}
