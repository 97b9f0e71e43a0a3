"""The three-player Coin Game: rules by hand, then properties of every state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loqa.coin.game import MOVES, CoinGame, GameState

LEFT, RIGHT, UP, DOWN = range(4)
PLAYERS = 3


def board(height, width):
    return CoinGame(height, width, PLAYERS)


def state(game, players, coin, owner):
    """A state from (row, column) positions."""
    cells, coin = game.cell(jnp.array(players)), game.cell(jnp.array(coin))
    return GameState(cells, coin, jnp.array(owner), jnp.full(PLAYERS, -1.0))


# Everybody starts one step away from the middle of a 3 x 3 board, where the coin lies, and can also step away from it.
# Player 0 reaches it with DOWN, player 1 with LEFT, player 2 with RIGHT.
@pytest.mark.parametrize(
    ("actions", "owner", "rewards"),
    [
        ((UP, RIGHT, LEFT), 0, (0, 0, 0)),  # nobody
        ((DOWN, RIGHT, LEFT), 0, (1, 0, 0)),  # the owner alone
        ((DOWN, RIGHT, LEFT), 1, (1, -2, 0)),  # one other, owner 1 pays
        ((DOWN, RIGHT, LEFT), 2, (1, 0, -2)),
        ((UP, LEFT, LEFT), 0, (-2, 1, 0)),
        ((UP, LEFT, RIGHT), 0, (-2, 1, 1)),  # both others: the owner pays once
        ((DOWN, LEFT, LEFT), 0, (-1, 1, 0)),  # the owner and one other
        ((DOWN, LEFT, LEFT), 2, (1, 1, -2)),
        ((DOWN, LEFT, RIGHT), 1, (1, -1, 1)),  # all three
    ],
)
def test_rewards(actions, owner, rewards):
    game = board(3, 3)
    before = state(game, [[0, 1], [1, 2], [1, 0]], [1, 1], owner)
    after, got = game.play(before, jnp.array(actions), jnp.float32(0.0))
    np.testing.assert_array_equal(got, np.array(rewards, np.float32))
    taken = any(reward > 0 for reward in rewards) or -1 in rewards
    assert int(after.owner) == ((owner + 1) % 3 if taken else owner)
    assert np.array_equal(game.position(after.coin), [1, 1]) == (not taken)


def test_the_board_is_a_torus():
    game = board(2, 5)
    after, _ = game.play(
        state(game, [[0, 0], [1, 4], [0, 2]], [1, 2], 0), jnp.array([LEFT, RIGHT, UP]), jnp.float32(0.0)
    )
    np.testing.assert_array_equal(game.position(after.players), [[0, 4], [1, 0], [1, 2]])


@pytest.mark.parametrize(("draw", "cell"), [(0.0, 4), (0.26, 3), (0.5, 2), (0.99999994, 0)])
def test_the_next_coin_falls_on_the_drawn_free_cell(draw, cell):
    game = board(2, 3)  # the players move to cells 1, 1 and 5; 0, 2, 3 and 4 are free
    before = state(game, [[0, 2], [0, 0], [1, 0]], [0, 1], 2)
    after, _ = game.play(before, jnp.array([LEFT, RIGHT, LEFT]), jnp.float32(draw))
    assert int(after.coin) == cell


def test_observations_by_hand():
    game = board(2, 2)
    views = np.asarray(game.observe(state(game, [[0, 0], [0, 1], [1, 0]], [1, 1], 1)))
    assert views.shape == (3, 6, 2, 2)
    one = {(0, 0): [1, 0, 0, 0], (0, 1): [0, 1, 0, 0], (1, 0): [0, 0, 1, 0], (1, 1): [0, 0, 0, 1]}
    first, second, third, none = one[0, 0], one[0, 1], one[1, 0], [0] * 4
    expected = [
        [first, second, third, none, one[1, 1], none],  # the coin is the next player's
        [second, third, first, one[1, 1], none, none],  # mine
        [third, first, second, none, none, one[1, 1]],  # the one after next
    ]
    np.testing.assert_array_equal(views.reshape(3, 6, 4), expected)


@st.composite
def positions(draw):
    height, width = draw(st.integers(1, 5)), draw(st.integers(4, 5))
    cell = st.tuples(st.integers(0, height - 1), st.integers(0, width - 1))
    players = [list(draw(cell)) for _ in range(PLAYERS)]
    coin = draw(cell.filter(lambda place: list(place) not in players))
    return (height, width), players, list(coin), draw(st.integers(0, 2))


@settings(max_examples=60)
@given(
    positions(),
    st.lists(st.integers(0, 3), min_size=3, max_size=3),
    st.floats(0, 1, exclude_max=True, width=32),
)
def test_rotating_the_players_rotates_everything(where, actions, draw):
    """Naming the players (and the owner) anew, i -> i + 1, moves observations and rewards along and changes nothing."""
    size, players, coin, owner = where
    game = board(*size)
    turned = np.roll(players, 1, axis=0)
    one, rewards = game.play(state(game, players, coin, owner), jnp.array(actions), jnp.float32(draw))
    two, again = game.play(
        state(game, turned, coin, (owner + 1) % 3), jnp.array(np.roll(actions, 1)), jnp.float32(draw)
    )
    np.testing.assert_array_equal(np.roll(rewards, 1), again)
    np.testing.assert_array_equal(np.roll(game.observe(one), 1, axis=0), game.observe(two))
    np.testing.assert_array_equal(one.coin, two.coin)


@settings(max_examples=60)
@given(
    positions(),
    st.lists(st.integers(0, 3), min_size=3, max_size=3),
    st.floats(0, 1, exclude_max=True, width=32),
)
def test_what_holds_in_every_step(where, actions, draw):
    (height, width), players, coin, owner = where
    game = board(height, width)
    after, rewards = game.play(state(game, players, coin, owner), jnp.array(actions), jnp.float32(draw))
    moved = (np.array(players) + np.array(MOVES)[actions]) % [height, width]
    np.testing.assert_array_equal(game.position(after.players), moved)
    place = np.asarray(game.position(after.coin))
    assert list(place) not in moved.tolist() and np.all(place < [height, width])
    takers = [row == coin for row in moved.tolist()]
    others = any(taker for player, taker in enumerate(takers) if player != owner)
    assert float(rewards.sum()) == sum(takers) - 2 * others
    views = np.asarray(game.observe(after))
    assert np.all(views[:, :3].sum((2, 3)) == 1) and np.all(views[:, 3:].sum((1, 2, 3)) == 1)


def test_resets_are_uniform():
    """Owners, cells of players and coins: chi-square of 9000 resets on a 2 x 2 board, 3 degrees of freedom each."""
    game = board(2, 2)
    keys = jax.random.split(jax.random.PRNGKey(5), 9000)
    states, _ = jax.vmap(game.reset)(keys)
    cells, coins = np.asarray(states.players), np.asarray(states.coin)
    assert not np.any(cells == coins[:, None])
    counts = [np.bincount(cells[:, player], minlength=4) for player in range(3)] + [
        np.bincount(coins, minlength=4)
    ]
    for count in counts:
        assert np.sum((count - 2250) ** 2 / 2250) < 16.3  # p = 0.001
    owners = np.bincount(states.owner, minlength=3)
    assert np.sum((owners - 3000) ** 2 / 3000) < 13.8
