"""Many environments at once, as the Q learners see them (specification, section 3.5)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .task import Task


class View(NamedTuple):
    """What the agents see: `obs [n, E, d + n]` with the agent's one-hot index last, `world_state [E, W]`."""

    obs: jax.Array
    world_state: jax.Array


class Episode(NamedTuple):
    """The last finished episode of every environment and agent, all `[E, n]`; `ended` where it ended just now."""

    returns: jax.Array
    lengths: jax.Array
    ended: jax.Array


class RolloutState(NamedTuple):
    """The environments, the running return `[E, n]` and length `[E]`, and the last finished ones."""

    env: Any
    returns: jax.Array
    lengths: jax.Array
    returned_returns: jax.Array
    returned_lengths: jax.Array


class RolloutManager:
    """E copies of a task stepped together, each starting anew when its episode ends.

    `zero_first_observations`: an observation that follows the end of an episode is all zeros, its one-hot too, and
    the world state is not (Q4, kept: the published data have it so); False shows what is there.
    """

    def __init__(self, task: Task, n_envs: int, zero_first_observations: bool = True):
        self.task, self.n_envs, self.zero_first_observations = task, n_envs, zero_first_observations

    def view(self, env_state: Any) -> View:
        """The agents' view of environments `[E, ...]`, nothing zeroed."""
        obs, world_state = jax.vmap(self.task.observe, out_axes=(1, 0))(env_state)
        n = self.task.n_agents
        index = jnp.broadcast_to(jnp.eye(n)[:, None], (n, obs.shape[1], n))
        return View(jnp.concatenate([obs, index], axis=-1), world_state)

    def reset(self, key: jax.Array) -> tuple[View, RolloutState]:
        """Fresh episodes everywhere."""
        env = jax.vmap(self.task.reset)(jax.random.split(key, self.n_envs))
        per_agent = (self.n_envs, self.task.n_agents)
        # Buffers of their own each, so that a caller can donate the state.
        nothing = (jnp.zeros(shape) for shape in (per_agent, self.n_envs, per_agent, per_agent))
        return self.view(env), RolloutState(env, *nothing)

    def step(
        self, key: jax.Array, state: RolloutState, actions: jax.Array
    ) -> tuple[View, jax.Array, jax.Array, jax.Array, Episode, RolloutState]:
        """One step of actions `[n, E]`: view, rewards `[n, E]`, team reward `[E]`, done `[E]`, episodes, state."""
        if actions.shape != (self.task.n_agents, self.n_envs):
            raise ValueError(f"actions {actions.shape} where {(self.task.n_agents, self.n_envs)} are needed")
        keys = jax.random.split(key, self.n_envs)
        env, rewards, done = jax.vmap(self.task.step, in_axes=(0, 0, 1), out_axes=(0, 1, 0))(
            keys, state.env, actions
        )
        view = self.view(env)
        if self.zero_first_observations:
            view = view._replace(obs=jnp.where(done[None, :, None], 0.0, view.obs))
        returns, lengths = state.returns + rewards.T, state.lengths + 1.0
        ended = jnp.broadcast_to(done[:, None], returns.shape)
        episode = Episode(
            jnp.where(ended, returns, state.returned_returns),
            jnp.where(ended, lengths[:, None], state.returned_lengths),
            ended,
        )
        running = (jnp.where(ended, 0.0, returns), jnp.where(done, 0.0, lengths))
        state = RolloutState(env, *running, episode.returns, episode.lengths)
        return view, rewards, self.task.team_reward(rewards), done, episode, state
