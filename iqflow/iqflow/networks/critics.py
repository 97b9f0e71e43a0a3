"""State values: of one follower, of the team, of every agent (spec section 4)."""

import jax
import jax.numpy as jnp

from iqflow.networks import layers
from iqflow.networks.layers import Params, Sizes


def init_own(sizes: Sizes, key: jax.Array) -> Params:
    """A follower's critic on its own observation."""
    return layers.init_net(key, sizes, 1, 1)


def own_value(sizes: Sizes, params: Params, observations: jax.Array) -> jax.Array:
    """V(o): [..., *observation_shape] -> [...]."""
    features = layers.trunk(layers.conv_of(params), layers.prepare(sizes, observations))
    return layers.mlp(params["MLP_0"], features)[..., 0]


def init_team(sizes: Sizes, key: jax.Array, n_filters: int | None = None) -> Params:
    """V^coop, one value for the team; with `n_filters` = N times the configured ones, ID's central critic."""
    return layers.init_net(key, sizes, sizes.n_agents, 1, n_filters)


def team_value(sizes: Sizes, params: Params, observations: jax.Array) -> jax.Array:
    """V(s): [..., N, *observation_shape] -> [...]."""
    return _on_all(sizes, params, observations)[..., 0]


def init_each(sizes: Sizes, key: jax.Array, state_values: bool = False) -> Params:
    """V^env or V^rew, a value per agent. See `each_value` for `state_values`."""
    if sizes.image or state_values:
        return layers.init_net(key, sizes, sizes.n_agents, sizes.n_agents)
    return {"MLP_0": layers.init_mlp(key, (3, *sizes.hidden, sizes.n_agents))}


def each_value(
    sizes: Sizes, params: Params, observations: jax.Array, state_values: bool = False
) -> jax.Array:
    """V_i(s): [..., N, *observation_shape] -> [..., N].

    On vectors the original feeds the network its own layer sizes (n_h1, n_h2, N) instead of the observations, so that
    a value is a constant per agent (spec 7.1). `state_values` gives it the observations.
    """
    if sizes.image or state_values:
        return _on_all(sizes, params, observations)
    constant = jnp.array([*sizes.hidden, sizes.n_agents], jnp.float32)
    values = layers.mlp(params["MLP_0"], constant)
    lead = observations.shape[: -1 - len(sizes.observation_shape)]
    return jnp.broadcast_to(values.reshape((1,) * len(lead) + values.shape), (*lead, sizes.n_agents))


def _on_all(sizes: Sizes, params: Params, observations: jax.Array) -> jax.Array:
    features = layers.trunk(layers.conv_of(params), layers.prepare(sizes, observations))
    return layers.mlp(params["MLP_0"], layers.joined(features))
