"""An environment and a mechanism whose numbers can be worked out by hand."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest


class Info(NamedTuple):
    n_cleaned: jax.Array


class Toy:
    """Two agents, three steps; an agent earns its action, and sees the step's number."""

    n_agents, n_actions, observation_shape, max_steps = 2, 3, (2, 2, 1), 3

    def reset(self, key):
        return jnp.int32(0), self.observe(jnp.int32(0))

    def observe(self, state):
        return jnp.broadcast_to(state.astype(jnp.float32), (2, 2, 2, 1))

    def step(self, key, state, actions):
        rewards = actions.astype(jnp.float32)
        return state + 1, self.observe(state + 1), rewards, state + 1 >= 3, Info(actions == 2)


class Payer:
    """Pays the step's number to the first agent, and its action twice to the second."""

    parameters = 2.0

    def incentives(self, state, observations, actions):
        return jnp.stack([observations[..., 0, 0, 0, 0], state * actions[..., 1]], -1)


@pytest.fixture
def toy():
    return Toy()


@pytest.fixture
def payer():
    return Payer()
