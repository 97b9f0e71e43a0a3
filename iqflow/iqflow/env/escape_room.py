"""Escape Room: N agents, of whom at least M have to pull a lever for the others to leave by the door (spec 3.2).

Places and actions are 0 lever, 1 start, 2 door: an action names the place to go to, and always succeeds.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common.cli import UserError

LEVER, START, DOOR = range(3)
PLACES = ("lever", "start", "door")
ESCAPE, MOVE = 10.0, -1.0  # rewards


class EscapeState(NamedTuple):
    """One game."""

    position: jax.Array  # uint8 [N]: the place of every agent
    time: jax.Array  # int32 []: steps played


class EscapeInfo(NamedTuple):
    """What else a step tells."""

    escaped: (
        jax.Array
    )  # bool []: somebody left by the open door, so that the game ended before or at the time limit


@dataclass(frozen=True)
class EscapeRoom:
    """N = `n_agents`, M = `min_at_lever`; the paper's sizes are (5, 2) and (10, 5).

    With `randomize` every agent starts at a uniformly random place, otherwise all at the start.

    Raises:
        UserError: no agent, no step, or M not between 1 and N.
    """

    n_agents: int = 5
    min_at_lever: int = 2
    max_steps: int = 5
    randomize: bool = False

    n_actions = 3

    def __post_init__(self):
        for name in ("n_agents", "max_steps"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it has to be at least 1")
        if not 1 <= self.min_at_lever <= self.n_agents:
            raise UserError(
                f"min_at_lever is {self.min_at_lever}; with {self.n_agents} agents it has to be 1 to {self.n_agents}"
            )

    @property
    def observation_shape(self) -> tuple[int]:
        return (3 * self.n_agents,)

    @property
    def optimum(self) -> float:
        """Greatest total reward of an episode: M pull the lever once, the others walk out at the same time."""
        return ESCAPE * (self.n_agents - self.min_at_lever) + MOVE * self.min_at_lever

    def reset(self, key: jax.Array) -> tuple[EscapeState, jax.Array]:
        """The first state, and its observations [N, 3 N]; `key` is looked at when `randomize` is set."""
        if self.randomize:
            position = jax.random.randint(key, (self.n_agents,), 0, 3).astype(jnp.uint8)
        else:
            position = jnp.full(self.n_agents, START, jnp.uint8)
        state = EscapeState(position, jnp.int32(0))
        return state, self.observe(state)

    def step(self, key: jax.Array, state: EscapeState, actions: jax.Array):
        """One step with actions int32 [N]; nothing is random, so `key` is not looked at.

        The door is open when at least M agents choose the lever in this step. Choosing the door then pays 10, also to an
        agent that is already there; otherwise staying is free and moving costs 1.

        Returns: next state, observations float32 [N, 3 N], rewards float32 [N], done bool [], `EscapeInfo`.
        """
        del key
        opened = (actions == LEVER).sum() >= self.min_at_lever
        leaves = opened & (actions == DOOR)
        stays = actions == state.position.astype(actions.dtype)
        rewards = jnp.where(leaves, ESCAPE, jnp.where(stays, 0.0, MOVE)).astype(jnp.float32)
        state = EscapeState(actions.astype(jnp.uint8), state.time + 1)
        escaped = leaves.any()
        return (
            state,
            self.observe(state),
            rewards,
            escaped | (state.time >= self.max_steps),
            EscapeInfo(escaped),
        )

    def observe(self, state: EscapeState) -> jax.Array:
        """One-hot places, an agent's own first and then the others' by index: float32 [N, 3 N]."""
        places = jax.nn.one_hot(state.position, 3, dtype=jnp.float32)
        return places[_own_first(self.n_agents)].reshape(self.n_agents, 3 * self.n_agents)


def _own_first(n: int) -> np.ndarray:
    """int [N, N]: row i is i, then the other indices in ascending order."""
    return np.array([[i, *(j for j in range(n) if j != i)] for i in range(n)])
