"""GRU over a known sequence, with derivatives of every order that cost one small matrix product per time step.

The GRU is h_t = f(g_t, h_tm1), g_t the input side of the three gates (reset, update, candidate):

    r = sigmoid(g_r + h_tm1 W_r)      z = sigmoid(g_z + h_tm1 W_z)
    n = tanh(g_n + r (h_tm1 W_n + b_n))      h_t = (1 - z) n + z h_tm1

Its tangent is a linear recurrence, dh_t = z dh_tm1 + sum over gates of c (dh_tm1 W) + u_t. Once the states are
known (a rollout has them), c, z and u are computed for all time steps at once, in large matrix products, and
only the linear recurrence is left to the scan. The tangent of a linear recurrence is the same recurrence with
another u, so differentiating again costs no more per step; reverse mode is the transposed recurrence, which
JAX derives.

The three gates are kept in three arrays: slices of one array that a scan hands out are not vectorised by XLA on a
CPU, which made the scan four times slower.
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


def matmul(left: jax.Array, right: jax.Array) -> jax.Array:
    """[..., K] times [K, N] in full float32, whatever the device's default.

    As one product of two matrices: the gradients of a product over more axes would be transposed first.
    """
    flat = jnp.matmul(left.reshape(-1, left.shape[-1]), right, precision=PRECISION)
    return flat.reshape(*left.shape[:-1], right.shape[-1])


def along_last(vector: jax.Array, like: jax.Array) -> jax.Array:
    """`vector` [N] with as many leading axes as `like` [..., N] has (ranks are never promoted silently)."""
    return vector.reshape((1,) * (like.ndim - 1) + vector.shape)


def previous(states: jax.Array) -> jax.Array:
    """States [T, B, H] moved one step into the past, zero at the start."""
    return jnp.concatenate([jnp.zeros_like(states[:1]), states[:-1]], axis=0)


def recall(states: jax.Array, weights: Gates) -> Gates:
    """Recurrent side of the gates: states [..., H] times each kernel [H, H] (or codes times each table)."""
    return Gates(*(matmul(states, kernel) for kernel in weights))


def combine(coefficients: Gates, parts: Gates) -> jax.Array:
    """Sum over the gates of coefficient times part, [..., H]."""
    first, second, third = (scale * part for scale, part in zip(coefficients, parts, strict=True))
    return first + second + third


def gru_step(gates: Gates, state: jax.Array, weights: Gates, bias: jax.Array) -> jax.Array:
    """One step.

    Args: `gates` [B, H] each, `state` [B, H], `weights` [H, H] each, `bias` [H] of the candidate.
    Returns: the next state [B, H].
    """
    recalled = recall(state, weights)
    reset = jax.nn.sigmoid(gates.reset + recalled.reset)
    update = jax.nn.sigmoid(gates.update + recalled.update)
    candidate = jnp.tanh(gates.candidate + reset * (recalled.candidate + along_last(bias, state)))
    return (1.0 - update) * candidate + update * state


def gru_scan(gates: Gates, weights: Gates, bias: jax.Array) -> jax.Array:
    """States [T, B, H] from zero, by the plain recurrence, for gates [T, B, H] each."""

    def step(state, gates_t):
        state = gru_step(gates_t, state, weights, bias)
        return state, state

    return lax.scan(step, jnp.zeros_like(gates.reset[0]), gates)[1]


@jax.custom_jvp
def linear_recurrence(decay, coefficients: Gates, weights: Gates, source):
    """y_t = decay_t y_tm1 + sum over gates of coefficients_t (y_tm1 weights) + source_t, from y = 0.

    Args: `decay`, `source` and each of `coefficients` [T, B, H], each of `weights` [H, H].
    Returns: y [T, B, H].
    """

    def step(state, inputs):
        decay_t, coefficients_t, source_t = inputs
        state = decay_t * state + combine(coefficients_t, recall(state, weights)) + source_t
        return state, state

    return lax.scan(step, jnp.zeros_like(source[0]), (decay, coefficients, source))[1]


@linear_recurrence.defjvp
def _linear_recurrence_tangent(primals, tangents):
    decay, coefficients, weights, source = primals
    d_decay, d_coefficients, d_weights, d_source = tangents
    states = linear_recurrence(decay, coefficients, weights, source)
    before = previous(states)
    d_source = d_source + d_decay * before
    d_source = d_source + combine(d_coefficients, recall(before, weights))
    d_source = d_source + combine(coefficients, recall(before, d_weights))
    return states, linear_recurrence(decay, coefficients, weights, d_source)


@jax.custom_jvp
def gru_states(known, gates: Gates, weights: Gates, bias):
    """The states of the GRU, which the caller already has, as a differentiable function of its inputs.

    Args: `known` [T, B, H], exactly `gru_scan(gates, weights, bias)` (not checked; its own derivative is
    taken as zero); the others as there.
    Returns: `known`, with the derivatives of the GRU.
    """
    del gates, weights, bias
    return known


@gru_states.defjvp
def _gru_states_tangent(primals, tangents):
    known, gates, weights, bias = primals
    _, d_gates, d_weights, d_bias = tangents
    states = gru_states(known, gates, weights, bias)
    before = previous(states)
    recalled = recall(before, weights)
    reset = jax.nn.sigmoid(gates.reset + recalled.reset)
    update = jax.nn.sigmoid(gates.update + recalled.update)
    memory = recalled.candidate + along_last(bias, states)
    candidate = jnp.tanh(gates.candidate + reset * memory)
    to_candidate = (1.0 - update) * (1.0 - candidate**2)
    to_reset = to_candidate * memory * reset * (1.0 - reset)
    to_update = (before - candidate) * update * (1.0 - update)
    to_memory = to_candidate * reset
    coefficients = Gates(to_reset, to_update, to_memory)
    source = combine(Gates(to_reset, to_update, to_candidate), d_gates)
    source = (
        source + combine(coefficients, recall(before, d_weights)) + to_memory * along_last(d_bias, states)
    )
    return states, linear_recurrence(update, coefficients, weights, source)
