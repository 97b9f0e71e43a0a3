"""Who takes part: a player file or a strategy of the library, as the tournament sees it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tournament.recurrent import Network

#: strategies of the Axelrod library by their name there, and the label of the picture
CLASSICS = {
    "Cooperator": "always cooperate",
    "Defector": "always defect",
    "TitForTat": "tit for tat",
    "TitFor2Tats": "tit for two tats",
    "GTFT": "generous tit for tat",
    "WinStayLoseShift": "win-stay, lose-shift",
    "Grudger": "grim trigger",
    "ZDExtort2": "extortion (ZD, 2)",
    "Random": "random",
}


@dataclass(frozen=True, eq=False)
class Entrant:
    """One who takes part.

    Attributes:
        name: unique; label: for the picture; paper: ``classic`` for a strategy of the library.
        group: independent repetitions of one recipe share it.
        table: ``[5]`` for who looks at the last round only, in the order of `game.SITUATIONS`: then values are exact.
        network: of a recurrent player; library: name in the Axelrod library.
    """

    name: str
    label: str
    paper: str
    group: str
    table: np.ndarray | None = None
    network: Network | None = None
    library: str | None = None
