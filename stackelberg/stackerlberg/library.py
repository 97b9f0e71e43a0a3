"""Solve one's own game: by enumeration of leaders, or by learning a leader against an oracle.

    from stackerlberg import Game, TabularQOracle, solve

    game = Game.from_bimatrix(leader=[[2, 4, 1], [1, 3, 0], [0, 2, 2]], follower=[[2, 1, 0], [0, 2, 1], [1, 0, 3]])
    print(solve(game))                                                       # exact
    oracle = TabularQOracle(episodes=40, epsilon=1.0)
    print(solve(game, method="pg", oracle=oracle, iterations=100))           # learnt

A Markov game is two arrays; the paper's oracle, pre-trained once, answers any leader:

    import numpy as np
    from stackerlberg import ContextualOracle, MarkovGame

    payoffs = np.array([[[[1, 1], [0, 2]], [[3, 0], [2, 1]]], [[[2, 3], [4, 0]], [[1, 1], [0, 2]]]])
    transitions = np.full((2, 2, 2, 2), 0.5)                   # [state, leader, follower, next state]
    game = MarkovGame(payoffs, transitions, discount=0.8)      # or horizon=10
    follower = ContextualOracle.pretrain(game)
    follower.certify(game)                                     # refuses one that does not best-respond
    print(solve(game, method="pg", oracle=follower, iterations=100))

One's own oracle is a class with ``reset()`` and ``respond(leader, rng)``; `stackerlberg.oracles.Oracle` says what
they do. These are references in plain NumPy, for one game and one seed at a time; `stackerlberg.batched` runs the
paper's algorithms at speed and `stackerlberg.rllib` at scale.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from common.cli import UserError

from .games import Game
from .leaders import Leader
from .markov import MarkovGame, best_response, markov_returns, repeated
from .oracles import Conditions, ExactOracle, LeaderAccess, Oracle, run_episode
from .oracles.learners import Adam, check_counts, greedy, policy_gradient, rewards_to_go, softmax
from .protocol import Protocol, all_tables

METHODS = ("exact", "pg")
_MOST_LEADERS = 20_000


@dataclass(frozen=True)
class Solution:
    """A leader, the follower that its oracle gives to it, and what both earn.

    Attributes:
        leader: ``[n_leader]`` the leader's greedy actions in the game.
        policy: ``[n_leader, A0]`` its probabilities; a phase-aware leader's answers follow as further rows.
        follower: ``[n_follower, A1]`` the follower's probabilities (``[H, n_follower, A1]`` if it knows the step).
        value, follower_value: exact returns of the greedy leader against that follower.
        regret: what the follower loses against `leader` by not being the exact best response.
        best_value: the exact Stackelberg value over deterministic leaders; None where it can't be enumerated.
        violated: the theorem's conditions that were broken.
        curve: ``[iterations]`` mean return of the reward games, of the leader as it sampled.
        steps: leader steps in queries and in reward games while learning.
    """

    leader: np.ndarray
    policy: np.ndarray
    follower: np.ndarray
    value: float
    follower_value: float
    regret: float
    best_value: float | None
    violated: tuple[str, ...] = ()
    curve: np.ndarray = field(default_factory=lambda: np.zeros(0))
    steps: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        best = "not enumerated" if self.best_value is None else f"{self.best_value:g}"
        replies = self.follower.argmax(axis=-1).tolist()
        return (
            f"leader {self.leader.tolist()} earns {self.value:g} (best possible {best}); "
            f"follower {replies} earns {self.follower_value:g} and regrets {self.regret:g}"
        )


def as_markov(game: Game | MarkovGame, protocol: Protocol | None = None) -> MarkovGame:
    """The game to solve: a matrix game once, or repeated as `protocol` says; a Markov game as it is.

    Raises:
        UserError: a protocol for a Markov game, or one whose switches belong to `Conditions`.
    """
    if isinstance(game, MarkovGame):
        if protocol is not None:
            raise UserError("a Markov game has its own horizon and observations; leave the protocol out")
        return game
    if not isinstance(game, Game):
        raise UserError(f"solve needs a Game or a MarkovGame, not {type(game).__name__}")
    if protocol is not None and (
        protocol.hidden_queries or protocol.tell_leader or protocol.consistent_commitment
    ):
        raise UserError(
            "give hidden_queries, phase_aware and consistent_commitment to solve as its Conditions"
        )
    if protocol is not None and (protocol.queries is not None or protocol.n_samples != 1):
        raise UserError(
            "an oracle chooses its own queries; leave queries and n_samples out of solve's protocol"
        )
    return repeated(game, protocol)


def solve(
    game: Game | MarkovGame,
    *,
    protocol: Protocol | None = None,
    method: str = "exact",
    oracle: Oracle | None = None,
    conditions: Conditions | None = None,
    iterations: int = 300,
    episodes: int = 16,
    lr: float = 0.05,
    baseline: bool = True,
    seed: int = 0,
) -> Solution:
    """Find a leader for a game.

    Args:
        game: a bimatrix or Markov game.
        protocol: repeat a bimatrix game with this memory and length; None plays it once.
        method: ``exact`` enumerates the deterministic leaders against `ExactOracle`; ``pg`` learns a leader by
            vanilla policy gradient (spec 5.3) against `oracle`.
        oracle: any `Oracle`; None is ``ExactOracle()``.
        conditions: which of the theorem's conditions to break (``pg`` only); None breaks none.
        iterations, episodes, lr: Adam steps, leader episodes per step, step size (``pg`` only).
        baseline: subtract the batch's mean return at each observation; the paper's PG has none (``pg`` only).
        seed: of all random numbers (``pg`` only).

    Raises:
        UserError: what is wrong and what would be right.
    """
    markov = as_markov(game, protocol)
    if method not in METHODS:
        raise UserError(f"unknown method {method!r}; there are {', '.join(METHODS)}")
    oracle = ExactOracle() if oracle is None else oracle
    if method == "exact":
        if not isinstance(oracle, ExactOracle) or conditions is not None:
            raise UserError(
                "method 'exact' takes an ExactOracle and no conditions; use method='pg' for others"
            )
        return _enumerate(markov, oracle)
    check_counts(iterations=iterations, episodes=episodes)
    if not lr > 0:
        raise UserError(f"lr must be positive, not {lr!r}")
    conditions = conditions or Conditions()
    return _learn(markov, oracle, conditions, iterations, episodes, lr, baseline, seed)


def ablate(game: Game | MarkovGame, **settings) -> dict[str, Solution]:
    """Learn once with all of the theorem's conditions met (key ``none``) and once with each of them broken.

    Args:
        settings: of `solve`, without `method` and `conditions`.

    Returns:
        Broken condition -> what a leader learns without it.
    """
    grid = {"none": Conditions()}
    for name in ("hidden_queries", "phase_aware", "carried_state", "reward_out_of_equilibrium"):
        grid[name] = Conditions(**{name: True})
    return {name: solve(game, method="pg", conditions=broken, **settings) for name, broken in grid.items()}


@dataclass(frozen=True)
class Evaluation:
    """What a given leader earns against an oracle.

    Attributes:
        leader: its name.
        returns, error: ``[2]`` mean returns (leader, follower) of the reward games, and their standard errors.
        exact: ``[2]`` the exact expectation; None with an oracle whose follower depends on more than the answers.
        best_value: the exact Stackelberg value over deterministic leaders; None where it can't be enumerated.
        episodes: how many were played.
    """

    leader: str
    returns: np.ndarray
    error: np.ndarray
    exact: np.ndarray | None
    best_value: float | None
    episodes: int

    def __str__(self) -> str:
        exactly = "" if self.exact is None else f", exactly {self.exact[0]:g} and {self.exact[1]:g}"
        best = "" if self.best_value is None else f" (best possible {self.best_value:g})"
        return (
            f"{self.leader} earns {self.returns[0]:.3g} +- {self.error[0]:.2g}{best}, the follower "
            f"{self.returns[1]:.3g} +- {self.error[1]:.2g} in {self.episodes} episodes{exactly}"
        )


def evaluate(
    game: Game | MarkovGame,
    leader: Leader,
    *,
    protocol: Protocol | None = None,
    oracle: Oracle | None = None,
    conditions: Conditions | None = None,
    episodes: int = 200,
    seed: int = 0,
) -> Evaluation:
    """What a leader that is written by hand (`leaders`) or learnt elsewhere earns against an oracle.

    Args:
        game, protocol, oracle, conditions: as in `solve`; a `phase_aware` leader is made by `leaders.told`.
        episodes, seed: of the episodes that are played.

    Raises:
        UserError: a leader that does not fit the game.
    """
    markov, oracle = as_markov(game, protocol), ExactOracle() if oracle is None else oracle
    conditions = conditions or Conditions()
    check_counts(episodes=episodes)
    wanted = (markov.observation_counts[0] * (2 if conditions.phase_aware else 1), markov.actions[0])
    if leader.policies.shape[1:] != wanted:
        raise UserError(
            f"leader {leader.name} has policies of shape {list(leader.policies.shape[1:])}; "
            f"{markov.name} needs {list(wanted)}"
        )
    rng = np.random.default_rng(seed)
    oracle.reset()
    returns = np.array(
        [run_episode(markov, leader, oracle, conditions, rng).returns for _ in range(episodes)]
    )
    error = returns.std(axis=0, ddof=1) / np.sqrt(episodes) if episodes > 1 else np.full(2, np.nan)
    return Evaluation(
        leader.name,
        returns.mean(axis=0),
        error,
        _expected(markov, leader, oracle, conditions),
        _best_value(markov, oracle, clock=False),
        episodes,
    )


def _expected(game: MarkovGame, leader: Leader, oracle: Oracle, conditions: Conditions) -> np.ndarray | None:
    """Exact returns where the follower depends on the answers alone: the sum over all lists of answers."""
    if not hasattr(oracle, "by_answers"):
        return None
    try:
        asked, followers = oracle.by_answers(game)
    except UserError:
        return None
    n_leader, total = game.observation_counts[0], np.zeros(2)
    contexts = all_tables(len(asked), game.actions[0])
    if followers.ndim != 3 or (conditions.consistent_commitment and asked != list(range(n_leader))):
        return None
    for weight, policy in zip(leader.weights, leader.policies, strict=True):
        play, answers = policy[:n_leader], policy[-n_leader:]
        chances = answers[asked, contexts].prod(axis=1)
        # a committed leader plays the table that it answered
        played = np.eye(game.actions[0])[contexts] if conditions.consistent_commitment else play
        total += weight * (chances @ markov_returns(game, played, followers))
    return total


def _best_value(game: MarkovGame, oracle: Oracle, clock: bool) -> float | None:
    """The exact Stackelberg value against the oracle's kind of follower; None where it can't be enumerated."""
    try:
        return _enumerate(
            game, oracle if isinstance(oracle, ExactOracle) else ExactOracle(clock=clock)
        ).best_value
    except UserError:
        return None


def _enumerate(game: MarkovGame, oracle: ExactOracle) -> Solution:
    n_leader = game.observation_counts[0]
    if n_leader * np.log(game.actions[0]) > np.log(_MOST_LEADERS):
        raise UserError(
            f"{game.name}: {game.actions[0]} ** {n_leader} leader tables are too many to enumerate; use method='pg'"
        )
    best, leader = None, None
    for table in all_tables(n_leader, game.actions[0]):
        response = best_response(game, table, oracle.ties, oracle.clock)
        if best is None or response.returns[0] > best.returns[0]:
            best, leader = response, table
    return Solution(
        leader=leader,
        policy=np.eye(game.actions[0])[leader],
        follower=np.eye(game.actions[1])[best.follower],
        value=best.returns[0],
        follower_value=best.returns[1],
        regret=0.0,
        best_value=best.returns[0],
    )


def _learn(game, oracle, conditions, iterations, episodes, lr, baseline, seed) -> Solution:
    rng = np.random.default_rng(seed)
    oracle.reset()
    n_leader = game.observation_counts[0]
    shape = (n_leader * (2 if conditions.phase_aware else 1), game.actions[0])
    logits, adam = np.zeros(shape), Adam(shape, lr)
    curve, steps = np.zeros(iterations), np.zeros(2, dtype=int)
    for iteration in range(iterations):
        policy = softmax(logits)
        seen, done, paid = [], [], []
        for _ in range(episodes):
            episode = run_episode(game, policy, oracle, conditions, rng)
            record, queries = episode.trajectory, np.array(episode.trajectory.queries)
            kept = ~queries if conditions.hidden_queries else np.ones_like(queries)
            seen.append(np.array(record.observations)[kept])
            done.append(np.array(record.actions)[kept])
            paid.append(rewards_to_go(record.rewards)[kept])
            curve[iteration] += episode.returns[0] / episodes
            steps += [queries.sum(), (~queries).sum()]
        seen, done, paid = (np.concatenate(parts) for parts in (seen, done, paid))
        if baseline:
            sums, counts = np.bincount(seen, paid, shape[0]), np.bincount(seen, minlength=shape[0])
            paid = paid - (sums / np.maximum(counts, 1))[seen]
        logits += adam.step(policy_gradient(logits, seen, done, paid))
    return _judged(game, oracle, conditions, logits, curve, steps, rng)


def _judged(game, oracle, conditions, logits, curve, steps, rng) -> Solution:
    """The greedy leader, asked once more by a fresh oracle, beside the exact values."""
    n_leader = game.observation_counts[0]
    if not conditions.carried_state:
        oracle.reset()
    committed = greedy(logits)
    follower = oracle.respond(LeaderAccess(game, committed, conditions, rng), rng)
    leader = committed[:n_leader].argmax(axis=1)
    clock = follower.ndim == 3
    value, follower_value = _returns(game, leader, follower)
    try:
        regret = best_response(game, leader, clock=clock).returns[1] - follower_value
    except UserError:
        regret = float("nan")
    return Solution(
        leader=leader,
        policy=softmax(logits),
        follower=follower,
        value=value,
        follower_value=follower_value,
        regret=max(0.0, regret) if np.isfinite(regret) else regret,
        best_value=_best_value(game, oracle, clock),
        violated=conditions.violated,
        curve=curve,
        steps=(int(steps[0]), int(steps[1])),
    )


def _returns(game: MarkovGame, leader: np.ndarray, follower: np.ndarray) -> tuple[float, float]:
    """Exact returns against a follower that may know the step number."""
    if follower.ndim == 2:
        value = markov_returns(game, leader, follower)
        return float(value[0]), float(value[1])
    values = np.zeros((game.states, 2))
    states = np.arange(game.states)
    own = leader[game.views[:, 0]]
    for policy in follower[::-1]:
        replies = policy[game.views[:, 1]]
        worth = game.payoffs[states, own] + game.discount * game.transitions[states, own] @ values
        values = (replies[..., None] * worth).sum(axis=1)
    value = game.start @ values
    return float(value[0]), float(value[1])
