"""Spread and Reference of JaxMARL's particle environments (specification, sections 3.1 to 3.3)."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from .task import Task, library, padded, quiet_jaxmarl

EPISODE_LENGTH = 26  # done is raised by the step that finds the counter at 25


@library
def physics(env: Any, state: Any, actions: jax.Array) -> tuple[Any, jax.Array, jax.Array]:
    """One step of all agents of a particle environment, actions `[agents]`; returns state, rewards `[agents]`, done.

    JaxMARL draws motor and message noise and scales it by zero; a constant key lets XLA draw it once instead of at
    every step.
    """
    by_name = {agent: actions[index] for index, agent in enumerate(env.agents)}
    _, state, rewards, dones, _ = env.step_env(jax.random.key(0), state, by_name)
    return state, jnp.stack([rewards[agent] for agent in env.agents]).astype(jnp.float32), dones["__all__"]


def task_of(name: str, env: Any, kwargs: tuple[tuple[str, Any], ...] = ()) -> Task:
    """The task in which all agents of a particle environment learn."""
    agents = tuple(env.agents)
    sizes = [env.observation_space(agent).shape[0] for agent in agents]
    return Task(
        name=name,
        agents=agents,
        n_actions=int(env.action_space(agents[0]).n),
        obs_size=max(sizes),
        state_size=sum(sizes),
        episode_length=EPISODE_LENGTH,
        reset=library(lambda key: env.reset(key)[1]),
        observe=library(lambda state: padded(env.get_obs(state), agents)),
        transition=lambda key, state, actions: physics(env, state, actions),
        env=env,
        kwargs=kwargs,
    )


def spread(num_agents: int = 3, num_landmarks: int = 3) -> Task:
    """n agents cover the landmarks together without bumping into each other."""
    env = quiet_jaxmarl().SimpleSpreadMPE(num_agents=num_agents, num_landmarks=num_landmarks)
    told = (
        ()
        if (num_agents, num_landmarks) == (3, 3)
        else (("num_agents", num_agents), ("num_landmarks", num_landmarks))
    )
    return task_of("spread", env, told)


def reference() -> Task:
    """Two agents tell each other which landmark to go to."""
    task = task_of("reference", quiet_jaxmarl().SimpleReferenceMPE())
    return dataclasses.replace(task, hint=telling)


def telling(obs: jax.Array, actions: jax.Array) -> jax.Array:
    """Reference's actions `[..., n]` with the message replaced by the index of the other's goal, which `obs
    [..., n, d]` shows; the movement stays."""
    return actions % 5 + 5 * jnp.argmax(obs[..., 8:11], axis=-1)
