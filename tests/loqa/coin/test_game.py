"""The rules, the recorded traces, and what must hold on any board."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loqa.coin.game import CoinGame, GameState, scope

OWNER, OTHER, BOTH = "owner", "other", "both"


def trace_state(game, recorded, time):
    players = game.cell(jnp.asarray(recorded["players_pos"][time]))
    coin = game.cell(jnp.asarray(recorded["coin_pos"][time]))
    owner = jnp.asarray(recorded["coin_owner"][time], jnp.int32)
    return GameState(players, coin, owner, jnp.asarray(recorded["prev_coin_takers"][time]))


@pytest.mark.golden("coin_trace_*.npz")
def test_recorded_trace_step_by_step(recorded, case):
    """All steps at once, each from its recorded state; the new coin is compared where none was taken."""
    game = CoinGame(int(recorded["height"]), int(recorded["width"]))
    before = trace_state(game, recorded, slice(None, -1))
    after = trace_state(game, recorded, slice(1, None))
    found, rewards = game.play(
        before, jnp.asarray(recorded["actions"], jnp.int32), jnp.zeros(len(before.coin))
    )
    np.testing.assert_array_equal(rewards, recorded["rewards"])
    for name in ("players", "owner", "takers"):
        np.testing.assert_array_equal(getattr(found, name), getattr(after, name))
    taken = before.owner != after.owner
    np.testing.assert_array_equal(np.where(taken, after.coin, found.coin), after.coin)
    seen = game.observe(trace_state(game, recorded, slice(None)))
    np.testing.assert_array_equal(seen, recorded["obs"])


@pytest.mark.golden("coin_trace_*.npz")
def test_recorded_trace_from_its_key(original_streams, recorded, case):
    game = CoinGame(int(recorded["height"]), int(recorded["width"]))

    @jax.jit
    def play(key, actions):
        def step(carry, action):
            state, key = carry
            following, rewards, kept = game.step(state, key, action)
            return (following, kept), (state, key, rewards)

        last, (states, keys, rewards) = jax.lax.scan(step, game.reset(key), actions)
        whole = jax.tree.map(lambda path, end: jnp.concatenate([path, end[None]]), (states, keys), last)
        return *whole, rewards

    states, keys, rewards = play(jnp.asarray(recorded["key"]), jnp.asarray(recorded["actions"], jnp.int32))
    np.testing.assert_array_equal(game.position(states.players), recorded["players_pos"])
    np.testing.assert_array_equal(game.position(states.coin), recorded["coin_pos"])
    np.testing.assert_array_equal(states.owner, recorded["coin_owner"])
    np.testing.assert_array_equal(keys, recorded["rng_keys"])
    np.testing.assert_array_equal(rewards, recorded["rewards"])


@pytest.mark.golden("rng_scopes*.json")
def test_named_streams(case):
    key = jax.random.PRNGKey(3)
    for name, number in json.loads(case.read_text("utf-8")).items():
        np.testing.assert_array_equal(scope(key, name), jax.random.fold_in(key, np.uint32(number)))


@pytest.mark.parametrize(
    "owner, takers, rewards",
    [(0, OWNER, (1, 0)), (0, OTHER, (-2, 1)), (1, BOTH, (1, -1)), (1, OTHER, (1, -2))],
)
def test_who_gets_what(owner, takers, rewards):
    """On 4 x 4 both players stand left of the coin or not; everybody moves right."""
    game, beside, away = CoinGame(4, 4), 4, 12
    cells = [beside if (takers == BOTH or (seat == owner) == (takers == OWNER)) else away for seat in (0, 1)]
    state = GameState(jnp.array(cells), jnp.int32(5), jnp.int32(owner), jnp.full(2, -1.0))
    following, found = game.play(state, jnp.array([1, 1]), jnp.float32(0.3))
    assert tuple(found) == rewards
    assert following.owner == 1 - owner
    # the owner's entry holds its last taker; in a tie the other player's
    taker = owner if takers == OWNER else 1 - owner
    assert following.takers[owner] == taker and following.takers[1 - owner] == -1


BOARDS = ((1, 3, 2), (2, 2, 2), (3, 3, 2), (5, 7, 2), (2, 3, 3))  # height, width, players


@functools.cache
def compiled(board):
    """The functions of a game, compiled."""
    game = CoinGame(*board)
    return game, jax.jit(game.start), jax.jit(game.play), jax.jit(game.observe)


@settings(max_examples=60)
@given(st.sampled_from(BOARDS), st.data())
def test_on_any_board(board, data):
    game, start, play, observe = compiled(board)

    def draw(least, most):
        numbers = st.lists(st.integers(least, most), min_size=game.players, max_size=game.players)
        return np.array(data.draw(numbers), np.int32)

    players, actions = draw(0, game.cells - 1), draw(0, 3)
    owner = data.draw(st.integers(0, game.players - 1))
    chance = np.float32(data.draw(st.floats(0, 1, width=32, exclude_max=True)))
    state = start(np.int32(owner), players, chance)
    assert state.coin not in players and 0 <= state.coin < game.cells
    following, rewards = play(state, actions, chance)
    assert (following.players >= 0).all() and (following.players < game.cells).all()
    assert 0 <= following.coin < game.cells and following.coin not in following.players
    seen = np.asarray(observe(state))
    planes = seen.sum((-1, -2))
    np.testing.assert_array_equal(planes[:, : game.players], 1)
    np.testing.assert_array_equal(planes[:, game.players :].sum(-1), 1)

    # seats moved on by one: the same game for everybody
    nobody, next_owner = np.full(game.players, -1.0, np.float32), np.int32((owner + 1) % game.players)
    turned = GameState(np.roll(players, 1), state.coin, next_owner, nobody)
    np.testing.assert_array_equal(np.roll(seen, 1, axis=0), observe(turned))
    other, other_rewards = play(turned, np.roll(actions, 1), chance)
    np.testing.assert_array_equal(np.roll(rewards, 1), other_rewards)
    assert other.coin == following.coin and other.owner == (following.owner + 1) % game.players


def chi_square(counts):
    expected = counts.sum() / len(counts)
    return ((counts - expected) ** 2 / expected).sum()


def test_placement_is_uniform():
    """Chi-square below its 99.9 % point: 26.1 for 8 degrees of freedom, 22.5 for 6."""
    game, games = CoinGame(), 20_000
    states, _ = jax.vmap(game.reset)(jax.random.split(jax.random.PRNGKey(5), games))
    for seat in (0, 1):
        assert chi_square(np.bincount(states.players[:, seat], minlength=9)) < 26.1
    assert abs(float(states.owner.mean()) - 0.5) < 3.3 * 0.5 / games**0.5
    draws = jax.random.uniform(jax.random.PRNGKey(6), (games,))
    counts = np.bincount(game.place(jnp.broadcast_to(jnp.array([7, 2]), (games, 2)), draws), minlength=9)
    assert counts[7] == counts[2] == 0
    assert chi_square(np.delete(counts, [7, 2])) < 22.5
