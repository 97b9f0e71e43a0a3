"""Contribution game with two players (the paper's iterated prisoner's dilemma, section 5.2), sampled version.

A player who contributes (action 1, "cooperate") pays 1; the pot is multiplied by the contribution factor and
shared. Both players receive the same observation: one-hot of the first player's last action over
(D, C, start), then the same for the second player. It is not egocentric.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

DEFECT, COOPERATE, START = 0, 1, 2


class ContributionState(NamedTuple):
    """Last actions of the two players, 0 D, 1 C, 2 start; each an int32 array [B]."""

    first: jax.Array
    second: jax.Array


class NoNoise(NamedTuple):
    """The game is deterministic: nothing is drawn for it."""


class NoInfo(NamedTuple):
    """Nothing is counted besides the rewards."""


@dataclass(frozen=True)
class ContributionGame:
    """The game's rules; `contrib_factor` in (1, 2) makes it a dilemma."""

    contrib_factor: float = 1.33
    init_state_coop: bool = False

    name = "ipd"
    n_actions = 2
    observation_size = 6
    #: few distinct observations: input layers are applied to them once and the results are looked up
    codes_are_one_hot = True

    def reset(self, key: jax.Array, batch: int) -> ContributionState:
        """Start state of `batch` episodes; `key` is not used."""
        del key
        start = jnp.full((batch,), COOPERATE if self.init_state_coop else START, jnp.int32)
        return ContributionState(start, start)

    def draw(self, key: jax.Array, steps: int, batch: int) -> NoNoise:
        """Randomness of `steps` steps: none."""
        del key, steps, batch
        return NoNoise()

    def step(self, state, noise, first, second):
        """Play one round.

        Args: actions `first`, `second` int32 [B].
        Returns: next state, rewards of both players [B] each, and no further information.
        """
        del state, noise
        share = self.contrib_factor * (first + second).astype(jnp.float32) / 2.0
        rewards = share - first.astype(jnp.float32), share - second.astype(jnp.float32)
        return ContributionState(first, second), *rewards, NoInfo()

    def observe(self, state: ContributionState) -> jax.Array:
        """Observation of the last joint action, float32 [..., 6]."""
        return jnp.concatenate([jax.nn.one_hot(state.first, 3), jax.nn.one_hot(state.second, 3)], axis=-1)

    def index(self, state: ContributionState) -> jax.Array:
        """Number of the state's observation among the rows of `distinct_observations`, int32 [...]."""
        return 3 * state.first + state.second

    def distinct_observations(self) -> np.ndarray:
        """All nine one-hot pairs, float32 [9, 6]; row 3 a + b is (a, b)."""
        eye = np.eye(3, dtype=np.float32)
        return np.concatenate([np.repeat(eye, 3, axis=0), np.tile(eye, (3, 1))], axis=1)

    def codes(self, observations: jax.Array) -> jax.Array:
        """One-hot [..., 9] over `distinct_observations` from observations [..., 6]."""
        pairs = observations[..., :3, None] * observations[..., None, 3:]
        return pairs.reshape(*observations.shape[:-1], 9)
