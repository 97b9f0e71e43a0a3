"""The inner Q learner: against the step-by-step environment, and what resetting and carrying mean."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stackerlberg.batched import tabular_q
from stackerlberg.batched.play import Game
from stackerlberg.batched.tabular_q import TabularQ
from stackerlberg.games import named_game

PD = named_game("prisoners_dilemma")
KEYS = jnp.stack([jax.random.PRNGKey(0)])
QUIET = TabularQ("5-state", 4, 6, alpha=0.3, epsilon=1e-9, gamma=0.9, init_zero=True)


def lanes(game, offset):
    values = jnp.asarray(game.payoffs + offset, jnp.float32).reshape(4, 2, 1)
    return Game(values[:, 0], values[:, 1])


def always(table):
    """A deterministic leader's ends [1, O, 1, 1]: action 1 where the table says so."""
    return (1.0 - jnp.asarray(table, jnp.float32)).reshape(1, -1, 1, 1)


def learned(settings, leader):
    """The table by hand: greedy follower, zero start, one leader episode."""
    q, payoff = np.zeros((2, 5)), PD.payoffs[..., 1] - 2.5
    for _ in range(settings.n_q_episodes):
        seen = 0
        for t in range(settings.episode_length):
            a0, a1 = leader[seen], int(q[:, seen].argmax())
            following = 1 + a0 + 2 * a1
            ahead = 0 if t == settings.episode_length - 1 else settings.gamma * q[:, following].max()
            q[a1, seen] += settings.alpha * (payoff[a0, a1] + ahead - q[a1, seen])
            seen = following
    return q


@pytest.mark.parametrize("leader", [(1, 0, 0, 1, 1), (0, 0, 1, 0, 1)])
def test_the_learning_games_are_q_learning(leader):
    run = jax.jit(functools.partial(tabular_q.play, QUIET, (2, 2)))
    side, _, _, table = run(lanes(PD, -2.5), always(leader), jnp.zeros((2, 5, 1, 1)), KEYS)
    np.testing.assert_allclose(table[:, :, 0, 0], learned(QUIET, leader), atol=1e-5)
    assert side.rewards.shape[0] == QUIET.steps == 28
    assert not side.rewards[:-4].any() and side.rewards[-4:].any()


def test_reward_during_learning_is_paid_only_if_asked_for():
    paid = TabularQ("5-state", 4, 6, epsilon=1e-9, init_zero=True, reward_during_q=True)
    side, *_ = tabular_q.play(paid, (2, 2), lanes(PD, -2.5), always((1,) * 5), jnp.zeros((2, 5, 1, 1)), KEYS)
    assert (side.rewards != 0).all()


def test_a_carried_table_is_where_the_last_episode_left_it():
    game, leader = lanes(PD, -2.5), always((1, 0, 0, 1, 1))
    _, _, _, carried = tabular_q.play_carried(QUIET, (2, 2), game, leader, jnp.zeros((2, 5, 1)), KEYS, 2)
    table = jnp.zeros((2, 5, 1, 1))
    for _ in range(2):
        *_, table = tabular_q.play(QUIET, (2, 2), game, leader, table, KEYS)
    np.testing.assert_allclose(carried, table[:, :, 0], atol=1e-6)


def test_parameter_noise_explores_without_random_actions():
    noisy = TabularQ("none", 1, 200, alpha=0.2, epsilon=0.1, param_noise=True, init_zero=True)
    bots = lanes(named_game("battle_of_the_sexes"), 0.0)
    _, replies, _, table = tabular_q.play(noisy, (2, 2), bots, always((0,)), jnp.zeros((2, 1, 1, 1)), KEYS)
    assert {0, 1} == set(np.unique(replies[:-1])) and table[0, 0, 0, 0] > table[1, 0, 0, 0]


def test_new_tables_are_small_and_differ_by_seed():
    keys = jnp.stack([jax.random.PRNGKey(seed) for seed in range(50)])
    table = np.asarray(tabular_q.new_table(TabularQ("5-state", 4, 6), keys, (2, 5, 4), 50))
    assert 0.009 < table.std() < 0.011 and len(np.unique(table)) == table.size
