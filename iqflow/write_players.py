"""IQ-Flow's followers for the tournament: trains what is not there yet, then writes a file for each.

    python write_players.py                writes ../tournament/players/iqflow-*.json

They were trained with incentives and play without: the tournament pays nobody. A player file says what the player sees
and what it answers; tournament/README.md describes it.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common import players
from common.cli import run_main
from common.players import Recipe
from common.runs import RunFolder
from iqflow.programs import PROGRAMS

HOME = Path(__file__).resolve().parent
SCRIPT = "iqflow/trainer/train_multiprocess.py"
#: the first follower's observations in the game's order, own action first
SEES = ("CC", "CD", "DC", "DD", "start")


RECIPES = (
    Recipe(
        "iqflow",
        "IQ-Flow",
        "a follower trained with IQ-Flow's incentives, which the tournament does not pay",
        "--alg qflow --exp ipd --config config_img_qflow",
        seeds=(1, 2),
    ),
    Recipe(
        "iqflow-unpaid",
        "IQ-Flow, unpaid",
        "the same follower trained without incentives",
        "--alg qflow --exp ipd --config config_img_qflow --set env.r_multiplier=0 --set alg.n_episodes=4000",
        seeds=(1,),
    ),
)


def trained(recipe: Recipe, seed: int, root: Path) -> RunFolder:
    """The finished run of a recipe; trains it where it is missing."""
    words = [*shlex.split(recipe.args), "--seed", str(seed)]
    return players.finished_run(HOME, SCRIPT, PROGRAMS[SCRIPT], words, root)


def player(recipe: Recipe, seed: int, run: RunFolder) -> dict[str, Any]:
    """The player of a finished run, as the content of its file."""
    from iqflow.eval.mechanism import load_agents
    from iqflow.trainer.storage import saved_agents

    saved = load_agents(saved_agents(run.path / "agents")[-1])
    return {
        "format": players.FORMAT,
        "name": f"{recipe.group}-{seed}",
        "label": f"{recipe.label} {seed}",
        "paper": "iqflow",
        "group": recipe.group,
        "about": f"{recipe.about}; the first follower of seed {seed}, episode {saved.episode}",
        "kind": "memory-one",
        "sees": list(SEES),
        "cooperate": table(saved),
        "made_by": {
            "commands": [f"python {SCRIPT} {recipe.args} --seed {seed}", "python write_players.py"],
            "seed": seed,
            "revision": run.record["provenance"]["revision"],
            "game": f"iqflow/{saved.settings.exp}",
            "discount": saved.settings.method.gamma,
            "rounds": saved.env.max_steps,
        },
    }


def table(saved: Any) -> list[float]:
    """Probability of cooperation of the first follower in each of `SEES`.

    Both followers are shown the number of the last joint action, 2 a0 + a1, cooperation being 0, or 4 at the start: for
    the first one that is own action first.
    """
    from iqflow.alg.followers import log_policies
    from iqflow.trainer.building import make_sizes

    sizes = make_sizes(saved.settings, saved.env)
    seen = np.eye(len(SEES), dtype=np.float32)
    both = [log_policies(sizes, saved.followers, np.stack([row, row])) for row in seen]
    return np.minimum(np.exp([np.asarray(each, np.float64)[0, 0] for each in both]), 1.0).tolist()


def write(recipes: Sequence[Recipe], root: Path, target: Path) -> list[Path]:
    """Train the recipes and write their players; returns the files."""
    pairs = [(recipe, seed) for recipe in recipes for seed in recipe.seeds]
    return players.write((player(*pair, trained(*pair, root)) for pair in pairs), target)


def body(argv: Sequence[str] | None = None) -> int:
    """Train and write every recipe."""
    return players.program(HOME, lambda root, target: write(RECIPES, root, target), argv)


if __name__ == "__main__":
    sys.exit(run_main(body, program="write_players.py"))
