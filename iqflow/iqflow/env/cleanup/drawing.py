"""The pictures of Cleanup: one colour a cell, and every agent's window of them (spec 3.3, observation)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from iqflow.env.cleanup.maps import APPLE, RIVER, WASTE, Layout

BEAM, FIRST_AGENT = 6, 7  # codes beyond the contents of a cell
MOST_AGENTS = 9

#: RGB by code: the contents of a cell, the cleaning beam, agents 0 to 8
COLOURS = np.array(
    [
        (0, 0, 0),
        (180, 180, 180),
        (0, 255, 0),
        (113, 75, 24),
        (99, 156, 194),
        (99, 156, 194),
        (100, 255, 255),
        (159, 67, 255),
        (2, 81, 154),
        (204, 0, 204),
        (216, 30, 54),
        (254, 151, 0),
        (100, 255, 255),
        (99, 99, 255),
        (250, 204, 255),
        (238, 223, 16),
    ],
    np.uint8,
)


def contents(layout: Layout, apples: jax.Array, waste: jax.Array) -> jax.Array:
    """What every cell holds, uint8 [height, width], from bool [apples] and bool [wastes]."""
    where = np.full(layout.base.size, -1, np.int32)
    things = np.concatenate([layout.apple_cells, layout.waste_cells])
    where[things] = np.arange(len(things))
    lists = jnp.concatenate(
        [
            jnp.where(apples, APPLE, layout.base.ravel()[layout.apple_cells]),
            jnp.where(waste, WASTE, RIVER),
        ]
    ).astype(jnp.uint8)
    flat = jnp.where(where >= 0, lists[jnp.maximum(where, 0)], layout.base.ravel())
    return flat.reshape(layout.base.shape)


def scene(layout: Layout, apples, waste, cell, beam) -> jax.Array:
    """Codes uint8 [height, width] as drawn: contents, over them the agents, over these the beams.

    Args: `cell` int32 [N], `beam` bool [height - 2, width - 2].
    """
    picture = jnp.where(jnp.pad(beam, 1), np.uint8(BEAM), contents(layout, apples, waste)).ravel()
    # agents are scattered, and windows cut by slices: both make XLA work out the picture once and not for every pixel that
    # shows it, which is several times slower on a CPU
    agents = jnp.arange(cell.shape[0])
    shown = jnp.where(cell[:, None] == cell[None, :], agents[None, :], -1).max(
        axis=1
    )  # the last of several on a cell
    codes = jnp.where(picture[cell] == BEAM, BEAM, FIRST_AGENT + shown).astype(jnp.uint8)
    return picture.at[cell].set(codes).reshape(layout.base.shape)


def windows(view: int, codes: jax.Array, centre: jax.Array, orientation: jax.Array | None) -> jax.Array:
    """Every agent's square of the picture, turned so that it faces up, float32 [N, 2 view + 1, 2 view + 1, 3].

    Args: `codes` uint8 [height, width], `centre` int32 [N, 2] (row, column), `orientation` int32 [N], or None when
    everybody faces up.
    """
    side = 2 * view + 1
    painted = jnp.asarray(COLOURS / np.float32(256))[codes]
    padded = jnp.pad(painted, ((view, view), (view, view), (0, 0)))  # outside is black
    seen = jax.vmap(lambda corner: jax.lax.dynamic_slice(padded, (*corner, 0), (side, side, 3)))(centre)
    if orientation is None:
        return seen
    turned = seen
    for quarter_turns in (1, 2, 3):
        faces = (orientation == quarter_turns)[:, None, None, None]
        turned = jnp.where(faces, jnp.rot90(seen, quarter_turns, axes=(1, 2)), turned)
    return turned
