"""The oracle's interface: given a way to query the leader, return a follower (paper section 3; spec 1 and 13).

One leader episode is the oracle's questions followed by a reward game against the follower that it returns.
Everything the leader does in it, answers included, is the leader's trajectory; a learner that maximises the
return over such trajectories solves for a Stackelberg equilibrium, under four conditions. `Conditions` holds
them as switches, all met by default.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Protocol as Interface

import numpy as np

from common.cli import UserError

from ..leaders import Leader
from ..markov import MarkovGame


@dataclass(frozen=True)
class Conditions:
    """The theorem's conditions, each with a switch that breaks it.

    Attributes:
        hidden_queries: the leader's learner does not see the query steps.
        phase_aware: the leader observes whether a step is a query, and may answer otherwise than it plays.
        carried_state: the oracle keeps what it learnt from one leader episode to the next.
        reward_out_of_equilibrium: the leader is paid in the oracle's learning games too.
        consistent_commitment: not a condition but a stricter protocol: the leader acts once per observation and
            episode, so that answers and play agree (quirk Q13).
    """

    hidden_queries: bool = False
    phase_aware: bool = False
    carried_state: bool = False
    reward_out_of_equilibrium: bool = False
    consistent_commitment: bool = False

    def __post_init__(self):
        if self.phase_aware and self.consistent_commitment:
            raise UserError("consistent_commitment forbids a phase_aware leader; choose one of the two")

    @property
    def violated(self) -> tuple[str, ...]:
        """Names of the theorem's conditions that are broken."""
        broken = (entry.name for entry in fields(self) if getattr(self, entry.name))
        return tuple(name for name in broken if name != "consistent_commitment")


@dataclass
class Trajectory:
    """What the leader saw, did and was paid; one entry per step of its episode.

    Attributes:
        observations: leader observations; a phase-aware leader's query steps are shifted by n_leader.
        actions, rewards: whole numbers and floats.
        queries: whether the step answered the oracle.
    """

    observations: list[int] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    queries: list[bool] = field(default_factory=list)


class LeaderAccess:
    """What an oracle may do with a leader: ask it, and play games against it. Both are query steps.

    Args:
        game: the game that the leader plays.
        policy: ``[n_leader, A0]`` probabilities; ``[2 * n_leader, A0]`` for a phase-aware leader, answers last.
        conditions: see `Conditions`.
        rng: the leader's random numbers.
    """

    def __init__(
        self, game: MarkovGame, policy: np.ndarray, conditions: Conditions, rng: np.random.Generator
    ):
        n_leader = game.observation_counts[0]
        rows = n_leader * (2 if conditions.phase_aware else 1)
        policy = np.asarray(policy)
        if policy.shape != (rows, game.actions[0]):
            raise ValueError(f"the leader's policy must be [{rows}, {game.actions[0]}], not {policy.shape}")
        self.game, self.trajectory, self.rng = game, Trajectory(), rng
        self._conditions, self._shift = conditions, n_leader if conditions.phase_aware else 0
        self._policy, self._cumulative = policy, policy.cumsum(axis=1)[:, :-1]
        self._committed: dict[int, int] = {}

    def act(self, observation: int, query: bool) -> int:
        """The leader's action at an observation of its own; the step is recorded with no reward yet."""
        seen = observation + self._shift * query
        action = self._committed.get(seen)
        if action is None:
            action = int((self.rng.random() >= self._cumulative[seen]).sum())
            if self._conditions.consistent_commitment:
                self._committed[seen] = action
        record = self.trajectory
        record.observations.append(seen)
        record.actions.append(action)
        record.rewards.append(0.0)
        record.queries.append(query)
        return action

    def ask(self, observation: int) -> int:
        """One query: which action do you take at this observation?"""
        return self.act(observation, True)

    def ask_all(self) -> np.ndarray:
        """``[n_leader]``: one answer per observation, in order."""
        return np.array([self.ask(seen) for seen in range(self.game.observation_counts[0])])

    def learning_game(self) -> Play:
        """A game for the oracle to learn in; the leader's steps are query steps."""
        return Play(self, query=True, paid=self._conditions.reward_out_of_equilibrium)

    def reward_game(self) -> Play:
        """The game that counts."""
        return Play(self, query=False, paid=True)


class Play:
    """One game between the leader and whoever steps it; an endless game stops with probability 1 - discount.

    Attributes:
        observation: the follower's.
        step_number: of the next step, from 0.
        over: whether the game has ended.
        returns: ``[2]`` (leader, follower) so far; in finite games later steps weigh `discount` each.
    """

    def __init__(self, leader: LeaderAccess, query: bool, paid: bool):
        self._leader, self._query, self._paid = leader, query, paid
        game = leader.game
        self._state = game.first_state(leader.rng)
        self.observation, self.step_number, self.over = int(game.views[self._state, 1]), 0, False
        self.returns, self._weight = np.zeros(2), 1.0

    def step(self, action: int) -> float:
        """The follower acts, the leader acts, the game moves; returns the follower's (weighted) reward."""
        if self.over:
            raise RuntimeError("the game is over")
        leader, game = self._leader, self._leader.game
        own = leader.act(int(game.views[self._state, 0]), self._query)
        rewards = game.payoffs[self._state, own, action] * self._weight
        self.returns += rewards
        if self._paid:
            leader.trajectory.rewards[-1] = float(rewards[0])
        self._state = game.next_state(self._state, own, action, leader.rng)
        self.observation, self.step_number = int(game.views[self._state, 1]), self.step_number + 1
        if game.horizon is None:
            self.over = leader.rng.random() >= game.discount
        else:
            self.over, self._weight = self.step_number == game.horizon, self._weight * game.discount
        return float(rewards[1])


class Oracle(Interface):
    """Turns access to a leader into a follower."""

    def reset(self) -> None:
        """Forget everything learnt from earlier leaders."""

    def respond(self, leader: LeaderAccess, rng: np.random.Generator) -> np.ndarray:
        """The follower's policy: ``[n_follower, A1]`` probabilities, or ``[H, n_follower, A1]`` by step number."""


@dataclass(frozen=True)
class Episode:
    """One leader episode: its trajectory, the reward game's returns (leader, follower), the follower's policy."""

    trajectory: Trajectory
    returns: tuple[float, float]
    follower: np.ndarray


def act_from(policy: np.ndarray, observation: int, step: int, rng: np.random.Generator) -> int:
    """An action of a follower policy ``[n_follower, A1]`` or ``[H, n_follower, A1]``."""
    row = policy[step, observation] if policy.ndim == 3 else policy[observation]
    return int((rng.random() >= row.cumsum()[:-1]).sum())


def run_episode(
    game: MarkovGame,
    policy: np.ndarray | Leader,
    oracle: Oracle,
    conditions: Conditions,
    rng: np.random.Generator,
) -> Episode:
    """One leader episode: the oracle's questions, then the reward game.

    Args:
        policy: the leader's, as `LeaderAccess` takes it, or a `Leader`, which draws one for this episode.
    """
    if not conditions.carried_state:
        oracle.reset()
    if isinstance(policy, Leader):
        policy = policy.draw(rng)
    leader = LeaderAccess(game, policy, conditions, rng)
    follower = oracle.respond(leader, rng)
    play = leader.reward_game()
    while not play.over:
        play.step(act_from(follower, play.observation, play.step_number, rng))
    return Episode(leader.trajectory, (float(play.returns[0]), float(play.returns[1])), follower)
