"""Payoffs per round and best responses: by hand, by simulation, by Bellman's equation."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.cli import UserError
from common.matrix_games import GAMES
from tournament.best_response import (
    RESPONDERS,
    best_of,
    best_response,
    leader_value,
    reactive_leaders,
)
from tournament.game import SITUATIONS, exact_values, games, payoffs_of, round_weights

DISCOUNT = 0.96
GAME = payoffs_of("stackelberg/prisoners_dilemma")  # reward 3, sucker 1, temptation 4, punishment 2
C, D = np.ones(5), np.zeros(5)
TIT_FOR_TAT = np.array([1, 0, 1, 0, 1.0])
SUSPICIOUS = np.array([1, 0, 1, 0, 0.0])
WIN_STAY = np.array([1, 0, 0, 1, 1.0])
probabilities = st.lists(st.floats(0, 1), min_size=5, max_size=5).map(np.array)


def played(first, second, rounds=2000, discount=DISCOUNT):
    """The payoffs per round of two deterministic players, round by round."""
    weights, total, last = round_weights(rounds, discount), np.zeros(2), None
    for weight in weights:
        a, b = (4, 4) if last is None else (2 * last[0] + last[1], 2 * last[1] + last[0])
        moves = int(not first[a]), int(not second[b])
        total += weight * np.array([GAME.table[2 * moves[0] + moves[1]], GAME.table[2 * moves[1] + moves[0]]])
        last = moves
    return total


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (C, D, (1, 4)),
        (TIT_FOR_TAT, TIT_FOR_TAT, (3, 3)),
        # one round of the sucker's payoff, then mutual defection
        (TIT_FOR_TAT, D, (0.04 * 1 + 0.96 * 2, 0.04 * 4 + 0.96 * 2)),
        # temptation and sucker take turns, temptation first: (4 + .96) / (1 + .96)
        (SUSPICIOUS, TIT_FOR_TAT, ((4 + 0.96) / 1.96, (1 + 4 * 0.96) / 1.96)),
        (np.full(5, 0.5), C, (3.5, 2.0)),
    ],
)
def test_values_by_hand(first, second, expected):
    assert exact_values(first, second, GAME, DISCOUNT) == pytest.approx(expected, abs=1e-12)


def test_the_side_that_a_player_sees_is_its_own():
    """Cooperates after it was exploited (CD) and only then: each side of the pair has its own CD."""
    meek = np.array([0, 1, 0, 0, 1.0])
    for first, second in itertools.product([meek, WIN_STAY, SUSPICIOUS], repeat=2):
        values = exact_values(first, second, GAME, DISCOUNT)
        assert values == pytest.approx(played(first, second), abs=1e-9)
        assert exact_values(second, first, GAME, DISCOUNT) == pytest.approx(values[::-1], abs=1e-12)


@settings(max_examples=40)
@given(probabilities, probabilities, st.sampled_from([0.0, 0.5, 0.96, 0.99]))
def test_values_lie_between_the_payoffs_and_swap_with_the_players(first, second, discount):
    values = exact_values(first, second, GAME, discount)
    assert np.all((values >= 1 - 1e-9) & (values <= 4 + 1e-9))
    # each joint action pays 4 or more and 6 or less together, and one payoff more is the other's less off the diagonal
    assert 4 - 1e-9 <= values.sum() <= 6 + 1e-9
    assert exact_values(second, first, GAME, discount) == pytest.approx(values[::-1], abs=1e-9)


def value_iteration(player):
    """Bellman's equation of the responder, iterated: its payoff per round from each situation, in its own order."""
    cooperates = player[[0, 2, 1, 3, 4]]  # in the responder's situations
    rewards, value, new = GAME.table.reshape(2, 2), np.full(5, np.inf), np.zeros(5)
    while np.abs(new - value).max() > 1e-13:
        value = new
        worth = (1 - DISCOUNT) * rewards + DISCOUNT * value[:4].reshape(2, 2)  # [own action, other's action]
        new = (worth[:, 0, None] * cooperates + worth[:, 1, None] * (1 - cooperates)).max(axis=0)
    return new


@settings(max_examples=40)
@given(probabilities)
def test_the_best_response_satisfies_bellman_s_equation(player):
    found = best_response(player, GAME, DISCOUNT)
    assert found.exact and found.gain == pytest.approx(value_iteration(player)[4], abs=1e-9)


@settings(max_examples=40)
@given(probabilities, probabilities)
def test_no_responder_gets_more_than_the_best_response(player, responder):
    gain = best_response(player, GAME, DISCOUNT).gain
    assert exact_values(responder, player, GAME, DISCOUNT)[0] <= gain + 1e-9


@pytest.mark.parametrize(
    ("player", "gain", "own"),
    [
        (C, 4, 1),
        (D, 2, 2),
        (TIT_FOR_TAT, 3, 3),
        (SUSPICIOUS, 0.04 * 1 + 0.96 * 3, 0.04 * 4 + 0.96 * 3),
        (
            WIN_STAY,
            (4 + 0.96 * 2) / 1.96,
            (1 + 0.96 * 2) / 1.96,
        ),  # defecting always: D against C, D against D, ...
    ],
)
def test_best_responses_by_hand(player, gain, own):
    found = best_response(player, GAME, DISCOUNT)
    assert (found.gain, found.own) == pytest.approx((gain, own), abs=1e-12)


def test_ties_go_to_the_player():
    values = np.array([[1.0, 0], [2, 1], [2 + 1e-12, 0], [2, 3]])
    assert best_of(values) == 3


def test_every_deterministic_responder_is_there_once():
    assert len({tuple(table) for table in RESPONDERS}) == 32


def test_the_stackelberg_value_is_suspicious_tit_for_tat_s():
    leaders = reactive_leaders()
    assert len({tuple(table) for table in leaders}) == 8
    assert all(table[0] == table[2] and table[1] == table[3] for table in leaders)  # the other's action only
    value = leader_value(leaders, GAME, DISCOUNT)
    assert value == pytest.approx(best_response(SUSPICIOUS, GAME, DISCOUNT).own) == pytest.approx(3.04)


def test_games_are_the_prisoners_dilemmas():
    assert set(games()) >= {
        "loqa/ipd",
        "iqflow/ipd",
        "stackelberg/prisoners_dilemma",
        "pola/contribution-1.33",
    }
    assert not {"iqflow/chicken", "stackelberg/modified_prisoners_dilemma"} & set(games())
    for name in games():
        found = payoffs_of(name)
        assert found.temptation > found.reward > found.punishment > found.sucker
        assert found.array[0, 1].tolist() == [found.sucker, found.temptation]
        assert (found.normalised(found.sucker), found.normalised(found.temptation)) == (0, 1)
    # POLA's game numbers defection first
    assert payoffs_of("pola/contribution-1.6").table == pytest.approx([0.6, -0.2, 0.8, 0])
    assert GAMES["pola/contribution-1.6"].actions[0] == "defect"


@pytest.mark.parametrize("name", ["iqflow/chicken", "nothing"])
def test_another_game_is_refused(name):
    with pytest.raises(UserError, match="no prisoner's dilemma"):
        payoffs_of(name)


def test_weights_of_the_rounds():
    weights = round_weights(150, 0.96)
    assert weights.sum() == pytest.approx(1) and weights[1] / weights[0] == pytest.approx(0.96)
    assert round_weights(3, 0.0).tolist() == [1, 0, 0]


def test_situations_are_numbered_as_the_moves_say():
    assert [SITUATIONS[2 * own + other] for own in (0, 1) for other in (0, 1)] == ["CC", "CD", "DC", "DD"]
