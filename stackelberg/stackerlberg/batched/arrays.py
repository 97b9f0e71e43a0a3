"""Small array operations with the lanes last.

Every array of this package ends in an axis of N *lanes*: C conditions times S seeds, lane ``c * S + s``. Everything
before that axis is tiny (three observations, two actions, eight steps), so an operation on all lanes is one straight
loop over neighbouring memory. Tables are looked up by comparing with each observation, which for a handful of
observations beats a gather.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

#: from so many different codes on, sums are scattered instead of compared
SCATTER_FROM = 12


def ranked(values: Array, rank: int) -> Array:
    """`values` with as many axes, new ones in front: what NumPy would do in silence, said."""
    return jax.lax.broadcast_to_rank(values, rank)


def lookup(table: Array, index: Array) -> Array:
    """``table[index]`` where both end in lanes: table [K, ..., N], index [..., N] -> [..., N]."""
    found = table[0]
    for k in range(1, table.shape[0]):
        found = jnp.where(index == k, table[k], found)
    return jnp.broadcast_to(found, jnp.broadcast_shapes(found.shape, index.shape))


def sums_by_code(codes: Array, weights: Array, count: int) -> Array:
    """Sum of `weights` over all samples with the same code, per lane.

    Args:
        codes: [T, E, N] integers below `count`.
        weights: [T, E, N].

    Returns:
        [count, N].
    """
    if count < SCATTER_FROM:
        return jnp.stack([jnp.where(codes == k, weights, 0.0).sum((0, 1)) for k in range(count)])
    lanes = jnp.broadcast_to(jnp.arange(codes.shape[-1]), codes.shape)
    return jnp.zeros((count, codes.shape[-1]), weights.dtype).at[codes, lanes].add(weights)


def reward_to_go(rewards: Array) -> Array:
    """R_t, the sum of a sample's own and all later rewards of its episode (gamma 1): [T, ..., N] -> [T, ..., N]."""
    return jnp.cumsum(rewards[::-1], axis=0)[::-1]


def cumulative(probabilities: Array) -> Array:
    """Upper ends of all actions' intervals but the last: [A, ..., N] -> [A - 1, ..., N]."""
    return jnp.cumsum(probabilities, axis=0)[:-1]


def choose(ends: Array, chance: Array) -> Array:
    """The action whose interval holds `chance`: ends [A - 1, ..., N], chance [..., N] in [0, 1) -> int32 [..., N]."""
    return (ranked(chance, ends.ndim) >= ends).sum(0, dtype=jnp.int32)


def greedy(values: Array) -> Array:
    """The first best action: [A, ..., N] -> int32 [..., N]."""
    return jnp.argmax(values, axis=0).astype(jnp.int32)


def greedy_ends(values: Array) -> Array:
    """`cumulative` of the policy that always takes the first best action: [A, ..., N] -> [A - 1, ..., N]."""
    best = greedy(values)
    return jnp.stack([(best <= a).astype(jnp.float32) for a in range(values.shape[0] - 1)])


def uniform(keys: Array, shape: tuple[int, ...], lanes: int) -> Array:
    """Uniform numbers in [0, 1), drawn per seed and shared by its conditions: keys [S] -> [*shape, lanes]."""
    return _spread(jax.vmap(lambda key: jax.random.uniform(key, shape), out_axes=-1)(keys), lanes)


def normal(keys: Array, shape: tuple[int, ...], lanes: int) -> Array:
    """Standard normal numbers, drawn per seed and shared by its conditions: keys [S] -> [*shape, lanes]."""
    return _spread(jax.vmap(lambda key: jax.random.normal(key, shape), out_axes=-1)(keys), lanes)


def _spread(drawn: Array, lanes: int) -> Array:
    return jnp.tile(drawn, lanes // drawn.shape[-1])


def fold(keys: Array, number) -> Array:
    """New keys for a purpose or an iteration: keys [S], a number -> [S]."""
    return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)
