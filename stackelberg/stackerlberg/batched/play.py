"""Episodes of the query protocol (spec 3.2): Q questions to the leader, then H steps of the game.

A policy is given by the ends of its actions' intervals (`arrays.cumulative`), so a sampling, a greedy and a noisy
player are the same to the game: the action is the interval in which a uniform number falls.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from stackerlberg.batched.arrays import choose, lookup, ranked, uniform
from stackerlberg.protocol import Protocol


class Game(NamedTuple):
    """Payoffs with the offset, per lane: leader and follower, [A0 * A1, N], index ``a0 * A1 + a1``."""

    leader: Array
    follower: Array


class Side(NamedTuple):
    """One player's steps: [T, E, N]."""

    observations: Array
    actions: Array
    rewards: Array


class Episodes(NamedTuple):
    """Both players' steps; the leader's first Q are the queries."""

    leader: Side
    follower: Side

    def returns(self) -> tuple[Array, Array]:
        """Return of each episode, [E, N] per player."""
        return self.leader.rewards.sum(0), self.follower.rewards.sum(0)


def next_observations(memory: str, a0: Array, a1: Array, n_leader_actions: int) -> tuple[Array, Array]:
    """What leader and follower see after a joint action (spec 3.1)."""
    if memory == "none":
        return jnp.zeros_like(a0), jnp.zeros_like(a1)
    if memory == "3-state":
        return 1 + a1, 1 + a0
    joint = 1 + a0 + n_leader_actions * a1
    return joint, joint


class Chance(NamedTuple):
    """The uniform numbers that decide E episodes: queries [Q, E, N], both players' moves [H, E, N]."""

    queries: Array
    leader: Array
    follower: Array


def draw(keys: Array, protocol: Protocol, actions: tuple[int, int], episodes: int, lanes: int) -> Chance:
    """Chance for E episodes; with consistent commitment the leader's is drawn per observation and episode."""
    queries, steps = protocol.query_steps(actions), protocol.episode_length
    leader = protocol.observation_counts(actions)[0] if protocol.consistent_commitment else queries + steps
    drawn = uniform(keys, (leader + steps, episodes), lanes)  # at once: each call is a program of its own
    if protocol.consistent_commitment:
        return Chance(drawn[:leader], drawn[:leader], drawn[leader:])
    return Chance(drawn[:queries], drawn[queries:leader], drawn[leader:])


def ask(
    protocol: Protocol, actions: tuple[int, int], leader_ends: Array, chance: Array
) -> tuple[Array, Array, Array]:
    """The query phase: the leader's observations and answers [Q, E, N], and the number of the answers [E, N]."""
    seen, episodes, lanes = [], chance.shape[1], chance.shape[2]
    answers, context = [], jnp.zeros((episodes, lanes), jnp.int32)
    mean, values = protocol.samples_summarize == "mean", protocol.kept_answers(actions)[1]
    for k, query in enumerate(
        q for q in protocol.query_observations(actions) for _ in range(protocol.n_samples)
    ):
        code = protocol.leader_code(query, 1, actions)
        # DEVIATION(Q13): a switch; one draw per observation makes answers and play of an episode agree
        drawn = chance[query] if protocol.consistent_commitment else chance[k]
        answer = choose(leader_ends[:, code], drawn)
        seen.append(jnp.full((episodes, lanes), code, jnp.int32))
        answers.append(answer)
        # of the answers that are summarised by their mean, each but the first only adds to the last digit
        context = answer + (context if mean and k % protocol.n_samples else context * values)
    if not answers:
        nothing = jnp.zeros((0, episodes, lanes), jnp.int32)
        return nothing, nothing, context
    return jnp.stack(seen), jnp.stack(answers), context


def play(
    protocol: Protocol,
    actions: tuple[int, int],
    game: Game,
    leader_ends: Array,
    follower_ends: Array,
    chance: Chance,
) -> Episodes:
    """Play E episodes in every lane.

    Args:
        leader_ends: [A0 - 1, codes of the leader, 1 or E, N].
        follower_ends: [A1 - 1, codes of the follower, 1, N].

    Returns:
        Steps with the observations' codes of spec 3.3.
    """
    n0, n1 = actions
    asked, answers, context = ask(protocol, actions, leader_ends, chance.queries)
    _, own = protocol.observation_counts(actions)
    contexts, lanes = protocol.contexts(actions), context.shape[-1]
    table = follower_ends.reshape(n1 - 1, own, contexts, follower_ends.shape[-1])
    table = jnp.take_along_axis(table, jnp.broadcast_to(context, (n1 - 1, own, *context.shape)), axis=2)
    offset = protocol.leader_code(0, 0, actions)

    def step(carry, drawn):
        seen_by_leader, seen_by_follower = carry
        by_leader, by_follower = drawn
        if protocol.consistent_commitment:
            by_leader = lookup(chance.leader, seen_by_leader)
        a0 = choose(_looked_up(leader_ends, seen_by_leader + offset), by_leader)
        a1 = choose(_looked_up(table, seen_by_follower), by_follower)
        joint = a0 * n1 + a1
        rewards = lookup(game.leader, joint), lookup(game.follower, joint)
        moved = (seen_by_leader + offset, a0, rewards[0]), (seen_by_follower, a1, rewards[1])
        return next_observations(protocol.memory, a0, a1, n0), moved

    start = jnp.zeros((context.shape[0], lanes), jnp.int32)
    moves = chance.leader if not protocol.consistent_commitment else chance.follower
    _, (leader, follower) = jax.lax.scan(step, (start, start), (moves, chance.follower))
    nothing = jnp.zeros(answers.shape)
    joined = [jnp.concatenate(pair) for pair in zip((asked, answers, nothing), leader, strict=True)]
    codes = follower[0] * contexts + ranked(context, follower[0].ndim)
    return Episodes(Side(*joined), Side(codes, *follower[1:]))


def _looked_up(ends: Array, index: Array) -> Array:
    return jnp.stack([lookup(each, index) for each in ends])
