"""Estimators by hand and by enumeration, and the orders of DiCE against exact values."""

import itertools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pola.dice import estimators


def test_advantages_of_two_steps_by_hand():
    rewards, values, end = jnp.array([[1.0], [2.0]]), jnp.array([[0.5], [0.25]]), jnp.array([4.0])
    # delta_1 = 2 + 0.5 * 4 - 0.25 = 3.75; delta_0 = 1 + 0.5 * 0.25 - 0.5 = 0.625
    found = estimators.advantages(rewards, values, end, gamma=0.5, gae_lambda=0.8)
    np.testing.assert_allclose(found[:, 0], [0.625 + 0.4 * 3.75, 3.75], rtol=1e-6)


def test_value_loss_of_two_steps_by_hand():
    rewards, values, end = jnp.array([[1.0], [2.0]]), jnp.array([[0.5], [0.25]]), jnp.array([4.0])
    # targets: 2 + 0.5 * 4 = 4, 1 + 0.5 * 2 + 0.25 * 4 = 3
    found = estimators.value_loss(rewards, values, end, gamma=0.5)
    assert found == pytest.approx((3 - 0.5) ** 2 + (4 - 0.25) ** 2)


def test_divergence_by_hand_in_both_directions():
    first, second = jnp.log(jnp.array([[[0.5, 0.5]]])), jnp.log(jnp.array([[[0.25, 0.75]]]))
    forward = 0.5 * np.log(2) + 0.5 * np.log(2 / 3)
    backward = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    assert estimators.policy_divergence(first, second) == pytest.approx(forward, rel=1e-5)
    assert estimators.policy_divergence(first, second, reverse=True) == pytest.approx(backward, rel=1e-5)


def test_a_saturated_policy_has_a_finite_divergence():
    certain = jax.nn.log_softmax(jnp.array([[[200.0, -200.0]]]))
    even = jax.nn.log_softmax(jnp.zeros((1, 1, 2)))
    for pair in ((certain, even), (even, certain), (certain, certain)):
        value, slopes = jax.value_and_grad(estimators.policy_divergence, (0, 1))(*pair)
        assert np.isfinite(value) and all(np.isfinite(slope).all() for slope in slopes)


PAYOFF = np.array([[0.3, -0.7], [1.1, 0.4]], np.float32)
GAMMA = 0.8


def _exact(logits):
    """Expected discounted reward of two steps; the second step's chances depend on the first's own action."""
    mine, yours = jax.nn.sigmoid(logits[:3]), jax.nn.sigmoid(logits[3:])
    total = 0.0
    for a, b, c, d in itertools.product((0, 1), repeat=4):
        chance = _bern(mine[0], a) * _bern(yours[0], b) * _bern(mine[1 + a], c) * _bern(yours[1 + b], d)
        total = total + chance * (PAYOFF[a, b] + GAMMA * PAYOFF[c, d])
    return total


def _bern(chance, action):
    return chance if action else 1 - chance


def _enumerated(logits, loaded, point):
    """DiCE objective over all 16 histories, each weighted by its chance at `point` (a batch without noise)."""
    rows = np.array(list(itertools.product((0, 1), repeat=4)))
    a, b, c, d = rows.T

    def logprob(logit, action):
        return jnp.where(action == 1, jax.nn.log_sigmoid(logit), jax.nn.log_sigmoid(-logit))

    def both(logits):
        own = jnp.stack([logprob(logits[0], a), logprob(logits[1 + a], c)])
        other = jnp.stack([logprob(logits[3], b), logprob(logits[4 + b], d)])
        return own, other

    chance = jnp.exp(sum(jnp.sum(part, 0) for part in both(point)))
    rewards = jnp.stack([PAYOFF[a, b], PAYOFF[c, d]])
    weights = rewards
    if loaded:  # a baseline that depends on the history before the step only changes nothing in expectation
        values = jnp.stack([jnp.full(16, 0.4), 0.3 * a - 0.2 * b])
        weights = estimators.advantages(rewards, values, jnp.zeros(16), GAMMA, 1.0)
    own, other = both(logits)
    columns = [
        estimators.dice_objective(own[:, [k]], other[:, [k]], weights[:, [k]], GAMMA, loaded)
        for k in range(16)
    ]
    return jnp.sum(jnp.stack(columns) * chance)


@pytest.mark.parametrize("loaded", [True, False])
def test_orders_one_and_two_of_dice_are_those_of_the_exact_value(loaded):
    point = jnp.array([0.3, -0.8, 0.5, -0.2, 0.9, 0.1])

    def dice(logits):
        return _enumerated(logits, loaded, point)

    np.testing.assert_allclose(jax.jit(jax.grad(dice))(point), jax.jit(jax.grad(_exact))(point), atol=1e-5)
    hessian, wanted = (jax.jit(jax.jacfwd(jax.grad(value)))(point) for value in (dice, _exact))
    np.testing.assert_allclose(hessian[:3, 3:], wanted[:3, 3:], atol=1e-5)  # the term that shapes
    np.testing.assert_allclose(hessian, wanted, atol=1e-5)
    assert np.abs(wanted[:3, 3:]).max() > 0.01


arrays = st.integers(0, 2**31 - 1).map(np.random.default_rng)


@hypothesis.settings(max_examples=20)
@hypothesis.given(arrays)
def test_the_order_of_episodes_does_not_matter(random):
    own, other, weights = random.normal(size=(3, 4, 6)).astype(np.float32)
    order = random.permutation(6)
    slope = jax.grad(estimators.dice_objective)(own, other, weights, 0.9)
    moved = jax.grad(estimators.dice_objective)(own[:, order], other[:, order], weights[:, order], 0.9)
    np.testing.assert_allclose(moved, slope[:, order], atol=1e-5)


@hypothesis.settings(max_examples=20)
@hypothesis.given(arrays)
def test_divergence_is_positive_and_zero_only_between_equals(random):
    first, second = jax.nn.log_softmax(random.normal(size=(2, 3, 4, 5)).astype(np.float32))
    assert estimators.policy_divergence(first, second) > 1e-3
    assert abs(estimators.policy_divergence(first, first)) < 1e-6
