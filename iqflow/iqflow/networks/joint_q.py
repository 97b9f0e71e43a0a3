"""The joint action value Q_i(s, a_-i, .): one shared trunk and one MLP per agent (spec section 4).

Head i sees the features of all observations and the joint action with agent i's own block set to zero. The heads are
stacked: leaf `mlp_list/Dense_k/kernel` is [N, in, out], where the original has N leaves `mlp_list_i/Dense_k/kernel`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from iqflow.networks import layers
from iqflow.networks.layers import Params, Sizes


class Inputs(NamedTuple):
    """A batch before the trunk: `prepared` observations [B, N, ...] and joint action codes [B, N * A]."""

    prepared: jax.Array
    codes: jax.Array


def init(sizes: Sizes, key: jax.Array) -> Params:
    """Parameters of one joint action value, heads stacked."""
    conv_key, head_key = jax.random.split(key)
    widths = (sizes.n_agents * (sizes.features() + sizes.n_actions), *sizes.hidden, sizes.n_actions)
    heads = jax.vmap(lambda k: layers.init_mlp(k, widths))(jax.random.split(head_key, sizes.n_agents))
    params = {"mlp_list": heads}
    if sizes.image:
        params["conv"] = {"Conv_0": layers.init_conv(conv_key, sizes)}
    return params


def inputs(sizes: Sizes, observations: jax.Array, actions: jax.Array) -> Inputs:
    """Observations [B, N, *observation_shape] and actions [B, N] as the network takes them."""
    assert actions.shape == observations.shape[:2], "a joint action for every observation"
    return Inputs(layers.prepare(sizes, observations), layers.joint_one_hot(actions, sizes.n_actions))


def values(params: Params, batch: Inputs) -> jax.Array:
    """Q [B, N, A]: row i holds agent i's value of each own action, the others' actions as recorded."""
    heads = params["mlp_list"]
    conv = params["conv"]["Conv_0"] if "conv" in params else None
    features = layers.joined(layers.trunk(conv, batch.prepared))
    first, n_features = heads["Dense_0"]["kernel"], features.shape[-1]
    hidden = _shared(features, first[:, :n_features])
    others = others_only(first.shape[0], batch.codes.shape[-1])
    hidden = hidden + _shared(batch.codes, first[:, n_features:] * others[..., None])
    hidden = jax.nn.relu(hidden + heads["Dense_0"]["bias"][:, None])
    hidden = jax.nn.relu(_per_head(heads["Dense_1"], hidden))
    return jnp.swapaxes(_per_head(heads["Dense_2"], hidden), 0, 1)


def taken(table: jax.Array, codes: jax.Array) -> jax.Array:
    """q_i = Q_i(s, a_-i, a_i) [B, N] from Q [B, N, A] and the joint action codes [B, N * A]."""
    return jnp.sum(table * codes.reshape(table.shape), axis=-1)


def others_only(n_agents: int, n_codes: int) -> np.ndarray:
    """Mask [N, N * A] that removes agent i's block for head i: rows of a kernel at zero act like inputs at zero."""
    blocks = 1.0 - np.eye(n_agents, dtype=np.float32)
    return np.repeat(blocks, n_codes // n_agents, axis=1)


def _shared(features: jax.Array, kernels: jax.Array) -> jax.Array:
    """The same input to every head: [B, D] x [N, D, H] -> [N, B, H]."""
    return jnp.einsum("bd,ndh->nbh", features, kernels, precision=lax.Precision.HIGHEST)


def _per_head(layer: Params, hidden: jax.Array) -> jax.Array:
    """Affine layers of the heads: [N, B, D] -> [N, B, H]."""
    return layers.matmul(hidden, layer["kernel"]) + layer["bias"][:, None]
