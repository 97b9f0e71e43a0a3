"""Regression targets and losses of the offline learners (specification, sections 5.1, 5.6 and 5.7).

The team's value is the sum of the agents' (value decomposition): Q_tot(t) = sum_i Q_i(o_i,t, a_i,t). Shapes: `[T, B, n, A]`
for what the networks give to T steps, B sequences, n agents and A actions; `[K, B]` for the K steps that are trained.
"""

import jax
import jax.numpy as jnp
from jax import lax


def chosen(q: jax.Array, actions: jax.Array) -> jax.Array:
    """q[..., a] for each action: `[..., A]` and `[...]` int -> `[...]`. A masked sum: its gradient needs no scatter."""
    assert q.shape[:-1] == actions.shape, f"values {q.shape} and actions {actions.shape}"
    every = jnp.arange(q.shape[-1]).reshape((1,) * actions.ndim + (-1,))
    return jnp.sum(jnp.where(actions[..., None] == every, q, 0.0), axis=-1)


def team_value(q: jax.Array, actions: jax.Array) -> jax.Array:
    """Q_tot of these actions: `[T, B, n, A]` and `[T, B, n]` -> `[T, B]`."""
    return jnp.sum(chosen(q, actions), axis=-1)


def double_q_value(online: jax.Array, target: jax.Array, actions: jax.Array) -> jax.Array:
    """V_t = sum_i Q-_i(o_t, argmax_a Q_i(o_t, a)), `[T, B]`: the online network chooses, the target one values.

    `actions`, the dataset's, play no part.
    """
    del actions
    return team_value(target, jnp.argmax(online, axis=-1))


def dataset_value(online: jax.Array, target: jax.Array, actions: jax.Array) -> jax.Array:
    """V_t = sum_i Q-_i(o_t, a_i,t), `[T, B]`: the value of what the data's own policy did (`online` plays no part)."""
    del online
    return team_value(target, actions)


def one_step(rewards: jax.Array, dones: jax.Array, next_values: jax.Array, gamma: float) -> jax.Array:
    """R_t + gamma (1 - done_t) V_{t+1}, all `[K, B]`."""
    assert rewards.shape == dones.shape == next_values.shape, "targets"
    return rewards + gamma * jnp.where(dones, 0.0, next_values)


def td_lambda(rewards, dones, next_values, last: jax.Array, gamma: float, lambda_: float) -> jax.Array:
    """G_t = R_t where done_t, else R_t + gamma [(1 - lambda) V_{t+1} + lambda G_{t+1}], `[K, B]`.

    Args:
        rewards, dones, next_values: R_t, done_t and V_{t+1} of the K steps, `[K, B]`.
        last: G_K, what the recursion starts from, `[B]`.
    """
    assert rewards.shape == dones.shape == next_values.shape, "targets"
    assert last.shape == rewards.shape[1:], "the recursion's start"

    def back(later, step):
        reward, done, value = step
        target = reward + gamma * jnp.where(done, 0.0, (1.0 - lambda_) * value + lambda_ * later)
        return target, target

    return lax.scan(back, last, (rewards, dones, next_values), reverse=True)[1]


def squared_error(values: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean of (Q - G)^2 over steps and batch; the target is a constant."""
    return jnp.mean((values - lax.stop_gradient(targets)) ** 2)


def half_squared_error(values: jax.Array, targets: jax.Array) -> jax.Array:
    """Half the mean square, which goes with the TD(lambda) target (section 5.1)."""
    return 0.5 * squared_error(values, targets)


def expectile_error(values: jax.Array, targets: jax.Array, tau: float) -> jax.Array:
    """Mean of |tau - [target <= Q]| (Q - G)^2: an error counts tau where the target is higher and 1 - tau elsewhere."""
    error = lax.stop_gradient(targets) - values
    return jnp.mean(jnp.where(error > 0, tau, 1.0 - tau) * error**2)
