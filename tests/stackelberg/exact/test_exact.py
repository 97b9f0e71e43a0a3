"""The referees on numbers of spec 8.3 and 8.4, against simulation, and on games with more actions."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.cli import UserError
from stackerlberg.exact import (
    best_responses,
    certify,
    deterministic_returns,
    enumerate_leaders,
    exact_followers,
    follower_regret,
    one_hot,
    policy_returns,
    protocol_optimum,
    protocol_value,
    returns_and_gradients,
    stackelberg_value,
    stochastic_commitment,
    stochastic_leader_value,
    time_aware_returns,
)
from stackerlberg.games import PAPER_GAMES, Game, named_game
from stackerlberg.protocol import Protocol, all_tables

# Spec 8.3: five-state, ten steps; three-state, five steps; the same against a follower with a clock.
VALUES = dict.fromkeys(PAPER_GAMES, (40, 20, 40, 20)) | {
    "prisoners_dilemma": (31, 16, 29, 14),
    "deadlock": (30, 15, 30, 15),
    "prisoners_delight": (30, 15, 30, 15),
    "modified_prisoners_dilemma": (40, 20, 38, 18),
}
SMALL = Protocol("3-state", 5)
ASYMMETRIC = Game.from_bimatrix([[1, 5, 0], [2, 0, 3]], [[2, 1, 4], [0, 3, 1]], "two by three")


@pytest.mark.parametrize("name", VALUES)
def test_stackelberg_values(name):
    game, (joint, small, joint_clock, small_clock) = named_game(name), VALUES[name]
    five, three = Protocol("5-state", 10, reward_offset=0), Protocol("3-state", 5, reward_offset=0)
    assert [stackelberg_value(game, protocol) for protocol in (five, three)] == [joint, small]
    with_clock = [stackelberg_value(game, protocol, "optimistic", True) for protocol in (five, three)]
    assert with_clock == [joint_clock, small_clock]
    assert stackelberg_value(game, Protocol("5-state", 10)) == joint - 25


def test_the_prisoners_dilemma_has_one_optimal_leader():
    game = named_game("prisoners_dilemma")
    assert enumerate_leaders(game, Protocol("5-state", 10)).optimum().leaders.tolist() == [[1, 0, 0, 1, 1]]
    assert enumerate_leaders(game, SMALL).optimum().leaders.tolist() == [[1, 0, 1]]


@pytest.mark.parametrize(
    ("name", "optimum"), [("prisoners_dilemma", 33.42), ("deadlock", 32.56), ("prisoners_delight", 33.32)]
)
def test_mixing_beats_the_stackelberg_value_under_the_published_protocol(name, optimum):
    protocol = Protocol("5-state", 10, reward_offset=0)
    found = protocol_optimum(named_game(name), protocol)
    assert found.value == pytest.approx(optimum, abs=0.005)
    assert protocol_value(named_game(name), protocol, found.leader)[0] == pytest.approx(found.value)


def test_consistent_commitment_brings_the_stackelberg_value_back():
    """Quirk Q13's switch: whoever plays what it answered is worth a mixture of deterministic leaders."""
    game = named_game("prisoners_dilemma")
    free = Protocol("5-state", 10, reward_offset=0)
    bound = Protocol("5-state", 10, reward_offset=0, consistent_commitment=True)
    assert protocol_optimum(game, bound).value == 31
    mixed = protocol_optimum(game, free).leader
    assert protocol_value(game, bound, mixed)[0] < 31 < protocol_value(game, free, mixed)[0]
    table = one_hot([1, 0, 0, 1, 1], 2)
    assert protocol_value(game, bound, table)[0] == protocol_value(game, free, table)[0] == 31


def test_uniform_leader_is_worth_what_learning_starts_with():
    value = protocol_value(named_game("prisoners_dilemma"), Protocol("5-state", 10), np.full((5, 2), 0.5))
    assert value[0] == pytest.approx(-0.44, abs=0.005)


def test_stochastic_commitment_in_the_prisoners_dilemma():
    game = named_game("prisoners_dilemma")
    found = stochastic_commitment(game, Protocol("3-state", 5, reward_offset=0))
    assert found.value == pytest.approx(20 - 2 * np.sqrt(2), abs=1e-6)  # 17.17
    replies = one_hot(all_tables(3, 2), 2)
    against = policy_returns(game, Protocol("3-state", 5, reward_offset=0), found.leader, replies)
    assert against[:, 1].max() <= found.follower_value + 1e-6


def test_value_of_a_stochastic_leader():
    """Against followers one by one; a deterministic leader has its enumerated value; no leader beats the optimum."""
    game, rng = named_game("prisoners_dilemma"), np.random.default_rng(2)
    leaders, replies = rng.dirichlet([1, 1], (20, 3)), one_hot(all_tables(3, 2), 2)
    values = stochastic_leader_value(game, SMALL, leaders)
    for leader, value in zip(leaders, values, strict=True):
        against = [policy_returns(game, SMALL, leader, reply) for reply in replies]
        assert value.tolist() == pytest.approx(max(against, key=lambda pair: pair[1]).tolist())
    assert values[:, 0].max() < stochastic_commitment(game, SMALL).value
    found = enumerate_leaders(game, SMALL)
    for ties in ("lexicographic", "optimistic", "pessimistic"):
        enumerated = stochastic_leader_value(game, SMALL, found.responses.leaders, ties)
        assert np.array_equal(enumerated[:, 0], found.leader_returns(ties))
    with pytest.raises(UserError, match="unknown tie rule"):
        stochastic_leader_value(game, SMALL, leaders, "random")


def test_told_leader_answers_one_thing_and_plays_another():
    """Answering with suspicious tit-for-tat and defecting: 7.5 on the plot scale's return (spec 8.6)."""
    value = protocol_value(
        named_game("prisoners_dilemma"), SMALL, np.array([1, 1, 1]), answers=np.array([1, 0, 1])
    )
    assert value[0] == 7.5


def simulate(game, protocol, leader, follower, episodes, rng):
    views, total = protocol.views(game.actions), np.zeros((episodes, 2))
    state = np.zeros(episodes, dtype=int)
    for _ in range(protocol.episode_length):
        own = (rng.random(episodes)[:, None] >= leader.cumsum(-1)[views[state, 0], :-1]).sum(-1)
        other = (rng.random(episodes)[:, None] >= follower.cumsum(-1)[views[state, 1], :-1]).sum(-1)
        total += game.payoffs[own, other] + protocol.reward_offset
        state = 1 + own + game.actions[0] * other
    return total


@pytest.mark.parametrize("memory", ["none", "3-state", "5-state"])
def test_returns_agree_with_simulation(memory):
    protocol, rng = Protocol(memory, 4), np.random.default_rng(1)
    n_leader, n_follower = protocol.observation_counts(ASYMMETRIC.actions)
    leader, follower = rng.dirichlet(np.ones(2), n_leader), rng.dirichlet(np.ones(3), n_follower)
    played = simulate(ASYMMETRIC, protocol, leader, follower, 40_000, rng)
    error = 4 * played.std(axis=0) / np.sqrt(len(played))
    assert np.all(
        np.abs(played.mean(axis=0) - policy_returns(ASYMMETRIC, protocol, leader, follower)) < error
    )


@pytest.mark.parametrize("memory", ["none", "3-state"])
def test_enumeration_agrees_with_playing_every_pair(memory):
    protocol = Protocol(memory, 3)
    returns = deterministic_returns(ASYMMETRIC, protocol)
    n_leader, n_follower = protocol.observation_counts(ASYMMETRIC.actions)
    views = protocol.views(ASYMMETRIC.actions)
    pairs = itertools.product(enumerate(all_tables(n_leader, 2)), enumerate(all_tables(n_follower, 3)))
    for (row, leader), (column, follower) in itertools.islice(pairs, 0, None, 7):
        state, total = 0, np.zeros(2)
        for _ in range(3):
            own, other = leader[views[state, 0]], follower[views[state, 1]]
            total += ASYMMETRIC.payoffs[own, other] - 2.5
            state = 1 + own + 2 * other
        assert returns[row, column].tolist() == total.tolist()


def test_gradient_is_the_difference_quotient():
    rng = np.random.default_rng(0)
    protocol = Protocol("5-state", 4)
    leader, follower = rng.dirichlet([1, 1], 7), rng.dirichlet([1, 1, 1], (3, 7))
    returns, gradients = returns_and_gradients(ASYMMETRIC, protocol, leader, follower)
    assert np.allclose(returns, policy_returns(ASYMMETRIC, protocol, leader, follower))
    for seen in range(7):
        step = np.zeros((7, 2))
        step[seen] = [1e-6, -1e-6]
        ahead, behind = (policy_returns(ASYMMETRIC, protocol, leader + s * step, follower) for s in (1, -1))
        assert np.allclose(
            (ahead - behind) / 2e-6, gradients[:, :, seen, 0] - gradients[:, :, seen, 1], atol=1e-6
        )


def test_regret_of_exact_and_of_broken_followers():
    game, protocol = named_game("prisoners_dilemma"), Protocol("5-state", 10)
    followers = exact_followers(game, protocol)
    regret = follower_regret(game, protocol, followers)
    assert regret.total == 0 and regret.optimal == 32
    certify(regret)
    broken = np.stack([followers, np.zeros_like(followers)])
    both = follower_regret(game, protocol, broken)
    assert both.total[0] == 0 < both.total[1] and both.regret.shape == (2, 32)
    assert np.all(both.regret >= 0)
    with pytest.raises(UserError, match=r"answers \d+ of 32 leader tables"):
        certify(follower_regret(game, protocol, broken[1]))
    flat = np.swapaxes(followers, 0, 1).reshape(-1)
    assert np.array_equal(protocol.by_context(flat, game.actions), followers)


def test_clock_is_worth_something_to_the_follower():
    rng = np.random.default_rng(3)
    protocol = Protocol("5-state", 6)
    leaders = rng.dirichlet([1, 1], (4, 7))
    replies = one_hot(all_tables(7, 3)[::37], 3)
    with_clock = time_aware_returns(ASYMMETRIC, protocol, leaders)
    without = policy_returns(ASYMMETRIC, protocol, leaders[:, None], replies)[..., 1].max(axis=1)
    assert np.all(with_clock[:, 0] >= without - 1e-9)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.permutations(range(2)), st.permutations(range(3)))
def test_renaming_actions_changes_nothing(seed, rows, columns):
    payoffs = np.random.default_rng(seed).integers(0, 9, (2, 3, 2))
    plain, renamed = Game("plain", payoffs), Game("renamed", payoffs[np.ix_(rows, columns)])
    for ties in ("optimistic", "pessimistic"):
        assert stackelberg_value(plain, SMALL, ties) == stackelberg_value(renamed, SMALL, ties)
        assert stackelberg_value(plain, SMALL, ties, True) == pytest.approx(
            stackelberg_value(renamed, SMALL, ties, True)
        )


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(-5, 5), st.floats(0.1, 3))
def test_affine_payoffs_change_the_value_affinely(seed, shift, scale):
    payoffs = np.random.default_rng(seed).integers(0, 9, (2, 2, 2)).astype(float)
    plain = stackelberg_value(Game("plain", payoffs), SMALL)
    moved = stackelberg_value(Game("moved", payoffs * scale + shift), Protocol("3-state", 5, reward_offset=0))
    assert moved == pytest.approx((plain + 12.5) * scale + 5 * shift)


def test_too_large_games_are_refused():
    large = Game("five by five", np.zeros((5, 5, 2)))
    with pytest.raises(UserError, match="pairs of tables"):
        best_responses(large, Protocol("5-state", 10))
    with pytest.raises(UserError, match="unknown tie rule"):
        stackelberg_value(named_game("chicken"), SMALL, "random")
    with pytest.raises(UserError, match="n_samples 1"):
        exact_followers(named_game("chicken"), Protocol("3-state", 5, queries=(0, 1)))
    with pytest.raises(ValueError, match="sum to 1"):
        policy_returns(named_game("chicken"), SMALL, np.full((3, 2), 0.7), np.full((3, 2), 0.5))
