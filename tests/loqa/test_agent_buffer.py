"""The ring of past agents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loqa import agent_buffer


def agent(number):
    return {"a": jnp.full((2,), float(number)), "b": {"c": jnp.float32(number)}}


def filled(length, pushes):
    buffer = agent_buffer.empty(agent(0), length)
    for number in range(pushes):
        buffer = agent_buffer.push(buffer, agent(number), jnp.bool_(True))
        buffer = agent_buffer.push(buffer, agent(-1), jnp.bool_(False))
    return buffer


@settings(max_examples=20)
@given(st.integers(1, 5), st.integers(1, 12), st.integers(0, 2**31))
def test_only_the_newest_agents_are_drawn(length, pushes, seed):
    buffer = filled(length, pushes)
    drawn = agent_buffer.take(buffer, agent_buffer.draw(buffer, jax.random.PRNGKey(seed), 200))
    numbers = set(drawn["b"]["c"].tolist())
    newest = set(range(max(0, pushes - length), pushes))
    assert numbers <= newest
    assert numbers == newest or len(newest) > 3  # 200 draws miss one of 3 with a probability below 1e-30
    np.testing.assert_array_equal(drawn["a"], np.stack([drawn["b"]["c"]] * 2, axis=-1))


def test_draws_are_uniform():
    buffer = filled(6, 9)
    numbers = agent_buffer.take(buffer, agent_buffer.draw(buffer, jax.random.PRNGKey(0), 12_000))["b"]["c"]
    counts = np.bincount(np.asarray(numbers, int), minlength=9)[3:]
    assert ((counts - 2000) ** 2 / 2000).sum() < 20.5  # 99.9 % point, 5 degrees of freedom


def test_the_same_draws_with_any_ring_that_is_long_enough():
    """The draws count from the oldest agent: slots beyond the run's length change nothing."""
    key = jax.random.PRNGKey(4)
    drawn = []
    for length in (7, 8, 20):
        buffer = filled(length, 7)
        drawn.append(agent_buffer.take(buffer, agent_buffer.draw(buffer, key, 50))["b"]["c"])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], drawn[2])


@pytest.mark.parametrize(
    "capacity, every, last, slots",
    [(10_000, 10, 6000, 601), (7, 2, 6000, 7), (100, 10, 9, 1), (100, 10, 10, 2)],
)
def test_no_slot_that_a_run_cannot_fill(capacity, every, last, slots):
    assert agent_buffer.slots(capacity, every, last) == slots
    assert slots <= sum(iteration % every == 0 for iteration in range(last + 1))


def test_share_of_current_agents():
    assert [agent_buffer.current(5, share) for share in (0.0, 0.5, 1.0)] == [0, 2, 5]
