"""POLA's players for the tournament: trains what is not there yet, then writes a file for each.

    python write_players.py                writes ../tournament/players/pola-*.json and lola-*.json

A player file says what the player sees and what it answers; tournament/README.md describes it.
"""

from __future__ import annotations

import base64
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common import checkpoints
from common.cli import run_main
from common.players import FORMAT, finished_run, program
from common.players import write as write_files
from common.runs import RunFolder
from pola.programs import PROGRAMS

HOME = Path(__file__).resolve().parent
EXACT, SAMPLED = "LOLA_exact.py", "jax_files/POLA_dice_jax.py"
SEES = ("start", "CC", "CD", "DC", "DD")
#: steps of the history that a recurrent player's file records with the network's own answers
CHECK_STEPS = 40


@dataclass(frozen=True)
class Recipe:
    """A command and the players that come of it.

    Attributes:
        group: name of the recipe, first part of the players' names.
        script, args: the command; seeds: one run each.
        runs: of each command (exact games only), one player each: its first agent.
    """

    group: str
    label: str
    about: str
    script: str
    args: str
    seeds: tuple[int, ...]
    runs: int = 1


_EXACT_GAME = "--n_agents 2 --init_state_representation 2 --set_seed --actual_update --repeats 20 --base_cf_no_scale 1.33"
RECIPES = (
    Recipe(
        "pola-tabular",
        "POLA exact",
        "outer POLA with tables in the exact game, Figure 3's command at contribution factor 1.33",
        EXACT,
        f"{_EXACT_GAME} --print_every 1 --num_epochs 2 --lr_policies_inner 5 --lr_policies_outer 0.3 --outer_exact_prox --outer_beta 0.1",
        seeds=(1,),
        runs=2,
    ),
    Recipe(
        "lola-tabular",
        "LOLA exact",
        "LOLA with tables in the exact game, Figure 3's command at contribution factor 1.33",
        EXACT,
        f"{_EXACT_GAME} --print_every 10 --num_epochs 30 --lr_policies_inner 3 --lr_policies_outer 25",
        seeds=(1,),
        runs=2,
    ),
    Recipe(
        "pola-dice",
        "POLA-DiCE",
        "POLA-DiCE's recurrent policy in the easier game of Figure 4's quick profile, contribution factor 1.6",
        SAMPLED,
        "--env ipd --gae_lambda 1.0 --rollout_len 20 --layers_before_gru 1 --hidden_size 16 --lr_v 0.001 --lr_out 0.005"
        " --n_update 50 --inner_steps 2 --outer_steps 30 --lr_in 0.02 --batch_size 256 --print_every 10 --inner_beta 10"
        " --outer_beta 100 --checkpoint_every 5 --contrib_factor 1.6",
        seeds=(1, 2),
    ),
    Recipe(
        "pola-net",
        "POLA exact, net",
        "outer POLA with nets in the exact game, Figure 3's command at contribution factor 1.33, the table of its policy",
        EXACT,
        f"{_EXACT_GAME} --using_nn --print_every 1 --num_epochs 2 --lr_policies_inner 0.25 --lr_policies_outer 0.02 --outer_exact_prox"
        " --outer_beta 0.13",
        seeds=(1,),
        runs=2,
    ),
)


def trained(recipe: Recipe, seed: int, root: Path) -> RunFolder:
    """The finished run of a recipe; trains it where it is missing."""
    words = [*shlex.split(recipe.args), "--seed", str(seed)]
    return finished_run(HOME, recipe.script, PROGRAMS[recipe.script], words, root)


def players(recipe: Recipe, seed: int, run: RunFolder) -> list[dict[str, Any]]:
    """The players of a finished run, as the content of their files."""
    config = PROGRAMS[recipe.script]([*shlex.split(recipe.args), "--seed", str(seed)])
    exact = recipe.script == EXACT
    made_by = {
        "commands": [f"python {recipe.script} {recipe.args} --seed {seed}", "python write_players.py"],
        "seed": seed,
        "revision": run.record["provenance"]["revision"],
        "game": f"pola/contribution-{config.cf if exact else config.contrib_factor:g}",
        "discount": config.gamma,
        "rounds": None if exact else config.rollout_len,
    }
    found = []
    for number in range(recipe.runs):
        suffix = number + 1 if exact else seed
        which = f"run {number + 1} of the command" if exact else f"seed {seed}"
        found.append(
            {
                "format": FORMAT,
                "name": f"{recipe.group}-{suffix}",
                "label": f"{recipe.label} {suffix}",
                "paper": "pola",
                "group": recipe.group,
                "about": f"{recipe.about}; the first agent of {which}",
                **(table(run, number) if exact else recurrent(run, config)),
                "made_by": made_by,
            }
        )
    return found


def table(run: RunFolder, number: int) -> dict[str, Any]:
    """The first agent's policy in run `number` of the exact games."""
    own = dict(zip(("DD", "DC", "CD", "CC", "start"), run.summary["final_policies"][number][0], strict=True))
    return {"kind": "memory-one", "sees": list(SEES), "cooperate": [own[label] for label in SEES]}


def encoded(array: Any) -> dict[str, Any]:
    """An array in a player file: its shape, and little-endian float32 in base64."""
    array = np.asarray(array, "<f4")
    return {"shape": list(array.shape), "float32": base64.b64encode(array.tobytes()).decode()}


def recurrent(run: RunFolder, config: Any) -> dict[str, Any]:
    """The first agent's network, and what it answers itself to a recorded history.

    The game shows both players (first player's move, second player's move), so the first agent's own move comes first.
    """
    from pola.dice.networks import unroll
    from pola.dice.training import make_game

    params = first_policy(run)
    game = make_game(config)
    moves = {"D": 0, "C": 1}
    last = [(2, 2), *[(moves[own], moves[other]) for own, other in SEES[1:]]]  # 2: nothing yet
    inputs = game.distinct_observations()[[3 * own + other for own, other in last]]
    history = [0, *np.random.default_rng(0).integers(1, len(SEES), CHECK_STEPS - 1).tolist()]
    logits = np.asarray(unroll(params, inputs[history][:, None]), np.float64)[:, 0]
    answers = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    layers = [
        (name, activation)
        for name, activation in (("linear1", "relu"), ("linear2", "none"))
        if name in params
    ]
    return {
        "kind": "recurrent",
        "sees": list(SEES),
        "inputs": inputs.tolist(),
        "cell": "gru",
        "layers": [{**_part(params[name]), "activation": activation} for name, activation in layers],
        "gru": {name: _part(part) for name, part in params["GRUCell"].items()},
        "readout": _part(params["linear_end"]),
        "answers": ["D", "C"],
        "check": {"history": [SEES[number] for number in history], "cooperate": answers.tolist()},
    }


def _part(layer: Any) -> dict[str, Any]:
    return {name: encoded(array) for name, array in layer.items()}


def first_policy(run: RunFolder) -> dict[str, Any]:
    """The first agent's policy parameters of a finished sampled run, nested by layer."""
    arrays, _ = checkpoints.load(sorted((run.path / "checkpoints").glob("*.npz"))[-1])
    prefix, tree = "agents/networks/policy/", {}
    for name, array in arrays.items():
        if name.startswith(prefix):
            *folders, leaf = name.removeprefix(prefix).split("/")
            place = tree
            for folder in folders:
                place = place.setdefault(folder, {})
            place[leaf] = array[0]
    return tree


def write(recipes: Sequence[Recipe], root: Path, target: Path) -> list[Path]:
    """Train the recipes and write their players; returns the files."""
    runs = ((recipe, seed, trained(recipe, seed, root)) for recipe in recipes for seed in recipe.seeds)
    return write_files((player for run in runs for player in players(*run)), target)


def body(argv: Sequence[str] | None = None) -> int:
    """Train and write every recipe."""
    return program(HOME, lambda root, target: write(RECIPES, root, target), argv)


if __name__ == "__main__":
    sys.exit(run_main(body, program="write_players.py"))
