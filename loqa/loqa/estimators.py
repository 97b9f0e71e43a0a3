"""Returns, advantages and the opponent's action values as functions of the learner's policy (paper, section 4).

Every array is time-major with any number of trailing axes: `[T, ...]`, usually `[T, B]`. The quantities that carry
the learner's influence are *values* of the opponent's stream of rewards with the *gradient* that the score
function of the learner's policy gives them. `log_probs` are the learner's log-probabilities l_t of the actions
that it took.
"""

import jax
import jax.numpy as jnp
from jax import lax


def magic_box(x: jax.Array) -> jax.Array:
    """exp(x - sg(x)): 1 in value, the gradient of x (DiCE, Foerster et al. 2018)."""
    return jnp.exp(x - lax.stop_gradient(x))


def discounted_sum(values: jax.Array, decay: float) -> jax.Array:
    """y_t = x_t + decay y_{t+1}, y_T = 0, for x `[T, ...]`; one reverse scan, and one forward for its gradient."""

    def step(later, value):
        total = value + decay * later
        return total, total

    return lax.scan(step, jnp.zeros_like(values[0]), values, reverse=True)[1]


def td0_advantage(rewards: jax.Array, values: jax.Array, gamma: float) -> jax.Array:
    """r_t + gamma V_{t+1} - V_t `[T, ...]` from rewards `[T, ...]` and values `[T+1, ...]`. Nothing is stopped."""
    return rewards + gamma * values[1:] - values[:-1]


def mc_advantage(rewards: jax.Array, values: jax.Array, gamma: float) -> jax.Array:
    """R_t - sg(V_t) `[T, ...]`, R_t the discounted sum of the rewards `[T, ...]` from t on; values `[T+1, ...]`."""
    return discounted_sum(rewards, gamma) - lax.stop_gradient(values[:-1])


def loaded_dice_returns(
    op_rewards: jax.Array, log_probs: jax.Array, op_values: jax.Array, gamma: float, lam: float
) -> jax.Array:
    """The opponent's returns G_t, differentiable through the learner's log-probabilities (Loaded DiCE).

        D_t = G_t + Z_t,      Z_t = (G_t - V_t) (l_t - sg l_t) + gamma lambda Z_{t+1},      Z_T = 0

    Z is zero in value, so D = G, and dD_t/dl_k = (gamma lambda)^(k-t) (G_k - V_k) for k >= t, else 0.

    Args:
        op_rewards: `[T, ...]` of the opponent.
        log_probs: `[T, ...]` of the learner.
        op_values: `[T+1, ...]` of the opponent, the baseline V; a constant, and its last entry is not used.

    Returns:
        D `[T, ...]`.
    """
    returns = discounted_sum(op_rewards, gamma)
    surprise = lax.stop_gradient(returns - op_values[:-1])
    influence = surprise * (log_probs - lax.stop_gradient(log_probs))
    return returns + discounted_sum(influence, gamma * lam)


def n_step_values(
    op_rewards: jax.Array, log_probs: jax.Array, op_values: jax.Array, gamma: float, n: int, baseline
) -> jax.Array:
    """The opponent's n-step action values, differentiable through the learner's actions after time t.

        D_t = sum_{j<n} gamma^j [ (s_{t+j} - c) m(l_{t+1} + ... + l_{t+j}) + c ] + gamma^n V_{t+n}

    with m the magic box (empty sum for j = 0: the learner's action at t is simultaneous with the opponent's).

    Args:
        op_rewards, log_probs: `[T, ...]` as in `loaded_dice_returns`; op_values: `[T+1, ...]`, a constant.
        n: look-ahead, at most T.
        baseline: c, a scalar.

    Returns:
        D `[T-n+1, ...]`.
    """
    count = op_rewards.shape[0] - n + 1
    if count < 1:
        raise ValueError(f"{n} steps look past an episode of {op_rewards.shape[0]}")
    op_values = lax.stop_gradient(op_values)
    total = gamma**n * op_values[n : n + count]
    credited = jnp.zeros_like(log_probs[:count])
    for j in range(n):
        if j:
            credited = credited + log_probs[j : j + count]
        reward = op_rewards[j : j + count]
        total = total + gamma**j * ((reward - baseline) * magic_box(credited) + baseline)
    return total
