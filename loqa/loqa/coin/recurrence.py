"""GRU over a sequence, with a backward pass that costs three matrix products per time step and nothing else.

With g_t the input side of the three gates (reset, update, candidate), the GRU h_t = f(g_t, h_tm1) is

    r = sigmoid(g_r + h_tm1 W_r)      z = sigmoid(g_z + h_tm1 W_z)
    m = h_tm1 W_n + b_n      n = tanh(g_n + r m)      h_t = (1 - z) n + z h_tm1

A forward pass keeps r, z, n and m of every step (`Activity`). Given those, `states_of` is a differentiable function of
g, W and b whose forward pass is free: an episode's rollout already made the activity of the learner's policy. Only the
linear backward recurrence is scanned; the weights' gradients are one product over all steps.

The three gates are kept in three arrays: slices of one array that a scan hands out are not vectorised by XLA on a CPU.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

PRECISION = lax.Precision.HIGHEST


class Gates(NamedTuple):
    """One array per gate: the input side [..., H], or the recurrent kernels [H, H]."""

    reset: jax.Array
    update: jax.Array
    candidate: jax.Array


class Activity(NamedTuple):
    """What a GRU did at one step [..., H] or at all of them [T, ..., H]."""

    state: jax.Array  # h_t
    reset: jax.Array  # r
    update: jax.Array  # z
    candidate: jax.Array  # n
    memory: jax.Array  # m


def matmul(left: jax.Array, right: jax.Array) -> jax.Array:
    """[..., K] times [K, N] in full float32, whatever the device's default; as one product of two matrices."""
    flat = jnp.matmul(left.reshape(-1, left.shape[-1]), right, precision=PRECISION)
    return flat.reshape(*left.shape[:-1], right.shape[-1])


def along_last(vector: jax.Array, like: jax.Array) -> jax.Array:
    """`vector` [N] with as many leading axes as `like` [..., N] has (ranks are never promoted silently)."""
    return vector.reshape((1,) * (like.ndim - 1) + vector.shape)


def sigmoid(x: jax.Array) -> jax.Array:
    """1 / (1 + exp(-x)), by the hyperbolic tangent: XLA vectorises that one on a CPU, three times faster."""
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


def gru_step(gates: Gates, state: jax.Array, weights: Gates, bias: jax.Array) -> Activity:
    """One step.

    Args: `gates` [B, H] each, `state` h_tm1 [B, H], `weights` [H, H] each, `bias` b_n [H].
    """
    recalled = Gates(*(matmul(state, kernel) for kernel in weights))
    reset = sigmoid(gates.reset + recalled.reset)
    update = sigmoid(gates.update + recalled.update)
    memory = recalled.candidate + along_last(bias, state)
    candidate = jnp.tanh(gates.candidate + reset * memory)
    return Activity((1.0 - update) * candidate + update * state, reset, update, candidate, memory)


def run(gates: Gates, weights: Gates, bias: jax.Array) -> Activity:
    """The GRU's activity [T, B, H] from a zero state, for gates [T, B, H] each."""

    def step(state, gates_t):
        activity = gru_step(gates_t, state, weights, bias)
        return activity.state, activity

    return lax.scan(step, jnp.zeros_like(gates.reset[0]), gates)[1]


def states(gates: Gates, weights: Gates, bias: jax.Array) -> jax.Array:
    """`run(...).state` alone, where no gradient is wanted."""

    def step(state, gates_t):
        state = gru_step(gates_t, state, weights, bias).state
        return state, state

    return lax.scan(step, jnp.zeros_like(gates.reset[0]), gates)[1]


@jax.custom_vjp
def states_of(activity: Activity, gates: Gates, weights: Gates, bias: jax.Array) -> jax.Array:
    """The states [T, B, H] of a GRU that has run, as a differentiable function of its inputs.

    Args: `activity` exactly `run(gates, weights, bias)` (not checked; no gradient flows to it); the others as there.
    """
    del gates, weights, bias
    return activity.state


def _forward(activity, gates, weights, bias):
    del gates, bias
    return activity.state, (activity, weights)


def _backward(kept, cotangent):
    activity, weights = kept
    transposed = Gates(*(kernel.T for kernel in weights))
    before = jnp.concatenate([jnp.zeros_like(activity.state[:1]), activity.state[:-1]], axis=0)

    def step(later, inputs):
        now, from_outside, h_tm1 = inputs
        d_state = later + from_outside
        d_candidate = d_state * (1.0 - now.update) * (1.0 - now.candidate**2)
        d_update = d_state * (h_tm1 - now.candidate) * now.update * (1.0 - now.update)
        d_reset = d_candidate * now.memory * now.reset * (1.0 - now.reset)
        d_memory = d_candidate * now.reset
        d_recalled = Gates(d_reset, d_update, d_memory)
        products = [matmul(part, kernel) for part, kernel in zip(d_recalled, transposed, strict=True)]
        earlier = d_state * now.update + products[0] + products[1] + products[2]
        return earlier, (Gates(d_reset, d_update, d_candidate), d_memory)

    inputs = activity, cotangent, before
    _, (d_gates, d_memory) = lax.scan(step, jnp.zeros_like(cotangent[0]), inputs, reverse=True)
    d_recalled = Gates(d_gates.reset, d_gates.update, d_memory)
    flat = before.reshape(-1, before.shape[-1]).T
    d_weights = Gates(
        *(jnp.matmul(flat, part.reshape(-1, part.shape[-1]), precision=PRECISION) for part in d_recalled)
    )
    return None, d_gates, d_weights, d_memory.sum(tuple(range(d_memory.ndim - 1)))


states_of.defvjp(_forward, _backward)
