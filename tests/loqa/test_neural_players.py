"""The player files of LOQA's small networks say what the networks themselves do."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.runs import RunFolder
from loqa import storage
from loqa.ipd.agents import Agent
from loqa.ipd.game import STATES

HOME = Path(__file__).resolve().parents[2] / "loqa"
SMALL = (
    " hp.max_iterations=2 hp.eval_every=1 hp.batch_size=4 hp.game_length=4 hp.actor.train.lr_loss_actor=0.01"
    " hp.actor.train.freeze=0"
)


def test_an_mlp_s_table_is_its_policy(writer, tmp_path):
    """Through the heads of a whole sequence, as training evaluates them, not as the writer does."""
    recipe = next(recipe for recipe in writer.RECIPES if recipe.group == "loqa-mlp")
    recipe = dataclasses.replace(recipe, args=recipe.args + SMALL, seeds=(42,))
    (path,) = writer.write([recipe], tmp_path / "runs", tmp_path / "players")
    (run,) = [RunFolder.read(found.parent) for found in (tmp_path / "runs").glob("*/run.json")]
    agents, _ = storage.load_agents(run.path / "agents" / "minimal_state_2")
    player, params = json.loads(path.read_bytes()), agents["agent0"]
    agent = Agent("mlp", "relu", 4, False)
    states = jnp.arange(len(STATES))[:, None]
    log_probs = agent.heads(jax.tree.map(jnp.asarray, params), states).log_probs[:, 0]
    assert player["kind"] == "memory-one" and player["sees"] == ["start", "CC", "CD", "DC", "DD"]
    assert player["cooperate"] == pytest.approx(np.exp(log_probs[:, 0]).tolist(), abs=1e-6)
    assert np.ptp(player["cooperate"]) > 0.01
