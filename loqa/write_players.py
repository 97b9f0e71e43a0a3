"""LOQA's players for the tournament: trains what is not there yet, then writes a file for each.

    python write_players.py                writes ../tournament/players/loqa-*.json

A player file says what the player sees and what it answers; tournament/README.md describes it.
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
from loqa.programs import PROGRAMS

HOME = Path(__file__).resolve().parent
SCRIPT = "ipd.py"


_RELEASED = (
    "hp=logits hp.eval_every=100 hp.batch_size=512 hp.game_length=50 hp.qvalue.mode=mean hp.qvalue.train.lr_loss_qvalue=1e-2"
    " hp.actor.train.lr_loss_actor=1e-3 hp.actor.train.entropy_beta=0.0 hp.agent_replay_buffer.mode=disabled"
    " hp.epsilon_greedy=0.2 hp.qvalue.replay_buffer.mode=disabled"
)
_REPAIRED = (
    f"{_RELEASED} hp.qvalue.target=monte-carlo hp.qvalue.loss=squared hp.actor.train.stop_grad_advantage=true"
    " hp.actor.train.freeze=500 hp.rng_mode=fresh"
)
RECIPES = (
    Recipe(
        "loqa-repaired",
        "LOQA repaired",
        "LOQA with Monte-Carlo targets (README, why it defects), the table of its policy",
        _REPAIRED,
        seeds=(42, 43),
    ),
    Recipe(
        "loqa-released",
        "LOQA released",
        "LOQA by the released command at batch 512, which learns to defect, the table of its policy",
        _RELEASED,
        seeds=(42, 43),
    ),
    Recipe(
        "loqa-mlp",
        "LOQA MLP",
        "the repaired recipe with a small network over the last round, the table of its policy",
        _REPAIRED.replace("hp=logits", "hp=mlp"),
        seeds=(42, 43),
    ),
)


def trained(recipe: Recipe, seed: int, root: Path) -> RunFolder:
    """The finished run of a recipe; trains it where it is missing."""
    words = [*shlex.split(recipe.args), "--seed", str(seed)]
    return players.finished_run(HOME, SCRIPT, PROGRAMS[SCRIPT], words, root)


def player(recipe: Recipe, seed: int, run: RunFolder) -> dict[str, Any]:
    """The player of a finished run, as the content of its file."""
    hp = run.config["hp"]
    sees, cooperate = table(run)
    return {
        "format": players.FORMAT,
        "name": f"{recipe.group}-{seed}",
        "label": f"{recipe.label} {seed}",
        "paper": "loqa",
        "group": recipe.group,
        "about": f"{recipe.about}; seed {seed}, iteration {hp['max_iterations']}",
        "kind": "memory-one",
        "sees": sees,
        "cooperate": cooperate,
        "made_by": {
            "commands": [f"python {SCRIPT} {recipe.args} --seed {seed}", "python write_players.py"],
            "seed": seed,
            "revision": run.record["provenance"]["revision"],
            "game": "loqa/ipd",
            "discount": hp["reward_discount"],
            "rounds": hp["game_length"],
        },
    }


def table(run: RunFolder) -> tuple[list[str], list[float]]:
    """The situations, own move first, and the probability of cooperation of a run's last agent in each.

    Exploration is not part of it: it belongs to training.
    """
    from loqa import storage
    from loqa.ipd.agents import Agent
    from loqa.ipd.game import STATES

    hp = run.config["hp"]
    agents, _ = storage.load_agents(run.path / "agents" / f"minimal_state_{hp['max_iterations']}")
    agent = Agent(
        hp["actor"]["model"],
        hp["actor"]["activation"],
        hp["game_length"],
        hp["qvalue"]["time_input"] == "scaled",
    )
    cooperate = np.exp(np.asarray(agent.log_policy(agents["agent0"]), np.float64)[:, 0])
    return [state.replace("START", "start") for state in STATES], np.minimum(cooperate, 1.0).tolist()


def write(recipes: Sequence[Recipe], root: Path, target: Path) -> list[Path]:
    """Train the recipes and write their players; returns the files."""
    pairs = [(recipe, seed) for recipe in recipes for seed in recipe.seeds]
    return players.write((player(*pair, trained(*pair, root)) for pair in pairs), target)


def body(argv: Sequence[str] | None = None) -> int:
    """Train and write every recipe."""
    return players.program(HOME, lambda root, target: write(RECIPES, root, target), argv)


if __name__ == "__main__":
    sys.exit(run_main(body, program="write_players.py"))
