"""Stackelberg values by enumeration of leader tables, and of the one-shot game (spec 8.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.cli import UserError

from ..games import Game
from ..protocol import Protocol
from .responses import BestResponses, best_responses, time_aware_returns
from .returns import TIE

TIE_RULES = ("lexicographic", "optimistic", "pessimistic")


@dataclass(frozen=True)
class Optimum:
    """The best that a leader can do: `value`, and every deterministic table that reaches it."""

    value: float
    leaders: np.ndarray


@dataclass(frozen=True)
class Enumeration:
    """All leader tables with what they earn.

    Attributes:
        responses: of the published follower, a deterministic stationary table.
        time_aware: ``[NL, 3]`` of `time_aware_returns`.
    """

    responses: BestResponses
    time_aware: np.ndarray

    def leader_returns(self, ties: str = "lexicographic", time_aware: bool = False) -> np.ndarray:
        """``[NL]`` the leader's return against the best response, its ties broken by `ties`.

        Raises:
            UserError: unknown rule, or a lexicographic one for the time-aware follower, which is not a table.
        """
        rules = TIE_RULES[1:] if time_aware else TIE_RULES
        if ties not in rules:
            raise UserError(f"unknown tie rule {ties!r}; there are {', '.join(rules)}")
        if time_aware:
            return self.time_aware[:, 1 + rules.index(ties)]
        return self.responses.leader_return[:, rules.index(ties)]

    def optimum(self, ties: str = "lexicographic", time_aware: bool = False) -> Optimum:
        """The Stackelberg value over deterministic leader tables and the tables that reach it."""
        returns = self.leader_returns(ties, time_aware)
        best = returns.max()
        return Optimum(float(best), self.responses.leaders[returns >= best - TIE])


def enumerate_leaders(game: Game, protocol: Protocol) -> Enumeration:
    """Enumerate every deterministic leader table against every deterministic follower table.

    Raises:
        UserError: too many pairs to enumerate.
    """
    responses = best_responses(game, protocol)
    return Enumeration(responses, time_aware_returns(game, protocol, responses.leaders))


def stackelberg_value(
    game: Game, protocol: Protocol, ties: str = "lexicographic", time_aware: bool = False
) -> float:
    """The leader's best return over deterministic tables; the paper's Stackelberg value of the repeated game."""
    return enumerate_leaders(game, protocol).optimum(ties, time_aware).value


@dataclass(frozen=True)
class MixedCommitment:
    """Strong Stackelberg equilibrium of the one-shot game: leader's mix ``[A0]``, follower's action, values."""

    leader: np.ndarray
    follower: int
    leader_value: float
    follower_value: float


@dataclass(frozen=True)
class OneShot:
    """The game played once, in raw payoffs.

    Attributes:
        best_responses: per leader action, the follower's best actions.
        optimistic, pessimistic: ``[A0]`` the leader's payoff under either tie rule.
        mixed: the best mixed commitment, ties in the leader's favour.
        nash: pure Nash equilibria (leader's action, follower's action).
    """

    best_responses: tuple[tuple[int, ...], ...]
    optimistic: np.ndarray
    pessimistic: np.ndarray
    mixed: MixedCommitment
    nash: tuple[tuple[int, int], ...]


def one_shot(game: Game) -> OneShot:
    """Pure and mixed commitment and pure Nash equilibria of the game played once."""
    leader, follower = game.payoffs[..., 0], game.payoffs[..., 1]
    tied = follower >= follower.max(axis=1, keepdims=True) - TIE
    best = leader >= leader.max(axis=0, keepdims=True) - TIE
    return OneShot(
        best_responses=tuple(tuple(np.flatnonzero(row).tolist()) for row in tied),
        optimistic=np.where(tied, leader, -np.inf).max(axis=1),
        pessimistic=np.where(tied, leader, np.inf).min(axis=1),
        mixed=_mixed_commitment(game),
        nash=tuple((int(row), int(column)) for row, column in np.argwhere(tied & best)),
    )


def _mixed_commitment(game: Game) -> MixedCommitment:
    """One linear program per follower action: the best mix to which that action is a best response."""
    from scipy.optimize import linprog  # see `commitment._maximise`

    leader, follower = game.payoffs[..., 0], game.payoffs[..., 1]
    found = None
    for action in range(game.actions[1]):
        loses = follower.T - follower[:, action]
        program = linprog(
            -leader[:, action],
            A_ub=loses,
            b_ub=np.zeros(len(loses)),
            A_eq=np.ones((1, game.actions[0])),
            b_eq=[1],
        )
        if program.success and (found is None or -program.fun > found.leader_value + TIE):
            mix = program.x
            found = MixedCommitment(
                mix, action, float(mix @ leader[:, action]), float(mix @ follower[:, action])
            )
    return found
