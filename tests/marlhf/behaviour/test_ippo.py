"""IPPO: advantages by hand, the clipped objective, the training loop, what is kept."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.cli import UserError
from marlhf import agents
from marlhf.behaviour import ippo
from marlhf.environments import make_task

SMALL = ippo.IPPOSettings(num_envs=2, num_steps=8, total_timesteps=64, update_epochs=2, num_minibatches=2)


@pytest.fixture(scope="module")
def kitchen():
    return make_task("overcooked")


def seen(**given):
    rows = {name: jnp.zeros((3, 1)) for name in ("log_prob", "value", "reward", "done")}
    rows |= {"obs": jnp.zeros((3, 1, 2)), "action": jnp.zeros((3, 1), jnp.int32)}
    return ippo.Seen(**{**rows, **given})


def test_advantages_by_hand():
    settings = dataclasses.replace(SMALL, gamma=0.5, gae_lambda=0.5)
    rows = seen(
        reward=jnp.array([[1.0], [2.0], [4.0]]),
        value=jnp.array([[1.0], [1.0], [1.0]]),
        done=jnp.array([[0.0], [1.0], [0.0]]),
    )
    found, goals = ippo.advantages(settings, rows, jnp.array([2.0]))
    # errors: 1 + 0.5 - 1 = 0.5; 2 - 1 = 1 (an episode ends); 4 + 1 - 1 = 4
    np.testing.assert_allclose(found[:, 0], [0.5 + 0.25 * 1.0, 1.0, 4.0])
    np.testing.assert_allclose(goals, found + 1.0)


def test_the_objective_stops_at_the_clip(kitchen):
    params = ippo.network_of(SMALL, kitchen).init(jax.random.key(0), jnp.zeros((1, 520)))
    obs = jax.random.normal(jax.random.key(1), (6, 520))
    logits, value = ippo.network_of(SMALL, kitchen).apply(params, obs)
    action = jnp.arange(6)
    log_prob = jax.nn.log_softmax(logits)[jnp.arange(6), action]
    better = jnp.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    settings = dataclasses.replace(SMALL, vf_coef=0.0, ent_coef=0.0)

    def gradient(shift):
        rows = ippo.Seen(obs, action, log_prob - shift * better, value, jnp.zeros(6), jnp.zeros(6))
        of = jax.grad(lambda p: ippo.loss(settings, kitchen, p, rows, better, value))(params)
        return sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(of))

    assert gradient(1.0) == pytest.approx(0.0, abs=1e-7)  # every ratio is past the clip on its good side
    assert gradient(0.0) > 1e-3
    assert gradient(-1.0) > 1e-3  # past it on the bad side, the gradient is there


def test_training_is_finite_and_repeats(kitchen):
    go = jax.jit(lambda state: ippo.advance(SMALL, kitchen, state, 2))
    (state, report), (again, _) = go(ippo.fresh(SMALL, kitchen, 30)), go(ippo.fresh(SMALL, kitchen, 30))
    assert report.returns.shape == (2,) and np.isfinite(report.loss).all() and state.updates == 2
    jax.tree.map(np.testing.assert_array_equal, state.params, again.params)
    start = ippo.fresh(SMALL, kitchen, 30)
    assert any(
        (a != b).any()
        for a, b in zip(jax.tree.leaves(start.params), jax.tree.leaves(state.params), strict=True)
    )


def test_the_rate_falls_to_zero():
    settings = dataclasses.replace(SMALL, lr=1.0, total_timesteps=16 * 4)
    params = {"x": jnp.zeros(1)}
    for anneal, factor in ((True, 0.25), (False, 1.0)):
        optimiser = ippo.optimiser_of(dataclasses.replace(settings, anneal_lr=anneal))
        moments = optimiser.init(params)
        for _ in range(4 * 4 - 3):  # the first step of the last of four updates
            change, moments = optimiser.update({"x": jnp.ones(1)}, moments)
        np.testing.assert_allclose(-change["x"], factor, rtol=1e-3)


def test_cooks_are_kept_by_return_and_written(kitchen, tmp_path, monkeypatch):
    monkeypatch.setattr(ippo, "FINAL", 2)
    cooks = ippo.Cooks(kitchen)
    params = ippo.network_of(SMALL, kitchen).init(jax.random.key(0), jnp.zeros((1, 520)))
    for updates, value in enumerate((0.0, 25.0, 150.0, 190.0, 100.0)):
        cooks.consider(params, value, updates)
    assert {label: rung.updates for label, rung in cooks.rungs.items()} == {
        "expert": 3,
        "rookie1": 3,
        "rookie2": 2,
        "rookie3": 1,
    }
    metas = cooks.write(tmp_path, {"algorithm": "IPPO"})
    assert [meta.label for meta in metas] == ["expert", "rookie1", "rookie2", "rookie3"]
    loaded = agents.load_for(kitchen, tmp_path / "overcooked" / "expert.safetensors")
    assert loaded.meta.kind == "feed_forward_actor" and loaded.meta.returns["sampled"].episodes == 2
    assert (tmp_path / "overcooked" / "expert.safetensors").stat().st_size < 200 * 1024


@pytest.mark.parametrize(
    "wrong, line", [({"num_minibatches": 0}, "at least 1"), ({"activation": "gelu"}, "tanh or relu")]
)
def test_settings_that_cannot_be(wrong, line):
    with pytest.raises(UserError, match=line):
        dataclasses.replace(SMALL, **wrong)


def test_minibatches_have_to_be_equal(kitchen):
    with pytest.raises(UserError, match="divide the 32 rows"):
        ippo.fresh(dataclasses.replace(SMALL, num_minibatches=3), kitchen, 0)
