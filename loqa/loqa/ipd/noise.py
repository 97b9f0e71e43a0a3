"""The randomness of an episode, drawn before it is played.

A player of two actions needs one number per step: how much chance prefers cooperation. It defects when the policy's
preference for defection, log pi(D) - log pi(C), is larger. Logistic noise makes this the policy itself (it is the
difference of the two Gumbel draws of a categorical sample), and +-infinity is a move that exploration makes for it.
"""

from __future__ import annotations

from zlib import crc32

import jax
import jax.numpy as jnp


def scope(key: jax.Array, name: str) -> jax.Array:
    """The key of a named stream (spec 3.3)."""
    return jax.random.fold_in(key, crc32(name.encode()))


def _recorded_step(key: jax.Array, epsilon: float) -> jax.Array:
    """[2] of one step of one episode, draw by draw as the original's memory-one agents."""
    key, *policy_keys = jax.random.split(key, 3)
    _, move0, keep0, move1, keep1 = jax.random.split(key, 5)

    def one(policy_key, move_key, keep_key):
        cooperate, defect = jax.random.gumbel(policy_key, (2,))
        forced = jnp.where(jax.random.randint(move_key, (), 0, 2) == 0, jnp.inf, -jnp.inf)
        return jnp.where(jax.random.bernoulli(keep_key, 1 - epsilon), cooperate - defect, forced)

    return jax.vmap(one)(*map(jnp.stack, (policy_keys, (move0, move1), (keep0, keep1))))


def _recorded_recurrent_step(key: jax.Array, epsilon: float) -> jax.Array:
    """The same of the recurrent agents, which never explore."""
    del epsilon
    draws = jax.vmap(lambda each: jax.random.gumbel(each, (2,)))(jax.random.split(key))
    return draws[:, 0] - draws[:, 1]


def recorded(key: jax.Array, steps: int, batch: int, epsilon: float, memory_one: bool) -> jax.Array:
    """Noise [T, 2, B] by seat, from the very draws of the original (spec 3.3; non-partitionable threefry)."""
    step = _recorded_step if memory_one else _recorded_recurrent_step

    def episode(episode_key):
        _, play_key = jax.random.split(scope(episode_key, "play_rng"))
        return jax.vmap(lambda each: step(each, epsilon))(jax.random.split(play_key, steps))

    return jax.vmap(episode, out_axes=-1)(jax.random.split(key, batch + 1)[1:])


def fresh(key: jax.Array, steps: int, batch: int, epsilon: float) -> jax.Array:
    """Noise [T, 2, B] of the same distribution from one uniform draw per move, for `hp.rng_mode=fresh`."""
    chance = jax.random.uniform(key, (steps, 2, batch), minval=jnp.finfo(jnp.float32).tiny)
    forced = jnp.where(chance < epsilon / 2, jnp.inf, -jnp.inf)
    rest = (chance - epsilon) / max(1 - epsilon, 1e-6)
    preference = jnp.log(rest) - jnp.log1p(-rest)
    return jnp.where(chance < epsilon, forced, preference)
