"""Cleanup for learners that are not ours: NumPy in, NumPy out, everything a learner may know and nothing else.

games = Games(env, games=1, reward="incentive", mechanism=frozen)
observations = games.reset(seed, episode)                    # [E, N, *observation_shape]
observations, rewards, done, info = games.step(actions)      # [E, N] -> ..., [E, N], bool, dict
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from common.cli import UserError
from iqflow.alg.episodes import follower_rewards
from iqflow.trainer.mechanisms import Frozen
from iqflow.transfer.settings import REWARDS


class Games:
    """E games of one environment, side by side.

    Args:
        reward: what the learners are given (`iqflow.transfer.settings.REWARDS`).
        mechanism: who pays; None unless `reward` is ``incentive``.
    Raises:
        UserError: a mechanism is lacking, or left over.
    """

    def __init__(self, env: Any, games: int, reward: str, mechanism: Frozen | None = None):
        if reward not in REWARDS or (reward == "incentive") != (mechanism is not None):
            raise UserError(
                f"reward {reward!r} with {'a' if mechanism else 'no'} mechanism does not go together"
            )
        self.env, self.games, self.reward, self.mechanism = env, games, reward, mechanism
        self._reset = jax.jit(lambda key: jax.vmap(env.reset)(jax.random.split(key, games)))
        self._step = jax.jit(self._advance)
        self._at: Any = None

    def _pay(self, observations: jax.Array, actions: jax.Array) -> jax.Array | None:
        if self.mechanism is None:
            return None
        return self.mechanism.incentives(self.mechanism.parameters, observations, actions)

    def _advance(self, key, time, state, observations, actions):
        keys = jax.random.split(jax.random.fold_in(key, time), self.games)
        given = self._pay(observations, actions)
        state, seen, own, done, told = jax.vmap(self.env.step)(keys, state, actions)
        rewards = follower_rewards(own, given, self.reward == "shared")
        paid = jnp.zeros_like(own) if given is None else given
        info = {"own_rewards": own, "incentives": paid, "n_cleaned": told.n_cleaned}
        return state, seen, rewards, done, info

    def reset(self, seed: int, episode: int) -> np.ndarray:
        """Start the games of an episode: observations float32 [E, N, ...]. Equal arguments give equal episodes."""
        key = jax.random.fold_in(jax.random.PRNGKey(np.uint32(seed)), np.int32(episode))
        reset_key, key = jax.random.split(key)
        state, seen = self._reset(reset_key)
        self._at = (key, 0, state, seen)
        return np.asarray(seen)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool, dict[str, np.ndarray]]:
        """One step of every game.

        Args:
            actions: int [E, N].
        Returns:
            observations [E, N, ...]; rewards [E, N] that the learners learn from; whether the games are over (they last
            equally long); ``own_rewards``, ``incentives``, ``n_cleaned``, [E, N] each.
        """
        key, time, state, seen = self._at
        actions = jnp.asarray(actions, jnp.int32)
        state, seen, rewards, done, info = self._step(key, np.int32(time), state, seen, actions)
        self._at = (key, time + 1, state, seen)
        told = {name: np.asarray(value) for name, value in info.items()}
        return np.asarray(seen), np.asarray(rewards), bool(np.all(done)), told
