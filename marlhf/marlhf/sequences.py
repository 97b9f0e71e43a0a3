"""Recorded rows as the learners read them: row by row, each as one long sequence or as its whole episodes.

The published code runs its recurrent networks over whole rows (130 steps of Spread, Reference and Tag: five episodes of
26) and forgets one step too early (quirk Q5). Once the carry is zero at every episode's start, an episode is a sequence
of its own, so a row is five sequences of 26 steps: the same information, loops a fifth as long, batches five times as
large.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common.cli import UserError
from marlhf.data.files import Rows

ALIGNMENTS = ("corrected", "original")


class Sequences(NamedTuple):
    """E rows of K sequences of L steps with n agents; K L is the length of a row.

    Attributes:
        obs: `[E, K, L, n, d+n]`, one-hot agent index included; float32, or uint8 where the task's are bytes.
        actions: `[E, K, L, n]` int32.
        dones: `[E, K, L]` bool, what step t gave.
    """

    obs: Any
    actions: Any
    dones: Any


def pieces(row_length: int, episode_length: int, alignment: str) -> tuple[int, int]:
    """(K, L) of a row: its whole episodes (`corrected`) or itself (`original`).

    Raises:
        UserError: an unknown alignment, or no whole number of episodes.
    """
    if alignment not in ALIGNMENTS:
        raise UserError(f"unknown alignment {alignment!r}; there are {', '.join(ALIGNMENTS)}")
    if row_length % episode_length or not row_length:
        raise UserError(
            f"rows of {row_length} steps hold no whole number of episodes of {episode_length} steps; "
            "collect the data again with this task"
        )
    # DEVIATION(Q5): a row is learned from episode by episode; the original reads it as one sequence
    return (1, row_length) if alignment == "original" else (row_length // episode_length, episode_length)


def by_row(part: np.ndarray, row_axis: int, count: int, length: int) -> np.ndarray:
    """Any array of a file, time first, as `[E, K, L, ...]`; `row_axis` is where its E rows lie."""
    rows_first = np.moveaxis(part, row_axis, 0)
    return np.ascontiguousarray(rows_first).reshape(len(rows_first), count, length, *rows_first.shape[2:])


def from_rows(rows: Rows, episode_length: int, alignment: str) -> Sequences:
    """The sequences of recorded play (NumPy; the observations are copied once).

    Raises:
        UserError: see `pieces`; or, with `corrected`, an episode that does not end where its piece does.
    """
    count, length = pieces(len(rows.dones), episode_length, alignment)
    dones = by_row(np.asarray(rows.dones), 1, count, length)
    if alignment == "corrected" and not (dones[..., -1].all() and not dones[..., :-1].any()):
        raise UserError(
            f"the data's episodes do not end every {episode_length} steps; collect it again with this task"
        )
    return Sequences(
        obs=by_row(np.asarray(rows.obs), 2, count, length),
        actions=by_row(np.asarray(rows.actions, np.int32), 2, count, length),
        dones=dones,
    )


def time_first(part: jax.Array) -> jax.Array:
    """Chosen rows `[R, K, L, ...]` -> `[L, R K, ...]`, as recurrent networks read them."""
    rows, count, length, *rest = part.shape
    return jnp.moveaxis(part.reshape(rows * count, length, *rest), 1, 0)


def resets(dones: jax.Array, alignment: str) -> jax.Array:
    """Where a recurrent network forgets before a step, `[L, ...]` bool, time first.

    `corrected`: at the first step and after every done; `original` (Q5): at the step that gives done itself.
    """
    if alignment == "original":
        return dones
    return jnp.concatenate([jnp.ones_like(dones[:1]), dones[:-1]])


def without_index(obs: jax.Array, n_agents: int) -> jax.Array:
    """Observations without the one-hot agent index at their end: `[..., d+n]` -> `[..., d]`."""
    return obs[..., :-n_agents]
