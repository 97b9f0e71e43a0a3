"""What a league came to: one JSON file that grows pair by pair, tables of it, and means over families.

`LEAGUE/MODE_results_matrix.json`:

    {"format": "loqa league 1",
     "agents": {NAME: {"family": ..., "sha256": of its file}},
     "pairs": [{"agent1": ..., "agent2": ..., "games": 32, "steps": 50, "seed": 2, "mfos_memory": "reset",
                "statistics": {"mean_rewards": [seat 0, seat 1], ...},
                "standard_error": [seat 0, seat 1]}, ...]}

`mean_rewards` is per step; `standard_error` is of it, over the games (null with one game). The other statistics are
`loqa.coin.statistics`'. The CSV of the same name holds the same, a row per pair; `MODE_family_means.csv` the means.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common import plotting
from common.checkpoints import write_atomically
from common.cli import UserError

FORMAT = "loqa league 1"
SUFFIX = "_results_matrix.json"
#: what must agree between a file and the command that goes on with it
SETTINGS = ("games", "steps", "seed", "mfos_memory")


@dataclass
class Results:
    """A league's pairs so far."""

    path: Path
    agents: dict[str, dict[str, str]] = field(default_factory=dict)
    pairs: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Results:
        """The file at `path`; empty when there is none.

        Raises: UserError when it is not a league's result.
        """
        path = Path(path)
        try:
            content = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return cls(path)
        except (ValueError, OSError) as error:
            raise UserError(f"{path} can't be read: {error}; move it away to begin anew") from None
        try:
            if content["format"] != FORMAT:
                raise UserError(f"{path} is of format {content['format']!r}, not {FORMAT!r}")
            pairs = {(entry["agent1"], entry["agent2"]): entry for entry in content["pairs"]}
            for entry in pairs.values():
                (_, _), _ = entry["statistics"]["mean_rewards"], [entry[name] for name in SETTINGS]
                _ = [content["agents"][entry[seat]]["family"] for seat in ("agent1", "agent2")]
            return cls(path, content["agents"], pairs)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is not a league's result: it lacks {error}") from None

    def family(self, name: str) -> str:
        """The family of an agent of this league."""
        return self.agents[name]["family"]

    def check(self, agents: Mapping[str, Mapping[str, str]], settings: Mapping[str, Any]) -> None:
        """Refuse to go on with other agents or settings than the file was begun with (UserError)."""
        for name, agent in agents.items():
            if name in self.agents and self.agents[name] != agent:
                raise UserError(
                    f"{self.path} was begun with another agent called {name}; choose another --league_name"
                )
        for entry in self.pairs.values():
            for name in SETTINGS:
                if entry[name] != settings[name]:
                    raise UserError(
                        f"{self.path} was begun with {name} {entry[name]}, this command says {settings[name]}; "
                        "choose another --league_name"
                    )

    def add(self, agent1: str, agent2: str, settings: Mapping[str, Any], statistics, standard_error) -> None:
        """Put in a pair; `statistics` a NamedTuple of [2] arrays."""
        self.pairs[agent1, agent2] = {
            "agent1": agent1,
            "agent2": agent2,
            **{name: settings[name] for name in SETTINGS},
            "statistics": {name: _numbers(value) for name, value in statistics._asdict().items()},
            "standard_error": _numbers(standard_error),
        }

    def save(self) -> None:
        """Write the JSON file, atomically."""
        content = {"format": FORMAT, "agents": self.agents, "pairs": list(self.pairs.values())}
        write_atomically(self.path, json.dumps(content, indent=1, allow_nan=False).encode() + b"\n")

    def rows(self) -> list[dict[str, Any]]:
        """A flat row per pair, for the CSV."""
        return [self._row(entry) for entry in self.pairs.values()]

    def _row(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        row = {"agent1": entry["agent1"], "agent2": entry["agent2"]}
        row |= {f"family{seat}": self.family(entry[f"agent{seat}"]) for seat in (1, 2)}
        row |= {name: entry[name] for name in SETTINGS}
        columns = {**entry["statistics"], "standard_error": entry["standard_error"]}
        return row | {f"{name}_{seat + 1}": value[seat] for name, value in columns.items() for seat in (0, 1)}


def _numbers(pair) -> list[float | None]:
    """Two numbers as JSON; one that is not finite becomes null. Seven digits are all that a float32 has."""
    return [float(f"{value:.7g}") if math.isfinite(value) else None for value in np.asarray(pair)]


def merge(folder: Path) -> Results:
    """All `*_results_matrix.json` of a league's folder in one `results_matrix.json` (not yet written).

    A pair may stand in several files if they agree on it. Lengths of episodes may differ between pairs.
    Raises: UserError when there is nothing to merge, or two files contradict each other.
    """
    folder = Path(folder)
    merged = Results(folder / SUFFIX[1:])
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        part = Results.read(path)
        for name, agent in part.agents.items():
            if merged.agents.setdefault(name, agent) != agent:
                raise UserError(f"{path} has another agent called {name} than the files before it")
        for pair, entry in part.pairs.items():
            if merged.pairs.setdefault(pair, entry) != entry:
                raise UserError(f"{path} has other results for {' and '.join(pair)} than the files before it")
    if not merged.pairs:
        raise UserError(f"{folder} holds no *{SUFFIX} with a pair in it")
    return merged


# --- families ----------------------------------------------------------------------------------------------------


def family_means(pairs: Sequence[tuple[str, str, str, str, float, float]]) -> list[dict[str, Any]]:
    """Means and (population) standard deviations over the pairs of every two families, in the order of their pairs.

    Args:
        pairs: (agent, other agent, family, other family, return, other's return) in seat order.

    Returns:
        Rows of `family1`, `family2`, `pairs` (`all`; and, within a family, `self`: an agent with itself, `cross`: two
        different ones), `n`, `mean_1`, `mean_2`, `std_1`, `std_2`.
    """
    groups: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for agent1, agent2, family1, family2, *returns in pairs:
        groups.setdefault((family1, family2, "all"), []).append(tuple(returns))
        if family1 == family2:
            kind = "self" if agent1 == agent2 else "cross"
            groups.setdefault((family1, family2, kind), []).append(tuple(returns))
    rows = []
    for (family1, family2, kind), returns in groups.items():
        mean, std = np.mean(returns, axis=0), np.std(returns, axis=0)
        rows.append({"family1": family1, "family2": family2, "pairs": kind, "n": len(returns)})
        rows[-1] |= {f"mean_{seat + 1}": float(mean[seat]) for seat in (0, 1)}
        rows[-1] |= {f"std_{seat + 1}": float(std[seat]) for seat in (0, 1)}
    return rows


def pair_returns(results: Results) -> list[tuple[str, str, str, str, float, float]]:
    """The pairs of a league as `family_means` takes them."""
    return [
        (one, other, results.family(one), results.family(other), *entry["statistics"]["mean_rewards"])
        for (one, other), entry in results.pairs.items()
    ]


def write_tables(results: Results) -> list[Path]:
    """The pairs and the families' means as CSV files beside the JSON."""
    stem = results.path.name.removesuffix(".json")
    mode = stem.removesuffix("results_matrix")
    paths = results.path.with_name(f"{stem}.csv"), results.path.with_name(f"{mode}family_means.csv")
    plotting.write_csv(results.rows(), paths[0])
    plotting.write_csv(family_means(pair_returns(results)), paths[1])
    return list(paths)
