"""The iterated prisoner's dilemma as everybody here plays it: situations, payoffs, continuation.

A *situation* is what happened in the last round, own action first: CC, CD, DC, DD, or the start. After every round the
game goes on with probability `discount`. A payoff per round is therefore ``(1 - discount)`` times the discounted sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.cli import UserError
from common.matrix_games import GAMES, discounted_values

#: in the order of every table here
SITUATIONS = ("CC", "CD", "DC", "DD", "start")


@dataclass(frozen=True)
class Payoffs:
    """Of one round, to the player whose action is named first.

    Attributes:
        name: key of the game in `common.matrix_games.GAMES`.
        reward, sucker, temptation, punishment: payoffs of CC, CD, DC, DD.
    """

    name: str
    reward: float
    sucker: float
    temptation: float
    punishment: float

    @property
    def table(self) -> np.ndarray:
        """``[4]`` in the order of `SITUATIONS`."""
        return np.array([self.reward, self.sucker, self.temptation, self.punishment])

    @property
    def array(self) -> np.ndarray:
        """``[2, 2, 2]`` as `common.matrix_games` writes it, action 0 being cooperation."""
        row = self.table.reshape(2, 2)
        return np.stack([row, row.T], axis=-1)

    def normalised(self, value: float) -> float:
        """A payoff on the scale where the sucker's is 0 and temptation's 1."""
        return (value - self.sucker) / (self.temptation - self.sucker)


def _payoffs(name: str) -> Payoffs | None:
    """A game of the table, or None where it is no symmetric prisoner's dilemma."""
    game = GAMES[name]
    if set(game.actions) != {"cooperate", "defect"}:
        return None
    row, column = np.moveaxis(game.payoffs, -1, 0)
    if game.actions[0] == "defect":
        row, column = row[::-1, ::-1], column[::-1, ::-1]
    (reward, sucker), (temptation, punishment) = row.tolist()
    dilemma = temptation > reward > punishment > sucker and 2 * reward > temptation + sucker
    if not dilemma or not np.array_equal(column, row.T):
        return None
    return Payoffs(name, reward, sucker, temptation, punishment)


def games() -> list[str]:
    """The names of every prisoner's dilemma in `common.matrix_games`."""
    return [name for name in GAMES if _payoffs(name)]


def payoffs_of(name: str) -> Payoffs:
    """The payoffs of a prisoner's dilemma.

    Raises:
        UserError: no game of that name, or one that is none.
    """
    found = _payoffs(name) if name in GAMES else None
    if found is None:
        raise UserError(
            f"{name!r} is no prisoner's dilemma of common.matrix_games; there are {', '.join(games())}"
        )
    return found


def exact_values(first: np.ndarray, second: np.ndarray, payoffs: Payoffs, discount: float) -> np.ndarray:
    """Payoffs per round of two memory-one players.

    Args:
        first, second: ``[..., 5]`` probabilities of cooperation in the order of `SITUATIONS`, each from its own side.

    Returns:
        ``[..., 2]``.
    """
    # `common.matrix_games` orders both players' states by the first player's action and counts action 1, defection
    defects = 1 - np.asarray(first, float), (1 - np.asarray(second, float))[..., [0, 2, 1, 3, 4]]
    return (1 - discount) * discounted_values(*defects, payoffs.array, discount)


def round_weights(rounds: int, discount: float) -> np.ndarray:
    """``[rounds]`` shares of a match cut after `rounds` rounds: ``discount ** t``, scaled to sum to one."""
    weights = discount ** np.arange(rounds)
    return weights / weights.sum()
