"""GRU over a known sequence, with derivatives of every order that cost one small matrix product per time step.

The GRU is h_t = f(g_t, h_tm1), g_t the input side of the three gates (reset, update, candidate):

    r = sigmoid(g_r + h_tm1 W_r)      z = sigmoid(g_z + h_tm1 W_z)
    n = tanh(g_n + r (h_tm1 W_n + b_n))      h_t = (1 - z) n + z h_tm1

Its tangent is a linear recurrence, dh_t = z dh_tm1 + sum over gates of c (dh_tm1 W) + u_t. Once the states are
known (a rollout has them), c, z and u are computed for all time steps at once, in large matrix products, and
only the linear recurrence is left to the scan. The tangent of a linear recurrence is the same recurrence with
another u, so differentiating again costs no more per step; reverse mode is the transposed recurrence, which
JAX derives.
"""

import jax
import jax.numpy as jnp
from jax import lax

PRECISION = lax.Precision.HIGHEST


def matmul(left: jax.Array, right: jax.Array) -> jax.Array:
    """[..., K] times [K, N] in full float32, whatever the device's default."""
    return jnp.matmul(left, right, precision=PRECISION)


def along_last(vector: jax.Array, like: jax.Array) -> jax.Array:
    """`vector` [N] with as many leading axes as `like` [..., N] has (ranks are never promoted silently)."""
    return vector.reshape((1,) * (like.ndim - 1) + vector.shape)


def previous(states: jax.Array) -> jax.Array:
    """States [T, B, H] moved one step into the past, zero at the start."""
    return jnp.concatenate([jnp.zeros_like(states[:1]), states[:-1]], axis=0)


def sum_gates(gates: jax.Array) -> jax.Array:
    """Sum of the three gates' parts, [..., 3H] -> [..., H]."""
    first, second, third = jnp.split(gates, 3, axis=-1)
    return first + second + third


def gru_step(gates: jax.Array, state: jax.Array, weights: jax.Array, bias: jax.Array) -> jax.Array:
    """One step.

    Args: `gates` [B, 3H] input side, `state` [B, H], `weights` [H, 3H] recurrent, `bias` [H] of the candidate.
    Returns: the next state [B, H].
    """
    recurrent = matmul(state, weights)
    size = state.shape[-1]
    reset_update = jax.nn.sigmoid(gates[..., : 2 * size] + recurrent[..., : 2 * size])
    reset, update = jnp.split(reset_update, 2, axis=-1)
    candidate = jnp.tanh(
        gates[..., 2 * size :] + reset * (recurrent[..., 2 * size :] + along_last(bias, state))
    )
    return (1.0 - update) * candidate + update * state


def gru_scan(gates: jax.Array, weights: jax.Array, bias: jax.Array) -> jax.Array:
    """States [T, B, H] from zero, by the plain recurrence, for gates [T, B, 3H]."""

    def step(state, gates_t):
        state = gru_step(gates_t, state, weights, bias)
        return state, state

    start = jnp.zeros((gates.shape[1], weights.shape[0]), gates.dtype)
    return lax.scan(step, start, gates)[1]


@jax.custom_jvp
def linear_recurrence(decay, coefficients, weights, source):
    """y_t = decay_t y_tm1 + sum over gates of coefficients_t (y_tm1 weights) + source_t, from y = 0.

    Args: `decay` and `source` [T, B, H], `coefficients` [T, B, 3H], `weights` [H, 3H].
    Returns: y [T, B, H].
    """

    def step(state, inputs):
        decay_t, coefficients_t, source_t = inputs
        state = decay_t * state + sum_gates(coefficients_t * matmul(state, weights)) + source_t
        return state, state

    return lax.scan(step, jnp.zeros_like(source[0]), (decay, coefficients, source))[1]


@linear_recurrence.defjvp
def _linear_recurrence_tangent(primals, tangents):
    decay, coefficients, weights, source = primals
    d_decay, d_coefficients, d_weights, d_source = tangents
    states = linear_recurrence(decay, coefficients, weights, source)
    before = previous(states)
    d_source = d_source + d_decay * before
    d_source = d_source + sum_gates(d_coefficients * matmul(before, weights))
    d_source = d_source + sum_gates(coefficients * matmul(before, d_weights))
    return states, linear_recurrence(decay, coefficients, weights, d_source)


@jax.custom_jvp
def gru_states(known, gates, weights, bias):
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
    size = states.shape[-1]
    recurrent = matmul(before, weights)
    reset_update = jax.nn.sigmoid(gates[..., : 2 * size] + recurrent[..., : 2 * size])
    reset, update = jnp.split(reset_update, 2, axis=-1)
    recalled = recurrent[..., 2 * size :] + along_last(bias, states)
    candidate = jnp.tanh(gates[..., 2 * size :] + reset * recalled)
    to_candidate = (1.0 - update) * (1.0 - candidate**2)
    to_reset = to_candidate * recalled * reset * (1.0 - reset)
    to_update = (before - candidate) * update * (1.0 - update)
    to_recalled = to_candidate * reset
    coefficients = jnp.concatenate([to_reset, to_update, to_recalled], axis=-1)
    input_side = jnp.concatenate([to_reset, to_update, to_candidate], axis=-1)
    source = sum_gates(input_side * d_gates) + sum_gates(coefficients * matmul(before, d_weights))
    source = source + to_recalled * along_last(d_bias, states)
    return states, linear_recurrence(update, coefficients, weights, source)
