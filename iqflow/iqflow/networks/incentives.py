"""The incentive network R^eta(s, a): what every agent is given for a joint action (spec section 4).

    r_multiplier * g( f_eta(all observations, joint action) ),     g = sigmoid or |tanh|

Incentives lie in [0, r_multiplier]; none is negative. Before g, a vector goes through MLP(n_hr1, n_hr2, N) together
with the action codes; pictures go through the trunk and Dense n_h1 first, and the codes join before Dense n_h2.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from iqflow.networks import layers
from iqflow.networks.layers import Params, Sizes


@dataclass(frozen=True)
class IncentiveNet:
    """One kind of incentive network.

    Args:
        sizes: of the environment and the configuration.
        r_multiplier: `env.r_multiplier`, the largest incentive; 0 switches incentives off.
        output: `sigmoid` (IQ-Flow; incentives start scattered around r_multiplier / 2) or `abs_tanh`.
        mini: the last kernel starts a thousand times smaller (incentives of `abs_tanh` start near 0).
        n_filters: of the convolution; None as configured, N times that in the Incentive Designer.
        clean_action: with `env.obs_cleaned_1hot`, the cleaning action: the network sees (not cleaned, cleaned) per
            agent instead of the action.
    """

    sizes: Sizes
    r_multiplier: float
    output: str = "sigmoid"
    mini: bool = False
    n_filters: int | None = None
    clean_action: int | None = None

    def __post_init__(self):
        if self.output not in ("sigmoid", "abs_tanh"):
            raise ValueError(f"output {self.output!r} is neither sigmoid nor abs_tanh")

    @property
    def n_codes(self) -> int:
        """Length of the joint action code."""
        classes = self.sizes.n_actions if self.clean_action is None else 2
        return self.sizes.n_agents * classes


def for_iqflow(sizes: Sizes, r_multiplier: float, use_mini_init: bool) -> IncentiveNet:
    """IQ-Flow's: sigmoid, or |tanh| from near zero with `use_mini_init`."""
    output = "abs_tanh" if use_mini_init else "sigmoid"
    return IncentiveNet(sizes, r_multiplier, output, mini=use_mini_init)


def for_designer(sizes: Sizes, r_multiplier: float, clean_action: int | None = None) -> IncentiveNet:
    """The Incentive Designer's: |tanh|; on vectors from near zero, on pictures with N times the filters and the
    ordinary start."""
    if not sizes.image:
        return IncentiveNet(sizes, r_multiplier, "abs_tanh", mini=True, clean_action=clean_action)
    filters = sizes.n_filters * sizes.n_agents
    return IncentiveNet(sizes, r_multiplier, "abs_tanh", n_filters=filters, clean_action=clean_action)


def init(net: IncentiveNet, key: jax.Array) -> Params:
    """Parameters `Dense_0`, `Dense_1`, `Dense_2` and, on pictures, `ConvNet_0/Conv_0`."""
    sizes, scale = net.sizes, layers.MINI if net.mini else 1.0
    n_features = sizes.n_agents * sizes.features(net.n_filters)
    if not sizes.image:
        widths = (n_features + net.n_codes, *sizes.incentive_hidden, sizes.n_agents)
        return layers.init_mlp(key, widths, scale)
    conv_key, key_0, key_1, key_2 = jax.random.split(key, 4)
    h1, h2 = sizes.hidden
    return {
        "ConvNet_0": {"Conv_0": layers.init_conv(conv_key, sizes, net.n_filters)},
        "Dense_0": layers.init_dense(key_0, n_features, h1),
        "Dense_1": layers.init_dense(key_1, h1 + net.n_codes, h2),
        "Dense_2": layers.init_dense(key_2, h2, sizes.n_agents, scale),
    }


def incentives(net: IncentiveNet, params: Params, observations: jax.Array, actions: jax.Array) -> jax.Array:
    """R [..., N] for observations [..., N, *observation_shape] and the joint action [..., N], int32."""
    codes = _codes(net, actions)
    features = layers.joined(layers.trunk(layers.conv_of(params), layers.prepare(net.sizes, observations)))
    if net.sizes.image:
        hidden = jax.nn.relu(layers.dense(params["Dense_0"], features))
        hidden = jax.nn.relu(layers.dense(params["Dense_1"], jnp.concatenate([hidden, codes], -1)))
        raw = layers.dense(params["Dense_2"], hidden)
    else:
        raw = layers.mlp(params, jnp.concatenate([features, codes], -1))
    shaped = jax.nn.sigmoid(raw) if net.output == "sigmoid" else jnp.abs(jnp.tanh(raw))
    return net.r_multiplier * shaped


def _codes(net: IncentiveNet, actions: jax.Array) -> jax.Array:
    if net.clean_action is None:
        return layers.joint_one_hot(actions, net.sizes.n_actions)
    return layers.joint_one_hot(actions == net.clean_action, 2)
