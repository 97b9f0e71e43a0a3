"""The player files that LOQA writes for the tournament say what its own policies do."""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from common.runs import RunFolder

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "loqa"
SHIPPED = sorted((ROOT / "tournament/players").glob("loqa-*.json"))


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("loqa_write_players", HOME / "write_players.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_a_table_is_the_policy_that_the_log_shows(program, tmp_path):
    small = " hp.max_iterations=3 hp.eval_every=1 hp.batch_size=4 hp.game_length=4 hp.actor.train.lr_loss_actor=0.5"
    recipe = dataclasses.replace(program.RECIPES[1], args=program.RECIPES[1].args + small, seeds=(42,))
    (path,) = program.write([recipe], tmp_path / "runs", tmp_path / "players")
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
def test_a_shipped_player_is_a_recipe_s(program, path):
    player = json.loads(path.read_bytes())
    recipe = next(recipe for recipe in program.RECIPES if recipe.group == player["group"])
    command = f"python {program.SCRIPT} {recipe.args} --seed {player['made_by']['seed']}"
    assert player["made_by"]["commands"] == [command, "python write_players.py"]
    assert player["made_by"]["seed"] in recipe.seeds


def test_every_recipe_has_its_players(program):
    assert len(SHIPPED) == sum(len(recipe.seeds) for recipe in program.RECIPES)
