"""Reward learning: it learns, lanes are single runs, stopping changes nothing, people's choices train it too."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.cli import UserError
from marlhf import reward_quality
from marlhf.data.trajectories import Trajectories
from marlhf.reward_model import Architecture
from marlhf.reward_training import Comparisons, RewardTraining, RewardTrainingSettings, make_data

LENGTH, COUNT = 5, 400


@functools.lru_cache
def play(seed=0):
    """Trajectories whose reward is the observation's first number, less one for action 2."""
    draw = np.random.default_rng(seed)
    obs = (draw.normal(size=(COUNT, LENGTH, 3)) + draw.normal(size=(COUNT, 1, 3))).astype(np.float32)
    actions = draw.integers(0, 4, (COUNT, LENGTH)).astype(np.int32)
    rewards = (obs[..., 0] - (actions == 2)).astype(np.float32)
    resets = np.zeros((COUNT, LENGTH), bool)
    state = draw.normal(size=(COUNT // 2, LENGTH, 2)).astype(np.float32)
    return Trajectories(obs, actions, rewards, resets, state, (np.arange(COUNT) // 2).astype(np.int32))


def training(kind="FF", **changes):
    settings = {"minibatch_size": 20, "steepness": 10.0, "mse_loss_coef": 0.01, "lr": 0.01} | changes
    return RewardTraining(RewardTrainingSettings(**settings), Architecture(kind, 16, 4, 3, 2, 8, 8))


@functools.lru_cache
def compiled(trainer):
    return jax.jit(trainer.advance)


def run(trainer, epochs, seed=0, data=None):
    data = make_data(play()) if data is None else data
    return compiled(trainer)(trainer.fresh(np.uint32(seed)), jnp.int32(epochs), data)


def same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["FF", "RNN"])
def test_it_learns_the_reward_it_was_never_told(kind):
    trainer = training(kind)
    state, report = run(trainer, 40)
    assert int(state.epoch) == 40 and report.test.value < 0.05 < report.test.baseline
    unseen = play(1)
    rewards = reward_quality.predict(trainer.architecture, state.best_params, unseen)
    measured = reward_quality.quality(rewards, unseen, ["one"] * COUNT)
    assert measured["corr_return_all"] > 0.9 and measured["pair_accuracy_all"] > 0.85
    assert measured["per_policy"]["one"]["corr_step"] > 0.8


def test_a_wrong_sign_would_be_seen():
    trainer = training()
    state, _ = run(trainer, 40)
    turned = play(1)._replace(rewards=-play(1).rewards)
    rewards = reward_quality.predict(trainer.architecture, state.best_params, turned)
    assert reward_quality.quality(rewards, turned, ["one"] * COUNT)["pair_accuracy_all"] < 0.15


def test_same_seed_same_bits_other_seed_others():
    trainer = training()
    same(run(trainer, 3), run(trainer, 3))
    assert run(trainer, 3, seed=1)[1].test.total != run(trainer, 3)[1].test.total


def test_stopping_changes_nothing():
    trainer, data = training(), make_data(play())
    state, _ = run(trainer, 3)
    state, report = compiled(trainer)(state, jnp.int32(0), data)
    state, report = compiled(trainer)(state, jnp.int32(2), data)
    same((state, report), run(trainer, 5))


def test_a_lane_is_the_single_run():
    trainer, data = training(), make_data(play())
    seeds, alphas = jnp.asarray([0, 0, 1], jnp.uint32), jnp.asarray([0.01, 5.0, 0.01])
    states = jax.vmap(trainer.fresh)(seeds, alphas)
    states, reports = jax.jit(jax.vmap(trainer.advance, in_axes=(0, None, None)))(states, jnp.int32(3), data)
    for lane, (seed, alpha) in enumerate(zip(seeds, alphas, strict=True)):
        state, report = run(training(mse_loss_coef=float(alpha)), 3, int(seed))
        mine = jax.tree.map(lambda leaf, lane=lane: leaf[lane], (states.params, reports))
        # The last bias has no gradient, since only differences of returns count: all it has is rounding.
        for params in (mine[0], state.params):
            del params["params"]["Dense_6"]["bias"]
        for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves((state.params, report)), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5)
        np.testing.assert_array_equal(states.split_key[lane], state.split_key)


def test_the_regulariser_smooths():
    measured = []
    for alpha in (0.0, 0.3, 30.0):
        trainer = training(mse_loss_coef=alpha)
        state, _ = run(trainer, 20)
        rewards = reward_quality.predict(trainer.architecture, state.params, play(1))
        measured.append(float((np.diff(rewards, axis=1) ** 2).sum(axis=1).mean()))
    assert measured[0] > 1.3 * measured[1] > 1.3 * measured[2]


def test_the_best_model_is_kept_by_total_test_loss_without_a_cap():
    trainer, data = training(mse_loss_coef=2000.0, lr=0.3), make_data(play())
    state, advance = trainer.fresh(np.uint32(0)), compiled(trainer)
    best, kept = np.inf, state.params
    for epoch in range(1, 6):
        state, report = advance(state, jnp.int32(1), data)
        total = float(report.test.total)
        np.testing.assert_allclose(total, report.test.value + 2000.0 * report.test.mse, rtol=1e-4)
        if total < best:
            best, kept, at = total, state.params, epoch
        if epoch == 1:
            assert total > 1.0, "the case that the original would lose"
        assert float(state.best_loss) == best and int(state.best_epoch) == at
        same(state.best_params, kept)


def test_training_and_testing_share_no_trajectory():
    """Rewards and returns of what is held out have no say in the parameters."""
    trainer = training()
    state, plan = trainer.fresh(np.uint32(0)), trainer.plan(make_data(play()))
    assert plan == (360, 20, 18, 20, 2)
    order = jax.random.permutation(jax.random.wrap_key_data(state.split_key), COUNT)
    held_out = np.asarray(order[plan.pool :])
    obs = play().obs.copy()
    obs[held_out] = 7.0
    changed, report = run(trainer, 2, data=make_data(play()._replace(obs=obs)))
    plain, before = run(trainer, 2)
    same(changed.params, plain.params)
    assert report.test.total != before.test.total


def comparisons(count, members, who_is_right=1.0, seed=0):
    draw = np.random.default_rng(seed)
    sides = draw.integers(0, COUNT, (count, 2, members)).astype(np.int32)
    worth = play().returns[sides].mean(axis=2)
    target = np.where(worth[:, 0] > worth[:, 1], who_is_right, 1.0 - who_is_right).astype(np.float32)
    target[np.abs(worth[:, 0] - worth[:, 1]) < 0.1] = 0.5
    return Comparisons(sides, target)


@pytest.mark.parametrize(("members", "who_is_right"), [(1, 1.0), (3, 1.0), (1, 0.0)])
def test_explicit_comparisons_train_it(members, who_is_right):
    trainer = training(minibatch_size=64)
    data = make_data(play(), comparisons(300, members, who_is_right))
    state, report = run(trainer, 40, data=data)
    assert report.train.baseline == 0 and report.test.value < 0.6
    rewards = reward_quality.predict(trainer.architecture, state.best_params, play(1))
    accuracy = reward_quality.quality(rewards, play(1), ["one"] * COUNT)["pair_accuracy_all"]
    assert accuracy > 0.8 if who_is_right else accuracy < 0.2


def test_two_comparisons_are_enough_to_begin():
    state, report = run(training(), 1, data=make_data(play(), comparisons(2, 1)))
    assert np.isfinite(report.test.total) and int(state.best_epoch) == 1
    with pytest.raises(UserError, match="1 comparisons; at least two are needed"):
        run(training(), 1, data=make_data(play(), comparisons(1, 1)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mse_loss_coef": -1.0}, "MSE_LOSS_COEF=-1.0; it has to be a number from 0 on"),
        ({"mse_loss_coef": float("nan")}, "MSE_LOSS_COEF=nan"),
        ({"steepness": 0.0}, "STEEPNESS=0.0; it has to be a number above 0"),
        ({"lr": -1e-3}, "LR=-0.001"),
        ({"minibatch_size": 1}, "MINIBATCH_SIZE=1; it has to be at least 2"),
        ({"reward_model_epochs": 0}, "REWARD_MODEL_EPOCHS=0"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(UserError, match=message):
        training(**changes)


def test_too_little_data():
    with pytest.raises(
        UserError, match="400 trajectories are less than two minibatches of MINIBATCH_SIZE=256"
    ):
        run(training(minibatch_size=256), 1)


def test_measures_by_hand():
    rewards = np.asarray([[0.0, 1.0], [2.0, 2.0], [1.0, 0.0]], np.float32)
    measured = reward_quality.quality(
        rewards,
        play()._replace(rewards=np.asarray([[0.0, 1.0], [2.0, 3.0], [4.0, 9.0]], np.float32)),
        list("aab"),
    )
    # the standard is policy a's: mean 5/4, variance 11/16
    assert measured["reward_mean"] == pytest.approx(1.25)
    assert measured["reward_std"] == pytest.approx((11 / 16) ** 0.5)
    assert measured["roughness"] == pytest.approx((1 + 0 + 1) / 3 * 16 / 11)
    # predicted returns 1, 4, 1 for true ones 1, 5, 13: one pair right, one wrong, one even
    assert measured["pair_accuracy_all"] == pytest.approx(0.5, abs=0.02)
    assert reward_quality.correlation([1, 2, 3], [2, 4, 6]) == pytest.approx(1.0)
    assert np.isnan(reward_quality.correlation([1, 1], [1, 2]))


def test_debugging_is_one_minibatch_of_each_kind():
    data = make_data(play())
    plan, whole = training(debug=True).plan(data), training().plan(data)
    assert (plan.training, plan.testing) == (1, 1) and plan.pool == whole.pool and whole.training > 1
    first, second = (run(training(debug=debug), 1, data=data)[0] for debug in (True, False))
    assert float(jnp.abs(jax.tree.leaves(first.params)[0] - jax.tree.leaves(second.params)[0]).max()) > 0
