"""What can be had from a player by somebody who knows it, and what the player has of that.

Against a memory-one player one faces a Markov decision process whose states are the five situations. With a discount it
has an optimal policy that is deterministic and looks at the situation only, so the best of the 32 deterministic
memory-one responders is the best of *all* responders, clocks and long memories included.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from tournament.game import Payoffs, exact_values

#: every deterministic memory-one player, probabilities of cooperation ``[32, 5]`` in the order of `game.SITUATIONS`
RESPONDERS = np.array(list(itertools.product((1.0, 0.0), repeat=5)))
#: payoffs per round closer than this are equal
TIE = 1e-9


@dataclass(frozen=True)
class Response:
    """The best response to a player.

    Attributes:
        table: ``[5]`` the responder.
        gain: what the responder gets per round; own: what the player gets.
        exact: False: a lower bound of `gain`, the best of `RESPONDERS` in sampled matches.
    """

    table: np.ndarray
    gain: float
    own: float
    exact: bool


def best_response(player: np.ndarray, payoffs: Payoffs, discount: float) -> Response:
    """The exact best response to a memory-one player ``[5]``; of equally good ones that which is best for the player."""
    values = exact_values(RESPONDERS, np.broadcast_to(player, RESPONDERS.shape), payoffs, discount)
    number = best_of(values)
    return Response(RESPONDERS[number], float(values[number, 0]), float(values[number, 1]), True)


def best_of(values: np.ndarray) -> int:
    """Which responder is best, from ``[N, 2]`` payoffs of responder and player; ties go to the player's advantage."""
    best = values[:, 0] >= values[:, 0].max() - TIE
    return int(np.where(best, values[:, 1], -np.inf).argmax())


def leader_value(tables: np.ndarray, payoffs: Payoffs, discount: float) -> float:
    """The Stackelberg value over some leaders ``[N, 5]``: the most one gets against the best response to it."""
    return max(best_response(table, payoffs, discount).own for table in tables)


def reactive_leaders() -> np.ndarray:
    """``[8, 5]`` every deterministic leader that sees the other's last action only (Stackelberg's three states)."""
    return np.array([[c, d, c, d, start] for c, d, start in itertools.product((1.0, 0.0), repeat=3)])
