"""Targets and losses of the offline learners: by hand, and as recorded from the original."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from marlhf.offline import targets
from marlhf.offline.learner import Batch, OfflineLearner, OfflineSettings

DIFFERENCES = {
    "vdn_one_step": {},
    "vdn_td_lambda": {"td_lambda_loss": True},
    "sarsa_expectile": {"algorithm": "maiql"},
}


def test_chosen_is_the_value_of_the_action():
    q = jnp.arange(12.0).reshape(2, 2, 3)
    np.testing.assert_array_equal(targets.chosen(q, jnp.array([[0, 2], [1, 1]])), [[0, 5], [7, 10]])


def test_double_q_takes_the_online_choice_at_the_targets_price():
    online = jnp.array([[[[1.0, 2.0], [5.0, 3.0]]]])
    target = jnp.array([[[[10.0, 20.0], [30.0, 40.0]]]])
    actions = jnp.array([[[0, 1]]])
    assert targets.double_q_value(online, target, actions) == 20 + 30
    assert targets.dataset_value(online, target, actions) == 10 + 40


def test_one_step_by_hand():
    rewards, dones, values = (
        jnp.array([[1.0], [2.0]]),
        jnp.array([[False], [True]]),
        jnp.array([[10.0], [20.0]]),
    )
    np.testing.assert_allclose(targets.one_step(rewards, dones, values, 0.5), [[6.0], [2.0]])


def test_td_lambda_by_hand():
    rewards = jnp.array([[1.0], [2.0], [4.0]])
    values = jnp.array([[10.0], [20.0], [40.0]])
    none = jnp.zeros((3, 1), bool)
    last = jnp.array([8.0])
    # G_2 = 4 + .5 (.75 * 40 + .25 * 8) = 20; G_1 = 2 + .5 (.75 * 20 + .25 * 20) = 12; G_0 = 1 + .5 (7.5 + 3) = 6.25
    found = targets.td_lambda(rewards, none, values, last, 0.5, 0.25)
    np.testing.assert_allclose(found, [[6.25], [12.0], [20.0]])
    found = targets.td_lambda(rewards, none.at[1].set(True), values, last, 0.5, 0.25)
    np.testing.assert_allclose(found, [[1 + 0.5 * (7.5 + 0.25 * 2)], [2.0], [20.0]])


def test_lambda_zero_is_one_step():
    rewards, values = jax.random.normal(jax.random.key(0), (2, 6, 3))
    dones = jax.random.bernoulli(jax.random.key(1), 0.3, (6, 3))
    found = targets.td_lambda(rewards, dones, values, values[-1], 0.9, 0.0)
    np.testing.assert_allclose(found, targets.one_step(rewards, dones, values, 0.9), rtol=1e-6)


def test_errors_by_hand():
    values, goals = jnp.array([1.0, 4.0]), jnp.array([3.0, 3.0])
    assert targets.squared_error(values, goals) == 2.5
    assert targets.half_squared_error(values, goals) == 1.25
    np.testing.assert_allclose(
        targets.expectile_error(values, goals, 0.9), (0.9 * 4 + 0.1 * 1) / 2, rtol=1e-6
    )


@pytest.mark.parametrize(
    "error",
    [targets.squared_error, targets.half_squared_error, lambda q, g: targets.expectile_error(q, g, 0.9)],
)
def test_a_target_is_a_constant(error):
    assert jax.grad(error, argnums=1)(jnp.array([1.0]), jnp.array([3.0])) == 0


def recorded_cases(path):
    """Every `offline_q...` case of a file: its entries by name, and its two sets of parameters."""
    arrays = np.load(path)
    for name in sorted({key.split("/")[0] for key in arrays.files if key.startswith("offline_q")}):
        found = {
            key.removeprefix(f"{name}/"): arrays[key] for key in arrays.files if key.startswith(f"{name}/")
        }
        trees = {"online": {}, "target": {}}
        for key, value in found.items():
            if "/params64/" in key:
                which, _, *folders, leaf = key.split("/")
                place = trees[which]
                for folder in folders:
                    place = place.setdefault(folder, {})
                place[leaf] = jnp.asarray(value, jnp.float32) / 64
        yield found, trees["online"], trees["target"]


def replay(found, online, target, variant):
    """The learner of one variant on a recorded batch (agents after time there, after the batch here)."""
    settings = OfflineSettings(
        **DIFFERENCES[variant],
        agent_hidden_dim=len(online["params"]["Dense_0"]["bias"]),
        gamma=float(found["gamma"]),
        td_lambda=float(found["td_lambda"]),
        iql_tau=float(found["tau"]),
        alignment="original",
    )
    obs, actions = (jnp.moveaxis(jnp.asarray(found[name]), 1, 2) for name in ("obs", "actions"))
    dones = jnp.asarray(found["done"])
    batch = Batch(obs, actions, dones, dones, jnp.asarray(found["team_reward"]))
    learner = OfflineLearner(settings, obs.shape[2], found["q"].shape[-1], obs.shape[3])
    carry = learner.team.initial_carry(obs.shape[1])
    q, target_q = (learner.team.apply(params, carry, obs, dones)[1] for params in (online, target))
    for values, name in ((q, "q"), (target_q, "target_q")):
        np.testing.assert_allclose(jnp.moveaxis(values, 2, 1), found[name], atol=1e-5)
    goals = learner.goals(learner.algorithm.value(q, target_q, actions), batch)
    np.testing.assert_allclose(goals, found[f"{variant}/targets"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(targets.team_value(q, actions)[:-1], found["chosen_sum"], rtol=1e-4, atol=1e-5)

    step = jax.jit(jax.value_and_grad(lambda params: learner.loss(params, target, batch)[0]))
    state, curve, norms = learner.optimiser.init(online), [], []
    for _ in found[f"{variant}/loss_curve_5_steps"]:
        loss, gradient = step(online)
        curve.append(loss)
        norms.append(optax.tree.norm(gradient))
        change, state = learner.optimiser.update(gradient, state, online)
        online = optax.apply_updates(online, change)
    np.testing.assert_allclose(curve[0], found[f"{variant}/loss"], rtol=1e-4)
    np.testing.assert_allclose(norms[0], found[f"{variant}/grad_global_norm"], rtol=1e-4)
    np.testing.assert_allclose(curve, found[f"{variant}/loss_curve_5_steps"], rtol=1e-4)


@pytest.mark.golden("network_and_loss_cases*.npz")
def test_recorded_targets_losses_and_learning_curves(case):
    replayed = 0
    for found, online, target in recorded_cases(case):
        variants = {key.split("/")[0] for key in found if key.endswith("/targets")}
        assert variants <= set(DIFFERENCES), f"unknown variants in {case.name}: {variants - set(DIFFERENCES)}"
        for variant in sorted(variants):
            replay(found, online, target, variant)
            replayed += 1
    if not replayed:
        pytest.skip(f"{case.name} holds no case offline_q")
