"""The inner-loop oracle (spec 3.4): a follower that learns a Q table inside every leader episode.

A leader episode is so many learning games, then one reward game against the greedy follower. The leader sees one long
episode of ``(n_q_episodes + 1) * H`` steps, as a single agent would.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from stackerlberg.batched.arrays import choose, fold, greedy, lookup, normal, ranked, uniform
from stackerlberg.batched.play import Game, Side, next_observations

#: standard deviation of a new table's entries
INITIAL = 0.01


@dataclass(frozen=True)
class TabularQ:
    """The follower and its episode (arguments of the tabular-Q factories, spec 2.5).

    Attributes:
        query_offset: what is added to the leader's observations in learning games, if it is told the phase.
        sparse: (prob, scale, deterministic) of the follower's reward (spec 3.5), None if it is paid at every step:
            times `scale` with probability ``1 / prob`` and else 0; deterministic: from a game's step `prob` on.
    """

    memory: str
    episode_length: int
    n_q_episodes: int
    alpha: float = 0.1
    epsilon: float = 0.1
    gamma: float = 0.9
    reset: bool = True
    param_noise: bool = False
    init_zero: bool = False
    reward_during_q: bool = False
    query_offset: int = 0
    sparse: tuple[float, float, bool] | None = None

    @property
    def steps(self) -> int:
        """Env steps of a leader episode."""
        return (self.n_q_episodes + 1) * self.episode_length


def new_table(settings: TabularQ, keys: Array, shape: tuple[int, ...], lanes: int) -> Array:
    """A fresh Q table: shape = (A1, O, ...) -> [*shape, N]."""
    if settings.init_zero:
        return jnp.zeros((*shape, lanes))
    return INITIAL * normal(keys, shape, lanes)


def _paid(settings: TabularQ, keys: Array, shape: tuple[int, ...], lanes: int) -> Array:
    """By what the follower's reward is multiplied: shape = (..., H, E) -> [*shape, N]; one number where it is always paid."""
    if settings.sparse is None:
        return jnp.ones((*shape[:-1], 1, 1))
    prob, scale, deterministic = settings.sparse
    if deterministic:
        late = jnp.arange(1, settings.episode_length + 1) >= prob
        return jnp.broadcast_to(jnp.where(late, scale, 0.0)[:, None, None], (*shape[:-1], 1, 1))
    return jnp.where(uniform(keys, shape, lanes) < 1 / prob, scale, 0.0)


def _learning_games(settings, actions, game, leader_ends, table, keys, sampling):
    """All learning games of E parallel episodes: the table after them and the leader's steps."""
    n0, n1 = actions
    _, observations, episodes, lanes = table.shape
    shape = settings.n_q_episodes, settings.episode_length, episodes
    by_leader = uniform(fold(keys, 0), shape, lanes) if sampling else jnp.zeros((*shape, lanes))
    if settings.param_noise:
        noise = settings.epsilon * normal(
            fold(keys, 1), (settings.n_q_episodes, n1, observations, episodes), lanes
        )
        explored = jnp.zeros(shape[:2] + (1, 1))
    else:
        noise = jnp.zeros((settings.n_q_episodes, 1, 1, 1, 1))
        explored = uniform(fold(keys, 1), shape, lanes)
    final = jnp.arange(settings.episode_length) == settings.episode_length - 1
    paid = _paid(settings, fold(keys, 4), shape, lanes)

    def learning_game(table, drawn):
        moves, trials, perturbation, paid = drawn

        def step(carry, drawn):
            table, seen_by_leader, seen = carry
            move, trial, at_end, share = drawn
            code = seen_by_leader + settings.query_offset
            a0 = choose(_at(leader_ends, code), move)
            # DEVIATION(Q5): the follower looks its values up under its own observation
            a1 = greedy(_at(table + perturbation, seen))
            if not settings.param_noise:
                random = jnp.minimum((trial / settings.epsilon * n1).astype(jnp.int32), n1 - 1)
                a1 = jnp.where(trial < settings.epsilon, random, a1)
            reward = lookup(game.follower, a0 * n1 + a1) * share
            seen_next, own_next = next_observations(settings.memory, a0, a1, n0)
            ahead = jnp.where(at_end, 0.0, settings.gamma * _at(table, own_next).max(0))
            here = _one_hot(a1, n1)[:, None] * _one_hot(seen, observations)[None]
            table = table + here * settings.alpha * (ranked(reward + ahead, table.ndim) - table)
            gained = lookup(game.leader, a0 * n1 + a1) if settings.reward_during_q else jnp.zeros_like(reward)
            return (table, seen_next, own_next), (code, a0, gained, a1)

        start = jnp.zeros((episodes, lanes), jnp.int32)
        (table, _, _), steps = jax.lax.scan(step, (table, start, start), (moves, trials, final, paid))
        return table, steps

    table, steps = jax.lax.scan(learning_game, table, (by_leader, explored, noise, paid))
    return table, [x.reshape(-1, episodes, lanes) for x in steps]


def _reward_game(settings, actions, game, leader_ends, table, keys, sampling):
    n0, n1 = actions
    episodes, lanes = table.shape[2:]
    shape = settings.episode_length, episodes
    moves = uniform(fold(keys, 2), shape, lanes) if sampling else jnp.zeros((*shape, lanes))
    paid = _paid(settings, fold(keys, 5), shape, lanes)

    def step(carry, drawn):
        seen_by_leader, seen = carry
        move, share = drawn
        a0 = choose(_at(leader_ends, seen_by_leader), move)
        a1 = greedy(_at(table, seen))
        joint = a0 * n1 + a1
        moved = (seen_by_leader, a0, lookup(game.leader, joint), a1), lookup(game.follower, joint) * share
        return next_observations(settings.memory, a0, a1, n0), moved

    start = jnp.zeros((episodes, lanes), jnp.int32)
    _, (steps, follower) = jax.lax.scan(step, (start, start), (moves, paid))
    return steps, follower


def play(
    settings: TabularQ,
    actions: tuple[int, int],
    game: Game,
    leader_ends: Array,
    table: Array,
    keys: Array,
    *,
    sampling: bool = True,
) -> tuple[Side, Array, Array, Array]:
    """E leader episodes side by side, each from its own table.

    Args:
        leader_ends: [A0 - 1, O, 1 or E, N].
        table: Q values [A1, O of the follower, E, N] at the start.
        sampling: the leader's intervals need chance; a greedy one's don't.

    Returns:
        The leader's steps [T, E, N], the follower's actions, its return in the reward game [E, N], the tables at the end.
    """
    table, learning = _learning_games(settings, actions, game, leader_ends, table, keys, sampling)
    reward, follower = _reward_game(settings, actions, game, leader_ends, table, keys, sampling)
    joined = [jnp.concatenate(pair) for pair in zip(learning, reward, strict=True)]
    return Side(*joined[:3]), joined[3], follower.sum(0), table


def play_carried(
    settings: TabularQ,
    actions: tuple[int, int],
    game: Game,
    leader_ends: Array,
    table: Array,
    keys: Array,
    episodes: int,
    *,
    sampling: bool = True,
) -> tuple[Side, Array, Array, Array]:
    """E leader episodes one after the other, each with the table that the one before left: table [A1, O, N]."""

    def one(table, number):
        ends = (
            leader_ends
            if leader_ends.shape[2] == 1
            else jax.lax.dynamic_slice_in_dim(leader_ends, number, 1, 2)
        )
        *played, table = play(
            settings, actions, game, ends, table[:, :, None], fold(keys, number), sampling=sampling
        )
        return table[:, :, 0], played

    table, (side, replies, follower) = jax.lax.scan(one, table, jnp.arange(episodes))
    side, replies = jax.tree.map(lambda x: jnp.moveaxis(x[:, :, 0], 0, 1), (side, replies))
    return side, replies, follower[:, 0], table


def _at(tables: Array, index: Array) -> Array:
    """[K, O, ..., N] at observations [..., N] -> [K, ..., N]."""
    return jnp.stack([lookup(each, index) for each in tables])


def _one_hot(index: Array, count: int) -> Array:
    return (ranked(index, index.ndim + 1) == jnp.arange(count).reshape(-1, *(1,) * index.ndim)).astype(
        jnp.float32
    )
