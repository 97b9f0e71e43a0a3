"""Estimators of the sampled games: advantages, loaded DiCE, value loss, policy divergence (paper, appendix A).

Arrays are time-major, [T, B]. Sums over time are written as products with a small constant [T, T] matrix: one
operation instead of a scan, and differentiable as often as needed.
"""

import jax
import jax.numpy as jnp
import numpy as np

from pola.dice.recurrence import matmul


def later_weights(steps: int, factor: float) -> np.ndarray:
    """Matrix [T, T] with factor^(k - t) where k >= t, else 0: row t sums the discounted future."""
    ahead = np.arange(steps)[None, :] - np.arange(steps)[:, None]
    return np.where(ahead >= 0, float(factor) ** np.maximum(ahead, 0), 0.0).astype(np.float32)


def _over_time(matrix: np.ndarray, array: jax.Array) -> jax.Array:
    return matmul(jnp.asarray(matrix), array)


def discounts(steps: int, gamma: float) -> np.ndarray:
    """gamma^t for t = 0 ... T - 1 as a column [T, 1]."""
    return (float(gamma) ** np.arange(steps)).astype(np.float32)[:, None]


def advantages(rewards, values, end_value, gamma: float, gae_lambda: float) -> jax.Array:
    """Generalised advantage estimates.

    delta_t = r_t + gamma v_{t+1} - v_t, A_t = sum over k of (gamma lambda)^k delta_{t+k}; values are constants.
    Args: `rewards`, `values` [T, B], `end_value` [B] of the observation after the last step.
    """
    steps, batch = rewards.shape
    assert values.shape == (steps, batch) and end_value.shape == (batch,)
    values, end_value = jax.lax.stop_gradient((values, end_value))
    following = jnp.concatenate([values[1:], end_value[None]], axis=0)
    return _over_time(later_weights(steps, gamma * gae_lambda), rewards + gamma * following - values)


def magic_box(exponent: jax.Array) -> jax.Array:
    """exp(x - stop(x)): value 1, derivative that of x (DiCE, Foerster et al. 2018, eq. 4)."""
    return jnp.exp(exponent - jax.lax.stop_gradient(exponent))


def dice_objective(self_logprobs, other_logprobs, weights, gamma: float, loaded: bool = True) -> jax.Array:
    """DiCE objective, a scalar to be maximised; only its derivatives mean anything.

    Loaded (Farquhar et al. 2019): mean over episodes of sum_t gamma^t A_t (box(c_t) - box(c_tm1)), with
    c_t = sum over s <= t of both players' log-probabilities. Otherwise: sum_t gamma^t r_t box(c_t).
    Args: log-probabilities [T, B] of the sampled actions; `weights` [T, B], advantages (loaded) or rewards.
    """
    steps, batch = weights.shape
    assert self_logprobs.shape == other_logprobs.shape == (steps, batch)
    both = self_logprobs + other_logprobs
    upto = _over_time(later_weights(steps, 1.0).T, both)
    per_step = discounts(steps, gamma) * jax.lax.stop_gradient(weights)
    boxes = magic_box(upto) - magic_box(upto - both) if loaded else magic_box(upto)
    return jnp.sum(per_step * boxes) / batch


def value_loss(rewards, values, end_value, gamma: float) -> jax.Array:
    """Squared error of `values` [T, B] against bootstrapped returns: summed over time, averaged over episodes."""
    steps, batch = rewards.shape
    assert values.shape == (steps, batch) and end_value.shape == (batch,)
    returns = _over_time(later_weights(steps, gamma), rewards)
    to_end = (float(gamma) ** np.arange(steps, 0, -1)).astype(np.float32)[:, None]
    targets = returns + to_end * jax.lax.stop_gradient(end_value)[None]
    return jnp.sum((targets - values) ** 2) / batch


def policy_divergence(reference, current, reverse: bool = False) -> jax.Array:
    """Mean over time and episodes of KL(reference || current), or of KL(current || reference) if `reverse`.

    Args: log-probabilities [T, B, A]. From log-softmax, so a saturated policy gives a finite number.
    """
    assert reference.shape == current.shape and reference.ndim == 3
    first, second = (current, reference) if reverse else (reference, current)
    # DEVIATION(Q3): the original took logarithms of softmax probabilities, NaN once one of them is 0
    return jnp.sum(jnp.exp(first) * (first - second)) / (reference.shape[0] * reference.shape[1])


def chosen(logprobs: jax.Array, actions: jax.Array) -> jax.Array:
    """Log-probability of the taken action, [T, B, A] and int [T, B] -> [T, B]."""
    return jnp.sum(logprobs * jax.nn.one_hot(actions, logprobs.shape[-1]), axis=-1)


def cross_entropy(logprobs: jax.Array, actions: jax.Array) -> jax.Array:
    """Mean over time and episodes of -log pi(action)."""
    return -jnp.mean(chosen(logprobs, actions))
