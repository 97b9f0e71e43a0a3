"""Clipping, one and two optimisers, the soft target."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.cli import UserError
from loqa import optimisers
from loqa.losses import ActorLosses
from loqa.optimisers import ActorOptimiser

PARAMS = {"actor": jnp.array([1.0, -2.0]), "q": jnp.array([0.5])}


def _losses(params):
    """Gradients (actor, q): agent (2 a, 1), opponent (-1, 3 q^2), entropy (1, 0)."""
    actor, q = params["actor"], params["q"]
    return ActorLosses(jnp.sum(actor**2) + q.sum(), jnp.sum(q**3) - actor.sum(), actor.sum())


def _step(iteration=0, norms=True, state=None, **settings):
    optimiser = ActorOptimiser(**({"kind": "sgd", "agent_lr": 0.1} | settings))
    state = optimiser.init(PARAMS) if state is None else state
    return jax.jit(lambda p, s: optimiser.update(_losses, p, s, iteration, norms))(PARAMS, state)


def _moved(params):
    return np.concatenate([PARAMS["actor"] - params["actor"], PARAMS["q"] - params["q"]]) / 0.1


@pytest.mark.golden("small_maths.npz")
def test_recorded_clipping(recorded):
    limit = float(recorded["clip_max_norm"])
    small, _ = optimisers.clip(jnp.asarray(recorded["clip_small_in"]), "norm", limit)
    big, norm = optimisers.clip({"a": jnp.asarray(recorded["clip_big_in"])}, "norm", limit)
    np.testing.assert_allclose(small, recorded["clip_small_out"], atol=1e-6)
    np.testing.assert_allclose(big["a"], recorded["clip_big_out"], atol=1e-6)
    np.testing.assert_allclose(norm, recorded["clip_big_norm"], atol=1e-6)
    unclipped, norm = optimisers.clip(jnp.asarray(recorded["clip_big_in"]), "disabled", limit)
    np.testing.assert_array_equal(unclipped, recorded["clip_big_in"])
    np.testing.assert_allclose(norm, recorded["clip_big_norm"], atol=1e-6)


def test_clipping_zero_has_no_nan():
    gradient, norm = optimisers.clip(jnp.zeros(3), "norm", 1.0)
    assert norm == 0 and not gradient.any()


@pytest.mark.parametrize("norms", [True, False])
def test_one_optimiser_adds_the_weighted_gradients(norms):
    params, _, report = _step(norms=norms, weight=2.0, entropy_beta=0.5)
    np.testing.assert_allclose(_moved(params), [2 + 0.5 - 2, -4 + 0.5 - 2, 1 + 2 * 0.75], rtol=1e-5)
    agent = np.linalg.norm([2.5, -3.5, 1.0])
    expected = [agent, np.linalg.norm([-1, -1, 0.75])] if norms else [np.nan, np.nan]
    np.testing.assert_allclose([report.agent_norm, report.opponent_norm], expected, rtol=1e-6)
    np.testing.assert_allclose(report.losses.agent, 5.5)


def test_one_optimiser_clips_the_sum_and_logs_norms_before():
    params, _, report = _step(clip_mode="norm", max_norm=1.0)
    total = np.array([1.0, -5.0, 1.75])
    np.testing.assert_allclose(_moved(params), total / np.linalg.norm(total), rtol=1e-5)
    np.testing.assert_allclose(report.agent_norm, np.linalg.norm([2, -4, 1]), rtol=1e-6)


def test_two_optimisers_clip_each_and_log_norms_after():
    params, _, report = _step(separate=True, opponent_lr=0.2, clip_mode="norm", max_norm=1.0, weight=7.0)
    agent, opponent = np.array([2.0, -4, 1]), np.array([-1.0, -1, 0.75])
    agent, opponent = agent / np.linalg.norm(agent), opponent / np.linalg.norm(opponent)
    np.testing.assert_allclose(_moved(params), agent + 2 * opponent, rtol=1e-5)
    np.testing.assert_allclose([report.agent_norm, report.opponent_norm], [1.0, 1.0], rtol=1e-6)


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("excluded", [{"shaping": False}, {"exclude_after": 2, "iteration": 3}])
def test_without_shaping_only_the_agents_gradient_acts(separate, excluded):
    for kind in ("sgd", "adam"):
        settings = {"kind": kind, "separate": separate, "opponent_lr": 0.2}
        params, state, _ = _step(**settings, **excluded)
        alone, _, _ = _step(kind=kind, weight=0.0)
        np.testing.assert_allclose(_moved(params), _moved(alone), rtol=1e-5)
        fresh = ActorOptimiser(agent_lr=0.1, **settings).init(PARAMS)
        assert jax.tree.all(jax.tree.map(jnp.array_equal, state.opponent, fresh.opponent))
    shaped, _, _ = _step(separate=separate, opponent_lr=0.2, exclude_after=2, iteration=2)
    assert not np.allclose(_moved(shaped), _moved(alone))


def test_adam_by_hand():
    """Its first step is the learning rate times the sign of the gradient."""
    params, state, _ = _step(kind="adam", weight=0.0)
    np.testing.assert_allclose(_moved(params), [1, -1, 1], rtol=1e-4)
    _, again, _ = _step(kind="adam", weight=0.0, state=state)
    assert again.agent[0].count == 2


def test_soft_target():
    target = optimisers.soft_update({"a": jnp.array([1.0])}, {"a": jnp.array([3.0])}, 0.75)
    np.testing.assert_allclose(target["a"], [1.5])


def test_unknown_optimiser():
    with pytest.raises(UserError, match="adam, sgd"):
        optimisers.make("lion", 1.0)
