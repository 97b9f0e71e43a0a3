"""What happens in a step of Cleanup besides movement: turns, apples, beams, new apples and waste (spec 3.3).

Everything here is deterministic: random draws are arguments. Cells are numbers, row x width + column.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from iqflow.env.cleanup.maps import WALL, Layout

UP, RIGHT, DOWN, LEFT = range(4)  # orientations, clockwise
GO_LEFT, GO_RIGHT, GO_UP, GO_DOWN, STAY, TURN_RIGHT, TURN_LEFT, FINE, CLEAN = range(9)
MOVES = ("left", "right", "up", "down", "stay", "turn right", "turn left", "fine", "clean")

BEAM_LENGTH = 5

#: (row, column) of a step forward and of one to the right, by orientation
FORWARD = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]], np.int32)
RIGHTWARD = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]], np.int32)


def _displacements() -> np.ndarray:
    """int32 [4, 9, 2]: (rows, columns) of every action by orientation."""
    table = np.zeros((4, 9, 2), np.int32)
    for orientation in range(4):
        forward, right = FORWARD[orientation], RIGHTWARD[orientation]
        table[orientation, [GO_LEFT, GO_RIGHT, GO_UP, GO_DOWN]] = -right, right, forward, -forward
    return table


def goals(layout: Layout, cell: jax.Array, orientation: jax.Array, action: jax.Array) -> jax.Array:
    """Cells int32 [N] that agents want to go to: their own where a wall is in the way, or when they do not move.

    Args: `cell`, `orientation`, `action` (of the nine) int32 [N].
    """
    steps = _displacements() @ np.array([layout.width, 1], np.int32)
    wanted = cell + jnp.asarray(steps)[orientation, action]
    walls = jnp.asarray(layout.base.ravel() == WALL)
    return jnp.where(walls[wanted], cell, wanted)


def turned(orientation: jax.Array, action: jax.Array) -> jax.Array:
    """Orientations int32 [N] after the turns."""
    return (orientation + (action == TURN_RIGHT) - (action == TURN_LEFT)) % 4


def eat(layout: Layout, apples: jax.Array, cell: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Everybody on an apple eats it, the first by index if several are.

    Args: `apples` bool [apples], `cell` int32 [N].
    Returns: the apples that are left, and bool [N] who ate.
    """
    over = (cell[:, None] == jnp.asarray(layout.apple_cells)[None, :]) & apples[None, :]
    first = jnp.cumsum(over, axis=0) == 1
    return apples & ~over.any(axis=0), (over & first).any(axis=1)


def _line_lengths(layout: Layout, half: int, waste, cell, row, column, forward, right) -> jax.Array:
    """How many cells each line of one agent's beam enters, int32 [3] (centre, right, left), or [1] for width 1.

    Args: `waste` bool [wastes], `cell` int32 [N] of all agents, `row`, `column` [] of the one that fires, `forward`,
    `right` int32 [2] its directions.
    """
    sides = np.array([0] if half == 0 else [0, half, -half], np.int32)[:, None]
    ahead = np.arange(BEAM_LENGTH, dtype=np.int32)[None, :] + (
        sides == 0
    )  # side lines start beside the agent
    rows = row + ahead * forward[0] + sides * right[0]
    columns = column + ahead * forward[1] + sides * right[1]
    inside = (rows >= 0) & (rows < layout.height) & (columns >= 0) & (columns < layout.width)
    cells = jnp.where(inside, rows * layout.width + columns, 0)  # 0 is a corner, so wall
    number = np.full(layout.base.size, len(layout.waste_cells), np.int32)  # of a waste cell
    number[layout.waste_cells] = np.arange(len(layout.waste_cells))
    dirty = jnp.append(waste, False)[jnp.asarray(number)[cells]]
    occupied = (cells[..., None] == cell[None, None, :]).any(axis=-1)
    walls = jnp.asarray(layout.base.ravel() == WALL)[cells]
    goes_on, length = jnp.ones(len(sides), bool), jnp.zeros(len(sides), jnp.int32)
    for step in range(BEAM_LENGTH):
        goes_on = goes_on & ~walls[:, step]
        length = length + goes_on
        goes_on = goes_on & ~(dirty[:, step] | occupied[:, step])
    return length


def _reached(half: int, rows, columns, forward, right, lengths) -> jax.Array:
    """Which cells a beam enters, bool like `rows`; `rows` and `columns` are relative to the agent that fires."""
    ahead = rows * forward[0] + columns * forward[1]
    aside = rows * right[0] + columns * right[1]
    reached = (aside == 0) & (ahead >= 1) & (ahead <= lengths[0])
    if half:
        for line, side in ((1, half), (2, -half)):
            reached = reached | ((aside == side) & (ahead >= 0) & (ahead < lengths[line]))
    return reached


def fire(layout: Layout, half: int, waste, cell, orientation, fires):
    """All cleaning beams, agent after agent: a later one sees what an earlier one has cleaned.

    A line stops before a wall, and after a cell that holds an agent or waste; so the waste that it enters is the waste
    that it removes, one cell at most.

    Args:
        half: distance of the side lines, (width - 1) / 2; 0 has the centre line only.
        waste: bool [wastes].
        cell, orientation: int32 [N]; fires: bool [N].

    Returns:
        The waste that is left, waste cells cleaned by every agent int32 [N], and which inner cells (without the map's
        edge) any beam entered, bool [height - 2, width - 2].
    """
    inner_rows = np.arange(1, layout.height - 1, dtype=np.int32)[:, None]
    inner_columns = np.arange(1, layout.width - 1, dtype=np.int32)[None, :]
    waste_rows, waste_columns = np.divmod(layout.waste_cells, np.int32(layout.width))
    beam = jnp.zeros((layout.height - 2, layout.width - 2), bool)
    cleaned = []
    for agent in range(cell.shape[0]):
        row, column = cell[agent] // layout.width, cell[agent] % layout.width
        forward = jnp.asarray(FORWARD)[orientation[agent]]
        right = jnp.asarray(RIGHTWARD)[orientation[agent]]
        lengths = _line_lengths(layout, half, waste, cell, row, column, forward, right)
        hits = _reached(half, waste_rows - row, waste_columns - column, forward, right, lengths)
        hits = hits & waste & fires[agent]
        marks = _reached(half, inner_rows - row, inner_columns - column, forward, right, lengths)
        beam, waste = beam | (marks & fires[agent]), waste & ~hits
        cleaned.append(hits.sum(dtype=jnp.int32))
    return waste, jnp.stack(cleaned), beam


def spawn_table(layout: Layout, apple: float, waste: float, depletion: float, restoration: float):
    """Probabilities of a new apple and of new waste by the number of dirty cells, float32 [wastes + 1] each.

    Args: `apple` appleRespawnProbability, `waste` wasteSpawnProbability, `depletion` and `restoration` the thresholds.
    """
    count = len(layout.waste_cells)
    apples, wastes = np.zeros((2, count + 1))
    for dirty in range(count + 1):
        density = dirty / count
        if density < depletion:
            wastes[dirty] = waste
            fraction = (density - restoration) / (depletion - restoration) if density > restoration else 0.0
            apples[dirty] = (1 - fraction) * apple
    return apples.astype(np.float32), wastes.astype(np.float32)


def grow_apples(layout: Layout, apples, cell, probability, uniform) -> jax.Array:
    """Apples bool [apples] after each empty cell without an agent got one with `probability` [].

    Args: `uniform` [apples] in [0, 1): an apple grows where it is below the probability.
    """
    taken = (jnp.asarray(layout.apple_cells)[:, None] == cell[None, :]).any(axis=1)
    return apples | (~taken & (uniform < probability))


def add_waste(waste, probability, order, uniform) -> jax.Array:
    """Waste bool [wastes] after the clean cells were tried one by one until one got dirty.

    Args: `probability` [] of each trial, `order` [wastes]: cells are tried in its ascending order, `uniform` [wastes] in
    [0, 1): a cell gets dirty when it is below the probability.
    """
    falls = ~waste & (uniform < probability)
    chosen = jnp.argmin(jnp.where(falls, order, jnp.inf))
    return waste | (falls & (jnp.arange(waste.shape[0]) == chosen))
