"""The player files that LOQA writes for the tournament say what its own policies do."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from common.runs import RunFolder

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "loqa"
SHIPPED = sorted((ROOT / "tournament/players").glob("loqa-*.json"))


def test_a_table_is_the_policy_that_the_log_shows(writer, tmp_path):
    small = " hp.max_iterations=3 hp.eval_every=1 hp.batch_size=4 hp.game_length=4 hp.actor.train.lr_loss_actor=0.5"
    recipe = dataclasses.replace(writer.RECIPES[1], args=writer.RECIPES[1].args + small, seeds=(42,))
    (path,) = writer.write([recipe], tmp_path / "runs", tmp_path / "players")
    player = json.loads(path.read_bytes())
    (run,) = [RunFolder.read(path.parent) for path in (tmp_path / "runs").glob("*/run.json")]
    last = run.metrics()[-1]
    found = dict(zip(player["sees"], player["cooperate"], strict=True))
    assert set(found) == {"start", "CC", "CD", "DC", "DD"} and np.ptp(player["cooperate"]) > 0.01
    for seen, probability in found.items():
        assert probability == pytest.approx(last[f"p_0_{seen.upper()}_C"], abs=1e-6)
    assert player["made_by"]["rounds"] == 4 and player["made_by"]["discount"] == 0.96
    assert player["name"] == "loqa-released-42" and player["made_by"]["game"] == "loqa/ipd"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_player_is_a_recipe_s(writer, path):
    player = json.loads(path.read_bytes())
    recipe = next(recipe for recipe in writer.RECIPES if recipe.group == player["group"])
    command = f"python {writer.SCRIPT} {recipe.args} --seed {player['made_by']['seed']}"
    assert player["made_by"]["commands"] == [command, "python write_players.py"]
    assert player["made_by"]["seed"] in recipe.seeds


def test_every_recipe_has_its_players(writer):
    assert len(SHIPPED) == sum(len(recipe.seeds) for recipe in writer.RECIPES)
