"""Leaders written by hand (spec 6, last paragraph): one policy per episode, drawn from a finite list.

    from stackerlberg import Protocol, evaluate, leaders, named_game

    game, protocol = named_game("prisoners_dilemma"), Protocol("3-state", 5)
    print(evaluate(game, leaders.tit_for_tat(game, protocol), protocol=protocol))

A `Leader` is a lottery over stationary policies, so every exact referee takes it: its value is the lottery's mean of
its policies' values. `Leader.draw` is the policy of one episode; answers and play of an episode come from the same
one, in which a table that is not deterministic draws again at every visit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.cli import UserError

from .exact import protocol_value
from .games import Game
from .markov import MarkovGame
from .protocol import Protocol, all_tables


@dataclass(frozen=True, eq=False)
class Leader:
    """A lottery over policies, one of which is drawn for each episode.

    Attributes:
        name: for messages.
        policies: ``[K, n_leader, A0]`` probabilities; a leader that is told the phase (`told`) has ``2 * n_leader``
            rows, its answers last.
        weights: ``[K]`` the chance of each policy.

    Raises:
        UserError: rows or weights that are not probabilities.
    """

    name: str
    policies: np.ndarray
    weights: np.ndarray

    def __post_init__(self):
        policies = np.array(self.policies, np.float64)
        weights = np.array(self.weights, np.float64)
        if policies.ndim != 3 or weights.shape != policies.shape[:1]:
            raise UserError(
                f"leader {self.name}: policies must be [K, observations, actions] and weights [K], "
                f"not {list(policies.shape)} and {list(weights.shape)}"
            )
        for what, rows in (("policies", policies), ("weights", weights)):
            if not (np.all(rows >= 0) and np.allclose(rows.sum(axis=-1), 1, atol=1e-6)):
                raise UserError(f"leader {self.name}: {what} must be probabilities that sum to 1")
        for key, value in (("policies", policies), ("weights", weights)):
            value.setflags(write=False)
            object.__setattr__(self, key, value)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """``[n_leader, A0]``: the policy of one episode."""
        return self.policies[rng.choice(len(self.weights), p=self.weights)]

    def draw_tables(self, rng: np.random.Generator, episodes: int) -> np.ndarray:
        """``[episodes, n_leader]``: a deterministic table per episode, as a committed leader would draw it."""
        drawn = self.policies[rng.choice(len(self.weights), size=episodes, p=self.weights)]
        ends = drawn.cumsum(axis=-1)[..., :-1]
        return (rng.random(drawn.shape[:2])[..., None] >= ends).sum(axis=-1)

    def value(self, game: Game, protocol: Protocol, followers: np.ndarray | None = None) -> np.ndarray:
        """``[2]``: exact expected returns (leader, follower) of one episode of the query protocol.

        Args:
            followers: as in `exact.protocol_value`; None takes the exact best responses.
        """
        n_leader = protocol.observation_counts(game.actions)[0]
        play, answers = self.policies[:, :n_leader], self.policies[:, -n_leader:]
        return self.weights @ protocol_value(game, protocol, play, followers, answers)


def mixture(name: str, leaders: Sequence[Leader], weights: Sequence[float] | None = None) -> Leader:
    """One of several leaders in each episode; evenly, if `weights` is None."""
    shares = np.full(len(leaders), 1 / len(leaders)) if weights is None else np.asarray(weights, np.float64)
    return Leader(
        name,
        np.concatenate([leader.policies for leader in leaders]),
        np.concatenate([share * leader.weights for share, leader in zip(shares, leaders, strict=True)]),
    )


def told(play: Leader, answers: Leader) -> Leader:
    """A leader that is told whether a step is a query: it plays like one leader and answers like another."""
    pairs = [(p, a) for p in range(len(play.weights)) for a in range(len(answers.weights))]
    return Leader(
        f"{play.name}, answering as {answers.name}",
        np.stack([np.concatenate([play.policies[p], answers.policies[a]]) for p, a in pairs]),
        np.array([play.weights[p] * answers.weights[a] for p, a in pairs]),
    )


def constant(game: Game | MarkovGame, action: int, protocol: Protocol | None = None) -> Leader:
    """Always the same action: *always 0*, *always 1* and the settable constant.

    Raises:
        UserError: the leader has no such action.
    """
    if isinstance(action, bool) or int(action) != action or not 0 <= action < game.actions[0]:
        raise UserError(
            f"{game.name}: the leader's actions are 0 to {game.actions[0] - 1}; {action!r} is none of them"
        )
    return _table(f"always {action}", game, np.full(_observations(game, protocol), int(action)))


def best_response_to_answer(game: Game, answer: int, protocol: Protocol | None = None) -> Leader:
    """The best response to one query: the follower, asked once, answered `answer`; the leader plays the first best
    reply to it in the game played once, wherever it is. It does not commit: this is what a leader that follows does.

    Raises:
        UserError: the follower has no such action.
    """
    if isinstance(answer, bool) or int(answer) != answer or not 0 <= answer < game.actions[1]:
        raise UserError(
            f"{game.name}: the follower's actions are 0 to {game.actions[1] - 1}; {answer!r} is none of them"
        )
    reply = int(game.payoffs[:, int(answer), 0].argmax())
    table = np.full(_observations(game, protocol), reply)
    return _table(f"best response to {answer}", game, table)


def tit_for_tat(game: Game, protocol: Protocol, first: int = 0) -> Leader:
    """Begins with `first`, then copies the follower's last action: with two actions, 0 at the observations 1 (3-state),
    or 1 and 2 (5-state), and 1 at the others.

    Raises:
        UserError: no memory, or the follower has actions that the leader has not.
    """
    return _table("tit-for-tat" if first == 0 else f"tit-for-tat starting with {first}", game,
                  _copies(game, protocol, first))  # fmt: skip


def tit_for_tat_or_one(game: Game, protocol: Protocol, probability: float) -> Leader:
    """At each visit tit-for-tat with `probability`, else action 1: one policy, which is not deterministic.

    Raises:
        UserError: `probability` is none; as `tit_for_tat`.
    """
    if not 0 <= probability <= 1:
        raise UserError(f"the probability of tit-for-tat must lie in [0, 1], not {probability!r}")
    copies, one = tit_for_tat(game, protocol), constant(game, 1, protocol)
    policy = probability * copies.policies + (1 - probability) * one.policies
    return Leader(f"tit-for-tat with probability {probability:g}, else 1", policy, np.ones(1))


def one_of_four(game: Game, protocol: Protocol) -> Leader:
    """In each episode evenly one of: always 0, always 1, tit-for-tat, tit-for-tat starting with 1."""
    four = [constant(game, 0, protocol), constant(game, 1, protocol)]
    four += [tit_for_tat(game, protocol), tit_for_tat(game, protocol, first=1)]
    return mixture("one of four", four)


def one_of_constants(game: Game | MarkovGame, protocol: Protocol | None = None) -> Leader:
    """In each episode evenly always 0 or always 1."""
    return mixture("always 0 or always 1", [constant(game, action, protocol) for action in (0, 1)])


def random_table(game: Game | MarkovGame, protocol: Protocol | None = None) -> Leader:
    """In each episode a fresh random table, each of the ``A0 ** n_leader`` (32 with five states) equally likely: the
    leaders of pre-training (spec 5.2).

    Raises:
        UserError: more tables than can be enumerated.
    """
    tables = all_tables(_observations(game, protocol), game.actions[0])
    weights = np.full(len(tables), 1 / len(tables))
    return Leader("a random table per episode", np.eye(game.actions[0])[tables], weights)


def _observations(game: Game | MarkovGame, protocol: Protocol | None) -> int:
    """What the leader can observe; a matrix game without protocol is played once."""
    if isinstance(game, MarkovGame):
        if protocol is not None:
            raise UserError("a Markov game has its own observations; leave the protocol out")
        return game.observation_counts[0]
    return 1 if protocol is None else protocol.observation_counts(game.actions)[0]


def _table(name: str, game: Game | MarkovGame, table: np.ndarray) -> Leader:
    return Leader(name, np.eye(game.actions[0])[table][None], np.ones(1))


def _copies(game: Game, protocol: Protocol, first: int) -> np.ndarray:
    """``[n_leader]`` the follower's last action at every observation of the leader, `first` at the start."""
    if protocol.memory == "none":
        raise UserError("tit-for-tat needs a memory; give a protocol with memory 3-state or 5-state")
    if game.actions[1] > game.actions[0] or not 0 <= first < game.actions[0]:
        raise UserError(
            f"{game.name}: tit-for-tat needs a leader with the follower's {game.actions[1]} actions and a first "
            f"action of its own {game.actions[0]}, not {first}"
        )
    states = np.arange(game.actions[0] * game.actions[1])
    table = np.full(protocol.observation_counts(game.actions)[0], first)
    table[protocol.views(game.actions)[1:, 0]] = states // game.actions[0]
    return table
