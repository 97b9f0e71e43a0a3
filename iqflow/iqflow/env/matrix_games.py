"""Iterated 2 x 2 games: prisoner's dilemma, chicken and stag hunt (spec 3.1).

Action 0 cooperates, action 1 defects. Both agents see the same vector: which of the four joint actions was played last
(index 2 a0 + a1), or index 4 at the start. There is no change of perspective for the second agent.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from common.cli import UserError
from common.matrix_games import GAMES

NAMES = ("ipd", "chicken", "stag_hunt")
START = 4  # what is seen before the first action


class MatrixState(NamedTuple):
    """One game."""

    outcome: jax.Array  # uint8 []: 2 a0 + a1 of the last step, 4 before the first
    time: jax.Array  # int32 []: steps played


class MatrixInfo(NamedTuple):
    """What else a step tells: nothing."""


@dataclass(frozen=True)
class MatrixGame:
    """A repeated game of `max_steps` rounds; `name` is ipd, chicken or stag_hunt.

    Raises:
        UserError: another name, or less than one step.
    """

    name: str = "ipd"
    max_steps: int = 5

    n_agents = 2
    n_actions = 2
    observation_shape = (5,)

    def __post_init__(self):
        if self.name not in NAMES:
            raise UserError(f"unknown matrix game {self.name!r}; there are {', '.join(NAMES)}")
        if self.max_steps < 1:
            raise UserError(f"max_steps is {self.max_steps}; it has to be at least 1")

    @property
    def payoffs(self):
        """float64 [2, 2, 2]: action of agent 0, action of agent 1, agent."""
        return GAMES[f"iqflow/{self.name}"].payoffs

    def reset(self, key: jax.Array) -> tuple[MatrixState, jax.Array]:
        """The start state, and its observations [2, 5]; nothing is random, so `key` is not looked at."""
        del key
        state = MatrixState(jnp.uint8(START), jnp.int32(0))
        return state, self.observe(state)

    def step(self, key: jax.Array, state: MatrixState, actions: jax.Array):
        """One round with actions int32 [2]; nothing is random, so `key` is not looked at.

        Returns: next state, observations float32 [2, 5], rewards float32 [2], done bool [], `MatrixInfo`.
        """
        del key
        rewards = jnp.asarray(self.payoffs, jnp.float32)[actions[0], actions[1]]
        state = MatrixState((2 * actions[0] + actions[1]).astype(jnp.uint8), state.time + 1)
        return state, self.observe(state), rewards, state.time >= self.max_steps, MatrixInfo()

    def observe(self, state: MatrixState) -> jax.Array:
        """What both agents see, float32 [2, 5]."""
        seen = jax.nn.one_hot(state.outcome, START + 1, dtype=jnp.float32)
        return jnp.stack([seen, seen])
