"""Best responses by enumeration and by dynamic programming, and the true regret of a follower."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.cli import UserError

from ..games import Game
from ..protocol import Protocol, all_tables
from .returns import (
    TIE,
    as_probabilities,
    deterministic_returns,
    outcome_rewards,
    policy_returns,
)


@dataclass(frozen=True)
class BestResponses:
    """The follower's best deterministic stationary table against each leader table.

    Attributes:
        leaders: ``[NL, n_leader]`` the leader tables, lexicographic.
        tables: ``[NL, n_follower]`` the lexicographically first best follower.
        index: ``[NL]`` its index in `all_tables`.
        follower_return: ``[NL]`` what the follower gets.
        leader_return: ``[NL, 3]`` what the leader gets under lexicographic, optimistic, pessimistic ties.
    """

    leaders: np.ndarray
    tables: np.ndarray
    index: np.ndarray
    follower_return: np.ndarray
    leader_return: np.ndarray


def best_responses(game: Game, protocol: Protocol) -> BestResponses:
    """Enumerate all follower tables against all leader tables (spec 5.9, 8.2).

    Raises:
        UserError: too many pairs to enumerate.
    """
    n_leader, n_follower = protocol.observation_counts(game.actions)
    returns = deterministic_returns(game, protocol)
    best = returns[..., 1].max(axis=1)
    tied = returns[..., 1] >= best[:, None] - TIE
    first = tied.argmax(axis=1)
    leader = returns[..., 0]
    leader_return = np.stack(
        [
            leader[np.arange(len(leader)), first],
            np.where(tied, leader, -np.inf).max(axis=1),
            np.where(tied, leader, np.inf).min(axis=1),
        ],
        axis=-1,
    )
    return BestResponses(
        leaders=all_tables(n_leader, game.actions[0]),
        tables=all_tables(n_follower, game.actions[1])[first],
        index=first,
        follower_return=best,
        leader_return=leader_return,
    )


def stochastic_leader_value(game: Game, protocol: Protocol, leader, ties: str = "optimistic") -> np.ndarray:
    """Exact returns of a committed stochastic leader whose probabilities the follower knows.

    The follower replies with its best deterministic stationary table.

    Args:
        leader: ``[..., n_leader, A0]`` probabilities or ``[..., n_leader]`` actions.
        ties: ``lexicographic``, ``optimistic`` or ``pessimistic`` for the leader; returns within `TIE` are ties.

    Returns:
        ``[..., 2]``: (leader, follower).

    Raises:
        UserError: unknown tie rule, or too many follower tables to enumerate.
    """
    if ties not in ("lexicographic", "optimistic", "pessimistic"):
        raise UserError(f"unknown tie rule {ties!r}; there are lexicographic, optimistic, pessimistic")
    n_leader, n_follower = protocol.observation_counts(game.actions)
    leader = as_probabilities(leader, n_leader, game.actions[0], "the leader's policy")
    returns = policy_returns(game, protocol, leader[..., None, :, :], all_tables(n_follower, game.actions[1]))
    tied = returns[..., 1] >= returns[..., 1].max(axis=-1, keepdims=True) - TIE
    sign = {"lexicographic": 0.0, "optimistic": 1.0, "pessimistic": -1.0}[ties]
    chosen = np.where(tied, sign * returns[..., 0], -np.inf).argmax(axis=-1)
    return np.take_along_axis(returns, chosen[..., None, None], axis=-2)[..., 0, :]


def time_aware_returns(game: Game, protocol: Protocol, leader) -> np.ndarray:
    """Returns against a follower that knows the step number and the last joint action, by backward induction.

    It is stronger than the published follower, whose observation has no clock (spec 8.3).

    Args:
        leader: ``[..., n_leader]`` actions or ``[..., n_leader, A0]`` probabilities.

    Returns:
        ``[..., 3]``: the follower's return, the leader's under optimistic and under pessimistic ties.
    """
    leader_actions, follower_actions = game.actions
    n_leader = protocol.observation_counts(game.actions)[0]
    leader = as_probabilities(leader, n_leader, leader_actions, "the leader's policy")
    in_states = leader[..., protocol.views(game.actions)[:, 0], :]
    rewards = outcome_rewards(game, protocol).reshape(follower_actions, leader_actions, 2)
    gains = np.stack([rewards[..., 1], rewards[..., 0], rewards[..., 0]], axis=-1)
    values = np.zeros((*in_states.shape[:-1], 3))
    for _ in range(protocol.episode_length):
        later = values[..., 1:, :].reshape(*values.shape[:-2], follower_actions, leader_actions, 3)
        # [..., S, A1, 3]: worth of each follower action
        worth = np.einsum("...sa,...bak->...sbk", in_states, gains + later)
        best = worth[..., 0].max(axis=-1)
        tied = worth[..., 0] >= best[..., None] - TIE
        values = np.stack(
            [
                best,
                np.where(tied, worth[..., 1], -np.inf).max(axis=-1),
                np.where(tied, worth[..., 2], np.inf).min(axis=-1),
            ],
            axis=-1,
        )
    return values[..., 0, :]


@dataclass(frozen=True)
class Regret:
    """How far a contextual follower is from best-responding, per leader table.

    Attributes:
        leaders: ``[NL, n_leader]`` the leader tables.
        best: ``[NL]`` the best return.
        actual: ``[..., NL]`` the follower's return.
        regret: ``[..., NL]`` ``best - actual``, not negative for deterministic and stochastic followers alike.
        total: ``[...]`` its sum; the original's `follower_best_responds/sum` is minus this.
        optimal: ``[...]`` number of leader tables answered without regret.
    """

    leaders: np.ndarray
    best: np.ndarray
    actual: np.ndarray
    regret: np.ndarray
    total: np.ndarray
    optimal: np.ndarray


def follower_regret(
    game: Game, protocol: Protocol, followers, responses: BestResponses | None = None
) -> Regret:
    """True regret of a follower over all deterministic leader tables.

    DEVIATION(Q1): the original looks its five-state followers up under the wrong codes, so that its sum means
    nothing there and the stop at an optimal follower never comes. Here the code is the environment's.

    Args:
        followers: ``[..., contexts, n_follower]`` actions or ``[..., contexts, n_follower, A1]`` probabilities,
            per answer list (`Protocol.by_context`).
        responses: of `best_responses`, if they are at hand.

    Raises:
        UserError: too many tables to enumerate.
    """
    responses = responses or best_responses(game, protocol)
    followers = follower_probabilities(game, protocol, followers)
    answers = responses.leaders[:, list(protocol.query_observations(game.actions))]
    answers = np.repeat(answers, protocol.n_samples, axis=1)
    context = protocol.context_code(answers, game.actions)
    actual = policy_returns(game, protocol, responses.leaders, followers[..., context, :, :])[..., 1]
    regret = responses.follower_return - actual
    regret = np.where(np.abs(regret) < TIE, 0.0, regret)
    return Regret(
        leaders=responses.leaders,
        best=responses.follower_return,
        actual=actual,
        regret=regret,
        total=regret.sum(axis=-1),
        optimal=(regret == 0).sum(axis=-1),
    )


def follower_probabilities(game: Game, protocol: Protocol, followers) -> np.ndarray:
    """A contextual follower as ``[..., contexts, n_follower, A1]`` probabilities, its shape checked."""
    n_follower = protocol.observation_counts(game.actions)[1]
    followers = as_probabilities(followers, n_follower, game.actions[1], "the follower's table")
    contexts = protocol.contexts(game.actions)
    if followers.ndim < 3 or followers.shape[-3] != contexts:
        raise ValueError(f"the follower's table needs {contexts} contexts, not {followers.shape}")
    return followers


def certify(regret: Regret, tolerance: float = TIE) -> None:
    """Refuse a follower that leaves more than `tolerance` of regret against any leader table.

    `regret` is of one follower (no leading axes).

    Raises:
        UserError: it does; the message names the worst leader table.
    """
    worst = int(np.argmax(regret.regret))
    if regret.regret[worst] > tolerance:
        table = "".join(map(str, regret.leaders[worst]))
        raise UserError(
            f"the follower is not certified: it answers {int(regret.optimal)} of {len(regret.best)} leader tables "
            f"optimally and loses {regret.regret[worst]:g} against {table} (allowed {tolerance:g}); "
            "train it longer or allow more regret"
        )
