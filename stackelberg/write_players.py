"""The Stackelberg leaders for the tournament: trains what is not there yet, then writes a file for each.

    python write_players.py                writes ../tournament/players/stackelberg-*.json

A player file says what the player sees and what it answers; tournament/README.md describes it.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import players
from common.cli import run_main
from common.runs import RunFolder
from stackerlberg.launch import SCRIPT
from stackerlberg.programs import PROGRAMS

HOME = Path(__file__).resolve().parent
#: the leader's three observations: the other's last action only
SEES = ("start", "-C", "-D")


@dataclass(frozen=True)
class Recipe:
    """A command and the player that comes of it.

    Attributes:
        name: of the player; args, seed: of the command.
    """

    name: str
    label: str
    about: str
    args: str
    seed: int


RECIPES = (
    Recipe(
        "stackelberg-leader",
        "Stackelberg leader",
        "the greedy table of the PG leader that is not told which step is a query",
        "--experiment smipd_leadernomemory_pg_pg",
        0,
    ),
    Recipe(
        "stackelberg-told",
        "Stackelberg, told",
        "the greedy table that the PG leader plays that is told which step is a query; what it answers is another",
        "--experiment smipd_leadermemory_pg_pg",
        0,
    ),
)


def trained(recipe: Recipe, root: Path) -> RunFolder:
    """The finished run of a recipe; trains it where it is missing."""
    words = [*shlex.split(recipe.args), "--seed", str(recipe.seed)]
    return players.finished_run(HOME, SCRIPT, PROGRAMS[SCRIPT], words, root)


def player(recipe: Recipe, run: RunFolder) -> dict[str, Any]:
    """The player of a finished run, as the content of its file."""
    # nothing but the environment's settings is needed of the one condition that these experiments have
    (condition,) = run.config["conditions"].values()
    environment = condition["env_config"]
    return {
        "format": players.FORMAT,
        "name": recipe.name,
        "label": recipe.label,
        "paper": "stackelberg",
        "group": recipe.name,
        "about": f"{recipe.about}; seed {recipe.seed}",
        "kind": "memory-one",
        "sees": list(SEES),
        "cooperate": table(run),
        "made_by": {
            "commands": [f"python {SCRIPT} {recipe.args} --seed {recipe.seed}", "python write_players.py"],
            "seed": recipe.seed,
            "revision": run.record["provenance"]["revision"],
            "game": f"stackelberg/{environment['matrix_name']}",
            "discount": condition["leader"]["gamma"],
            "rounds": environment["episode_length"],
        },
    }


def table(run: RunFolder) -> list[float]:
    """What the leader plays in each of `SEES` after its training (phase 1): action 0 cooperates.

    A told leader's first three observations are those of play, the other three those of queries.
    """
    (phases,) = run.summary["conditions"].values()
    return [float(phases["1"][f"leader_action_{number}"] == 0) for number in range(len(SEES))]


def write(recipes: Sequence[Recipe], root: Path, target: Path) -> list[Path]:
    """Train the recipes and write their players; returns the files."""
    return players.write((player(recipe, trained(recipe, root)) for recipe in recipes), target)


def body(argv: Sequence[str] | None = None) -> int:
    """Train and write every recipe."""
    return players.program(HOME, lambda root, target: write(RECIPES, root, target), argv)


if __name__ == "__main__":
    sys.exit(run_main(body, program="write_players.py"))
