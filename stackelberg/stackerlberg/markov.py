"""Finite two-player Markov games, and followers that best-respond in them by dynamic programming.

A repeated matrix game with a memory is the special case whose state is the last joint action (`repeated`);
there, and wherever `views` says so, the players see less than the state.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from common.cli import UserError

from .exact.returns import TIE, as_probabilities
from .games import Game, check_payoffs
from .protocol import Protocol, all_tables

_MOST_FOLLOWERS = 100_000


@dataclass(frozen=True, eq=False)
class MarkovGame:
    """A finite Markov game of a leader and a follower.

    Attributes:
        payoffs: ``[S, A0, A1, 2]`` rewards (leader, follower).
        transitions: ``[S, A0, A1, S]`` probability of the next state.
        start: ``[S]`` probability of the first state; None starts in state 0.
        horizon: number of steps; None plays on for ever, which needs ``discount < 1``.
        discount: weight of each step relative to the one before, for both players.
        views: ``[S, 2]`` whole numbers: what (leader, follower) observe in each state; None shows them the state.
        name: for messages.

    Raises:
        UserError: wrong shapes, numbers that are not finite, rows that are not distributions, an endless
            undiscounted game.
    """

    payoffs: np.ndarray
    transitions: np.ndarray
    start: ArrayLike | None = None
    horizon: int | None = None
    discount: float = 1.0
    views: ArrayLike | None = None
    name: str = "markov game"

    def __post_init__(self):
        payoffs = np.array(self.payoffs, dtype=np.float64)
        if payoffs.ndim != 4 or payoffs.shape[-1] != 2:
            raise UserError(
                f"{self.name}: payoffs must have shape [states, A0, A1, 2], not {list(payoffs.shape)}"
            )
        for state in payoffs:
            check_payoffs(state, self.name)
        transitions = np.array(self.transitions, dtype=np.float64)
        states = len(payoffs)
        if transitions.shape != (*payoffs.shape[:3], states):
            raise UserError(
                f"{self.name}: transitions must have shape {[*payoffs.shape[:3], states]}, "
                f"not {list(transitions.shape)}"
            )
        start = np.eye(states)[0] if self.start is None else np.array(self.start, dtype=np.float64)
        if start.shape != (states,):
            raise UserError(f"{self.name}: start must be [{states}] probabilities, not {list(start.shape)}")
        for what, rows in (("transitions", transitions), ("start", start)):
            if not (np.all(rows >= 0) and np.allclose(rows.sum(axis=-1), 1, atol=1e-6)):
                raise UserError(f"{self.name}: {what} must be probabilities that sum to 1 over states")
        if self.horizon is not None and (not isinstance(self.horizon, int) or self.horizon < 1):
            raise UserError(
                f"{self.name}: horizon must be a whole number of at least 1, not {self.horizon!r}"
            )
        if not (0 <= self.discount < 1 or (self.discount == 1 and self.horizon is not None)):
            raise UserError(
                f"{self.name}: discount {self.discount!r} with horizon {self.horizon!r} gives no finite return; "
                "use a discount in [0, 1), or a horizon and a discount up to 1"
            )
        views = (
            np.repeat(np.arange(states)[:, None], 2, axis=1) if self.views is None else np.array(self.views)
        )
        if views.shape != (states, 2) or not np.issubdtype(views.dtype, np.integer) or views.min() < 0:
            raise UserError(f"{self.name}: views must be [{states}, 2] whole numbers of at least 0")
        for key, value in (
            ("payoffs", payoffs),
            ("transitions", transitions),
            ("start", start),
            ("views", views),
        ):
            value.setflags(write=False)
            object.__setattr__(self, key, value)

    @property
    def states(self) -> int:
        """Number of states."""
        return len(self.payoffs)

    @property
    def actions(self) -> tuple[int, int]:
        """Numbers of actions (leader, follower)."""
        return self.payoffs.shape[1], self.payoffs.shape[2]

    @property
    def observation_counts(self) -> tuple[int, int]:
        """Numbers of observations (leader, follower)."""
        leader, follower = self.views.max(axis=0) + 1
        return int(leader), int(follower)

    @cached_property
    def _cumulative(self) -> tuple[np.ndarray, np.ndarray]:
        return self.start.cumsum()[:-1], self.transitions.cumsum(axis=-1)[..., :-1]

    def first_state(self, rng: np.random.Generator) -> int:
        """Draw the first state."""
        return int(np.searchsorted(self._cumulative[0], rng.random(), side="right"))

    def next_state(self, state: int, leader: int, follower: int, rng: np.random.Generator) -> int:
        """Draw the state after both have acted."""
        return int(np.searchsorted(self._cumulative[1][state, leader, follower], rng.random(), side="right"))


def repeated(game: Game, protocol: Protocol | None = None) -> MarkovGame:
    """A matrix game as a Markov game over joint states: played once, or as the protocol says."""
    if protocol is None:
        return MarkovGame(game.payoffs[None], np.ones((1, *game.actions, 1)), horizon=1, name=game.name)
    states = 1 + game.actions[0] * game.actions[1]
    after = 1 + np.arange(game.actions[0])[:, None] + game.actions[0] * np.arange(game.actions[1])
    return MarkovGame(
        payoffs=np.broadcast_to(game.payoffs + protocol.reward_offset, (states, *game.payoffs.shape)),
        transitions=np.broadcast_to(np.eye(states)[after], (states, *game.actions, states)),
        horizon=protocol.episode_length,
        views=protocol.views(game.actions),
        name=game.name,
    )


def _per_state(game: MarkovGame, leader, follower) -> tuple[np.ndarray, np.ndarray]:
    n_leader, n_follower = game.observation_counts
    leader = as_probabilities(leader, n_leader, game.actions[0], "the leader's policy")
    follower = as_probabilities(follower, n_follower, game.actions[1], "the follower's policy")
    return leader[..., game.views[:, 0], :], follower[..., game.views[:, 1], :]


def markov_returns(game: MarkovGame, leader, follower) -> np.ndarray:
    """Exact expected returns of two stationary policies.

    Args:
        leader: ``[..., n_leader, A0]`` probabilities or ``[..., n_leader]`` whole actions.
        follower: ``[..., n_follower, A1]`` or ``[..., n_follower]``; leading axes broadcast.

    Returns:
        ``[..., 2]``: (leader, follower).
    """
    leader, follower = _per_state(game, leader, follower)
    joint = leader[..., :, :, None] * follower[..., :, None, :]
    gains = np.einsum("...sab,sabk->...sk", joint, game.payoffs)
    moves = np.einsum("...sab,sabt->...st", joint, game.transitions)
    if game.horizon is None:
        values = np.linalg.solve(np.eye(game.states) - game.discount * moves, gains)
    else:
        values = np.zeros_like(gains)
        for _ in range(game.horizon):
            values = gains + game.discount * (moves @ values)
    return np.einsum("s,...sk->...k", game.start, values)


@dataclass(frozen=True)
class Response:
    """A best response to one leader.

    Attributes:
        follower: ``[n_follower]`` actions; ``[H, n_follower]`` if the follower knows the step number.
        returns: (leader, follower).
    """

    follower: np.ndarray
    returns: tuple[float, float]


def best_response(game: MarkovGame, leader, ties: str = "lexicographic", clock: bool = False) -> Response:
    """The follower's exact best response to a leader policy.

    In an endless game it is found by value iteration and is stationary. In a finite one it is the best
    deterministic stationary table, found by enumeration; with `clock` the follower knows the step number and
    backward induction gives its policy. Dynamic programming needs a follower that sees the state.

    Args:
        leader: ``[n_leader]`` actions or ``[n_leader, A0]`` probabilities.
        ties: ``lexicographic`` takes the first best action or table, ``optimistic`` the one best for the leader,
            ``pessimistic`` the worst for it.

    Raises:
        UserError: too many tables to enumerate, or a follower that doesn't see the state where it must.
    """
    if ties not in ("lexicographic", "optimistic", "pessimistic"):
        raise UserError(f"unknown tie rule {ties!r}; there are lexicographic, optimistic, pessimistic")
    if clock and game.horizon is None:
        raise UserError(f"{game.name}: a clock means nothing in an endless game; give it a horizon")
    n_leader, n_follower = game.observation_counts
    leader = as_probabilities(leader, n_leader, game.actions[0], "the leader's policy")
    if game.horizon is not None and not clock:
        return _stationary(game, leader, n_follower, ties)
    if not np.array_equal(game.views[:, 1], np.arange(game.states)):
        raise UserError(
            f"{game.name}: dynamic programming needs a follower that sees the state; leave out views"
        )
    return _dynamic(game, leader, ties)


def _stationary(game: MarkovGame, leader: np.ndarray, n_follower: int, ties: str) -> Response:
    if n_follower * np.log(game.actions[1]) > np.log(_MOST_FOLLOWERS):
        raise UserError(
            f"{game.name}: {game.actions[1]} ** {n_follower} follower tables are too many to enumerate; "
            "use clock=True, or no horizon and a discount"
        )
    followers = all_tables(n_follower, game.actions[1])
    returns = markov_returns(game, leader, followers)
    tied = np.flatnonzero(returns[:, 1] >= returns[:, 1].max() - TIE)
    chosen = tied[_preferred(returns[tied, 0], ties)]
    return Response(followers[chosen], tuple(returns[chosen].tolist()))


def _preferred(leader_returns: np.ndarray, ties: str) -> int:
    return {
        "lexicographic": 0,
        "optimistic": leader_returns.argmax(),
        "pessimistic": leader_returns.argmin(),
    }[ties]


def _dynamic(game: MarkovGame, leader: np.ndarray, ties: str) -> Response:
    """Backward induction, or value iteration until nothing changes; ties settle the leader's value."""
    in_states = leader[game.views[:, 0]]
    gains = np.einsum("sa,sabk->sbk", in_states, game.payoffs)
    moves = np.einsum("sa,sabt->sbt", in_states, game.transitions)

    def backup(values: np.ndarray, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        worth = gains + game.discount * moves @ values
        tied = worth[..., 1] >= worth[..., 1].max(axis=1, keepdims=True) - TIE if allowed is None else allowed
        sign = {"lexicographic": 0.0, "optimistic": 1.0, "pessimistic": -1.0}[ties]
        chosen = np.where(tied, sign * worth[..., 0], -np.inf).argmax(axis=1)
        return worth[np.arange(game.states), chosen], chosen

    values = np.zeros((game.states, 2))
    if game.horizon is not None:
        plan = []
        for _ in range(game.horizon):
            values, chosen = backup(values)
            plan.append(chosen)
        follower = np.stack(plan[::-1])
    else:
        follower = _endless(game, gains, moves, backup)
        stationary = markov_returns(game, leader, follower)
        return Response(follower, tuple(stationary.tolist()))
    return Response(follower, tuple((game.start @ values).tolist()))


def _endless(game: MarkovGame, gains: np.ndarray, moves: np.ndarray, backup) -> np.ndarray:
    """The follower's optimal values first; then, among its optimal actions, the leader's under the tie rule."""
    scale = max(1.0, float(np.abs(gains).max())) / (1 - game.discount)
    rounds = 2 if game.discount == 0 else int(np.ceil(np.log(1e-13) / np.log(game.discount))) + 2
    own = np.zeros(game.states)
    for _ in range(rounds):
        own = (gains[..., 1] + game.discount * moves @ own).max(axis=1)
    worth = gains[..., 1] + game.discount * moves @ own
    allowed = worth >= worth.max(axis=1, keepdims=True) - TIE * scale
    values = np.zeros((game.states, 2))
    chosen = allowed.argmax(axis=1)
    for _ in range(rounds):
        values, chosen = backup(values, allowed)
    return chosen
