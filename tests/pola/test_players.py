"""The player files that POLA writes for the tournament say what its own policies do."""

import base64
import dataclasses
import json
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest

from common.runs import RunFolder

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "pola"
SHIPPED = sorted(
    [*(ROOT / "tournament/players").glob("pola-*.json"), *(ROOT / "tournament/players").glob("lola-*.json")]
)


def written(writer, recipe, tmp_path):
    files = writer.write([recipe], tmp_path / "runs", tmp_path / "players")
    (run,) = [RunFolder.read(path.parent) for path in (tmp_path / "runs").glob("*/run.json")]
    return [json.loads(path.read_bytes()) for path in files], run


def decoded(part):
    return np.frombuffer(base64.b64decode(part["float32"]), "<f4").reshape(part["shape"])


def test_tables_are_the_runs_last_policies(writer, tmp_path):
    recipe = dataclasses.replace(
        writer.RECIPES[1], args=writer.RECIPES[1].args + " --repeats 2 --num_epochs 1"
    )
    (first, second), run = written(writer, recipe, tmp_path)
    for player, policies in zip((first, second), run.summary["final_policies"], strict=True):
        own = dict(zip(("DD", "DC", "CD", "CC", "start"), policies[0], strict=True))
        assert dict(zip(player["sees"], player["cooperate"], strict=True)) == own
    assert [first["name"], second["name"]] == ["lola-tabular-1", "lola-tabular-2"]
    assert first["group"] == second["group"] and first["cooperate"] != second["cooperate"]
    made = first["made_by"]
    assert made["game"] == "pola/contribution-1.33" and made["discount"] == 0.96 and made["rounds"] is None
    assert "--repeats 2" in made["commands"][0] and "run_root" not in made["commands"][0]


def test_a_recurrent_policy_is_written_with_what_it_answers(writer, tmp_path):
    """The answers of the file's check are the policy's, stepped as a rollout steps it and not as the writer does."""
    from pola.dice.config import parse
    from pola.dice.contribution_game import ContributionState
    from pola.dice.rollout import make_player
    from pola.dice.training import make_game

    small = (
        " --n_update 1 --outer_steps 1 --inner_steps 1 --batch_size 4 --rollout_len 4 --hidden_size 5"
        " --layers_before_gru 2 --checkpoint_every 1 --print_every 1"
    )
    recipe = writer.RECIPES[2]
    recipe = dataclasses.replace(recipe, args=recipe.args + small, seeds=(1,))
    (player,), run = written(writer, recipe, tmp_path)
    params, game = writer.first_policy(run), make_game(parse(["--env", "ipd"]))
    acts = make_player(game, params)
    moves, hidden, found = {"D": 0, "C": 1}, acts.start(1), []
    for seen in player["check"]["history"]:
        own, other = (2, 2) if seen == "start" else (moves[seen[0]], moves[seen[1]])
        state = ContributionState(np.array([own]), np.array([other]))
        hidden, _ = acts.step(game.index(state), hidden, np.zeros((1, 2)))
        logits = hidden @ acts.end["kernel"] + acts.end["bias"]
        found.append(float(jax.nn.softmax(logits[0])[1]))
    assert player["check"]["cooperate"] == pytest.approx(found, abs=1e-5)
    assert set(player["check"]["history"]) == set(player["sees"]) and len(found) == writer.CHECK_STEPS
    for seen, shown in zip(player["sees"], player["inputs"], strict=True):
        own, other = (2, 2) if seen == "start" else (moves[seen[0]], moves[seen[1]])
        state = ContributionState(np.array([own]), np.array([other]))
        assert shown == np.asarray(game.observe(state))[0].tolist()
    assert [layer["activation"] for layer in player["layers"]] == ["relu", "none"]
    assert decoded(player["gru"]["hn"]["kernel"]) == pytest.approx(
        np.asarray(params["GRUCell"]["hn"]["kernel"])
    )
    assert player["answers"][0] == "D" and player["made_by"]["rounds"] == 4


def test_a_finished_run_is_not_trained_again(writer, tmp_path, monkeypatch):
    recipe = dataclasses.replace(
        writer.RECIPES[0], args=writer.RECIPES[0].args + " --repeats 2 --num_epochs 1"
    )
    first, _ = written(writer, recipe, tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("trained again"))
    assert written(writer, recipe, tmp_path)[0] == first


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_player_is_a_recipe_s(writer, path):
    player = json.loads(path.read_bytes())
    recipe = next(recipe for recipe in writer.RECIPES if recipe.group == player["group"])
    command = f"python {recipe.script} {recipe.args} --seed {player['made_by']['seed']}"
    assert player["made_by"]["commands"] == [command, "python write_players.py"]
    assert player["made_by"]["seed"] in recipe.seeds


def test_every_recipe_has_its_players(writer):
    count = sum(len(recipe.seeds) * recipe.runs for recipe in writer.RECIPES)
    assert len(SHIPPED) == count
