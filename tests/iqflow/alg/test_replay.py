"""Replay: what is drawn was put in, without repeats, with its own successor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iqflow.alg import replay


def episode(start, length, steps):
    """Records (number, is last) of an episode that starts at `start`, padded to `steps`."""
    number = np.arange(start, start + steps, dtype=np.int32)
    last = (np.arange(steps) == length - 1).astype(np.float32)
    return {"number": number, "done": last}, (np.arange(steps) < length).astype(np.float32)


def filled(slots, lengths, steps=5):
    buffer = replay.empty({"number": jnp.int32(0), "done": jnp.float32(0)}, slots)
    start, insert = 0, jax.jit(replay.insert)
    for length in lengths:
        buffer = insert(buffer, *episode(start, length, steps))
        start += length
    return buffer, start


@pytest.mark.parametrize("slots", [12, 13, 40])
def test_holds_the_newest_steps_with_their_successors(slots):
    buffer, total = filled(slots, [5, 3, 1, 4, 5, 2, 5])
    size = min(slots, total)
    assert int(buffer.size) == size
    records, following = replay.take(buffer, jnp.arange(size))
    assert set(np.asarray(records["number"])) == set(range(total - size, total))
    inside = np.asarray(records["done"]) == 0
    np.testing.assert_array_equal(following["number"][inside], records["number"][inside] + 1)


def test_an_episode_longer_than_the_buffer_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        filled(4, [5])


def test_slots_are_never_more_than_needed():
    assert replay.slots(10**6, 50_000) == 50_000
    assert replay.slots(100, 50_000) == 100


def test_draws_are_distinct_and_uniform():
    """Every ordered pair of the 30 of (6 choose 3) * 3! draws comes equally often at every two places."""
    draw = jax.jit(jax.vmap(lambda key: replay.distinct(key, 6, 3)))
    drawn = np.asarray(draw(jax.random.split(jax.random.key(0), 60_000)))
    assert drawn.min() == 0 and drawn.max() == 5
    codes = drawn @ np.array([36, 6, 1])
    found, counts = np.unique(codes, return_counts=True)
    assert len(found) == 120  # all orders of all triples, and nothing with a repeat
    chi_square = np.sum((counts - 500.0) ** 2 / 500.0)
    assert chi_square < 119 + 5 * np.sqrt(2 * 119)


@pytest.mark.parametrize("size", [128, 129, 200, 10**6])
def test_large_draws_have_no_repeats(size):
    drawn = np.asarray(jax.jit(replay.distinct, static_argnums=2)(jax.random.key(1), size, 128))
    assert len(set(drawn)) == 128
    assert drawn.min() >= 0 and drawn.max() < size
