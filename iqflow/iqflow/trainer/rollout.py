"""One episode of any environment, all agents sampling from their policies and a mechanism paying them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from iqflow.alg.episodes import Episode

#: incentives of a joint action: (observations [N, ...], actions [N]) -> [N]
Pay = Callable[[jax.Array, jax.Array], jax.Array]
#: actions of all agents: (compact state, observations [N, ...], key) -> [N] int32
Act = Callable[[Any, jax.Array, jax.Array], jax.Array]


class Record(NamedTuple):
    """An episode with everything that evaluation and replay need; leading axis T = `env.max_steps`.

    Steps after the end of a shorter episode have `valid` 0 and rewards and incentives 0.
    """

    episode: Episode
    states: Any  # [T, ...] the environment's compact states before the step
    next_states: Any  # [T, ...] and after it
    incentives: jax.Array  # [T, N]
    info: Any  # [T, ...] what the environment's steps tell


def play(env: Any, act: Act, pay: Pay, key: jax.Array) -> Record:
    """One episode from a reset."""
    reset_key, key = jax.random.split(key)
    state, observations = env.reset(reset_key)

    def step(carry, step_key):
        state, observations, over = carry
        act_key, env_key = jax.random.split(step_key)
        actions = act(state, observations, act_key)
        given = pay(observations, actions)
        following, seen, rewards, done, info = env.step(env_key, state, actions)
        valid = 1.0 - over.astype(jnp.float32)
        dones = jnp.broadcast_to(done.astype(jnp.float32), rewards.shape)
        row = Episode(observations, actions, rewards * valid, seen, dones, valid)
        return (following, seen, over | done), Record(row, state, following, given * valid, info)

    start = (state, observations, jnp.bool_(False))
    _, record = lax.scan(step, start, jax.random.split(key, env.max_steps))
    return record
