"""Maps of Cleanup as text, and what is computed from one before anything runs (spec 3.3)."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from common.cli import UserError

#: contents of a cell, as the recorded traces number them
FLOOR, WALL, APPLE, WASTE, RIVER, STREAM = range(6)

LEGEND = {
    "@": "wall",
    "H": "river cell that starts dirty",
    "R": "river cell that starts clean and can get dirty",
    "S": "stream, always clean",
    "B": "apple cell",
    "P": "spawn point",
    " ": "floor",
}

MAPS = {
    "cleanup_small_sym": (
        "@@@@@@@",
        "@H  PB@",
        "@H   B@",
        "@    B@",
        "@    B@",
        "@ P  B@",
        "@@@@@@@",
    ),
    "cleanup_10x10_sym": (
        "@@@@@@@@@@",
        "@HH   P B@",
        "@RR    BB@",
        "@HH     B@",
        "@RR    BB@",
        "@HH P   B@",
        "@RR    BB@",
        "@HH     B@",
        "@RRP   BB@",
        "@@@@@@@@@@",
    ),
    "cleanup_other": (
        "@@@@@@@",
        "@H   B@",
        "@H   B@",
        "@   PB@",
        "@   PB@",
        "@    B@",
        "@@@@@@@",
    ),
}


@dataclass(frozen=True, eq=False)
class Layout:
    """A map's fixed parts. A cell is (row, column), or its number row x width + column where one integer is meant.

    Attributes:
        base: uint8 ``[height, width]``, contents without apples and waste: floor, wall, river or stream.
        apple_cells: int32 ``[apples]``, cell numbers in row-major order.
        waste_cells: int32 ``[wastes]``, those that can get dirty, in row-major order.
        dirty: bool ``[wastes]``, which of them start dirty.
        spawn_cells: int32, spawn points in the order in which agents take them: the last in row-major order first.
        floor_cells: int32, plain floor in the same order, for agents beyond the number of spawn points.
    """

    base: np.ndarray
    apple_cells: np.ndarray
    waste_cells: np.ndarray
    dirty: np.ndarray
    spawn_cells: np.ndarray
    floor_cells: np.ndarray

    @property
    def height(self) -> int:
        return self.base.shape[0]

    @property
    def width(self) -> int:
        return self.base.shape[1]

    @property
    def river_boundary(self) -> int:
        """The column b up to which an agent counts as being at the river (spec 3.4): 2 on the 7 x 7 maps, 3 on 10 x 10."""
        return int(self.waste_cells.max() % self.width) + 1


def named(name: str) -> tuple[str, ...]:
    """The rows of one of `MAPS`.

    Raises:
        UserError: there is no such map (the original took any other name for its third map).
    """
    if name not in MAPS:
        raise UserError(f"unknown map {name!r}; there are {', '.join(MAPS)}")
    return MAPS[name]


def _check(rows: tuple[str, ...]) -> None:
    for number, row in enumerate(rows):
        for column, letter in enumerate(row):
            if letter not in LEGEND:
                raise UserError(
                    f"the map has {letter!r} in row {number}, column {column}; a cell is one of "
                    + ", ".join(f"{key!r} {meaning}" for key, meaning in LEGEND.items())
                )
    widths = {len(row) for row in rows}
    if len(widths) != 1 or len(rows) < 3 or min(widths) < 3 or max(len(rows), *widths) > 256:
        sizes = ", ".join(str(len(row)) for row in rows)
        raise UserError(
            f"the map's rows have {sizes or 'no'} cells; they have to be 3 to 256 of one and the same length of 3 to 256"
        )
    edge = rows[0] + rows[-1] + "".join(row[0] + row[-1] for row in rows)
    if set(edge) != {"@"}:
        raise UserError("the map is open at its edge; the first and last row and column have to be walls (@)")
    everything = "".join(rows)
    if "P" not in everything:
        raise UserError("the map has no spawn point (P)")
    if not set(everything) & {"H", "R"}:
        raise UserError("the map has no river (H or R), so that how dirty it is is not defined")


@functools.cache
def layout(rows: tuple[str, ...]) -> Layout:
    """Read a map.

    Raises:
        UserError: illegal characters, ragged rows, an edge that is not wall, no spawn point or no river.
    """
    _check(rows)
    letters = np.array([list(row) for row in rows])

    def cells(*wanted: str) -> np.ndarray:
        return np.flatnonzero(np.isin(letters, wanted)).astype(np.int32)

    base = np.full(letters.shape, FLOOR, np.uint8)
    for letter, content in (("@", WALL), ("H", RIVER), ("R", RIVER), ("S", STREAM)):
        base[letters == letter] = content
    waste = cells("H", "R")
    return Layout(
        base=base,
        apple_cells=cells("B"),
        waste_cells=waste,
        dirty=letters.ravel()[waste] == "H",
        spawn_cells=cells("P")[::-1],
        floor_cells=cells(" ")[::-1],
    )
