"""A saved mechanism of Cleanup: loaded in three lines, evaluated, probed with scripted agents; what is refused."""

import csv

import jax
import numpy as np
import pytest

from common.cli import UserError
from iqflow.config.loading import override, read_tree, resolve
from iqflow.eval import evaluate, evaluation, mechanism
from iqflow.trainer import storage
from iqflow.trainer.training import Trainer

STEPS = 12


def save_agents(folder, config="config_ssd_qflow", alg="qflow", bias=0.0):
    """Agents whose parameters are all 0: every action equally likely, every incentive 2 sigmoid(bias)."""
    tree = override(read_tree(config), [f"env.max_steps={STEPS}", "nn.n_h1=4", "nn.n_h2=4"])
    settings = resolve(config, tree, alg, "ssd")
    trainer = Trainer(settings)
    shapes = jax.eval_shape(trainer.agents, jax.eval_shape(trainer.fresh, np.uint32(0)))
    agents = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    if "mechanism" in agents:
        agents["mechanism"]["Dense_2"]["bias"] += np.float32(bias)
    meta = {"alg": alg, "exp": "ssd", "config": settings.tree(), "seed": 1}
    return storage.save_agents(folder, 7, agents, meta, keep=1)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save_agents(tmp_path_factory.mktemp("agents"))


@pytest.fixture(scope="module")
def written(path, tmp_path_factory):
    """The tables of one evaluation, by file."""
    folder = tmp_path_factory.mktemp("out")
    command = ["--agents", str(path), "--episodes", "16", "--out", str(folder), "--device", "cpu"]
    assert evaluate.body(command) == 0
    assert (folder / "probe.png").stat().st_size > 1000
    return {file.stem: list(csv.DictReader(open(file))) for file in folder.glob("*.csv")}


def test_a_mechanism_is_loaded_in_three_lines(path):
    saved = mechanism.load(path)
    incentives = saved(np.zeros((3, 2, 9, 9, 3)), np.array([[0, 5], [1, 2], [5, 5]]))
    np.testing.assert_allclose(incentives, np.ones((3, 2)), rtol=1e-6)


def test_followers_are_paid_what_the_mechanism_says(written):
    rows = {row["agent"]: row for row in written["evaluation"]}
    for agent in ("A1", "A2"):
        assert float(rows[agent]["received"]) == pytest.approx(STEPS, rel=1e-5)
        total = float(rows[agent]["reward_env"]) + STEPS
        assert float(rows[agent]["reward_total"]) == pytest.approx(total, rel=1e-5)
    together = float(rows["A1"]["reward_env"]) + float(rows["A2"]["reward_env"])
    assert float(rows["all"]["reward_env_total"]) == pytest.approx(together, abs=1e-5)


def test_scripted_agents_take_the_followers_places(written):
    rows = written["probe"]
    assert [(row["scripted"], row["instead_of"][-1]) for row in rows] == [
        (name, agent) for name in ("A1", "A2", "A3") for agent in "12"
    ]
    for row in rows:
        assert float(row["incentive"]) == pytest.approx(STEPS, rel=1e-5)
        assert float(row["stderr"]) == pytest.approx(0, abs=1e-5)
        # A1 never fires, A3 stands where it reaches nothing, A2 finds waste in every other step or so
        cleaned = float(row["waste_cleared"])
        assert cleaned > 2 if row["scripted"] == "A2" else cleaned == 0


def test_agents_without_a_mechanism_are_not_probed(tmp_path):
    saved = mechanism.load_agents(save_agents(tmp_path, "config_ssd_pg", "pg"))
    assert not evaluation.can_probe(saved)
    with pytest.raises(UserError, match="has no mechanism"):
        mechanism.load(tmp_path / "agents_7")


@pytest.mark.parametrize(("words", "named"), [
    (["--agents", "nowhere"], "no checkpoint at nowhere"),
    (["--agents", "nowhere", "--episodes", "0"], "--episodes 0"),
])  # fmt: skip
def test_bad_input_is_one_line(words, named):
    with pytest.raises(UserError, match=named):
        evaluate.body([*words, "--device", "cpu"])
