"""Layers and initialisers that every network shares (spec section 4).

Parameters are nested dictionaries named as in the original: `MLP_0/Dense_k`, `ConvNet_0/Conv_0`, each with `kernel` and
`bias`. All kernels, output layers included, start orthogonal with gain sqrt(2), biases at zero, float32. A picture is
taken apart into patches first, so that a convolution is one matrix product, also over a batch of seeds or agents.
"""

import math
from dataclasses import dataclass
from itertools import accumulate, pairwise

import jax
import jax.numpy as jnp
from jax import lax

Params = dict
GAIN = math.sqrt(2.0)
MINI = 1e-3  # the factor of an output layer that starts near zero


@dataclass(frozen=True)
class Sizes:
    """What an environment and a configuration say about the networks.

    Args:
        n_agents, n_actions: N and A.
        observation_shape: (D,) of a vector, (height, width, channels) of a picture.
        hidden: `nn.n_h1`, `nn.n_h2`.
        incentive_hidden: `nn.n_hr1`, `nn.n_hr2` of the incentive network on vectors; on pictures it uses `hidden`.
        n_filters, kernel, stride: `nn.*` of the one convolution on pictures; SAME padding.
    """

    n_agents: int
    n_actions: int
    observation_shape: tuple[int, ...]
    hidden: tuple[int, int]
    incentive_hidden: tuple[int, int] | None = None
    n_filters: int = 0
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)

    @property
    def image(self) -> bool:
        """Whether an observation is a picture."""
        return len(self.observation_shape) == 3

    def features(self, n_filters: int | None = None) -> int:
        """Numbers per observation that the first dense layer sees, with `n_filters` other than the configured ones."""
        if not self.image:
            return math.prod(self.observation_shape)
        height, width, _ = self.observation_shape
        filters = self.n_filters if n_filters is None else n_filters
        return math.ceil(height / self.stride[0]) * math.ceil(width / self.stride[1]) * filters


def matmul(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
    """[..., D] x [D, H] -> [..., H] in full float32 on every device."""
    return jnp.matmul(inputs, kernel, precision=lax.Precision.HIGHEST)


def along_last(bias: jax.Array, outputs: jax.Array) -> jax.Array:
    """[H] with the rank of [..., H]."""
    return bias.reshape((1,) * (outputs.ndim - 1) + bias.shape)


def dense(layer: Params, inputs: jax.Array) -> jax.Array:
    """Affine layer, [..., D] -> [..., H]."""
    outputs = matmul(inputs, layer["kernel"])
    return outputs + along_last(layer["bias"], outputs)


def mlp(params: Params, inputs: jax.Array) -> jax.Array:
    """Dense, ReLU, Dense, ReLU, Dense: [..., D] -> [..., K]."""
    hidden = jax.nn.relu(dense(params["Dense_0"], inputs))
    hidden = jax.nn.relu(dense(params["Dense_1"], hidden))
    return dense(params["Dense_2"], hidden)


def patches(sizes: Sizes, pictures: jax.Array) -> jax.Array:
    """The window under every position of the kernel: [..., H, W, C] -> [..., positions, kernel height * width * C]."""
    height, width, channels = pictures.shape[-3:]
    rows, columns = (math.ceil(size / step) for size, step in zip((height, width), sizes.stride, strict=True))
    pads = []
    for size, count, window, step in zip(
        (height, width), (rows, columns), sizes.kernel, sizes.stride, strict=True
    ):
        total = max((count - 1) * step + window - size, 0)
        pads.append((total // 2, total - total // 2))
    lead = pictures.shape[:-3]
    padded = jnp.pad(pictures, [(0, 0)] * len(lead) + [*pads, (0, 0)])
    windows = [
        padded[
            ...,
            y : y + (rows - 1) * sizes.stride[0] + 1 : sizes.stride[0],
            x : x + (columns - 1) * sizes.stride[1] + 1 : sizes.stride[1],
            :,
        ]
        for y in range(sizes.kernel[0])
        for x in range(sizes.kernel[1])
    ]
    return jnp.concatenate(windows, -1).reshape(*lead, rows * columns, len(windows) * channels)


def prepare(sizes: Sizes, observations: jax.Array) -> jax.Array:
    """What the trunk works on: patches of pictures [..., P, K], flat vectors [..., D] otherwise."""
    shape = sizes.observation_shape
    assert observations.shape[-len(shape) :] == shape, f"observations {observations.shape} are not {shape}"
    if sizes.image:
        return patches(sizes, observations)
    return observations.reshape(*observations.shape[: -len(shape)], -1)


def trunk(conv: Params | None, prepared: jax.Array) -> jax.Array:
    """Features of each observation, [..., F]: flattened ReLU convolution (row, column, filter), or the vector itself.

    Args:
        conv: the layer `Conv_0`, None for vectors; prepared: see `prepare`.
    """
    if conv is None:
        return prepared
    kernel = conv["kernel"]
    outputs = matmul(prepared, kernel.reshape(-1, kernel.shape[-1]))
    outputs = jax.nn.relu(outputs + along_last(conv["bias"], outputs))
    return outputs.reshape(*outputs.shape[:-2], -1)


def joined(features: jax.Array) -> jax.Array:
    """The features of all agents side by side: [..., N, F] -> [..., N * F]."""
    return features.reshape(*features.shape[:-2], -1)


def one_hot(actions: jax.Array, n_actions: int) -> jax.Array:
    """Float codes [..., A] of the actions [...]."""
    # DEVIATION(Q15): float codes from the start; the original's are int32
    return jax.nn.one_hot(actions, n_actions, dtype=jnp.float32)


def joint_one_hot(actions: jax.Array, n_actions: int) -> jax.Array:
    """The codes of all agents side by side in agent order: [..., N] -> [..., N * A]."""
    return joined(one_hot(actions, n_actions))


def orthogonal(drawn: jax.Array, gain: float) -> jax.Array:
    """`gain` times a uniformly random matrix with orthonormal rows or columns, from as many normal numbers [D, H]."""
    tall = drawn if drawn.shape[0] >= drawn.shape[1] else drawn.T
    q, r = jnp.linalg.qr(tall)
    q = (
        q * jnp.where(jnp.diag(r) < 0, -1.0, 1.0)[None, :]
    )  # without it the QR's own choice of signs is not uniform
    return gain * (q if drawn.shape[0] >= drawn.shape[1] else q.T)


def init_dense(key: jax.Array, n_inputs: int, n_outputs: int, scale: float = 1.0) -> Params:
    """Orthogonal kernel of gain `scale` * sqrt(2), bias zero."""
    return init_mlp(key, (n_inputs, n_outputs), scale)["Dense_0"]


def init_mlp(key: jax.Array, widths: tuple[int, ...], scale: float = 1.0) -> Params:
    """Dense layers between successive widths; `scale` is for the last one only."""
    shapes = list(pairwise(widths))
    # One draw for all layers: each further one costs XLA a third of a second of compilation.
    ends = list(accumulate(math.prod(shape) for shape in shapes))
    drawn = jnp.split(jax.random.normal(key, (ends[-1],)), ends[:-1])
    params = {}
    for k, (part, shape) in enumerate(zip(drawn, shapes, strict=True)):
        gain = GAIN * (scale if k == len(shapes) - 1 else 1.0)
        params[f"Dense_{k}"] = {"kernel": orthogonal(part.reshape(shape), gain), "bias": jnp.zeros(shape[1])}
    return params


def init_conv(key: jax.Array, sizes: Sizes, n_filters: int | None = None) -> Params:
    """The one convolution, kernel [height, width, channels, filters]."""
    filters = sizes.n_filters if n_filters is None else n_filters
    shape = (*sizes.kernel, sizes.observation_shape[-1], filters)
    return {
        "kernel": jax.nn.initializers.orthogonal(GAIN)(key, shape, jnp.float32),
        "bias": jnp.zeros(filters),
    }


def init_net(
    key: jax.Array, sizes: Sizes, n_observations: int, n_outputs: int, n_filters: int | None = None
) -> Params:
    """`[ConvNet_0/Conv_0 and] MLP_0` over the features of `n_observations` observations side by side."""
    conv_key, mlp_key = jax.random.split(key)
    widths = (n_observations * sizes.features(n_filters), *sizes.hidden, n_outputs)
    net = {"MLP_0": init_mlp(mlp_key, widths)}
    if sizes.image:
        net["ConvNet_0"] = {"Conv_0": init_conv(conv_key, sizes, n_filters)}
    return net


def conv_of(params: Params) -> Params | None:
    """The convolution of a network, if it has one."""
    return params["ConvNet_0"]["Conv_0"] if "ConvNet_0" in params else None


def count(params: Params) -> int:
    """Number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
