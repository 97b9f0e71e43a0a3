"""The leader's side as a single-agent Gymnasium environment: the followers act inside (spec 12, last line)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from common.cli import UserError

from ..games import LEADER
from .machine import StateMachine
from .registry import FACTORIES, make_env

Follower = Callable[[Any, np.random.Generator], Any]


def table_follower(table: np.ndarray) -> Follower:
    """A frozen follower from a table over its discrete observations.

    Args:
        table: ``[codes]`` actions, or ``[codes, A1]`` probabilities, from which it samples.

    Raises:
        ValueError: neither of the two.
    """
    table = np.asarray(table)
    if table.ndim == 1 and np.issubdtype(table.dtype, np.integer):
        return lambda observation, rng: int(table[observation])
    if table.ndim != 2 or not np.allclose(table.sum(axis=1), 1, atol=1e-5):
        raise ValueError("a follower table is [codes] whole actions or [codes, A1] probabilities")
    sums = np.cumsum(table, axis=1)[:, :-1]
    return lambda observation, rng: int((rng.random() >= sums[observation]).sum())


class LeaderEnv(gymnasium.Env):
    """What the leader sees of an environment of the registry, with followers inside.

    Args:
        env: a `StateMachine`, or the name of a factory.
        env_config: the factory's arguments, if `env` is a name.
        follower: ``(observation, rng) -> action`` for every other agent, or a table (`table_follower`);
            None where the leader is the only agent (the tabular-Q factories).

    Steps in which the leader does not act are played through; their leader rewards are added up.

    Raises:
        UserError: the environment has other agents and no follower is given.
    """

    metadata = {"render_modes": []}

    def __init__(
        self,
        env: StateMachine | str,
        env_config: Mapping[str, Any] | None = None,
        follower: Follower | np.ndarray | None = None,
    ):
        self._machine = make_env(env, env_config) if isinstance(env, str) else env
        if follower is None and len(self._machine.possible_agents) > 1:
            raise UserError(
                f"this environment has followers ({', '.join(self._machine.possible_agents[1:])}); "
                "give LeaderEnv a follower: a function (observation, rng) -> action, or a table"
            )
        self._follower = follower if follower is None or callable(follower) else table_follower(follower)
        self.observation_space: spaces.Space = self._machine.observation_spaces[LEADER]
        self.action_space: spaces.Space = self._machine.action_spaces[LEADER]
        self._observations: dict[str, Any] = {}

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        inner = None if seed is None else int(self.np_random.integers(2**31))
        self._observations, infos = self._machine.reset(seed=inner)
        return self._observations[LEADER], dict(infos.get(LEADER, {}))

    def _replies(self) -> dict[str, Any]:
        return {
            agent: self._follower(observation, self.np_random)
            for agent, observation in self._observations.items()
            if agent != LEADER
        }

    def step(self, action):
        actions, total = {LEADER: action}, 0.0
        while True:
            self._observations, rewards, dones, infos = self._machine.step({**actions, **self._replies()})
            total += float(rewards.get(LEADER, 0.0))
            if LEADER in self._observations:
                break
            actions = {}
        return self._observations[LEADER], total, bool(dones["__all__"]), False, dict(infos.get(LEADER, {}))


def register_gymnasium_envs() -> None:
    """Make ``gymnasium.make("stackerlberg/NAME-v0", env_config=..., follower=...)`` work for every factory."""
    for name in FACTORIES:
        identity = f"stackerlberg/{name}-v0"
        if identity not in gymnasium.registry:
            gymnasium.register(id=identity, entry_point=LeaderEnv, kwargs={"env": name})
