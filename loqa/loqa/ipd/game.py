"""The iterated prisoner's dilemma with memory of one step (spec 3.1).

Actions are 0 = cooperate (C) and 1 = defect (D). What a player sees is one of five states: START before the first
move, then its own last action followed by the other's; "CD" reads "I cooperated, the other defected".
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

STATES = ("START", "CC", "CD", "DC", "DD")
#: [5, 4] what a network sees in each state: I cooperated, I defected, the other cooperated, the other defected
OBSERVATIONS = np.array([[0, 0, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1]], np.float32)
#: [5] reward of the step that led into a state
REWARDS = np.array([0, -1, -3, 0, -2], np.float32)


def next_state(own: jax.Array, other: jax.Array) -> jax.Array:
    """What a player sees after both moved: actions of any shape and integer type (or bool) -> int32."""
    return 1 + 2 * own.astype(jnp.int32) + other.astype(jnp.int32)


def rewards_of(states: jax.Array, offset: float = 0.0) -> jax.Array:
    """Reward of the step that led into each state, any shape; `offset` is added to it."""
    return jnp.asarray(REWARDS + np.float32(offset))[states]


class Episodes(NamedTuple):
    """B episodes of T steps, seen by one player; the game has no chance, so the moves are all there is to know."""

    own: jax.Array  # [T, B] bool: whether the player defected
    other: jax.Array  # [T, B] bool: whether the other one did

    def swapped(self) -> Episodes:
        """The same episodes as the other player sees them."""
        return Episodes(self.other, self.own)

    def states(self) -> jax.Array:
        """[T+1, B] int32, index into `STATES`: what the player saw before each move and after the last one."""
        after = next_state(self.own, self.other)
        return jnp.concatenate([jnp.zeros_like(after[:1]), after])

    def actions(self) -> jax.Array:
        """[T, B] int32 of the player."""
        return self.own.astype(jnp.int32)

    def rewards(self, offset: float = 0.0) -> jax.Array:
        """[T, B] of the player; `offset` is added to each."""
        return rewards_of(next_state(self.own, self.other), offset)
