"""Two-player matrix games: payoffs of any number of actions, symmetric or not, checked when they are made.

The payoffs of the paper's games come from `common.matrix_games`, where every 2 x 2 game of this repository
stands once. Player 0 is the leader and chooses the row, player 1 is the follower and chooses the column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike

from common.cli import UserError, nearest
from common.matrix_games import GAMES

LEADER, FOLLOWER = "agent_0", "agent_1"

# The twelve games of the main figure, in the order of spec 3.1.
PAPER_GAMES = (
    "prisoners_dilemma",
    "stag_hunt",
    "assurance",
    "coordination",
    "mixedharmony",
    "harmony",
    "noconflict",
    "deadlock",
    "prisoners_delight",
    "hero",
    "battle",
    "chicken",
)


@dataclass(frozen=True, eq=False)
class Game:
    """A bimatrix game.

    Attributes:
        name: what figures, run folders and messages call it.
        payoffs: ``[A0, A1, 2]`` = leader's action, follower's action, (leader, follower); float64, read-only.

    Raises:
        UserError: the payoffs are not of that shape, have no action, or hold NaN or infinity.
    """

    name: str
    payoffs: np.ndarray

    def __post_init__(self):
        payoffs = check_payoffs(self.payoffs, self.name).copy()
        payoffs.setflags(write=False)
        object.__setattr__(self, "payoffs", payoffs)

    @property
    def actions(self) -> tuple[int, int]:
        """Numbers of actions (leader, follower)."""
        return self.payoffs.shape[0], self.payoffs.shape[1]

    @classmethod
    def from_bimatrix(cls, leader: ArrayLike, follower: ArrayLike, name: str = "bimatrix") -> Game:
        """A game from two ``[A0, A1]`` payoff matrices, the leader's and the follower's."""
        matrices = [_as_floats(matrix, name) for matrix in (leader, follower)]
        shapes = [matrix.shape for matrix in matrices]
        if shapes[0] != shapes[1] or len(shapes[0]) != 2:
            raise UserError(
                f"game {name!r}: leader and follower payoffs must be two matrices of one shape [A0, A1], "
                f"not {shapes[0]} and {shapes[1]}"
            )
        return cls(name, np.stack(matrices, axis=-1))

    def __eq__(self, other) -> bool:
        if not isinstance(other, Game):
            return NotImplemented
        return self.name == other.name and np.array_equal(self.payoffs, other.payoffs)

    def __hash__(self) -> int:
        return hash((self.name, self.payoffs.shape, self.payoffs.tobytes()))


def _as_floats(payoffs: ArrayLike, name: str) -> np.ndarray:
    try:
        return np.asarray(payoffs, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(
            f"game {name!r}: the matrix must hold numbers in equally long rows, for example "
            "[[[3,3],[1,4]],[[4,1],[2,2]]]"
        ) from None


def check_payoffs(payoffs: ArrayLike, name: str) -> np.ndarray:
    """The payoffs as float64 ``[A0, A1, 2]``.

    Raises:
        UserError: wrong shape, no action, or a number that is not finite.
    """
    array = _as_floats(payoffs, name)
    if array.ndim != 3 or array.shape[2] != 2 or min(array.shape) < 1:
        raise UserError(
            f"game {name!r}: the matrix must have shape [leader actions, follower actions, 2], "
            f"not {list(array.shape)}"
        )
    if not np.isfinite(array).all():
        row, column, player = np.argwhere(~np.isfinite(array))[0]
        raise UserError(
            f"game {name!r}: entry [{row}][{column}][{player}] is {array[row, column, player]}; "
            "payoffs must be finite numbers"
        )
    return array


@cache
def named_games() -> Mapping[str, Game]:
    """Every game of the paper's experiments by the name that configurations use."""
    prefix = "stackelberg/"
    named = {
        name.removeprefix(prefix): Game(name.removeprefix(prefix), game.payoffs)
        for name, game in GAMES.items()
        if name.startswith(prefix)
    }
    return MappingProxyType(named)


def named_game(name: str) -> Game:
    """A game of the paper by name.

    Raises:
        UserError: no game has that name.
    """
    games = named_games()
    if name not in games:
        raise UserError(f"unknown matrix_name {name!r}; {nearest(name, sorted(games))}")
    return games[name]


def resolve_game(
    matrix_name: str = "prisoners_dilemma", matrix: ArrayLike = (), name: str = "matrix"
) -> Game:
    """The game that an environment's arguments mean: explicit `matrix` wins over `matrix_name` (spec 2.5)."""
    if matrix is not None and np.size(np.asarray(matrix, dtype=object)):
        return Game(name, check_payoffs(matrix, name))
    return named_game(matrix_name)
