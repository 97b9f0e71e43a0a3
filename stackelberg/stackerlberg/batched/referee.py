"""Exact numbers beside the learned ones, for every lane at once: regret of a follower, value of a leader (spec 5.9, 8.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stackerlberg import exact, games
from stackerlberg.batched.arrays import ranked
from stackerlberg.batched.play import Game
from stackerlberg.protocol import Protocol, all_tables


class Tables(NamedTuple):
    """What is known exactly of each lane's game: leader tables L, follower tables F, both in lexicographic order."""

    leader: Array  # [L, F, N] the leader's return
    follower: Array  # [L, F, N] the follower's
    best: Array  # [L, N] the follower's best return
    stackelberg: Array  # [N] leader's best return against lexicographic best responses


def tabulate(lanes: Sequence[games.Game], protocol: Protocol) -> Tables:
    """Enumerate each game once."""
    known = {}
    for game in lanes:
        if game not in known:
            returns = np.asarray(exact.deterministic_returns(game, protocol), np.float32)
            known[game] = returns, exact.stackelberg_value(game, protocol)
    returns = np.stack([known[game][0] for game in lanes], axis=-1)  # [L, F, 2, N]
    values = np.array([known[game][1] for game in lanes], np.float32)
    leader, follower = jnp.asarray(returns[:, :, 0]), jnp.asarray(returns[:, :, 1])
    return Tables(leader, follower, follower.max(1), jnp.asarray(values))


def contexts_of_tables(protocol: Protocol, actions: tuple[int, int]) -> np.ndarray:
    """The number of the answers that each deterministic leader table gives, [L]."""
    tables = all_tables(protocol.observation_counts(actions)[0], actions[0])
    asked = [q for q in protocol.query_observations(actions) for _ in range(protocol.n_samples)]
    return protocol.context_code(tables[:, asked], actions) if asked else np.zeros(len(tables), np.int64)


def regret(protocol: Protocol, actions: tuple[int, int], tables: Tables, replies: Array) -> Array:
    """Best return minus the greedy follower's for every leader table, at least 0.

    Args: `replies` [O * contexts, N] the follower's greedy action for each code.
    Returns: [L, N].
    """
    # DEVIATION(Q1): the follower is asked under its true codes in every game, not only in those of three states
    played = _follower_tables(protocol, actions, replies)[contexts_of_tables(protocol, actions)]  # [L, N]
    return tables.best - jnp.take_along_axis(tables.follower, played[:, None], axis=1)[:, 0]


def _follower_tables(protocol: Protocol, actions: tuple[int, int], replies: Array) -> Array:
    """The lexicographic number of the follower's table in each context: [contexts, N]."""
    own = protocol.observation_counts(actions)[1]
    by_observation = replies.reshape(own, -1, replies.shape[-1])
    number = jnp.zeros(by_observation.shape[1:], jnp.int32)
    for row in by_observation:
        number = number * actions[1] + row
    return number


def protocol_value(
    protocol: Protocol, actions: tuple[int, int], game: Game, leader: Array, replies: Array
) -> Array:
    """The leader's exact expected return when answers and play are drawn from `leader` independently (spec 8.4).

    Args:
        leader: [A0, codes of the leader, N] probabilities.
        replies: [O * contexts, N] the follower's greedy actions.

    Returns:
        [N]; with consistent commitment the expectation over tables that answer as they play.
    """
    n0, n1 = actions
    own, lanes = protocol.observation_counts(actions)[1], replies.shape[-1]
    likely = jnp.ones((1, lanes))
    for query in protocol.query_observations(actions):
        answer = leader[:, protocol.leader_code(query, 1, actions)]
        kept = [answer] * protocol.n_samples
        if protocol.samples_summarize == "mean":
            kept = [_distribution_of_sum(answer, protocol.n_samples)]
        for each in kept:
            likely = (likely[:, None] * each[None]).reshape(-1, lanes)
    follower = (ranked(replies.reshape(own, -1, lanes), 4) == jnp.arange(n1).reshape(-1, 1, 1, 1)).astype(
        jnp.float32
    )
    views, offset = protocol.views(actions), protocol.leader_code(0, 0, actions)
    state = jnp.zeros((len(views), likely.shape[0], lanes)).at[0].set(1.0)
    by_leader = leader[:, views[:, 0] + offset][:, None, :, None]  # [A0, 1, states, 1, N]
    by_follower = follower[:, views[:, 1]][None]  # [1, A1, states, contexts, N]
    joint = by_leader * by_follower
    payoff = game.leader.reshape(n0, n1, 1, lanes)

    def step(state, _):
        moved = (joint * ranked(state, joint.ndim)).sum(2)  # [A0, A1, contexts, N]
        arrived = moved.swapaxes(0, 1).reshape(n0 * n1, *moved.shape[2:])  # order 1 + a0 + A0 * a1
        state = jnp.concatenate([jnp.zeros_like(state[:1]), arrived])
        return state, (moved * payoff * ranked(likely, moved.ndim)).sum((0, 1, 2))

    return jax.lax.scan(step, state, length=protocol.episode_length)[1].sum(0)


def _distribution_of_sum(answer: Array, samples: int) -> Array:
    """Chances of each sum of so many independent answers: [A0, N] -> [samples * (A0 - 1) + 1, N]."""
    found = answer
    for _ in range(samples - 1):
        parts = [jnp.pad(found * p[None], ((a, len(answer) - 1 - a), (0, 0))) for a, p in enumerate(answer)]
        found = sum(parts)
    return found


def committed_value(
    protocol: Protocol, actions: tuple[int, int], tables: Tables, leader: Array, replies: Array
) -> Array:
    """`protocol_value` of a leader that acts once per observation and episode: the mean over its tables, [N]."""
    every = all_tables(protocol.observation_counts(actions)[0], actions[0])
    likely = jnp.ones((len(every), replies.shape[-1]))
    for observation in range(every.shape[1]):
        likely = likely * leader[every[:, observation], observation]
    played = _follower_tables(protocol, actions, replies)[contexts_of_tables(protocol, actions)]
    return (likely * jnp.take_along_axis(tables.leader, played[:, None], axis=1)[:, 0]).sum(0)
