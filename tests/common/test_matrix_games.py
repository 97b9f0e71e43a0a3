"""Payoffs against the papers' tables, values of memory-one policies against hand-computed and simulated ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from common.matrix_games import (
    GAMES,
    MatrixGame,
    contribution_game,
    discounted_state_visits,
    discounted_values,
    penalty_game,
    transition_matrix,
)

ALWAYS_0, ALWAYS_1, TIT_FOR_TAT = np.zeros(5), np.ones(5), np.array([0.0, 1, 0, 1, 1])
# Player 2's tit-for-tat repeats player 1's last action: the states 10 and 11, and it starts with action 1.
TIT_FOR_TAT_2 = np.array([0.0, 0, 1, 1, 1])
policies = arrays(np.float64, 5, elements=st.floats(0, 1))


def payoff(name, row, column):
    game = GAMES[name]
    return tuple(game.payoffs[game.actions.index(row), game.actions.index(column)])


def test_every_game_is_complete_and_keyed_by_its_name():
    assert {key.split("/")[0] for key in GAMES} == {"pola", "loqa", "iqflow", "stackelberg"}
    for key, game in GAMES.items():
        assert game.name == key
        assert game.payoffs.shape == (2, 2, 2) and np.isfinite(game.payoffs).all()
        assert len(set(game.actions)) == 2 and game.normalisation and game.source


def test_contribution_game_by_its_rule():
    game = GAMES["pola/contribution-1.33"]
    assert game.actions == ("defect", "cooperate") and game.states == ("DD", "DC", "CD", "CC", "start")
    for row in (0, 1):
        for column in (0, 1):
            expected = [1.33 * (row + column) / 2 - row, 1.33 * (row + column) / 2 - column]
            np.testing.assert_allclose(game.payoffs[row, column], expected, atol=1e-15)
    assert {f"pola/contribution-{cf}" for cf in (1.1, 1.25, 1.33, 1.4, 1.6)} == {
        k for k in GAMES if "pola" in k
    }


@pytest.mark.parametrize(
    ("name", "cooperation", "sucker", "temptation", "defection"),
    [
        ("pola/contribution-1.6", 0.6, -0.2, 0.8, 0.0),
        ("loqa/ipd", -1, -3, 0, -2),
        ("iqflow/ipd", 3, 0, 4, 1),
        ("iqflow/chicken", 3, 1, 4, 0),
        ("iqflow/stag_hunt", 4, 0, 3, 1),
        ("stackelberg/prisoners_dilemma", 3, 1, 4, 2),
    ],
)
def test_symmetric_dilemmas_by_the_names_of_their_actions(name, cooperation, sucker, temptation, defection):
    assert payoff(name, "cooperate", "cooperate") == pytest.approx((cooperation, cooperation))
    assert payoff(name, "cooperate", "defect") == pytest.approx((sucker, temptation))
    assert payoff(name, "defect", "cooperate") == pytest.approx((temptation, sucker))
    assert payoff(name, "defect", "defect") == pytest.approx((defection, defection))


def test_stackelberg_named_games_are_twelve_distinct_symmetric_ordinal_games():
    one_shot = ("modified", "penalty", "sexes", "bots")
    named = {
        k: g for k, g in GAMES.items() if k.startswith("stackelberg/") and not any(s in k for s in one_shot)
    }
    assert len(named) == 12
    for game in named.values():
        np.testing.assert_array_equal(game.payoffs[..., 0], game.payoffs[..., 1].T)
        assert sorted(game.payoffs[..., 0].ravel()) == [1, 2, 3, 4]
    assert len({game.payoffs.tobytes() for game in named.values()}) == 12


def test_pure_one_shot_stackelberg_values_of_the_named_games():
    """Leader commits to a row, the follower answers best: the values of the paper's games (Stackelberg spec 8.3)."""
    expected = dict.fromkeys(("prisoners_dilemma", "modified_prisoners_dilemma"), 2)
    expected |= dict.fromkeys(("deadlock", "prisoners_delight"), 3)
    expected |= dict.fromkeys(("stag_hunt", "assurance", "coordination", "mixedharmony", "harmony"), 4)
    expected |= dict.fromkeys(("noconflict", "hero", "battle", "chicken"), 4)
    for name, value in expected.items():
        payoffs = GAMES[f"stackelberg/{name}"].payoffs
        best = max(payoffs[row, payoffs[row, :, 1].argmax(), 0] for row in (0, 1))
        assert best == value, name


def test_asymmetric_one_shot_games():
    assert payoff("stackelberg/modified_prisoners_dilemma", "cooperate", "defect") == (2, 4)
    assert GAMES["stackelberg/battle_of_the_sexes"].payoffs[1, 1].tolist() == [1, 2]
    assert GAMES["stackelberg/matrix_bots"].payoffs[0, 0].tolist() == [1, 0.5]
    assert penalty_game(1.5, -5).payoffs.tolist() == [[[1.5, 0.001], [-5, 0]], [[-5, 0], [1, 2]]]


def test_games_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        GAMES["loqa/ipd"].payoffs[0, 0, 0] = 5
    with pytest.raises(TypeError):
        GAMES["new"] = GAMES["loqa/ipd"]


def test_transition_matrix_puts_player_1_in_the_high_bit():
    matrix = transition_matrix([0.1, 0.2, 0.3, 0.4, 0.9], [0.5, 0.6, 0.7, 0.8, 0.25])
    np.testing.assert_allclose(matrix[4], [0.1 * 0.75, 0.1 * 0.25, 0.9 * 0.75, 0.9 * 0.25])
    np.testing.assert_allclose(matrix[1], [0.8 * 0.4, 0.8 * 0.6, 0.2 * 0.4, 0.2 * 0.6])


@pytest.mark.parametrize("cf", [1.1, 1.33, 1.6])
def test_mutual_cooperation_and_a_sucker_in_closed_form(cf):
    game, gamma = contribution_game(cf), 0.96
    np.testing.assert_allclose(discounted_values(ALWAYS_1, ALWAYS_1, game, gamma), (cf - 1) / (1 - gamma))
    np.testing.assert_allclose(discounted_values(ALWAYS_0, ALWAYS_0, game, gamma), 0, atol=1e-12)
    # Tit-for-tat is exploited once, undiscounted, and never again.
    values = discounted_values(TIT_FOR_TAT, ALWAYS_0, game, gamma)
    np.testing.assert_allclose(values, [cf / 2 - 1, cf / 2])


def test_alternating_play_by_hand():
    """Player 1 alternates 1, 0, 1, ...; player 2 plays tit-for-tat: outcomes 11, 01, 10, 01, 10, ..."""
    alternate = np.array([1.0, 1, 0, 0, 1])
    gamma = 0.5
    visits = discounted_state_visits(alternate, TIT_FOR_TAT_2, gamma)
    # 11 at 0; 01 at 1, 3, 5, ...: g/(1-g^2) = 2/3; 10 at 2, 4, ...: g^2/(1-g^2) = 1/3.
    np.testing.assert_allclose(visits, [0, 2 / 3, 1 / 3, 1])


@given(policies, policies, st.floats(0, 0.9))
def test_visits_match_a_rollout_of_the_distribution(p1, p2, gamma):
    matrix = transition_matrix(p1, p2)
    now, total, weight = matrix[4], np.zeros(4), 1.0
    for _ in range(400):
        total, now, weight = total + weight * now, now @ matrix[:4], weight * gamma
    visits = discounted_state_visits(p1, p2, gamma)
    np.testing.assert_allclose(visits, total, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(visits.sum(), 1 / (1 - gamma))


@given(policies, policies)
def test_swapping_the_players_swaps_the_values(p1, p2):
    game = contribution_game(1.33)
    straight = discounted_values(p1, p2, game, 0.9)
    mirrored = [0, 2, 1, 3, 4]  # the states, the other player's action first
    swapped = discounted_values(np.asarray(p2)[mirrored], np.asarray(p1)[mirrored], game, 0.9)
    np.testing.assert_allclose(straight, swapped[::-1], atol=1e-9)


def test_leading_axes_broadcast_and_lanes_do_not_mix():
    rng = np.random.default_rng(1)
    p1, p2 = rng.random((3, 1, 5)), rng.random((4, 5))
    values = discounted_values(p1, p2, GAMES["loqa/ipd"], 0.96)
    assert values.shape == (3, 4, 2)
    single = discounted_values(p1[2, 0], p2[1], GAMES["loqa/ipd"].payoffs, 0.96)
    np.testing.assert_allclose(values[2, 1], single, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: transition_matrix(np.zeros(4), np.zeros(5)), r"p1 must end in an axis of 5"),
        (lambda: transition_matrix(np.zeros(5), 0.5), r"p2 must end in an axis of 5"),
        (lambda: transition_matrix(np.zeros(5), np.full(5, 1.5)), r"p2 must hold probabilities"),
        (lambda: transition_matrix(np.full(5, np.nan), np.zeros(5)), r"p1 must hold probabilities"),
        (lambda: transition_matrix(np.zeros((2, 5)), np.zeros((3, 5))), r"do not fit together"),
        (lambda: discounted_values(ALWAYS_0, ALWAYS_0, np.zeros((2, 2)), 0.9), r"\[2, 2, 2\]"),
        (lambda: discounted_values(ALWAYS_0, ALWAYS_0, GAMES["loqa/ipd"], 1.0), r"gamma must lie in"),
        (lambda: contribution_game(2.0), r"strictly between 1 and 2"),
        (lambda: MatrixGame("x", ("a", "b"), np.zeros(4), "", ""), r"\[2, 2, 2\]"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
