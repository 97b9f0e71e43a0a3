"""The player files of the Stackelberg leaders say what the trained leaders play."""

import dataclasses
import json
from pathlib import Path

import pytest

from common.runs import RunFolder

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "stackelberg"
SHIPPED = sorted((ROOT / "tournament/players").glob("stackelberg-*.json"))


@pytest.mark.parametrize("number", [0, 1], ids=["not told", "told"])
def test_a_table_is_what_the_leader_does_in_play(number, writer, tmp_path):
    """Its greedy actions, from the logits of its last row: those of play, not those of queries."""
    small = " --set pre_training_iterations=2 --set outer_iterations=2 --set post_training_iterations=0"
    recipe = dataclasses.replace(writer.RECIPES[number], args=writer.RECIPES[number].args + small)
    (path,) = writer.write([recipe], tmp_path / "runs", tmp_path / "players")
    player = json.loads(path.read_bytes())
    (run,) = [RunFolder.read(path.parent) for path in (tmp_path / "runs").glob("*/run.json")]
    last = [row for row in run.metrics() if row["phase"] == 1][-1]
    cooperate, defect = last["leader_weights"]
    assert len(cooperate) == (6 if number else 3)
    greedy = [float(c >= d) for c, d in zip(cooperate, defect, strict=True)]
    assert player["cooperate"] == greedy[:3] and player["sees"] == ["start", "-C", "-D"]
    made = player["made_by"]
    assert (made["game"], made["discount"], made["rounds"]) == ("stackelberg/prisoners_dilemma", 1.0, 5)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_player_is_a_recipe_s(writer, path):
    player = json.loads(path.read_bytes())
    recipe = next(recipe for recipe in writer.RECIPES if recipe.name == player["name"])
    command = f"python {writer.SCRIPT} {recipe.args} --seed {recipe.seed}"
    assert player["made_by"]["commands"] == [command, "python write_players.py"]


def test_every_recipe_has_its_player(writer):
    assert [path.stem for path in SHIPPED] == sorted(recipe.name for recipe in writer.RECIPES)


def test_the_shipped_leaders_are_the_exact_one_and_the_one_that_defects(writer):
    """README: not told 101 (suspicious tit-for-tat), told it plays 111."""
    tables = {path.stem: json.loads(path.read_bytes())["cooperate"] for path in SHIPPED}
    assert tables == {"stackelberg-leader": [0.0, 1.0, 0.0], "stackelberg-told": [0.0, 0.0, 0.0]}
