"""The kinds of transitions that a small game has, so that a replay buffer is a histogram of kinds.

A matrix game has a few dozen different transitions (observation, action, reward, next observation). A batch that is
drawn uniformly with replacement from a buffer is then, exactly, a draw of kinds in proportion to how often each is in
the buffer, and its loss is a sum over kinds. `SimpleQ` keeps the ring of kinds (the buffer forgets its oldest ones)
and their counts.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from stackerlberg.batched.play import Episodes, Game
from stackerlberg.protocol import Protocol


class Kinds(NamedTuple):
    """K kinds: what is seen, done, seen next (the number of observations: nothing, the episode is over), and paid."""

    observation: np.ndarray  # [K]
    action: np.ndarray  # [K]
    following: np.ndarray  # [K]
    rewards: Array  # [K, N]


def _game_grid(protocol: Protocol, actions: tuple[int, int], player: int) -> tuple[np.ndarray, ...]:
    """Own observation, both actions, next own observation of every game step: kind = (o * A0 + a0) * A1 + a1."""
    n0, n1 = actions
    count = protocol.observation_counts(actions)[player]
    seen, a0, a1 = (x.ravel() for x in np.indices((count, n0, n1)))
    return seen, a0, a1, protocol.views(actions)[1 + a0 + n0 * a1, player]


def leader_kinds(protocol: Protocol, actions: tuple[int, int], game: Game) -> Kinds:
    """A leader's: first the queries, kind = k * A0 + a, then game steps, each before and at the end."""
    n0, n1 = actions
    asked = [q for q in protocol.query_observations(actions) for _ in range(protocol.n_samples)]
    codes = [protocol.leader_code(q, 1, actions) for q in asked]
    offset, over = protocol.leader_code(0, 0, actions), protocol.leader_codes(actions)
    seen, a0, a1, following = _game_grid(protocol, actions, 0)
    observation = np.concatenate([np.repeat(codes, n0), np.tile(seen + offset, 2)]).astype(np.int64)
    action = np.concatenate([np.tile(np.arange(n0), len(asked)), np.tile(a0, 2)]).astype(np.int64)
    after = np.repeat([*codes[1:], offset] if asked else [], n0)
    ends = np.full(len(seen), over)
    following = np.concatenate([after, following + offset, ends]).astype(np.int64)
    paid = jnp.tile(game.leader[a0 * n1 + a1], (2, 1))
    rewards = jnp.concatenate([jnp.zeros((len(asked) * n0, paid.shape[-1])), paid])
    return Kinds(observation, action, following, rewards)


def of_leader(protocol: Protocol, actions: tuple[int, int], played: Episodes) -> Array:
    """The kind of every leader step: [Q + H, E, N]."""
    n0, n1 = actions
    queries = protocol.query_steps(actions)
    numbers = jnp.arange(queries).reshape(-1, 1, 1) * n0 + played.leader.actions[:queries]
    seen = played.leader.observations[queries:] - protocol.leader_code(0, 0, actions)
    game = (seen * n0 + played.leader.actions[queries:]) * n1 + played.follower.actions
    grid = protocol.observation_counts(actions)[0] * n0 * n1
    game = queries * n0 + game.at[-1].add(grid)
    return jnp.concatenate([numbers, game])


def follower_kinds(protocol: Protocol, actions: tuple[int, int], game: Game) -> Kinds:
    """A follower's: kind = grid * contexts + context, each before and at the end."""
    n1, contexts = actions[1], protocol.contexts(actions)
    seen, a0, a1, following = (np.repeat(x, contexts) for x in _game_grid(protocol, actions, 1))
    context = np.tile(np.arange(contexts), len(seen) // contexts)
    codes = np.tile(seen * contexts + context, 2)
    over = np.full(len(seen), protocol.follower_codes(actions))
    after = np.concatenate([following * contexts + context, over])
    return Kinds(codes, np.tile(a1, 2), after, jnp.tile(game.follower[a0 * n1 + a1], (2, 1)))


def of_follower(protocol: Protocol, actions: tuple[int, int], played: Episodes) -> Array:
    """The kind of every follower step: [H, E, N]."""
    n0, n1 = actions
    queries, contexts = protocol.query_steps(actions), protocol.contexts(actions)
    seen, context = played.follower.observations // contexts, played.follower.observations % contexts
    grid = (seen * n0 + played.leader.actions[queries:]) * n1 + played.follower.actions
    size = protocol.observation_counts(actions)[1] * n0 * n1 * contexts
    return (grid * contexts + context).at[-1].add(size)


def tabular_kinds(protocol: Protocol, actions: tuple[int, int], game: Game, reward_during_q: bool) -> Kinds:
    """A leader's against the inner Q learner: learning steps, their games' last, reward steps, the very last.

    A leader that is told the phase has a fifth part: the last step of the last learning game, after which it plays.
    """
    n1, told = actions[1], protocol.leader_code(0, 1, actions)
    seen, a0, a1, following = _game_grid(protocol, actions, 0)
    paid = game.leader[a0 * n1 + a1]
    learning = paid if reward_during_q else jnp.zeros_like(paid)
    start, over = np.zeros(len(seen), np.int64), np.full(len(seen), protocol.leader_codes(actions))
    observation, after = [seen + told] * 2 + [seen] * 2, [following + told, start + told, following, over]
    rewards = [learning, learning, paid, paid]
    if told:
        observation, after, rewards = [*observation, seen + told], [*after, start], [*rewards, learning]
    return Kinds(
        np.concatenate(observation),
        np.tile(a0, len(after)),
        np.concatenate(after),
        jnp.concatenate(rewards),
    )


def of_tabular(
    protocol: Protocol, actions: tuple[int, int], observations: Array, a0: Array, a1: Array
) -> Array:
    """The kind of every step of leader episodes with an inner Q learner: [T, E, N]."""
    steps, length = observations.shape[0], protocol.episode_length
    number, told = np.arange(steps), protocol.leader_code(0, 1, actions)
    part = np.where(number >= steps - length, 2, 0) + (number % length == length - 1)
    if told:
        part[number == steps - length - 1] = 4
        observations = observations - jnp.asarray(told * (number < steps - length)).reshape(-1, 1, 1)
    grid = protocol.observation_counts(actions)[0] * actions[0] * actions[1]
    return (observations * actions[0] + a0) * actions[1] + a1 + jnp.asarray(part * grid).reshape(-1, 1, 1)
