"""Past episodes for the Q update (spec 5.7): a ring of fixed size, written and drawn from on the device.

The original drew with Python's unseeded `random`; here the draws follow from the seed.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from loqa.ipd.game import Episodes


class EpisodeBuffer(NamedTuple):
    """The last C episodes; episode number n of the run is in slot n modulo C."""

    episodes: Episodes  # [T, C]
    seen: jax.Array  # int32, episodes so far


def empty(steps: int, capacity: int) -> EpisodeBuffer:
    """A buffer without episodes."""
    moves = jnp.zeros((steps, capacity), bool)
    return EpisodeBuffer(Episodes(moves, moves), jnp.zeros((), jnp.int32))


def push(buffer: EpisodeBuffer, new: Episodes) -> EpisodeBuffer:
    """Append all B new episodes [T, B]; the oldest make room."""
    capacity, batch = buffer.episodes.own.shape[1], new.own.shape[1]
    kept = min(batch, capacity)
    slots = (buffer.seen + batch - kept + jnp.arange(kept)) % capacity
    rings = [
        ring.at[:, slots].set(moves[:, batch - kept :])
        for ring, moves in zip(buffer.episodes, new, strict=True)
    ]
    return EpisodeBuffer(Episodes(*rings), buffer.seen + batch)


def draw(buffer: EpisodeBuffer, key: jax.Array, batch: int) -> Episodes:
    """`batch` episodes [T, B], uniform with replacement over those in the buffer."""
    filled = jnp.minimum(buffer.seen, buffer.episodes.own.shape[1])
    slots = jax.random.randint(key, (batch,), 0, filled)
    return Episodes(*(ring[:, slots] for ring in buffer.episodes))
