"""The paper's method: the oracle's queries stand in front of the game, in the leader's own episode (spec 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from common.cli import UserError

from ..games import FOLLOWER, LEADER
from ..protocol import mixed_radix
from .machine import LeaderView, StateMachine, Step, action_of, hidden_infos


class ObservedQueries(StateMachine):
    """Q query steps in which only the leader acts, then the wrapped game whose follower sees all answers.

    Args:
        env: the game.
        queries: name and leader observation of each query, in order.
        n_samples, samples_summarize, tell_leader, tell_leader_mock, hidden_queries, consistent_commitment,
        discrete_obs: as in `Protocol`.

    The follower's observation is ``original_space`` and the answers ``{name}_{i}``, or with `discrete_obs` their
    mixed-radix code. Rewards of query steps are 0. With `hidden_queries` the leader's info at query steps,
    the first one in `reset` included, carries ``hidden: True``; the transitions are the same. With
    `consistent_commitment` the leader's info carries the ``executed_action`` of the step before.

    Raises:
        UserError: answers or observations that have no integer code, or a told leader that must be consistent.
    """

    possible_agents = (LEADER, FOLLOWER)

    def __init__(
        self,
        env: StateMachine,
        queries: Mapping[str, Any],
        *,
        n_samples: int = 1,
        samples_summarize: str = "list",
        tell_leader: bool = False,
        tell_leader_mock: bool = False,
        hidden_queries: bool = False,
        consistent_commitment: bool = False,
        discrete_obs: bool = False,
    ):
        self._env, self._hidden, self._discrete = env, hidden_queries, discrete_obs
        self._asked = [observation for observation in queries.values() for _ in range(n_samples)]
        self._n_samples, self._mean = n_samples, samples_summarize == "mean"
        if consistent_commitment and (
            tell_leader or not isinstance(env.action_spaces[LEADER], spaces.Discrete)
        ):
            raise UserError(
                "consistent_commitment needs whole-number actions and a leader without tell_leader"
            )
        self._consistent = consistent_commitment
        self._view = LeaderView(env.observation_spaces[LEADER], tell_leader, tell_leader_mock, discrete_obs)
        answer = env.action_spaces[LEADER]
        kept = 1 if self._mean else n_samples
        self._keys = [f"{name}_{i}" for name in queries for i in range(kept)]
        if self._mean:
            self._check_mean(answer, discrete_obs)
            answer = spaces.Box(0.0, float(answer.n), (1,), np.float32)
        self.action_spaces = env.action_spaces
        self.observation_spaces = {LEADER: self._view.space, FOLLOWER: self._follower_space(answer)}

    @staticmethod
    def _check_mean(answer: spaces.Space, discrete_obs: bool) -> None:
        if not isinstance(answer, spaces.Discrete):
            raise UserError("samples_summarize mean needs whole-number answers; use list")
        if discrete_obs:
            raise UserError(
                "samples_summarize mean has no whole-number code; use list, or discrete_obs false"
            )

    def _follower_space(self, answer: spaces.Space) -> spaces.Space:
        own = self._env.observation_spaces[FOLLOWER]
        if not self._discrete:
            return spaces.Dict({"original_space": own, **{key: answer for key in self._keys}})
        if not isinstance(answer, spaces.Discrete):
            raise UserError(
                "discrete_obs needs a leader whose answers are whole numbers; use discrete_obs false"
            )
        self._radices = (int(own.n), *(int(answer.n) for _ in self._keys))
        return spaces.Discrete(int(np.prod(self._radices)))

    def _follower_view(self, original: Any) -> Any:
        if self._discrete:
            return mixed_radix((original, *self._answers.values()), self._radices)
        return {"original_space": original, **self._answers}

    def reset(self, *, seed: int | None = None):
        self._start, _ = self._env.reset(seed=seed)
        self._replies, self._answers, self._committed = [], None, {}
        if not self._asked:
            return self._begin()
        return {LEADER: self._view(self._asked[0], True)}, hidden_infos(self._hidden)

    def _begin(self):
        """The first observations of the game, the answers summarised."""
        per_query = [
            self._replies[at : at + self._n_samples] for at in range(0, len(self._replies), self._n_samples)
        ]
        if self._mean:
            values = [np.asarray([np.mean(replies, dtype=np.float32)], np.float32) for replies in per_query]
        else:
            values = [reply for replies in per_query for reply in replies]
        self._answers = dict(zip(self._keys, values, strict=True))
        observations = self._seen(self._start)
        return observations, hidden_infos(False, observations)

    def _seen(self, observations: Mapping[str, Any]) -> dict[str, Any]:
        """The game's observations as the players see them."""
        self._leader_at = observations.get(LEADER)
        views = {LEADER: lambda original: self._view(original, False), FOLLOWER: self._follower_view}
        return {agent: views[agent](original) for agent, original in observations.items()}

    def _execute(self, observation: Any, action: Any) -> Any:
        return self._committed.setdefault(observation, action) if self._consistent else action

    def step(self, actions: Mapping[str, Any]) -> Step:
        if self._answers is None:
            return self._query_step(actions)
        executed = None
        if self._leader_at is not None:
            action = action_of(actions, LEADER, self.action_spaces[LEADER])
            executed = self._execute(self._leader_at, action)
            actions = {**actions, LEADER: executed}
        observations, rewards, dones, _ = self._env.step(actions)
        if dones["__all__"]:
            infos = {LEADER: {"executed_action": executed}} if self._consistent else {}
            return self._seen(observations), rewards, {"__all__": True}, infos
        return self._going_on(self._seen(observations), rewards, executed)

    def _query_step(self, actions: Mapping[str, Any]) -> Step:
        at = len(self._replies)
        reply = self._execute(self._asked[at], action_of(actions, LEADER, self.action_spaces[LEADER]))
        self._replies.append(reply)
        if at + 1 < len(self._asked):
            return self._going_on({LEADER: self._view(self._asked[at + 1], True)}, {}, reply, self._hidden)
        return self._going_on(self._begin()[0], {}, reply)

    def _going_on(self, observations, rewards, executed, hidden: bool = False) -> Step:
        infos = hidden_infos(hidden, observations)
        if self._consistent and executed is not None and LEADER in infos:
            infos[LEADER]["executed_action"] = executed
        rewards = {agent: rewards.get(agent, 0.0) for agent in observations}
        return observations, rewards, {**dict.fromkeys(observations, False), "__all__": False}, infos
