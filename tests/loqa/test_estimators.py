"""Returns, advantages and differentiable action values against recorded cases, closed forms and numbers by hand."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from loqa import estimators

FLOATS = st.floats(-3, 3, width=32)


@pytest.mark.golden("estimators_case*.npz")
def test_recorded_estimators(recorded):
    rewards, log_probs, values = (
        jnp.asarray(recorded[name]) for name in ("op_rewards", "agent_logps", "op_values")
    )
    gamma, lam, n = float(recorded["gamma"]), float(recorded["lam"]), int(recorded["n"])

    def loaded(logs):
        return estimators.loaded_dice_returns(rewards, logs, values, gamma, lam)

    def n_step(logs):
        return estimators.n_step_values(rewards, logs, values, gamma, n, float(recorded["reward_baseline"]))

    found = {
        "discounted_returns": estimators.discounted_sum(rewards, gamma),
        "loaded_dice_returns": loaded(log_probs),
        "loaded_dice_jac": jax.jacobian(loaded)(log_probs),
        "n_step_value": n_step(log_probs),
        "n_step_plain": n_step(jnp.zeros_like(log_probs)),
        "n_step_jac": jax.jacobian(n_step)(log_probs),
    }
    for name, value in found.items():
        np.testing.assert_allclose(value, recorded[name], rtol=1e-5, atol=1e-5, err_msg=name)


@settings(max_examples=10)
@given(data=st.data(), steps=st.integers(1, 9))
def test_loaded_dice_has_the_closed_form(data, steps):
    """dD_t/dl_k = (gamma lambda)^(k-t) (G_k - V_k) for k >= t, else 0; in value D is the plain return."""
    rewards = data.draw(hnp.arrays(np.float32, steps, elements=FLOATS))
    values = data.draw(hnp.arrays(np.float32, steps + 1, elements=FLOATS))
    gamma, lam = 0.96, 0.7

    def loaded(logs):
        return estimators.loaded_dice_returns(jnp.asarray(rewards), logs, jnp.asarray(values), gamma, lam)

    log_probs = jnp.full(steps, -0.7)
    returns = [sum(gamma ** (k - t) * rewards[k] for k in range(t, steps)) for t in range(steps)]
    expected = np.zeros((steps, steps))
    for t in range(steps):
        for k in range(t, steps):
            expected[t, k] = (gamma * lam) ** (k - t) * (returns[k] - values[k])
    np.testing.assert_allclose(loaded(log_probs), returns, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(jax.jacobian(loaded)(log_probs), expected, rtol=1e-5, atol=2e-5)


def test_two_steps_by_hand():
    """r = (1, -2), gamma = 1/2: R = (0, -2). V = (3, 5, 7): TD0 = (1 + 5/2 - 3, -2 + 7/2 - 5), MC = R - V."""
    rewards, values = jnp.array([1.0, -2.0]), jnp.array([3.0, 5.0, 7.0])
    np.testing.assert_allclose(estimators.discounted_sum(rewards, 0.5), [0.0, -2.0])
    np.testing.assert_allclose(estimators.td0_advantage(rewards, values, 0.5), [0.5, -3.5])
    np.testing.assert_allclose(estimators.mc_advantage(rewards, values, 0.5), [-3.0, -7.0])

    def n_step(logs):
        return estimators.n_step_values(rewards, logs, values, 0.5, 2, baseline=-0.5)

    # D_0 = s_0 + s_1 / 2 + V_2 / 4 = 1 - 1 + 1.75, and only l_1 moves it: gamma (s_1 - c) = (-2 + 1/2) / 2
    np.testing.assert_allclose(n_step(jnp.array([-0.3, -0.9])), [1.75])
    np.testing.assert_allclose(jax.jacobian(n_step)(jnp.array([-0.3, -0.9])), [[0.0, -0.75]])


def test_what_is_stopped():
    rewards = jnp.array([1.0, -2.0])

    def total(estimate):
        return lambda values: estimate(rewards, values, 0.5).sum()

    values = jnp.array([3.0, 5.0, 7.0])
    np.testing.assert_allclose(jax.grad(total(estimators.td0_advantage))(values), [-1.0, -0.5, 0.5])
    np.testing.assert_allclose(jax.grad(total(estimators.mc_advantage))(values), [0.0, 0.0, 0.0])
    assert jax.value_and_grad(estimators.magic_box)(2.5) == (1.0, 1.0)


@settings(max_examples=10)
@given(values=hnp.arrays(np.float32, (6, 4), elements=FLOATS), order=st.permutations(range(4)))
def test_episodes_do_not_see_each_other(values, order):
    values, order = jnp.asarray(values), np.array(order)
    whole = estimators.discounted_sum(values, 0.9)
    np.testing.assert_array_equal(whole[:, order], estimators.discounted_sum(values[:, order], 0.9))


def test_a_look_ahead_past_the_episode_is_refused():
    with pytest.raises(ValueError, match="past an episode of 2"):
        estimators.n_step_values(jnp.zeros(2), jnp.zeros(2), jnp.zeros(3), 0.9, 3, 0.0)
