"""The tournament: every pair, every best response, the ecology; as rows of a run's log.

Rows of ``metrics.jsonl`` say in ``what`` they are: ``entrant`` (one who takes part, in the picture's order); ``pair``
(``row``, ``column``, ``value`` and ``other``, what they get per round, ``error`` and ``other_error``, standard errors, 0
where exact); ``response`` (``player``, ``gain`` of the best response, ``own`` of the player, ``bound``: whether `gain` is
a lower bound, the responder's table ``answers``); ``leader`` (the Stackelberg value of leaders that see the other's last
action); ``share`` (``player``, ``generation``, ``share`` of the population).
"""

from __future__ import annotations

import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.progress import Progress
from common.runs import RunFolder, RunSpec, source_digest
from tournament import best_response as responses
from tournament.config import HOME, PROGRAM, Config
from tournament.entrants import CLASSICS, Entrant
from tournament.game import exact_values, payoffs_of, round_weights

#: seconds after which a run is saved again
CHECKPOINT_SECONDS = 10.0
#: share of the repetitions that choose the responder; its value is then measured in fresh matches
_CHOOSING = 0.4


def run(config: Config) -> int:
    """Play a tournament, or go on where it was interrupted; a finished one is only reported."""
    root = Path(config.run_root) if config.run_root else HOME.parent / "results" / "tournament" / "runs"
    source = source_digest(HOME / PROGRAM, [HOME, HOME.parent])
    folder = RunFolder.open(
        root, RunSpec(PROGRAM, config.identity(), source), [PROGRAM, *sys.argv[1:]], config.device
    )
    if folder.finished:
        print(f"this tournament is finished already: {folder.path}")
    else:
        folder.finish(_play(config, folder))
    _tell(folder.metrics())
    return 0


def _play(config: Config, folder: RunFolder) -> dict[str, Any]:
    print("loading the Axelrod library (about twenty seconds)", flush=True)
    tournament = Tournament(config)
    steps = tournament.steps()
    found = folder.restore()
    done, rows = (found.step, folder.metrics()) if found else (0, [])
    if done:
        print(f"going on after {done} of {len(steps)} steps")
    bar, saved = Progress("tournament", len(steps)), time.monotonic()
    for number, step in enumerate(steps[done:], done + 1):
        for row in tournament.rows(step, rows):
            rows.append(row)
            folder.log(row)
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            folder.checkpoint(number, {})
            saved = time.monotonic()
        folder.progress(number, len(steps))
        bar.update(number)
    bar.close()
    return {"entrants": len(tournament.entrants), "pairs": len(tournament.entrants) ** 2}


class Tournament:
    """Who plays whom, in steps that do not depend on each other's chance."""

    def __init__(self, config: Config):
        from tournament import axelrod_players  # slow to import, and reading a command line does not need it

        self._library = axelrod_players
        self.config, self.payoffs = config, payoffs_of(config.game)
        self.entrants = [axelrod_players.from_file(player) for player in config.players]
        self.entrants += [
            axelrod_players.from_library(name, CLASSICS[name], self.payoffs) for name in config.classics
        ]
        self._weights = round_weights(config.rounds, config.discount)

    def steps(self) -> list[tuple]:
        """The work in order: entrants, pairs, best responses, ecology."""
        pairs = [
            ("pair", first, second)
            for first in range(len(self.entrants))
            for second in range(first, len(self.entrants))
        ]
        return [("entrants",), *pairs, *[("response", n) for n in range(len(self.entrants))], ("ecology",)]

    def rows(self, step: tuple, earlier: Sequence[dict]) -> list[dict[str, Any]]:
        """The rows of one step; the ecology needs those of the pairs."""
        kind, *numbers = step
        if kind == "entrants":
            return [self._entrant(each) for each in self.entrants] + [self._leader()]
        if kind == "pair":
            return self._pair(*(self.entrants[number] for number in numbers))
        return [self._response(self.entrants[numbers[0]])] if kind == "response" else self._ecology(earlier)

    def _entrant(self, entrant: Entrant) -> dict[str, Any]:
        return {
            "what": "entrant",
            "game": self.payoffs.name,
            "player": entrant.name,
            "label": entrant.label,
            "paper": entrant.paper,
            "group": entrant.group,
            "exact": int(entrant.table is not None),
            "reward": self.payoffs.reward,
            "punishment": self.payoffs.punishment,
            "sucker": self.payoffs.sucker,
            "temptation": self.payoffs.temptation,
        }

    def _leader(self) -> dict[str, Any]:
        tables = responses.reactive_leaders()
        value = responses.leader_value(tables, self.payoffs, self.config.discount)
        return {"what": "leader", "game": self.payoffs.name, "value": value}

    def _sampled(self, first: Entrant, second: Entrant, repetitions: int, purpose: str):
        # names and not positions: whoever else takes part, a pair's matches stay the same
        seed = zlib.crc32(f"{self.config.seed}/{purpose}/{first.name}/{second.name}".encode())
        players = self._library.player_of(first), self._library.player_of(second)
        return self._library.sampled_values(players, self.payoffs, self._weights, repetitions, seed)

    def _values(self, first: Entrant, second: Entrant) -> tuple[np.ndarray, np.ndarray]:
        if first.table is not None and second.table is not None:
            return exact_values(first.table, second.table, self.payoffs, self.config.discount), np.zeros(2)
        return self._sampled(first, second, self.config.repetitions, "pair")

    def _pair(self, first: Entrant, second: Entrant) -> list[dict[str, Any]]:
        values, errors = self._values(first, second)
        if first is second:  # two copies: both seats are samples of one number, not independent of each other
            values, errors = np.full(2, values.mean()), np.full(2, errors.mean())
        ways = [(first, second, 0, 1)] + [(second, first, 1, 0)] * (first is not second)
        return [
            {
                "what": "pair",
                "game": self.payoffs.name,
                "row": row.name,
                "column": column.name,
                "value": float(values[own]),
                "other": float(values[other]),
                "error": float(errors[own]),
                "other_error": float(errors[other]),
            }
            for row, column, own, other in ways
        ]

    def _response(self, entrant: Entrant) -> dict[str, Any]:
        if entrant.table is not None:
            found = responses.best_response(entrant.table, self.payoffs, self.config.discount)
        else:
            found = self._sampled_response(entrant)
        return {
            "what": "response",
            "game": self.payoffs.name,
            "player": entrant.name,
            "gain": found.gain,
            "own": found.own,
            "bound": int(not found.exact),
            "answers": "".join("C" if chance else "D" for chance in found.table),
        }

    def _sampled_response(self, entrant: Entrant) -> responses.Response:
        responders = [
            Entrant(f"responder-{number}", "", "", "", table=table)
            for number, table in enumerate(responses.RESPONDERS)
        ]
        repetitions = max(2, round(_CHOOSING * self.config.repetitions))
        tried = [self._sampled(responder, entrant, repetitions, "choose")[0] for responder in responders]
        chosen = responders[responses.best_of(np.array(tried))]
        (gain, own), _ = self._sampled(chosen, entrant, self.config.repetitions, "measure")
        return responses.Response(chosen.table, float(gain), float(own), exact=False)

    def _ecology(self, earlier: Sequence[dict]) -> list[dict[str, Any]]:
        names = [entrant.name for entrant in self.entrants]
        values = value_matrix(earlier, names)
        shares = self._library.generations(values, self.payoffs, self.config.generations)
        return [
            {
                "what": "share",
                "game": self.payoffs.name,
                "player": name,
                "generation": generation,
                "share": float(shares[generation, number]),
            }
            for generation in shown_generations(self.config.generations)
            for number, name in enumerate(names)
        ]


def shown_generations(count: int) -> list[int]:
    """The generations that are logged: all up to 20, then ever fewer, and the last."""
    spaced = np.unique(np.round(np.geomspace(20, max(count, 20), 40)).astype(int)).tolist()
    return sorted({*range(min(count, 20) + 1), *(n for n in spaced if n <= count), count})


def value_matrix(rows: Sequence[dict], names: Sequence[str]) -> np.ndarray:
    """``[N, N]`` payoffs per round of the row player from the rows of the pairs."""
    number = {name: at for at, name in enumerate(names)}
    values = np.full((len(names), len(names)), np.nan)
    for row in rows:
        if row["what"] == "pair":
            values[number[row["row"]], number[row["column"]]] = row["value"]
    return values


def _tell(rows: Sequence[dict]) -> None:
    """The ranking, for a person."""
    last = max(row["generation"] for row in rows if row["what"] == "share")
    shares = {r["player"]: r["share"] for r in rows if r["what"] == "share" and r["generation"] == last}
    entrants = {row["player"]: row for row in rows if row["what"] == "entrant"}
    names = list(entrants)
    means = value_matrix(rows, names).mean(axis=1)
    gains = {row["player"]: row for row in rows if row["what"] == "response"}
    print(f"{'':24}{'mean payoff':>12}{'share':>9}{'best response gets':>20}{'and leaves':>12}")
    for name in sorted(names, key=lambda name: -shares[name]):
        found, mean = gains[name], means[names.index(name)]
        print(
            f"{entrants[name]['label']:24}{mean:12.3f}{shares[name]:9.1%}"
            f"{found['gain']:20.3f}{found['own']:12.3f}"
        )
