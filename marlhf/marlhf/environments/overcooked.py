"""Overcooked of JaxMARL: two cooks, one reward of 20 for each soup (specification, section 3.6)."""

from __future__ import annotations

import warnings

import jax.numpy as jnp

from common.cli import UserError

from .task import Task, library, padded, quiet_jaxmarl

EPISODE_LENGTH = 400


def overcooked(layout: str = "cramped_room") -> Task:
    """The task on one of JaxMARL's layouts; the observation is the grid's 26 channels, flattened.

    Raises: UserError on an unknown layout.
    """
    environments = quiet_jaxmarl()
    layouts = environments.overcooked_layouts
    if layout not in layouts:
        raise UserError(f"unknown layout {layout!r}; there are {', '.join(sorted(layouts))}")
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # JaxMARL recommends version 2; the paper has version 1
        env = environments.Overcooked(layout=layouts[layout], max_steps=EPISODE_LENGTH)
    agents = tuple(env.agents)
    size = env.height * env.width * 26

    @library
    def transition(key, state, actions):
        by_name = {agent: actions[index] for index, agent in enumerate(agents)}
        _, state, rewards, dones, _ = env.step_env(key, state, by_name)
        return state, jnp.stack([rewards[agent] for agent in agents]).astype(jnp.float32), dones["__all__"]

    return Task(
        name="overcooked",
        agents=agents,
        n_actions=6,
        obs_size=size,
        state_size=size * len(agents),
        episode_length=EPISODE_LENGTH,
        reset=library(lambda key: env.reset(key)[1]),
        observe=library(lambda state: padded(env.get_obs(state), agents)),
        transition=transition,
        env=env,
        shared_reward=True,
        kwargs=() if layout == "cramped_room" else (("layout", layout),),
    )
