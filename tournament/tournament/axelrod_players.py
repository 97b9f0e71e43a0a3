"""Everybody as a player of the Axelrod library: ours by subclass, the classic strategies by their names there.

Importing the library takes about twenty seconds, because it classifies its 240 strategies; only what plays imports this.
"""

from __future__ import annotations

from types import SimpleNamespace

import axelrod
import numpy as np
from axelrod import Action

from tournament.entrants import Entrant
from tournament.game import SITUATIONS, Payoffs
from tournament.player_file import PlayerFile
from tournament.recurrent import Network

_START = SITUATIONS.index("start")
_ACTIONS = {"C": Action.C, "D": Action.D}
_NOTHING_SPECIAL = {
    "makes_use_of": set(),
    "long_run_time": False,
    "inspects_source": False,
    "manipulates_source": False,
    "manipulates_state": False,
}


def situation(player: axelrod.Player, opponent: axelrod.Player) -> int:
    """Number of the situation that a player is in."""
    if not player.history:
        return _START
    return 2 * (player.history[-1] is Action.D) + (opponent.history[-1] is Action.D)


class TablePlayer(axelrod.Player):
    """A memory-one player: `table` ``[5]`` probabilities of cooperation in the order of `game.SITUATIONS`."""

    name = "table"
    classifier = {"memory_depth": 1, "stochastic": True, **_NOTHING_SPECIAL}

    def __init__(self, table: np.ndarray) -> None:
        super().__init__()
        self._table = table
        self.classifier["stochastic"] = bool(((table > 0) & (table < 1)).any())

    def strategy(self, opponent: axelrod.Player) -> Action:
        probability = self._table[situation(self, opponent)]
        if not self.classifier["stochastic"]:
            return Action.C if probability else Action.D
        return self._random.random_choice(probability)

    def __repr__(self) -> str:
        return self.name


class RecurrentPlayer(axelrod.Player):
    """A recurrent player of a file; its memory starts at zero in every match."""

    name = "recurrent"
    classifier = {"memory_depth": float("inf"), "stochastic": True, **_NOTHING_SPECIAL}

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network, self._state = network, network.start()

    def strategy(self, opponent: axelrod.Player) -> Action:
        self._state, probability = self._network.step(self._state, situation(self, opponent))
        return self._random.random_choice(probability)

    def __repr__(self) -> str:
        return self.name


def library_game(payoffs: Payoffs) -> axelrod.Game:
    """The game as the library writes it; strategies such as ZD-Extort-2 read their probabilities off it."""
    return axelrod.Game(r=payoffs.reward, s=payoffs.sucker, t=payoffs.temptation, p=payoffs.punishment)


def player_of(entrant: Entrant) -> axelrod.Player:
    """A fresh player for matches."""
    if entrant.library is not None:
        return getattr(axelrod, entrant.library)()
    if entrant.network is not None:
        return RecurrentPlayer(entrant.network)
    return TablePlayer(entrant.table)


def from_library(name: str, label: str, payoffs: Payoffs) -> Entrant:
    """A strategy of the library, with its exact table where it has one."""
    player = getattr(axelrod, name)()
    player.set_match_attributes(length=float("inf"), game=library_game(payoffs))
    return Entrant(name.lower(), label, "classic", name.lower(), table=table_of(player), library=name)


def from_file(file: PlayerFile) -> Entrant:
    """A player that a file describes."""
    return Entrant(file.name, file.label, file.paper, file.group, table=file.table, network=file.network)


def table_of(player: axelrod.Player) -> np.ndarray | None:
    """``[5]`` what a strategy of the library that looks at the last round only does; None for one with more memory."""
    if axelrod.Classifiers["memory_depth"](player) > 1:
        return None
    if isinstance(player, axelrod.Random):
        return np.full(5, float(player.p))
    if isinstance(player, axelrod.MemoryOnePlayer):
        # the library has no public name for the vector that it computes from the game
        vector, first = player._four_vector, player._initial
        later = [vector[_ACTIONS[own], _ACTIONS[other]] for own, other in SITUATIONS[:4]]
        return np.array([*later, float(first is Action.C)], float)
    return np.array([_probed(player, situation) for situation in SITUATIONS])


def _probed(player: axelrod.Player, situation: str) -> float:
    """What a deterministic strategy with memory of one round does in a situation."""
    player, opponent = player.clone(), axelrod.MockPlayer()
    if situation != "start":
        own, other = (_ACTIONS[letter] for letter in situation)
        player.update_history(own, other)
        opponent.update_history(other, own)
    return float(player.strategy(opponent) is Action.C)


def sampled_values(
    pair: tuple[axelrod.Player, axelrod.Player],
    payoffs: Payoffs,
    weights: np.ndarray,
    repetitions: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Payoffs per round of two players in `repetitions` matches of the library, and their standard errors, ``[2]`` each.

    Args:
        weights: `game.round_weights` of the rounds that are played.
        seed: of the first match; a pair without chance is played once.
    """
    table, values = payoffs.table, []
    match = axelrod.Match(pair, turns=len(weights), game=library_game(payoffs), match_attributes={
        # nobody knows when the match ends
        "length": float("inf"), "game": library_game(payoffs), "noise": 0,
    })  # fmt: skip
    chance = any(axelrod.Classifiers["stochastic"](player) for player in pair)
    match.set_seed(seed)
    for _ in range(repetitions if chance else 1):
        moves = np.array([(a is Action.D, b is Action.D) for a, b in match.play()], int)
        own, other = moves.T
        values.append((weights @ table[2 * own + other], weights @ table[2 * other + own]))
    found = np.array(values)
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found)) if len(found) > 1 else np.zeros(2)
    return found.mean(axis=0), error


def generations(values: np.ndarray, payoffs: Payoffs, count: int) -> np.ndarray:
    """Axelrod's ecological tournament: shares of the population ``[count + 1, N]`` from equal shares on.

    A share grows in proportion to what the player gets from the population, measured from the sucker's payoff, so that
    adding a constant to all payoffs changes nothing.

    Args:
        values: ``[N, N]`` payoff per round of the row player against the column player.
    """

    # all that the library's ecosystem reads of a tournament; with deviations of zero it draws nothing
    outcome = SimpleNamespace(
        num_players=len(values),
        payoff_matrix=values.tolist(),
        payoff_stddevs=np.zeros_like(values).tolist(),
    )
    ecosystem = axelrod.Ecosystem(outcome, fitness=payoffs.normalised)
    ecosystem.reproduce(count)
    return np.array(ecosystem.population_sizes)
