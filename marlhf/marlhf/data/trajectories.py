"""Cutting rows into the trajectories of single agents that the reward model learns from (paper: tau; spec section 5.3).

A row of T steps holds K = T / L whole episodes of L steps. A trajectory is what one agent saw and did in one episode;
trajectory number ``episode * (n * E) + agent * E + row``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from common.cli import UserError
from marlhf.data.files import Rows

LAYOUTS = ("corrected", "original")
ALIGNMENTS = ("corrected", "original")


class Trajectories(NamedTuple):
    """N = K n E trajectories of L steps, trajectory first, so that a minibatch is a gather of whole lines."""

    obs: Any  # [N, L, d] float32, without the agents' one-hot index
    actions: Any  # [N, L] int32
    rewards: Any  # [N, L] float32, the agent's own
    resets: Any  # [N, L] bool: the reward model forgets before this step
    world_state: Any  # [M, L, W] float32: one per episode and row (M = K E)
    world_index: Any  # [N] int32: the line of `world_state` that goes with a trajectory

    @property
    def returns(self) -> Any:
        """[N] float32: the sum of the agent's own rewards, by which synthetic preferences judge."""
        return self.rewards.sum(axis=1)


def resets_from_dones(dones: np.ndarray, alignment: str) -> np.ndarray:
    """Where a recurrent network forgets before a step, from the dones after each step; time is the last axis.

    ``corrected``: at the first step and wherever the step before was the last of an episode. ``original``: wherever the
    step itself is the last of an episode, one step early (the carry is zero at the start anyway).
    """
    if alignment == "original":
        return dones.copy()
    # DEVIATION(Q5): the original forgets with the done of the same step, before an episode's last step is read
    resets = np.empty_like(dones)
    resets[..., 0] = True
    resets[..., 1:] = dones[..., :-1]
    return resets


def cut(
    rows: Rows,
    episode_length: int,
    *,
    layout: str = "corrected",
    alignment: str = "corrected",
    own_state: bool = False,
    with_state: bool = True,
) -> Trajectories:
    """Cut rows into per-agent trajectories.

    Args:
        rows: recorded play (NumPy), T a multiple of `episode_length`.
        episode_length: L, steps of an episode.
        layout: ``original`` pairs the observations of episode j with the actions, dones and rewards of the steps
            j, K + j, 2K + j ... of the whole row, and the world state of another row.
        alignment: see `resets_from_dones`.
        own_state: the world state is the agent's own observation (Overcooked).
        with_state: False leaves the world state empty (a feed-forward reward model reads none).

    Raises:
        UserError: the rows hold no whole number of episodes.
    """
    steps, n, envs = rows.actions.shape
    episodes, rest = divmod(steps, episode_length)
    if rest or not episodes:
        raise UserError(
            f"rows of {steps} steps can't be cut into episodes of {episode_length}; collect whole episodes"
        )
    assert layout in LAYOUTS and alignment in ALIGNMENTS
    count = episodes * n * envs

    def by_episode(part):  # [T, n, E, ...] -> [K n E, L, ...]
        parts = part.reshape(episodes, episode_length, *part.shape[1:])
        return np.moveaxis(parts, 1, 3).reshape(count, episode_length, *part.shape[3:])

    def by_stride(part):  # slot (r, j, actor) holds step K r + j
        parts = part.reshape(episode_length, episodes, n, envs)
        return np.moveaxis(parts, 0, 3).reshape(count, episode_length)

    # DEVIATION(Q1): all parts of a trajectory are cut alike; the original strides all but the observations
    pick = by_stride if layout == "original" else by_episode
    dones = pick(np.broadcast_to(rows.dones[:, None], (steps, n, envs)))
    obs = by_episode(rows.obs[..., :-n])
    state, index = np.zeros((1, episode_length, 0), np.float32), np.zeros(count, np.int32)
    if with_state and own_state:
        state, index = obs, np.arange(count, dtype=np.int32)
    elif with_state:
        width = rows.world_state.shape[-1]
        state = rows.world_state.reshape(episodes, episode_length, envs, width)
        state = np.moveaxis(state, 1, 2).reshape(episodes * envs, episode_length, width)
        index = _state_index(episodes, n, envs, layout)
    return Trajectories(
        obs, pick(rows.actions), pick(rows.rewards), resets_from_dones(dones, alignment), state, index
    )


def _state_index(episodes: int, n: int, envs: int, layout: str) -> np.ndarray:
    """[K n E]: which (episode, row) a trajectory's world state comes from."""
    slot = np.arange(n * envs)
    # DEVIATION(Q2): agents' slots come agent by agent; the original pairs them with states repeated row by row
    row = slot // n if layout == "original" else slot % envs
    return (np.arange(episodes)[:, None] * envs + row).reshape(-1).astype(np.int32)


def trajectory_number(episode: int, agent: int, row: int, n: int, envs: int) -> int:
    """The place of (episode, agent, row) in `cut` of rows with n agents and E rows."""
    return episode * n * envs + agent * envs + row
