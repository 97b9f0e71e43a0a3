"""Replay of compact states: uniform, circular, drawn without replacement (spec 5.3, 7.13, 7.14).

    slots = replay.slots(capacity, n_episodes * max_steps)
    buffer = replay.empty(record, slots)                  # `record`: a tree like one step, without leading axis
    buffer = replay.insert(buffer, records, valid)        # one episode: leaves [T, ...], valid [T]
    picked = replay.draw(key, buffer, 128)                # distinct slots, int32 [128], in random order
    records, following = replay.take(buffer, picked)      # the steps, and the steps after them

A record is any tree of arrays; store what the observations can be drawn from, in small integer types. The state after a
step is the next record's: it is not stored twice, and after the last step of an episode, where none exists, `following`
is another episode's. Learning multiplies it by (1 - done), and an episode always ends with done = 1.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Buffer(NamedTuple):
    """A ring of records."""

    records: Any  # leaves [slots, ...]
    position: jax.Array  # int32, the slot that is written next
    size: jax.Array  # int32, slots in use


def slots(capacity: int, most_steps: int) -> int:
    """Slots of a run that makes at most `most_steps` environment steps: never more than it can fill."""
    # DEVIATION(Q13): compact states and only as many slots as needed; the original keeps two float32 observations per step
    return min(capacity, most_steps)


def empty(record: Any, slots: int) -> Buffer:
    """A buffer without records for trees like `record`."""
    records = jax.tree.map(lambda leaf: jnp.zeros((slots, *jnp.shape(leaf)), jnp.result_type(leaf)), record)
    return Buffer(records, jnp.int32(0), jnp.int32(0))


def insert(buffer: Buffer, records: Any, valid: jax.Array) -> Buffer:
    """Add the first sum(valid) steps of an episode, oldest records first out.

    Args:
        records: leaves [T, ...], T at most the number of slots; valid: [T], ones and then zeros.
    """
    length = _length(buffer)
    steps = valid.shape[0]
    if steps > length:
        raise ValueError(f"an episode of {steps} steps does not fit into {length} slots")
    count = jnp.sum(valid > 0, dtype=jnp.int32)
    # DEVIATION(Q14): the ring goes on at its start; the original fails unless episodes divide the capacity
    places = (buffer.position + jnp.arange(steps)) % length
    places = jnp.where(valid > 0, places, length)

    def write(ring, new):
        return ring.at[places].set(new.astype(ring.dtype), mode="drop", unique_indices=False)

    return Buffer(
        jax.tree.map(write, buffer.records, records),
        (buffer.position + count) % length,
        jnp.minimum(buffer.size + count, length),
    )


def draw(key: jax.Array, buffer: Buffer, count: int) -> jax.Array:
    """`count` distinct slots in use, uniform over sets and orders, int32 [count]. Needs size >= count."""
    return distinct(key, buffer.size, count)


def distinct(key: jax.Array, size: jax.Array, count: int) -> jax.Array:
    """`count` distinct integers below `size` (traced, at least `count`), uniform over sets and orders.

    Floyd's algorithm without its loop. Draw j takes t_j uniform in 0 .. T_j with T_j = size - count + j, or T_j itself
    if t_j is taken. It is taken if it repeats an earlier t_i, or if it is T_i of an earlier i whose own draw was taken:
    a chain of earlier draws, followed by doubling.
    """
    pick_key, order_key = jax.random.split(key)
    last = size - count + jnp.arange(count)
    tried = jax.random.randint(pick_key, (count,), 0, last + 1)
    earlier = jnp.tri(count, k=-1, dtype=bool)
    taken = jnp.any((tried[:, None] == tried[None, :]) & earlier, axis=1)
    link = tried - (size - count)
    own = jnp.arange(count)
    link = jnp.where((link >= 0) & (link < own), link, own)
    for _ in range(max(count - 1, 1).bit_length()):
        taken, link = taken | taken[link], link[link]
    return jax.random.permutation(order_key, jnp.where(taken, last, tried)).astype(jnp.int32)


def take(buffer: Buffer, picked: jax.Array) -> tuple[Any, Any]:
    """The records in slots [n] and those after them: two trees with leading axis [n]."""
    following = (picked + 1) % _length(buffer)
    return tuple(jax.tree.map(lambda ring, at=at: ring[at], buffer.records) for at in (picked, following))


def _length(buffer: Buffer) -> int:
    return jax.tree.leaves(buffer.records)[0].shape[0]
