"""Preferences between trajectories: the synthetic judge of the paper (Bradley-Terry-Luce; spec section 5.3).

A judge who compares the trajectories u and w prefers u with probability sigma(k (R_u - R_w) / range), R the agent's
own return, k the steepness, and `range` the spread of the returns in the training split. The choice is drawn anew at
every visit of a pair.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

#: pairs per trajectory of a minibatch
PAIRS_PER_TRAJECTORY = 10


def return_range(returns) -> jax.Array:
    """max R - min R, at least a tiny number so that equal returns give even odds.

    Args: `returns` [N].
    """
    return jnp.maximum(returns.max() - returns.min(), 1e-6)


def draw_pairs(key, size: int, pairs: int) -> jax.Array:
    """[2, pairs] int32: uniformly drawn with replacement from `size` trajectories; a pair may be one twice."""
    return jax.random.randint(key, (2, pairs), 0, size)


def margin(returns, pair_index, spread, steepness) -> jax.Array:
    """k (R_u - R_w) / range [P].

    Args: `returns` [B], `pair_index` [2, P] into them, `spread` and `steepness` scalars.
    """
    first, second = returns[pair_index]
    return steepness * (first - second) / spread


def draw_labels(key, margins) -> jax.Array:
    """[P] float32 of +1 (the first is preferred) and -1, drawn with probability sigma(margin)."""
    preferred = jax.random.uniform(key, margins.shape) < jax.nn.sigmoid(margins)
    return jnp.where(preferred, 1.0, -1.0)


def split_sizes(count: int, minibatch: int) -> tuple[int, int]:
    """Whole minibatches for (training, testing): 90 % of them, rounded down, and the rest."""
    batches = count // minibatch
    training = batches * 9 // 10
    return training, batches - training
