"""What an agent is worth: its return over first episodes, and what the learned models think of them.

The published programs test with 256 greedy episodes (agents) or 128 sampled ones (the reference policy) and report the
team's true return, divided by the number of agents except in Overcooked (specification, sections 1, 5.4 and 5.6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from marlhf.environments.rollout import RolloutManager
from marlhf.environments.task import Task
from marlhf.rewards import Judge, JudgeParams, Standard, penalty, standardise
from marlhf.sequences import without_index


class Play(NamedTuple):
    """Whole first episodes, time first, E of them.

    Attributes:
        obs: `[T, E, n, d]` without the agent index. actions: `[T, E, n]`. world_state: `[T, E, W]`.
        rewards: `[T, E, n]`, true ones. team_rewards: `[T, E]`.
    """

    obs: jax.Array
    actions: jax.Array
    world_state: jax.Array
    rewards: jax.Array
    team_rewards: jax.Array


#: (key, carry, obs [E, n, d+n]) -> (carry, actions [E, n])
Act = Callable[[jax.Array, Any, jax.Array], tuple[Any, jax.Array]]


def play(task: Task, episodes: int, act: Act, carry: Any, key: jax.Array) -> Play:
    """One episode in each of `episodes` environments, from their reset to their end."""
    manager = RolloutManager(task, episodes, zero_first_observations=False)
    first, later = jax.random.split(key)
    view, state = manager.reset(first)

    def step(loop, key):
        view, state, carry = loop
        for_action, for_step = jax.random.split(key)
        obs = jnp.moveaxis(view.obs, 0, 1)
        carry, actions = act(for_action, carry, obs)
        after, rewards, team, _, _, state = manager.step(for_step, state, actions.T)
        seen = Play(without_index(obs, task.n_agents), actions, view.world_state, rewards.T, team)
        return (after, state, carry), seen

    return lax.scan(step, (view, state, carry), jax.random.split(later, task.episode_length))[1]


def greedy(task: Task, team: Any, params: Any, episodes: int, key: jax.Array) -> Play:
    """Episodes of the best action of every agent's Q network (`team`: `marlhf.offline.team.Team`)."""
    never = jnp.zeros((1, episodes), bool)

    def act(_, carry, obs):
        carry, q = team.apply(params, carry, obs[None], never)
        return carry, jnp.argmax(q[0], axis=-1)

    return play(task, episodes, act, team.initial_carry(episodes), key)


def sampled(task: Task, network: Any, params: Any, episodes: int, key: jax.Array) -> Play:
    """Episodes of actions drawn from a reference policy."""
    batch = episodes * task.n_agents
    never = jnp.zeros((1, batch), bool)

    def act(key, carry, obs):
        raw = without_index(obs, task.n_agents).reshape(1, batch, task.obs_size)
        carry, logits = network.apply(params, carry, raw, never)
        return carry, jax.random.categorical(key, logits[0]).reshape(episodes, task.n_agents)

    return play(task, episodes, act, network.initial_carry(batch), key)


class Returns(NamedTuple):
    """Means over episodes: `test_returns`, the team's return per agent (a scalar), and `[n]` each agent's own; `each`
    `[E]`, the team's return per agent of every episode."""

    test_returns: jax.Array
    agents: jax.Array
    each: jax.Array


def returns(task: Task, episodes: Play) -> Returns:
    """True returns; the team's is not divided in Overcooked, whose agents are paid together."""
    team = jnp.sum(episodes.team_rewards, axis=0) / task.return_divisor
    return Returns(jnp.mean(team), jnp.mean(jnp.sum(episodes.rewards, axis=0), axis=0), team)


class Predicted(NamedTuple):
    """Means over episodes of sums over steps and agents, scalars.

    Attributes:
        test_predicted_rewards: r~. test_predicted_rewards_with_log: r~ and the penalty.
        test_reward_reference_log_term: the penalty alone.
    """

    test_predicted_rewards: jax.Array
    test_predicted_rewards_with_log: jax.Array
    test_reward_reference_log_term: jax.Array


def predicted(judge: Judge, params: JudgeParams, standard: Standard, beta: Any, episodes: Play) -> Predicted:
    """What the learned models say of these episodes, read as whole sequences and with their own world states."""
    # DEVIATION(Q8): the original forgets everything at every step and gives the reward model a wrong world state
    steps, batch, _ = episodes.actions.shape
    resets = jnp.zeros((steps, batch), bool)
    states = jnp.moveaxis(
        judge.states(*(jnp.moveaxis(part, 0, 1) for part in (episodes.world_state, episodes.obs))), 1, 0
    )
    reward, log_prob = judge.predict(params, episodes.obs, episodes.actions, states, resets)
    costs = penalty(log_prob, judge.n_actions, beta)
    bare, term = (jnp.mean(jnp.sum(part, axis=(0, 2))) for part in (standardise(reward, standard), costs))
    return Predicted(bare, bare + term, term)


class Evaluation(NamedTuple):
    """All of one test; `predicted` is `None` without a judge."""

    returns: Returns
    predicted: Predicted | None


@dataclass(frozen=True)
class GreedyTest:
    """The test of the offline programs: greedy episodes of a team, true and predicted returns.

    Args:
        task: where. team: the Q networks. episodes: how many (NUM_TEST_EPISODES, 256).
        judge: reward model and reference policy; `None`: true returns only.
    """

    task: Task
    team: Any
    episodes: int = 256
    judge: Judge | None = None

    def __call__(
        self,
        params: Any,
        key: jax.Array,
        judge_params: JudgeParams | None = None,
        standard: Standard | None = None,
        beta: Any = 0.0,
    ) -> Evaluation:
        """A pure function: it can be compiled, and mapped over parameters and keys."""
        episodes = greedy(self.task, self.team, params, self.episodes, key)
        seen = None
        if self.judge is not None:
            seen = predicted(self.judge, judge_params, standard, beta, episodes)
        return Evaluation(returns(self.task, episodes), seen)
