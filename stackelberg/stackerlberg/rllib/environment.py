"""The environments as RLlib trains in them: seeded by the iteration, observations flat, random leaders inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from common.cli import UserError

from ..envs.machine import StateMachine, Step
from ..envs.registry import make_env
from ..envs.rllib import RllibEnv
from ..games import FOLLOWER, LEADER

#: key of the last info that holds the returns of those who are inside the environment
INSIDE = "returns_inside"


class RandomLeader(StateMachine):
    """An environment whose leader is inside it and new in every episode (spec 5.2).

    Each weight of the leader, one per action and entry of its one-hot observation, is uniform in [-1, 1): with whole-number
    observations the greedy table is uniform among all tables. The follower's last info holds the leader's return.

    Args:
        env: the environment with both.
        deterministic: it acts greedily, else it samples from the softmax of its weights.

    Raises:
        UserError: a leader whose actions are not whole numbers.
    """

    def __init__(self, env: StateMachine, deterministic: bool = True):
        if not isinstance(env.action_spaces[LEADER], spaces.Discrete):
            raise UserError("randomize_leader needs a leader whose actions are whole numbers")
        self._env, self._deterministic = env, deterministic
        self.possible_agents = tuple(agent for agent in env.possible_agents if agent != LEADER)
        self.observation_spaces = {agent: env.observation_spaces[agent] for agent in self.possible_agents}
        self.action_spaces = {agent: env.action_spaces[agent] for agent in self.possible_agents}
        self._space = env.observation_spaces[LEADER]
        self._shape = int(env.action_spaces[LEADER].n), spaces.flatdim(self._space)
        self._random = np.random.default_rng()

    def _act(self, observation: Any) -> int:
        if isinstance(self._space, spaces.Discrete):
            values = self._weights[:, observation]
        else:
            values = self._weights @ spaces.flatten(self._space, observation)
        if self._deterministic:
            return int(values.argmax())
        chances = np.exp(values - values.max())
        return int(self._random.choice(len(values), p=chances / chances.sum()))

    def reset(self, *, seed: int | None = None):
        if seed is not None:
            self._random = np.random.default_rng(seed)
        self._weights = self._random.uniform(-1, 1, self._shape)
        self._earned, inner = 0.0, None if seed is None else int(self._random.integers(2**31))
        observations, infos = self._env.reset(seed=inner)
        self._seen = observations.get(LEADER)
        if set(observations) == {LEADER}:
            observations, _, _, infos = self.step({})
        return self._outside(observations), self._outside(infos)

    @staticmethod
    def _outside(found: Mapping[str, Any]) -> dict[str, Any]:
        return {agent: value for agent, value in found.items() if agent != LEADER}

    def step(self, actions: Mapping[str, Any]) -> Step:
        earned: dict[str, float] = {}
        while True:
            leader = {} if self._seen is None else {LEADER: self._act(self._seen)}
            observations, rewards, dones, infos = self._env.step({**actions, **leader})
            self._earned += rewards.get(LEADER, 0.0)
            for agent, reward in self._outside(rewards).items():
                earned[agent] = earned.get(agent, 0.0) + reward
            self._seen, actions = observations.get(LEADER), {}
            if dones["__all__"] or set(observations) != {LEADER}:
                break
        infos = self._outside(infos)
        if dones["__all__"] and FOLLOWER in observations:
            infos[FOLLOWER] = {**infos.get(FOLLOWER, {}), INSIDE: {LEADER: self._earned}}
        return self._outside(observations), earned, self._outside(dones), infos


class EpisodeEnv(RllibEnv):
    """An environment of the registry, each of whose episodes takes its chance from NumPy's global generator.

    The session seeds that generator by (seed, phase, iteration), so training can go on anywhere bit for bit. A follower
    table that is carried from episode to episode stays, whatever the seed.

    Args:
        config: ``{"factory": name, **env_config}``; with ``random_leader`` {deterministic} the leader is inside.

    Observations that are not whole numbers come as flat float32 vectors: one-hot codes of a dictionary's entries sorted
    by key (spec 3.3).
    """

    def __init__(self, config: Mapping[str, Any]):
        config = dict(config)
        random_leader = config.pop("random_leader", None)
        machine = make_env(config.pop("factory"), config)
        self._carrier = machine if config.get("reset_between_episodes") is False else None
        self._inside = machine if hasattr(machine, "follower_return") else None
        if random_leader is not None:
            machine = RandomLeader(machine, **random_leader)
        super().__init__(machine)
        self._spaces = self.observation_spaces
        self.observation_spaces = {
            agent: space if isinstance(space, spaces.Discrete) else _flat(space)
            for agent, space in self._spaces.items()
        }

    @property
    def carried(self) -> np.ndarray | None:
        """The follower's table that goes from episode to episode; None where none does, or before the first."""
        return None if self._carrier is None else self._carrier.q_table

    @carried.setter
    def carried(self, table: np.ndarray) -> None:
        self._carrier.q_table = table

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        table = self.carried
        found = super().reset(seed=int(np.random.randint(2**31 - 1)))
        if table is not None:
            self.carried = table
        return found

    def step(self, action_dict: Mapping[str, Any]):
        observations, rewards, ended, cut, infos = super().step(action_dict)
        if ended["__all__"] and self._inside is not None:
            infos = {LEADER: {**infos.get(LEADER, {}), INSIDE: {FOLLOWER: self._inside.follower_return}}}
        return observations, rewards, ended, cut, infos

    def _converted(self, observations: Mapping[str, Any]) -> dict[str, Any]:
        return {agent: _as_array(self._spaces[agent], seen) for agent, seen in observations.items()}


def _flat(space: spaces.Space) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, (spaces.flatdim(space),), np.float32)


def _as_array(space: spaces.Space, observation: Any) -> Any:
    if isinstance(space, spaces.Discrete):
        return np.int64(observation)
    return np.asarray(spaces.flatten(space, observation), np.float32)
