"""The player files that IQ-Flow writes for the tournament say what its own followers do."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from common.runs import RunFolder

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "iqflow"
SHIPPED = sorted((ROOT / "tournament/players").glob("iqflow-*.json"))


def test_a_table_is_how_often_the_first_follower_cooperates(writer, tmp_path):
    """Sampled actions of the saved followers in each state of the game, with the environment's own observations."""
    from iqflow.alg import followers
    from iqflow.env.matrix_games import MatrixState
    from iqflow.eval.mechanism import load_agents
    from iqflow.trainer.building import make_sizes
    from iqflow.trainer.storage import saved_agents

    small = " --set alg.n_episodes=4 --set alg.period=2 --set alg.n_eval=2 --set qflow.lr_actor=0.01"
    recipe = dataclasses.replace(writer.RECIPES[0], args=writer.RECIPES[0].args + small, seeds=(3,))
    (path,) = writer.write([recipe], tmp_path / "runs", tmp_path / "players")
    player = json.loads(path.read_bytes())
    (run,) = [RunFolder.read(path.parent) for path in (tmp_path / "runs").glob("*/run.json")]
    saved = load_agents(saved_agents(run.path / "agents")[-1])
    sizes, keys = make_sizes(saved.settings, saved.env), jax.random.split(jax.random.PRNGKey(0), 2000)
    draw = jax.jit(
        jax.vmap(lambda seen, key: followers.act(sizes, saved.followers, seen, key), in_axes=(None, 0))
    )
    numbers = {"CC": 0, "CD": 1, "DC": 2, "DD": 3, "start": 4}
    for seen, probability in zip(player["sees"], player["cooperate"], strict=True):
        observations = saved.env.observe(MatrixState(np.uint8(numbers[seen]), np.int32(0)))
        assert np.mean(np.asarray(draw(observations, keys))[:, 0] == 0) == pytest.approx(
            probability, abs=0.05
        )
    assert np.ptp(player["cooperate"]) > 0.02
    assert player["made_by"]["game"] == "iqflow/ipd" and player["made_by"]["rounds"] == 5


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_player_is_a_recipe_s(writer, path):
    player = json.loads(path.read_bytes())
    recipe = next(recipe for recipe in writer.RECIPES if recipe.group == player["group"])
    command = f"python {writer.SCRIPT} {recipe.args} --seed {player['made_by']['seed']}"
    assert player["made_by"]["commands"] == [command, "python write_players.py"]
    assert player["made_by"]["seed"] in recipe.seeds


def test_every_recipe_has_its_players(writer):
    assert len(SHIPPED) == sum(len(recipe.seeds) for recipe in writer.RECIPES)
