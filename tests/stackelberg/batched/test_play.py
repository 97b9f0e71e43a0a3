"""The vectorised game against the exact referees: every pair of deterministic tables is a lane."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from stackerlberg import exact
from stackerlberg.batched import play, referee, schedule
from stackerlberg.batched.arrays import choose, greedy_ends, lookup, sums_by_code
from stackerlberg.batched.networks import Network
from stackerlberg.games import Game, named_game
from stackerlberg.protocol import Protocol, all_tables

MODIFIED = named_game("modified_prisoners_dilemma")
#: asymmetric, three rows and two columns
WIDE = Game("wide", np.arange(12.0).reshape(3, 2, 2) % 5)


def payoffs(game, protocol, lanes):
    values = jnp.asarray(game.payoffs + protocol.reward_offset, jnp.float32).reshape(-1, 2, 1)
    return play.Game(*(jnp.tile(values[:, k], lanes) for k in range(2)))


def ends_of(tables, n_actions):
    """Deterministic tables [N, O] as ends [A - 1, O, 1, N]."""
    return greedy_ends(jnp.asarray(np.eye(n_actions, dtype=np.float32)[tables].T))[:, :, None]


@pytest.mark.parametrize(
    ("game", "memory"), [(MODIFIED, "3-state"), (MODIFIED, "5-state"), (WIDE, "3-state"), (MODIFIED, "none")]
)
def test_returns_are_those_of_the_enumeration(game, memory):
    protocol, actions = Protocol(memory, 6), game.actions
    own = protocol.observation_counts(actions)
    leaders, followers = (all_tables(count, n) for count, n in zip(own, actions, strict=True))
    pairs = np.stack(np.meshgrid(np.arange(len(leaders)), np.arange(len(followers)), indexing="ij"), -1)
    pairs = pairs.reshape(-1, 2)[:: 1 if len(leaders) < 20 else 7]
    n = len(pairs)
    # the follower ignores the answers: its table is the same in every context
    table = np.repeat(followers[pairs[:, 1]], protocol.contexts(actions), axis=1)
    chance = play.draw(jnp.stack([jax.random.PRNGKey(0)]), protocol, actions, 1, n)
    run = jax.jit(functools.partial(play.play, protocol, actions))
    played = run(
        payoffs(game, protocol, n),
        ends_of(leaders[pairs[:, 0]], actions[0]),
        ends_of(table, actions[1])[:, :, 0],
        chance,
    )
    expected = exact.deterministic_returns(game, protocol)[pairs[:, 0], pairs[:, 1]]
    np.testing.assert_allclose(np.stack(played.returns(), -1)[0], expected, atol=1e-4)
    asked = protocol.query_observations(actions)
    np.testing.assert_array_equal(
        played.leader.actions[: len(asked), 0].T, leaders[pairs[:, 0]][:, list(asked)]
    )
    assert not played.leader.rewards[: len(asked)].any()
    context = np.asarray(played.follower.observations[0, 0]) % protocol.contexts(actions)
    np.testing.assert_array_equal(
        context, protocol.context_code(leaders[pairs[:, 0]][:, list(asked)], actions)
    )


def uniform_leader(protocol, actions, episodes=4000):
    """Many episodes of a leader that draws evenly, against a follower that always plays 0."""
    codes, own = protocol.leader_codes(actions), protocol.follower_codes(actions)
    ends = jnp.full((1, codes, 1, 1), 0.5)
    chance = play.draw(jnp.stack([jax.random.PRNGKey(3)]), protocol, actions, episodes, 1)
    run = jax.jit(functools.partial(play.play, protocol, actions))
    return run(payoffs(MODIFIED, protocol, 1), ends, jnp.ones((1, own, 1)), chance)


def test_answers_and_play_are_drawn_independently():
    played = uniform_leader(Protocol("3-state", 3), (2, 2))
    answer, first = played.leader.actions[0, :, 0], played.leader.actions[3, :, 0]
    assert 0.45 < float((answer == first).mean()) < 0.55


def test_a_consistent_leader_plays_as_it_answers():
    played = uniform_leader(Protocol("3-state", 3, consistent_commitment=True), (2, 2))
    answers, seen, done = played.leader.actions[:3], played.leader.observations[3:], played.leader.actions[3:]
    np.testing.assert_array_equal(lookup(answers, seen), done)


def test_a_told_leader_sees_shifted_queries():
    played = uniform_leader(Protocol("3-state", 3, tell_leader=True), (2, 2), 5)
    assert played.leader.observations[:3, 0, 0].tolist() == [3, 4, 5]
    assert int(played.leader.observations[3:].max()) < 3


@pytest.mark.parametrize("observations", [3, 5])
def test_random_leaders_are_uniform_over_tables(observations):
    """Acceptance item 7: each of the 8 (32) tables equally often in 8000 draws."""
    values = schedule.random_leaders(jnp.stack([jax.random.PRNGKey(1)]), Network(2, observations), 8000, 1)
    bits = np.asarray(values.argmax(0))[:, :, 0]
    counts = np.bincount((bits.T * 2 ** np.arange(observations)).sum(1), minlength=2**observations)
    expected = 8000 / 2**observations
    assert chi2.sf(((counts - expected) ** 2 / expected).sum(), 2**observations - 1) > 1e-3


def test_sums_by_code_are_the_same_compared_and_scattered():
    rng = np.random.default_rng(0)
    codes, weights = rng.integers(0, 9, (4, 3, 2)), rng.normal(size=(4, 3, 2)).astype(np.float32)
    few, many = (sums_by_code(jnp.asarray(codes), jnp.asarray(weights), count) for count in (9, 20))
    np.testing.assert_allclose(few, many[:9], atol=1e-6)
    assert not many[9:].any()


def test_an_action_is_the_interval_that_chance_falls_into():
    ends = jnp.array([[0.2], [0.7]])
    assert [int(choose(ends, jnp.array([u]))[0]) for u in (0.0, 0.19, 0.2, 0.69, 0.7, 0.99)] == [
        0,
        0,
        1,
        1,
        2,
        2,
    ]


@pytest.mark.parametrize("memory", ["3-state", "5-state"])
def test_regret_is_the_exact_one(memory):
    protocol, actions = Protocol(memory, 5), (2, 2)
    own, contexts = protocol.observation_counts(actions)[1], protocol.contexts(actions)
    replies = np.random.default_rng(0).integers(0, 2, (own * contexts, 3))
    tables = referee.tabulate([MODIFIED] * 3, protocol)
    ours = referee.regret(protocol, actions, tables, jnp.asarray(replies))
    followers = protocol.by_context(replies.T, actions)
    np.testing.assert_allclose(ours.T, exact.follower_regret(MODIFIED, protocol, followers).regret, atol=1e-4)


@pytest.mark.parametrize("tell", [False, True])
def test_the_protocols_value_is_the_exact_one(tell):
    protocol, actions = Protocol("3-state", 5, tell_leader=tell), (2, 2)
    rng = np.random.default_rng(1)
    share = rng.uniform(size=(protocol.leader_codes(actions), 2)).astype(np.float32)
    leader = jnp.asarray(np.stack([share, 1 - share]))
    replies = rng.integers(0, 2, (protocol.follower_codes(actions), 2))
    value = referee.protocol_value(
        protocol, actions, payoffs(MODIFIED, protocol, 2), leader, jnp.asarray(replies)
    )
    for lane in range(2):
        policy = np.asarray(leader)[..., lane].T
        expected = exact.protocol_value(
            MODIFIED,
            protocol,
            policy[:3],
            protocol.by_context(replies[:, lane], actions),
            answers=policy[-3:],
        )
        np.testing.assert_allclose(value[lane], expected[0], atol=1e-4)


def test_a_committed_leaders_value_is_what_it_earns():
    protocol, actions = Protocol("3-state", 3, consistent_commitment=True), (2, 2)
    played = uniform_leader(protocol, actions)
    tables = referee.tabulate([MODIFIED], protocol)
    leader = jnp.full((2, 3, 1), 0.5)
    value = referee.committed_value(protocol, actions, tables, leader, jnp.zeros((24, 1), jnp.int32))
    assert abs(float(value[0]) - float(played.returns()[0].mean())) < 0.1
