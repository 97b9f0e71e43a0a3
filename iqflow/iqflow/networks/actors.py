"""The followers' policies: observation -> [trunk ->] MLP(n_h1, n_h2, A) -> softmax (spec section 4)."""

import jax
import jax.numpy as jnp

from iqflow.networks import layers
from iqflow.networks.layers import Params, Sizes


def init(sizes: Sizes, key: jax.Array) -> Params:
    """Parameters of one actor, `[ConvNet_0/]MLP_0`."""
    return layers.init_net(key, sizes, 1, sizes.n_actions)


def logits(sizes: Sizes, params: Params, observations: jax.Array) -> jax.Array:
    """[..., *observation_shape] -> [..., A] before the softmax."""
    prepared = layers.prepare(sizes, observations)
    return layers.mlp(params["MLP_0"], layers.trunk(layers.conv_of(params), prepared))


def log_policy(sizes: Sizes, params: Params, observations: jax.Array) -> jax.Array:
    """log pi [..., A], the logarithm of the softmax as in the original: -inf where a probability underflows."""
    return jnp.log(jax.nn.softmax(logits(sizes, params, observations)))
