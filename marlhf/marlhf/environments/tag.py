"""Tag with three learning adversaries; the prey lives inside the environment (specification, section 3.4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..networks import RecurrentActor
from .mpe import EPISODE_LENGTH, physics, task_of
from .task import Task, library, padded, quiet_jaxmarl

LEARNERS = ("adversary_0", "adversary_1", "adversary_2")
PREY = "agent_0"
PREY_OBS = 16  # the prey's 14 numbers, padded to the adversaries' 16


class TagState(NamedTuple):
    """The particles and the memory of the prey, `[1, H]`."""

    world: Any
    carry: jax.Array


def tag(prey: str, network: RecurrentActor | None = None, params: Any = None) -> Task:
    """The task of the three adversaries against a fixed prey.

    Args: `prey` ``random`` (uniform actions), ``motionless``, or what a trained `network` with `params` is called.

    DEVIATION(Q27): the task knows its learners only; the prey's action, observation and reward stay inside.
    """
    env = quiet_jaxmarl().SimpleTagMPE()

    @library
    def reset(key):
        carry = jnp.zeros((1, 0)) if network is None else network.initial_carry(1)
        return TagState(env.reset(key)[1], carry)

    @library
    def prey_action(key, state):
        if prey == "motionless":
            return state.carry, jnp.int32(0)
        if network is None:
            return state.carry, jax.random.randint(key, (), 0, 5)
        obs = jnp.pad(env.get_obs(state.world)[PREY], (0, PREY_OBS - 14))
        carry, logits = network.apply(params, state.carry, obs[None, None], jnp.zeros((1, 1), bool))
        return carry, jax.random.categorical(key, logits[0, 0])

    def transition(key, state, actions):
        carry, evading = prey_action(key, state)
        world, rewards, done = physics(env, state.world, jnp.append(actions.astype(jnp.int32), evading))
        return TagState(world, carry), rewards[: len(LEARNERS)], done

    return Task(
        name="tag",
        agents=LEARNERS,
        n_actions=5,
        obs_size=PREY_OBS,
        state_size=PREY_OBS * len(LEARNERS),
        episode_length=EPISODE_LENGTH,
        reset=reset,
        observe=library(lambda state: padded(env.get_obs(state.world), LEARNERS)),
        transition=transition,
        env=env,
        kwargs=() if prey == "default" else (("prey", prey),),
    )


def tag_with_learning_prey() -> Task:
    """All four agents as learners, the prey last: for training the prey."""
    return task_of("tag", quiet_jaxmarl().SimpleTagMPE(), (("prey", "learner"),))


def tag_against(path: Path, prey: str) -> Task:
    """Tag against the trained prey in a file of `marlhf.agents`; `prey` is how the caller named it."""
    from ..agents import load_actor

    network, params = load_actor(path, role="prey")
    return tag(prey, network, params)
