"""Escape Room: recorded episodes, rules by hand, properties, bad sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.cli import UserError
from iqflow.env.escape_room import DOOR, LEVER, START, EscapeRoom, EscapeState

KEY = jax.random.PRNGKey(0)


@pytest.mark.golden("er_*.npz")
def test_recorded_episodes(recorded):
    n, m = int(recorded["n_agents"]), int(recorded["min_at_lever"])
    env = EscapeRoom(n, m, max_steps=5)
    before = EscapeState(jnp.asarray(recorded["state"]), jnp.asarray(recorded["t"], jnp.int32))
    np.testing.assert_array_equal(jax.vmap(env.observe)(before), recorded["obs"])
    actions = jnp.asarray(recorded["action"], jnp.int32)
    after, seen, rewards, done, _ = jax.jit(jax.vmap(env.step, in_axes=(None, 0, 0)))(KEY, before, actions)
    np.testing.assert_array_equal(after.position, recorded["next_state"])
    np.testing.assert_array_equal(seen, recorded["next_obs"])
    np.testing.assert_array_equal(rewards, recorded["reward"])
    np.testing.assert_array_equal(done, recorded["done"])
    first = recorded["t"] == 0
    start, _ = env.reset(KEY)
    np.testing.assert_array_equal(recorded["state"][first], [np.asarray(start.position)] * first.sum())


@pytest.mark.parametrize(
    ("places", "actions", "rewards", "escaped"),
    [
        ((START, START, START), (LEVER, DOOR, DOOR), (-1, 10, 10), True),
        ((LEVER, DOOR, START), (LEVER, DOOR, START), (0, 10, 0), True),  # staying where one is
        ((START, DOOR, DOOR), (START, DOOR, LEVER), (0, 10, -1), True),  # the lever opens in the same step
        ((START, DOOR, START), (START, DOOR, DOOR), (0, 0, -1), False),  # closed: waiting at the door is free
        ((LEVER, START, DOOR), (START, LEVER, START), (-1, -1, -1), False),  # open, but nobody leaves
    ],
)
def test_rewards_by_hand(places, actions, rewards, escaped):
    env = EscapeRoom(3, 1)
    state = EscapeState(jnp.array(places, jnp.uint8), jnp.int32(0))
    after, _, got, done, info = env.step(KEY, state, jnp.array(actions))
    np.testing.assert_array_equal(got, rewards)
    np.testing.assert_array_equal(after.position, actions)
    assert bool(done) == bool(info.escaped) == escaped


def test_the_time_limit_ends_the_game():
    env = EscapeRoom(2, 1, max_steps=2)
    state, _ = env.reset(KEY)
    stay = jnp.array([START, START])
    state, _, _, first, _ = env.step(KEY, state, stay)
    state, _, _, second, info = env.step(KEY, state, stay)
    assert (bool(first), bool(second), bool(info.escaped)) == (False, True, False)


@pytest.mark.parametrize(("n", "m", "best"), [(5, 2, 28), (10, 5, 45), (2, 1, 9)])
def test_the_optimum_is_paid_for_everybody_acting_once(n, m, best):
    env = EscapeRoom(n, m)
    state, _ = env.reset(KEY)
    _, _, rewards, done, _ = env.step(KEY, state, jnp.array([LEVER] * m + [DOOR] * (n - m)))
    assert float(rewards.sum()) == env.optimum == best and bool(done)


@pytest.mark.parametrize(("n", "m"), [(2, 1), (3, 2)])
def test_no_single_step_pays_more_than_the_optimum(n, m):
    env = EscapeRoom(n, m)
    grid = jnp.stack(jnp.meshgrid(*[jnp.arange(3)] * (2 * n), indexing="ij"), -1).reshape(-1, 2 * n)
    states = EscapeState(grid[:, :n].astype(jnp.uint8), jnp.zeros(len(grid), jnp.int32))
    rewards = jax.vmap(env.step, in_axes=(None, 0, 0))(KEY, states, grid[:, n:])[2]
    from_start = (grid[:, :n] == START).all(-1)
    assert float(rewards.sum(-1)[from_start].max()) == env.optimum


@functools.cache
def compiled(env):
    return jax.jit(env.step)


@st.composite
def situations(draw):
    n, m = draw(st.sampled_from(((1, 1), (2, 1), (3, 2), (6, 3))))
    place = st.lists(st.integers(0, 2), min_size=n, max_size=n)
    return EscapeRoom(n, m), draw(place), draw(place), draw(st.permutations(range(n)))


@settings(max_examples=60)
@given(situations())
def test_permuting_agents_permutes_everything(situation):
    env, places, actions, order = situation
    order = np.array(order)

    def step(places, actions):
        state = EscapeState(np.array(places, np.uint8), np.int32(0))
        return compiled(env)(KEY, state, np.array(actions))

    after, seen, rewards, done, _ = step(places, actions)
    moved, seen_moved, rewards_moved, done_moved, _ = step(np.array(places)[order], np.array(actions)[order])
    np.testing.assert_array_equal(rewards_moved, rewards[order])
    np.testing.assert_array_equal(moved.position, after.position[order])
    assert bool(done) == bool(done_moved)
    np.testing.assert_array_equal(seen_moved[:, :3], seen[order, :3])
    np.testing.assert_array_equal(seen_moved.sum((0, 1)), seen.sum((0, 1)))
    assert set(np.asarray(rewards).tolist()) <= {10.0, 0.0, -1.0}


def test_observations_by_hand():
    env = EscapeRoom(3, 1)
    lever, start, door = [1, 0, 0], [0, 1, 0], [0, 0, 1]
    seen = env.observe(EscapeState(jnp.array([LEVER, START, DOOR], jnp.uint8), jnp.int32(0)))
    expected = [lever + start + door, start + lever + door, door + lever + start]
    np.testing.assert_array_equal(seen, expected)


def test_random_starts_are_uniform():
    env = EscapeRoom(4, 2, randomize=True)
    states, _ = jax.vmap(env.reset)(jax.random.split(KEY, 3000))
    counts = np.bincount(np.asarray(states.position).ravel(), minlength=3)
    assert np.all(np.abs(counts / 12000 - 1 / 3) < 0.02)
    together = np.asarray(states.position[:, 0] == states.position[:, 1]).mean()
    assert abs(together - 1 / 3) < 0.04  # independent


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"n_agents": 0}, "n_agents is 0"),
        ({"min_at_lever": 6}, "min_at_lever is 6; with 5 agents it has to be 1 to 5"),
        ({"min_at_lever": 0}, "min_at_lever is 0"),
        ({"max_steps": 0}, "max_steps is 0"),
    ],
)
def test_bad_sizes(wrong, named):
    with pytest.raises(UserError, match=named):
        EscapeRoom(**wrong)
