"""The game itself, once or repeated, and wrappers that change its actions or rewards (spec 3.1, 3.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from common.cli import UserError

from ..games import FOLLOWER, LEADER, Game
from ..protocol import joint_views
from .machine import StateMachine, Step, action_of


class MatrixGame(StateMachine):
    """A bimatrix game of `episode_length` steps; observations and numbering are those of `Protocol`.

    ``dones`` holds ``__all__`` only, infos are empty. Rewards are payoffs plus `reward_offset`.
    """

    possible_agents = (LEADER, FOLLOWER)

    def __init__(self, game: Game, episode_length: int = 1, memory: str = "none", reward_offset: float = 0.0):
        if isinstance(episode_length, bool) or not isinstance(episode_length, int) or episode_length < 1:
            raise UserError(f"episode_length must be a whole number of at least 1, not {episode_length!r}")
        self.game, self.episode_length, self.memory = game, episode_length, memory
        self._views = joint_views(memory, game.actions)
        self._rewards = game.payoffs + reward_offset
        counts = self._views.max(axis=0) + 1
        self.observation_spaces = {
            agent: spaces.Discrete(int(count))
            for agent, count in zip(self.possible_agents, counts, strict=True)
        }
        self.action_spaces = {
            agent: spaces.Discrete(count)
            for agent, count in zip(self.possible_agents, game.actions, strict=True)
        }
        self._step = None

    def _observe(self, state: int) -> dict[str, int]:
        leader, follower = self._views[state]
        return {LEADER: int(leader), FOLLOWER: int(follower)}

    def reset(self, *, seed: int | None = None):
        self._step = 0
        return self._observe(0), {}

    def step(self, actions: Mapping[str, Any]) -> Step:
        if self._step is None or self._step >= self.episode_length:
            raise RuntimeError("the episode is over; call reset")
        own, other = (action_of(actions, agent, self.action_spaces[agent]) for agent in self.possible_agents)
        self._step += 1
        leader, follower = self._rewards[own, other].tolist()
        observations = self._observe(1 + own + self.game.actions[0] * other)
        return (
            observations,
            {LEADER: leader, FOLLOWER: follower},
            {"__all__": self._step == self.episode_length},
            {},
        )


class SparseReward(StateMachine):
    """Make the follower's reward rare: times `scale` with probability ``1 / prob``, else 0.

    With `deterministic` it is 0 before the game's `prob`-th step and times `scale` from there on.
    """

    def __init__(
        self,
        env: StateMachine,
        prob: float = 1,
        scale: float = 1,
        deterministic: bool = False,
        agent=FOLLOWER,
    ):
        if not prob >= 1:
            raise UserError(
                f"the sparse reward's prob is one in so many steps and must be at least 1, not {prob!r}"
            )
        self._env, self._prob, self._scale, self._deterministic, self._agent = (
            env,
            prob,
            scale,
            deterministic,
            agent,
        )
        self.possible_agents = env.possible_agents
        self.observation_spaces, self.action_spaces = env.observation_spaces, env.action_spaces
        self._random, self._step = np.random.default_rng(), 0

    def reset(self, *, seed: int | None = None):
        if seed is not None:
            self._random = np.random.default_rng(seed)
        self._step = 0
        return self._env.reset(seed=seed)

    def step(self, actions: Mapping[str, Any]) -> Step:
        observations, rewards, dones, infos = self._env.step(actions)
        self._step += 1
        paid = self._step >= self._prob if self._deterministic else self._random.random() < 1 / self._prob
        rewards = {**rewards, self._agent: rewards[self._agent] * self._scale if paid else 0.0}
        return observations, rewards, dones, infos


class ActionDistribution(StateMachine):
    """`agent` gives a mixed action: the probabilities of all but its last action, which the environment samples.

    Probabilities that sum to more than one are scaled down to one.
    """

    def __init__(self, env: StateMachine, agent: str = LEADER):
        self._env, self._agent = env, agent
        self.possible_agents, self.observation_spaces = env.possible_agents, env.observation_spaces
        actions = int(env.action_spaces[agent].n)
        self.action_spaces = {**env.action_spaces, agent: spaces.Box(0.0, 1.0, (actions - 1,), np.float32)}
        self._random = np.random.default_rng()

    def reset(self, *, seed: int | None = None):
        if seed is not None:
            self._random = np.random.default_rng(seed)
        return self._env.reset(seed=seed)

    def step(self, actions: Mapping[str, Any]) -> Step:
        if self._agent in actions:
            mixed = action_of(actions, self._agent, self.action_spaces[self._agent])
            actions = {**actions, self._agent: sample_all_but_last(mixed, self._random)}
        return self._env.step(actions)


def sample_all_but_last(probabilities: np.ndarray, random: np.random.Generator) -> int:
    """An action from the probabilities of all actions but the last."""
    head = np.asarray(probabilities, dtype=np.float64)
    head = head / max(1.0, head.sum())
    return int((random.random() >= np.cumsum(head)).sum())


class Hypernetwork(StateMachine):
    """The leader acts once, with its whole table; then the follower alone plays the game against it (spec 3.5).

    The leader's action is the probability of action 0 per observation, ``Box [n_leader]`` (with A0 > 2 actions:
    of all but the last one, ``[n_leader, A0 - 1]``), or with `discrete` a ``MultiBinary [n_leader]`` whose ones
    mean action 0. Its rewards come together at the end.

    Raises:
        UserError: `discrete` with more than two leader actions.
    """

    possible_agents = (LEADER, FOLLOWER)

    def __init__(self, env: MatrixGame, discrete: bool = False):
        self._env = env
        n_leader = int(env.observation_spaces[LEADER].n)
        n_actions = int(env.action_spaces[LEADER].n)
        if discrete and n_actions != 2:
            raise UserError(
                f"discrete_hyper needs a leader with two actions, not {n_actions}; use it without"
            )
        shape = (n_leader,) if n_actions == 2 else (n_leader, n_actions - 1)
        table = spaces.MultiBinary(n_leader) if discrete else spaces.Box(0.0, 1.0, shape, np.float32)
        self.observation_spaces = {**env.observation_spaces, LEADER: spaces.Discrete(1)}
        self.action_spaces = {**env.action_spaces, LEADER: table}
        self._random, self._table = np.random.default_rng(), None

    def reset(self, *, seed: int | None = None):
        if seed is not None:
            self._random = np.random.default_rng(seed)
        self._observations, _ = self._env.reset(seed=seed)
        self._table, self._earned = None, 0.0
        return {LEADER: 0}, {}

    def step(self, actions: Mapping[str, Any]) -> Step:
        if self._table is None:
            table = action_of(actions, LEADER, self.action_spaces[LEADER])
            self._table = np.asarray(table, dtype=np.float64).reshape(table.shape[0], -1)
            return {FOLLOWER: self._observations[FOLLOWER]}, {FOLLOWER: 0.0}, {"__all__": False}, {}
        own = sample_all_but_last(self._table[self._observations[LEADER]], self._random)
        self._observations, rewards, dones, infos = self._env.step(
            {LEADER: own, FOLLOWER: actions.get(FOLLOWER)}
        )
        self._earned += rewards[LEADER]
        if dones["__all__"]:
            return {**self._observations, LEADER: 0}, {**rewards, LEADER: self._earned}, dones, infos
        return {FOLLOWER: self._observations[FOLLOWER]}, {FOLLOWER: rewards[FOLLOWER]}, dones, infos


class Constant(StateMachine):
    """The smallest multi-agent environment, for tests of a training set-up: one step, reward = own action."""

    def __init__(self, num_agents: int = 2):
        if isinstance(num_agents, bool) or not isinstance(num_agents, int) or num_agents < 1:
            raise UserError(f"num_agents must be a whole number of at least 1, not {num_agents!r}")
        self.possible_agents = tuple(f"agent_{k}" for k in range(num_agents))
        self.observation_spaces = {agent: spaces.Discrete(1) for agent in self.possible_agents}
        self.action_spaces = {agent: spaces.Discrete(2) for agent in self.possible_agents}

    def reset(self, *, seed: int | None = None):
        return dict.fromkeys(self.possible_agents, 0), {}

    def step(self, actions: Mapping[str, Any]) -> Step:
        rewards = {
            agent: float(action_of(actions, agent, space)) for agent, space in self.action_spaces.items()
        }
        return dict.fromkeys(self.possible_agents, 0), rewards, {"__all__": True}, {}
