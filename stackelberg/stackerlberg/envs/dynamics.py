"""Learning dynamics: several follower episodes inside one leader episode (spec 3.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.cli import UserError

from ..games import FOLLOWER, LEADER
from .machine import StateMachine, Step


class LearningDynamics(StateMachine):
    """`n_follower_episodes` games per leader episode; the leader is paid in the last `n_reward_episodes` only.

    At the end of a game that is not the last, the leader already sees the next game's start while the follower
    sees its own last observation, marked by the info ``episode_done``. With `copies` the follower of game k is
    another agent, ``agent_1__COPY__k``: the old one is done, the new one appears.

    Raises:
        UserError: counts that are not whole or do not fit.
    """

    def __init__(
        self,
        env: StateMachine,
        n_follower_episodes: int = 1,
        n_reward_episodes: int = 1,
        copies: bool = False,
    ):
        for name, value in (
            ("n_follower_episodes", n_follower_episodes),
            ("n_reward_episodes", n_reward_episodes),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f"{name} must be a whole number of at least 1, not {value!r}")
        if n_reward_episodes > n_follower_episodes:
            raise UserError(
                f"n_reward_episodes {n_reward_episodes} is more than n_follower_episodes {n_follower_episodes}"
            )
        self._env, self._games, self._rewarded, self._copies = (
            env,
            n_follower_episodes,
            n_reward_episodes,
            copies,
        )
        followers = [self._follower(k) for k in range(n_follower_episodes)] if copies else [FOLLOWER]
        self.possible_agents = (LEADER, *followers)
        for attribute in ("observation_spaces", "action_spaces"):
            inner = getattr(env, attribute)
            setattr(self, attribute, {LEADER: inner[LEADER], **dict.fromkeys(followers, inner[FOLLOWER])})

    def _follower(self, game: int) -> str:
        return f"{FOLLOWER}__COPY__{game}" if self._copies else FOLLOWER

    def _renamed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            self._follower(self._game) if agent == FOLLOWER else agent: value
            for agent, value in values.items()
        }

    def reset(self, *, seed: int | None = None):
        self._game = 0
        observations, _ = self._env.reset(seed=seed)
        return self._renamed(observations), {}

    def step(self, actions: Mapping[str, Any]) -> Step:
        follower = self._follower(self._game)
        inner = {
            agent: actions[name]
            for agent, name in ((LEADER, LEADER), (FOLLOWER, follower))
            if name in actions
        }
        observations, rewards, dones, infos = self._env.step(inner)
        if self._game < self._games - self._rewarded:
            rewards = {**rewards, LEADER: 0.0}
        observations, rewards = self._renamed(observations), self._renamed(rewards)
        if not dones["__all__"] or self._game == self._games - 1:
            return observations, rewards, dones, infos
        self._game += 1
        start, _ = self._env.reset()
        observations[LEADER] = start[LEADER]
        dones = {"__all__": False, follower: self._copies, LEADER: False}
        if self._copies:
            observations[self._follower(self._game)] = start[FOLLOWER]
            return observations, rewards, dones, {}
        return observations, rewards, dones, {FOLLOWER: {"episode_done": True}}
