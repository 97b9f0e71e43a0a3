"""What learning rules are given: an episode of all agents, one agent's experience, a batch from replay."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Episode(NamedTuple):
    """One episode, time-major. A shorter one is padded at the end: `valid` is 0 there and the rest is arbitrary.

    `dones` is 1 at the last step, the time limit included (spec 7.18); `rewards` are the environment's.
    """

    observations: jax.Array  # [T, N, *observation_shape], before the step
    actions: jax.Array  # [T, N], int32
    rewards: jax.Array  # [T, N]
    next_observations: jax.Array  # [T, N, *observation_shape], after the step
    dones: jax.Array  # [T, N], 0 or 1
    valid: jax.Array  # [T], 1 for a step that happened


class Experience(NamedTuple):
    """One agent's episode; a stack of agents has N as leading axis of every field. `rewards` are what it learns from."""

    observations: jax.Array  # [T, *observation_shape]
    actions: jax.Array  # [T]
    rewards: jax.Array  # [T]
    next_observations: jax.Array  # [T, *observation_shape]
    dones: jax.Array  # [T]
    valid: jax.Array  # [T]


class Batch(NamedTuple):
    """Transitions from replay; rewards are the environment's."""

    observations: jax.Array  # [B, N, *observation_shape]
    actions: jax.Array  # [B, N]
    rewards: jax.Array  # [B, N]
    next_observations: jax.Array  # [B, N, *observation_shape], never used where done
    dones: jax.Array  # [B, N]


def follower_rewards(
    rewards: jax.Array, incentives: jax.Array | None = None, shared: bool = False
) -> jax.Array:
    """What the followers learn from, [..., N]: own reward (or, `shared`, the sum of all) plus own incentive.

    Args:
        rewards: [..., N] of the environment; incentives: [..., N], None without a mechanism.
    """
    if shared:
        # DEVIATION(Q20): the shared-reward baseline, which the original lacks
        rewards = jnp.broadcast_to(jnp.sum(rewards, -1, keepdims=True), rewards.shape)
    return rewards if incentives is None else rewards + incentives


def per_agent(episode: Episode, rewards: jax.Array) -> Experience:
    """An episode as N experiences with the given rewards [T, N]; every field gets the leading axis N."""
    n_agents = episode.actions.shape[1]
    valid = jnp.broadcast_to(episode.valid[:, None], (*episode.valid.shape, n_agents))
    fields = (episode.observations, episode.actions, rewards, episode.next_observations, episode.dones, valid)
    return Experience(*(jnp.swapaxes(field, 0, 1) for field in fields))


def discounts(gamma: float, steps: int) -> jax.Array:
    """gamma^t, t = 0 .. steps-1: [T]."""
    return jnp.power(jnp.float32(gamma), jnp.arange(steps, dtype=jnp.float32))
