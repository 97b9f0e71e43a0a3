"""The learners' networks side by side: one set of parameters for all agents, or one for each."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Team:
    """A Q network for n agents.

    Args:
        network: `QNetwork` or `TwinQNetwork` of `marlhf.networks`.
        n_agents: n.
        shared: one set of parameters (the observations name the agent), or parameters with a leading axis of n.
    """

    network: Any
    n_agents: int
    shared: bool = True

    def init(self, key: jax.Array, width: int) -> Any:
        """Fresh parameters for observations of this width (d+n)."""

        def make(key):
            obs, resets = jnp.zeros((1, 1, width)), jnp.zeros((1, 1), bool)
            return self.network.init(key, self.network.initial_carry(1), obs, resets)

        return make(key) if self.shared else jax.vmap(make)(jax.random.split(key, self.n_agents))

    def initial_carry(self, batch: int) -> Any:
        """What the networks remember of `batch` sequences before their first step: nothing."""
        if self.shared:
            return self.network.initial_carry(batch * self.n_agents)
        return jax.vmap(lambda _: self.network.initial_carry(batch))(jnp.arange(self.n_agents))

    def apply(self, params: Any, carry: Any, obs: jax.Array, resets: jax.Array) -> tuple[Any, jax.Array]:
        """Q values `[T, B, n, A]` and the carry, from obs `[T, B, n, d+n]` and resets `[T, B]`."""
        steps, batch, agents, width = obs.shape
        assert agents == self.n_agents and resets.shape == (steps, batch), "observations and resets"
        if self.shared:
            flat = obs.reshape(steps, batch * agents, width)
            carry, q = self.network.apply(params, carry, flat, jnp.repeat(resets, agents, axis=1))
            return carry, q.reshape(steps, batch, agents, -1)
        each = jax.vmap(self.network.apply, in_axes=(0, 0, 2, None), out_axes=(0, 2))
        return each(params, carry, obs, resets)
