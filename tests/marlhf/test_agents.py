"""Agent files and the catalogue of the committed ones."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from common.cli import UserError
from marlhf import agents
from marlhf.environments import make_task
from marlhf.networks import QNetwork

COMMITTED = sorted(agents.agents_folder().glob("*/*.safetensors"))


@pytest.fixture(scope="module")
def spread():
    return make_task("spread")


def an_agent(hidden=4, inputs=21, n_actions=5, **changes):
    network = QNetwork(n_actions, hidden)
    params = network.init(
        jax.random.key(0), network.initial_carry(1), jnp.zeros((1, 1, inputs)), jnp.zeros((1, 1), bool)
    )
    meta = agents.AgentMeta(
        kind="q",
        environment="spread",
        kwargs={},
        label="expert",
        role="behaviour",
        n_actions=n_actions,
        hidden=hidden,
        inputs=inputs,
        returns={"greedy": agents.Measured(-10.0, 0.1, 1024)},
        random=-27.7,
        skill=1.0,
        trained={"algorithm": "VDN"},
    )
    return params, dataclasses.replace(meta, **changes)


def test_what_is_written_is_read(tmp_path, spread):
    params, meta = an_agent()
    agents.save_agent(tmp_path / "expert.safetensors", params, meta)
    found = agents.load_for(spread, tmp_path / "expert.safetensors")
    assert found.meta == meta
    jax.tree.map(np.testing.assert_array_equal, found.params, params)
    assert [path.name for path in tmp_path.iterdir()] == ["expert.safetensors"]


def test_published_numbers_are_aliases(tmp_path, spread):
    params, meta = an_agent()
    agents.save_agent(tmp_path / "spread" / "expert.safetensors", params, meta)
    assert agents.find_agent(spread, "149", tmp_path) == agents.find_agent(spread, "expert", tmp_path)
    assert list(agents.catalogue(spread, tmp_path)) == ["expert"]
    assert agents.role_of(make_task("tag", prey="random"), "480") == "deviator1"
    assert agents.role_of(make_task("spread", num_agents=5), "153") == "rookie2"


@pytest.mark.parametrize(
    "label, line", [("exprt", "did you mean 'expert'"), ("rookie2", "make agents-marlhf-spread")]
)
def test_a_missing_agent_is_named(tmp_path, spread, label, line):
    with pytest.raises(UserError, match=line):
        agents.find_agent(spread, label, tmp_path)


def test_damage_is_one_line(tmp_path, spread):
    params, meta = an_agent()
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    agents.save_agent(good, params, meta)
    bad.write_bytes(good.read_bytes()[:200])
    with pytest.raises(UserError, match="not an agent file"):
        agents.load_agent(bad)
    safetensors.numpy.save_file({"x": np.zeros(2, np.float32)}, bad)
    with pytest.raises(UserError, match="not an agent file"):
        agents.load_agent(bad)
    agents.save_agent(bad, params, dataclasses.replace(meta, hidden=5))
    with pytest.raises(UserError, match="another shape"):
        agents.load_agent(bad)
    with pytest.raises(UserError, match="no agent at"):
        agents.load_agent(tmp_path / "none.safetensors")


def test_an_agent_of_another_task_is_refused(tmp_path, spread):
    params, meta = an_agent(inputs=30)
    path = tmp_path / "expert.safetensors"
    agents.save_agent(path, params, meta)
    with pytest.raises(UserError, match="reads 30 numbers .* shows 21"):
        agents.load_for(spread, path)
    with pytest.raises(UserError, match="agent of spread"):
        agents.load_for(make_task("reference"), path)
    with pytest.raises(UserError, match="a prey is needed"):
        agents.load_actor(path, "prey")


@pytest.mark.parametrize("path", COMMITTED, ids=[f"{path.parent.name}-{path.stem}" for path in COMMITTED])
def test_committed_agents(path):
    agent = agents.load_agent(path)
    assert path.stat().st_size < 200 * 1024
    assert path.stem == agent.meta.label and path.parent.name.startswith(agent.meta.environment)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(agent.params))
    if agent.meta.role == "behaviour":
        assert agent.meta.returns and agent.meta.skill is not None


@pytest.mark.parametrize("folder", sorted({path.parent for path in COMMITTED}), ids=lambda path: path.name)
def test_committed_ladders_are_in_strict_order(folder):
    labels = agents.LABELS[:4] if folder.name == "overcooked" else agents.LABELS  # its fifth plays uniformly
    skills = [agents.load_meta(folder / f"{label}.safetensors").skill for label in labels]
    assert all(better > worse for better, worse in zip(skills, skills[1:], strict=False)), skills
