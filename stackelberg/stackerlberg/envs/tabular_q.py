"""The inner-loop oracle: a tabular Q-learning follower that learns inside the leader's episode (spec 3.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from common.cli import UserError

from ..games import FOLLOWER, LEADER
from .machine import LeaderView, StateMachine, Step, action_of, hidden_infos


class TabularQFollower(StateMachine):
    """Only the leader is outside: `n_q_episodes` games in which the follower learns, then one reward game.

    In a learning game the follower acts greedily with probability ``1 - epsilon`` and uniformly else; with
    `param_noise` it takes the argmax of Q plus noise of standard deviation `epsilon`, drawn once per state and
    learning game. In the reward game it is greedy and learns nothing. Ties go to action 0.

    ``Q[s][b] += alpha (r + gamma max Q[s'] - Q[s][b])``, without the bootstrap term at the game's last step.

    DEVIATION(Q5): the original selects the learning actions under the leader's observation; here under the
    follower's own. The two coincide without memory and with joint memory. `leader_lookup` restores the original.

    Args:
        env: the game, one observation space per player, both discrete.
        n_q_episodes: learning games per leader episode.
        alpha, gamma, epsilon, param_noise: above.
        q_init_zero: start from zeros instead of N(0, 0.01).
        reset_between_episodes: start each leader episode with a new table; else the table is carried.
        leader_reward_during_q: pay the leader in the learning games too (reward out of equilibrium).
        tell_leader, tell_leader_mock, hidden_queries, discrete_obs: as in `Protocol`; a step of a learning game
            is what a query is there.

    Attributes:
        q_table: ``[n_follower, A1]`` float64, the follower's current values.
        follower_return: what the follower earned in its current game, the reward game at the episode's end.
    """

    possible_agents = (LEADER,)

    def __init__(
        self,
        env: StateMachine,
        *,
        n_q_episodes: int = 50,
        alpha: float = 0.1,
        gamma: float = 1.0,
        epsilon: float = 0.1,
        param_noise: bool = False,
        q_init_zero: bool = False,
        reset_between_episodes: bool = True,
        leader_reward_during_q: bool = False,
        tell_leader: bool = False,
        tell_leader_mock: bool = False,
        hidden_queries: bool = False,
        discrete_obs: bool = False,
        leader_lookup: bool = False,
    ):
        if isinstance(n_q_episodes, bool) or not isinstance(n_q_episodes, int) or n_q_episodes < 0:
            raise UserError(f"n_q_episodes must be a whole number of at least 0, not {n_q_episodes!r}")
        for name, value in (("q_alpha", alpha), ("gamma", gamma), ("epsilon", epsilon)):
            if not 0 <= value <= 1:
                raise UserError(f"the follower's {name} must lie in [0, 1], not {value!r}")
        self._env, self._games = env, n_q_episodes
        self._alpha, self._gamma, self._epsilon, self._noisy = alpha, gamma, epsilon, param_noise
        self._zero, self._fresh, self._paid = q_init_zero, reset_between_episodes, leader_reward_during_q
        self._hidden, self._leader_lookup = hidden_queries, leader_lookup
        self._view = LeaderView(env.observation_spaces[LEADER], tell_leader, tell_leader_mock, discrete_obs)
        self.observation_spaces = {LEADER: self._view.space}
        self.action_spaces = {LEADER: env.action_spaces[LEADER]}
        self._shape = (int(env.observation_spaces[FOLLOWER].n), int(env.action_spaces[FOLLOWER].n))
        self._random = np.random.default_rng()
        self.q_table: np.ndarray | None = None
        self.follower_return = 0.0

    def reset(self, *, seed: int | None = None):
        if seed is not None:
            self._random = np.random.default_rng(seed)
        if self.q_table is None or self._fresh or seed is not None:
            drawn = self._random.normal(0.0, 0.01, self._shape)
            self.q_table = np.zeros(self._shape) if self._zero else drawn
        self._game = 0
        # A seed of its own, so that wrapped randomness does not repeat the follower's.
        self._begin_game(None if seed is None else int(self._random.integers(2**31)))
        return self._shown(self._current), hidden_infos(self._hidden and self._learning)

    @property
    def _learning(self) -> bool:
        return self._game < self._games

    def _begin_game(self, seed: int | None = None) -> None:
        self._current, _ = self._env.reset(seed=seed)
        self.follower_return = 0.0
        self._noise = self._random.normal(0.0, self._epsilon, self._shape) if self._noisy else None

    def _shown(self, observations: Mapping[str, int]) -> dict[str, Any]:
        return {LEADER: self._view(observations[LEADER], self._learning)}

    def _follower_action(self) -> int:
        if not self._learning:
            return int(self.q_table[self._current[FOLLOWER]].argmax())
        state = self._current[LEADER if self._leader_lookup else FOLLOWER]
        if self._noisy:
            return int((self.q_table[state] + self._noise[state]).argmax())
        if self._epsilon and self._random.random() < self._epsilon:
            return int(self._random.integers(self._shape[1]))
        return int(self.q_table[state].argmax())

    def _learn(self, state: int, action: int, reward: float, after: int, last: bool) -> None:
        target = reward if last else reward + self._gamma * self.q_table[after].max()
        self.q_table[state, action] += self._alpha * (target - self.q_table[state, action])

    def step(self, actions: Mapping[str, Any]) -> Step:
        own = action_of(actions, LEADER, self.action_spaces[LEADER])
        state, reply, learning = self._current[FOLLOWER], self._follower_action(), self._learning
        observations, rewards, dones, _ = self._env.step({LEADER: own, FOLLOWER: reply})
        over = dones["__all__"]
        self.follower_return += rewards[FOLLOWER]
        if learning:
            self._learn(state, reply, rewards[FOLLOWER], observations[FOLLOWER], over)
        self._current = observations
        if over and learning:
            self._game += 1
            self._begin_game()
        reward = rewards[LEADER] if self._paid or not learning else 0.0
        if over and not learning:
            return self._shown(self._current), {LEADER: reward}, {"__all__": True}, {}
        infos = hidden_infos(self._hidden and self._learning)
        return self._shown(self._current), {LEADER: reward}, {LEADER: False, "__all__": False}, infos
