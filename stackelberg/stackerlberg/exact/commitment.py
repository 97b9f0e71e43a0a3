"""Stochastic commitment, and the objective that the query protocol really optimises (spec 8.3, 8.4).

Both searches are numerical and give lower bounds: sequential quadratic programming from several starts, with
exact values and exact derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from common.cli import UserError

from ..games import Game
from ..protocol import Protocol, all_tables
from .responses import best_responses, follower_probabilities
from .returns import (
    TIE,
    as_probabilities,
    deterministic_returns,
    one_hot,
    outcome_rewards,
    policy_returns,
    returns_and_gradients,
)

# How much a follower may lose by the answer that the search ascribes to it; SLSQP works to about 1e-9.
_FEASIBLE = 1e-6


@dataclass(frozen=True)
class Commitment:
    """A leader policy and the follower table that best-responds to it.

    Attributes:
        value, follower_value: exact returns, the protocol's offset included.
        leader: ``[n_leader, A0]`` probabilities.
        follower: ``[n_follower]`` actions.
    """

    value: float
    leader: np.ndarray
    follower: np.ndarray
    follower_value: float


@dataclass(frozen=True)
class ProtocolOptimum:
    """Best value found of the query protocol's objective and the leader ``[n_leader, A0]`` that reaches it."""

    value: float
    leader: np.ndarray


def stochastic_commitment(game: Game, protocol: Protocol, starts: int = 2, seed: int = 0) -> Commitment:
    """The best commitment to probabilities that the follower knows: a lower bound by numerical search.

    For every follower table, the leader's return is maximised over the policies to which that table is a best
    response (among deterministic stationary tables; ties go the leader's way). Tables that can't beat what is
    already found, even against a leader with full sight, are skipped. The search starts at the most promising
    of a few thousand random policies.

    Args:
        starts: starting points per follower table.

    Raises:
        UserError: too many tables to enumerate.
    """
    n_follower = protocol.observation_counts(game.actions)[1]
    followers = all_tables(n_follower, game.actions[1])
    policies = one_hot(followers, game.actions[1])
    found = _deterministic_commitment(game, protocol, followers)
    bounds = _leader_bounds(game, protocol, policies)
    if bounds.max() <= found.value + _FEASIBLE:
        return found
    points = _promising(game, protocol, policies, starts, np.random.default_rng(seed))
    for table in np.argsort(-bounds, kind="stable"):
        for point in points[table]:
            if bounds[table] <= found.value + _FEASIBLE:
                break
            candidate = _commit(game, protocol, policies, followers, int(table), point)
            if candidate is not None and candidate.value > found.value + _FEASIBLE:
                found = candidate
    return found


def _deterministic_commitment(game: Game, protocol: Protocol, followers: np.ndarray) -> Commitment:
    """The best deterministic leader table, ties its way."""
    responses = best_responses(game, protocol)
    best = int(responses.leader_return[:, 1].argmax())
    pairs = deterministic_returns(game, protocol)[best]
    reply = int(np.where(pairs[:, 1] >= pairs[:, 1].max() - TIE, pairs[:, 0], -np.inf).argmax())
    leader = one_hot(responses.leaders[best], game.actions[0])
    return Commitment(float(pairs[reply, 0]), leader, followers[reply], float(pairs[reply, 1]))


def _promising(game, protocol, policies: np.ndarray, starts: int, rng, samples: int = 2000) -> np.ndarray:
    """``[NF, starts, n_leader, A0]``: per follower table, where the leader earns much and the reply costs little."""
    n_leader = protocol.observation_counts(game.actions)[0]
    samples = max(starts, min(samples, 400_000 // len(policies)))
    leaders = rng.dirichlet(np.full(game.actions[0], 0.5), (samples, n_leader))
    returns = policy_returns(game, protocol, leaders[:, None], policies[None])
    loss = returns[..., 1].max(axis=1, keepdims=True) - returns[..., 1]
    spread = max(float(np.ptp(game.payoffs[..., 0])), TIE) / max(float(np.ptp(game.payoffs[..., 1])), TIE)
    return leaders[np.argsort(-(returns[..., 0] - 2 * spread * loss), axis=0)[:starts].T]


def _leader_bounds(game: Game, protocol: Protocol, policies: np.ndarray) -> np.ndarray:
    """``[NF]`` the most any leader, even one with a clock and full sight, can get from each follower table."""
    in_states = policies[..., protocol.views(game.actions)[:, 1], :]
    rewards = outcome_rewards(game, protocol)[:, 0].reshape(game.actions[1], game.actions[0])
    values = np.zeros(in_states.shape[:-1])
    for _ in range(protocol.episode_length):
        worth = rewards + values[:, None, 1:].reshape(len(values), 1, *rewards.shape)
        values = np.einsum(
            "fsb,fsba->fsa", in_states, np.broadcast_to(worth, (*in_states.shape, game.actions[0]))
        )
        values = values.max(axis=-1)
    return values[:, 0]


def _commit(game, protocol, policies, followers, table: int, start: np.ndarray) -> Commitment | None:
    """Maximise the leader's return subject to `table` being a best response, from one start."""
    shape = start.shape

    def evaluate(x):
        returns, gradients = returns_and_gradients(game, protocol, _rows(x, shape), policies)
        return returns, gradients.reshape(*gradients.shape[:2], -1)

    evaluate = _remember(evaluate)

    def objective(x):
        returns, gradients = evaluate(x)
        return -returns[table, 0], -gradients[table, 0]

    incentives = {
        "type": "ineq",
        "fun": lambda x: evaluate(x)[0][table, 1] - evaluate(x)[0][:, 1],
        "jac": lambda x: evaluate(x)[1][table, 1] - evaluate(x)[1][:, 1],
    }
    leader = _maximise(objective, start, [incentives])
    returns = policy_returns(game, protocol, leader, policies)
    if returns[table, 1] < returns[:, 1].max() - _FEASIBLE:
        return None
    return Commitment(float(returns[table, 0]), leader, followers[table], float(returns[table, 1]))


def _remember(function: Callable) -> Callable:
    """The last call's result again: the solver asks for the value and the constraints at the same point."""
    last: list = [None, None]

    def remembered(x):
        if last[0] is None or not np.array_equal(last[0], x):
            last[:] = [x.copy(), function(x)]
        return last[1]

    return remembered


def _rows(x: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The nearest distributions to a point of the solver, which may leave the simplex by rounding."""
    rows = np.clip(x.reshape(shape), 0, 1)
    return rows / np.maximum(rows.sum(axis=1, keepdims=True), 1e-12)


def _maximise(objective: Callable, start: np.ndarray, constraints: Sequence[dict] = ()) -> np.ndarray:
    """SLSQP over rows of probabilities; `objective` returns the negated value and its derivative."""
    from scipy.optimize import (
        Bounds,
        minimize,
    )  # takes a second, which runs that search nothing need not wait

    shape = start.shape
    sums = np.kron(np.eye(shape[0]), np.ones(shape[1]))
    rows = {"type": "eq", "fun": lambda x: sums @ x - 1, "jac": lambda x: sums}
    solution = minimize(
        objective,
        start.ravel(),
        jac=True,
        method="SLSQP",
        bounds=Bounds(0, 1),
        constraints=[rows, *constraints],
        options={"maxiter": 200, "ftol": 1e-12},
    )
    return _rows(solution.x, shape)


def _answer_lists(game: Game, protocol: Protocol) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is asked ``[Q * n_samples]``, every list of answers ``[L, Q * n_samples]`` and its context ``[L]``."""
    asked = np.repeat(np.array(protocol.query_observations(game.actions), dtype=int), protocol.n_samples)
    lists = all_tables(len(asked), game.actions[0])
    return asked, lists, protocol.context_code(lists, game.actions)


def _context_probabilities(game: Game, protocol: Protocol, answers: np.ndarray) -> np.ndarray:
    """``[..., contexts]`` probability of each context when every answer is sampled by itself."""
    asked, lists, context = _answer_lists(game, protocol)
    likely = answers[..., asked, lists].prod(axis=-1)
    if protocol.samples_summarize == "list":
        return likely  # each list is a context, in this order
    chances = np.zeros((protocol.contexts(game.actions), *likely.shape[:-1]))
    np.add.at(chances, context, np.moveaxis(likely, -1, 0))
    return np.moveaxis(chances, 0, -1)


def exact_followers(game: Game, protocol: Protocol) -> np.ndarray:
    """``[contexts, n_follower]``: the exact contextual follower, the lexicographically first best responses.

    Raises:
        UserError: the queries do not determine the leader's table.
    """
    n_leader = protocol.observation_counts(game.actions)[0]
    if sorted(protocol.query_observations(game.actions)) != list(range(n_leader)) or protocol.n_samples != 1:
        raise UserError(
            "the exact follower needs the leader's whole table: ask every leader observation once (n_samples 1)"
        )
    order = np.array(protocol.query_observations(game.actions))
    responses = best_responses(game, protocol)
    tables = np.empty_like(responses.tables)
    tables[protocol.context_code(responses.leaders[:, order], game.actions)] = responses.tables
    return tables


def protocol_value(game: Game, protocol: Protocol, leader, followers=None, answers=None) -> np.ndarray:
    """Exact expected returns of one episode of the query protocol.

    Without `consistent_commitment` answers and play are sampled independently at every visit (quirk Q13), so
    ``J(p) = sum over answer lists q of P(q | p) V(p, f_q)``; with it the leader plays what it answered.

    Args:
        leader: ``[..., n_leader, A0]`` probabilities (or whole actions ``[..., n_leader]``) in the game.
        followers: ``[..., contexts, n_follower]`` actions or ``[..., contexts, n_follower, A1]`` probabilities;
            None takes the exact best responses.
        answers: the leader's policy in query steps, as a told leader may have; None: the same as `leader`.

    Returns:
        ``[..., 2]``: (leader, follower), offset included.

    Raises:
        UserError: the exact followers where the queries don't determine the table; a consistent leader that is not
            asked everything once.
    """
    n_leader = protocol.observation_counts(game.actions)[0]
    leader = as_probabilities(leader, n_leader, game.actions[0], "the leader's policy")
    answers = (
        leader
        if answers is None
        else as_probabilities(answers, n_leader, game.actions[0], "the leader's answers")
    )
    followers = exact_followers(game, protocol) if followers is None else followers
    followers = follower_probabilities(game, protocol, followers)
    chances = _context_probabilities(game, protocol, answers)
    play = leader[..., None, :, :]
    if protocol.consistent_commitment:
        order = protocol.query_observations(game.actions)
        if sorted(order) != list(range(n_leader)) or protocol.n_samples != 1:
            raise UserError("the exact value of a consistent leader needs every observation asked once")
        play = one_hot(all_tables(n_leader, game.actions[0])[:, np.argsort(order)], game.actions[0])
    returns = policy_returns(game, protocol, play, followers)
    return (chances[..., None] * returns).sum(axis=-2)


def protocol_optimum(
    game: Game, protocol: Protocol, followers=None, starts: int = 12, seed: int = 0
) -> ProtocolOptimum:
    """The best leader of the query protocol's objective `protocol_value`: a lower bound by numerical search.

    Starts at every deterministic leader that reaches the best deterministic value (up to `starts`), at the
    uniform policy and at `starts` random ones. `followers` is ``[contexts, n_follower(, A1)]`` or None.
    """
    n_leader = protocol.observation_counts(game.actions)[0]
    followers = exact_followers(game, protocol) if followers is None else followers
    followers = follower_probabilities(game, protocol, followers)
    tables = one_hot(all_tables(n_leader, game.actions[0]), game.actions[0])
    values = np.concatenate(
        [protocol_value(game, protocol, table[None], followers)[:, 0] for table in tables]
    )
    best = int(values.argmax())
    found = ProtocolOptimum(float(values[best]), tables[best])
    if protocol.consistent_commitment:
        return found  # a lottery over deterministic leaders is never better than the best of them
    rng = np.random.default_rng(seed)
    uniform = np.full_like(tables[0], 1 / game.actions[0])
    points = [
        *np.clip(tables[values >= values[best] - TIE][:starts], 0.05, 0.95),
        uniform,
        *rng.dirichlet(np.ones(game.actions[0]), (starts, n_leader)),
    ]
    for point in points:
        leader = _maximise(
            lambda x: _negated_objective(game, protocol, x.reshape(uniform.shape), followers), point
        )
        value = float(protocol_value(game, protocol, leader, followers)[0])
        if value > found.value + _FEASIBLE:
            found = ProtocolOptimum(value, leader)
    return found


def _negated_objective(game, protocol, x: np.ndarray, followers: np.ndarray) -> tuple[float, np.ndarray]:
    """Minus J(p) and its derivative: through the play, and through the probability of the answers."""
    policy = _rows(x, x.shape)
    returns, gradients = returns_and_gradients(game, protocol, policy, followers)
    asked, lists, context = _answer_lists(game, protocol)
    factors, worth = policy[asked, lists], returns[context, 0]
    chances = factors.prod(axis=1)
    gradient = np.einsum("q,qoa->oa", chances, gradients[context, 0])
    for k, query in enumerate(asked):
        others = np.delete(factors, k, axis=1).prod(axis=1) * worth
        gradient[query] += np.bincount(lists[:, k], weights=others, minlength=policy.shape[1])
    return -float(chances @ worth), -gradient.ravel()
