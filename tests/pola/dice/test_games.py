"""Rules of the two games and of the scripted opponents, as properties and by hand."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pola.dice import rollout, scripted
from pola.dice.coin_game import CoinGame, CoinState, PlacementNoise, cell
from pola.dice.contribution_game import ContributionGame, ContributionState
from pola.dice.networks import init_params
from pola.dice.scripted import COOPERATE, DEFECT, TIT_FOR_TAT

place = st.tuples(st.integers(0, 2), st.integers(0, 2))
move = st.integers(0, 3)
noise = st.tuples(st.integers(0, 6), st.integers(0, 7))


def _coin(red, blue, coin, colour):
    return CoinState(*(jnp.array(where, jnp.int32) for where in (red, blue, coin)), jnp.int32(colour))


@hypothesis.settings(max_examples=60)
@hypothesis.given(place, place, place, st.integers(0, 1), move, move, noise)
def test_nobody_leaves_the_board_and_a_new_coin_is_free(red, blue, coin, colour, first, second, draws):
    state = _coin(red, blue, coin, colour)
    after, *rewards, picked = CoinGame().step(state, PlacementNoise(*map(jnp.int32, draws)), first, second)
    for where in after[:3]:
        assert int(where.min()) >= 0 and int(where.max()) <= 2
    taken = sum(map(int, picked))
    if taken:
        assert int(cell(after.coin)) not in (int(cell(after.red)), int(cell(after.blue)))
        assert int(after.red_coin) == 1 - colour
    else:
        assert tuple(map(int, after.coin)) == coin and int(after.red_coin) == colour
        assert rewards == [0.0, 0.0]
    assert int(CoinGame().observe(after).sum()) == 3


@hypothesis.settings(max_examples=60)
@hypothesis.given(place, place, place, st.integers(0, 1), move, move)
def test_swapping_the_players_swaps_the_rewards(red, blue, coin, colour, first, second):
    draws = PlacementNoise(jnp.int32(3), jnp.int32(3))
    game = CoinGame(same_coin_reward=1.5, diff_coin_reward=0.75, diff_coin_cost=-2.5)
    _, one, two, picked = game.step(_coin(red, blue, coin, colour), draws, first, second)
    _, three, four, mirrored = game.step(_coin(blue, red, coin, 1 - colour), draws, second, first)
    assert (one, two) == (four, three)
    assert tuple(map(int, picked)) == tuple(map(int, reversed(mirrored)))


@pytest.mark.parametrize(
    ("first", "second", "rewards"),
    [(0, 1, (1.0, 0.0)), (1, 0, (-2.0, 1.0)), (0, 0, (-1.0, 1.0)), (1, 1, (0.0, 0.0))],
)
def test_rewards_of_a_red_coin_by_hand(first, second, rewards):
    """Both stand left (red) or left (blue) of the coin in column 1; action 0 takes it."""
    state = _coin((0, 0), (0, 0), (0, 1), 1)
    _, red, blue, _ = CoinGame().step(state, PlacementNoise(jnp.int32(0), jnp.int32(0)), first, second)
    assert (float(red), float(blue)) == rewards


@pytest.mark.parametrize(
    ("actions", "rewards"),
    [((0, 0), (0, 0)), ((0, 1), (0.665, -0.335)), ((1, 0), (-0.335, 0.665)), ((1, 1), (0.33, 0.33))],
)
def test_payoffs_and_observations_of_the_contribution_game(actions, rewards):
    game = ContributionGame(1.33)
    first, second = (jnp.array([action], jnp.int32) for action in actions)
    state, one, two, _ = game.step(None, None, first, second)
    assert (float(one[0]), float(two[0])) == pytest.approx(rewards, abs=1e-6)
    wanted = np.zeros(6)
    wanted[[actions[0], 3 + actions[1]]] = 1
    np.testing.assert_array_equal(game.observe(state)[0], wanted)


def test_start_observations():
    key = jax.random.PRNGKey(0)
    games = ContributionGame(1.33), ContributionGame(1.33, init_state_coop=True)
    found = [np.asarray(game.observe(game.reset(key, 1))[0]) for game in games]
    np.testing.assert_array_equal(found, [[0, 0, 1, 0, 0, 1], [0, 1, 0, 0, 1, 0]])


@pytest.mark.parametrize("game", [ContributionGame(), CoinGame()], ids=["ipd", "coin"])
def test_numbers_of_observations_point_at_them(game):
    table = game.distinct_observations()
    assert len(np.unique(table, axis=0)) == len(table)
    if game.name == "ipd":
        grid = np.indices((3, 3)).reshape(2, -1)
        state = ContributionState(*map(jnp.asarray, grid))
    else:
        state = game.reset(jax.random.PRNGKey(1), 500)
    observations = np.asarray(game.observe(state))
    np.testing.assert_array_equal(table[np.asarray(game.index(state))], observations)
    if game.codes_are_one_hot:
        np.testing.assert_array_equal(np.asarray(game.codes(observations)) @ table, observations)


@pytest.mark.parametrize("seat", [0, 1])
def test_tit_for_tat_of_the_contribution_game(seat):
    theirs = jnp.array([2, 0, 1])  # start, defected, cooperated
    mine = jnp.array([2, 1, 0])
    state = ContributionState(mine, theirs) if seat == 0 else ContributionState(theirs, mine)
    for kind, wanted in ((TIT_FOR_TAT, [1, 0, 1]), (DEFECT, [0, 0, 0]), (COOPERATE, [1, 1, 1])):
        script = scripted.Script(jnp.full(3, kind), seat)
        _, moves = script.step(ContributionGame(), state, script.start(), jnp.zeros(3))
        np.testing.assert_array_equal(moves, wanted)


def test_the_mood_of_the_coin_games_tit_for_tat():
    script = scripted.Script(jnp.full(4, TIT_FOR_TAT), 1)
    state = CoinGame().reset(jax.random.PRNGKey(0), 4)
    mood, _ = script.step(
        CoinGame(), state, jnp.array([True, True, False, False]), jnp.array([0.0, -1, 0, 1])
    )
    np.testing.assert_array_equal(mood, [True, False, False, True])


@pytest.mark.parametrize("game", [ContributionGame(), CoinGame()], ids=["ipd", "coin"])
def test_a_rollout_is_the_games_and_the_players_own(game):
    """Rewards follow from the stored actions, states of the players from the stored observations."""
    from pola.dice import networks
    from pola.dice.learner import code_table

    keys = jax.random.split(jax.random.PRNGKey(3), 2)
    mine, yours = (init_params(key, game.observation_size, 5, 1, game.n_actions) for key in keys)
    for role in (0, 1):
        path = jax.jit(lambda role: rollout.sample(game, mine, yours, role, keys[0], 7, 4))(role)
        for params, states in ((mine, path.self_states), (yours, path.other_states)):
            again = networks.hidden_states(params, path.codes[:-1], code_table(game))
            np.testing.assert_allclose(again, states, atol=1e-6)
        if game.name == "ipd":
            own, other = np.asarray(path.self_actions), np.asarray(path.other_actions)
            np.testing.assert_allclose(path.self_rewards, 1.33 * (own + other) / 2 - own, atol=1e-6)
            np.testing.assert_allclose(path.other_rewards, 1.33 * (own + other) / 2 - other, atol=1e-6)
