"""The offline learners: a problem any of them solves, updates in pieces, lanes, targets, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.cli import UserError
from marlhf.offline.learner import (
    ALGORITHMS,
    Dataset,
    OfflineLearner,
    OfflineSettings,
    dataset,
    lanes,
)
from marlhf.sequences import Sequences

ROWS, PIECES, STEPS, AGENTS, WIDTH, ACTIONS = 24, 2, 3, 2, 4, 3


def settings(**more):
    return OfflineSettings(
        **{"buffer_batch_size": 8, "agent_hidden_dim": 8, "lr": 1e-2, "epochs": 200, **more}
    )


def learner(**more):
    return OfflineLearner(settings(**more), AGENTS, ACTIONS, WIDTH)


def some_data(seed=0):
    """Random play; every agent that does what its observation says earns the team 1 now."""
    draw = np.random.default_rng(seed)
    shape = (ROWS, PIECES, STEPS, AGENTS)
    actions, right = draw.integers(0, ACTIONS, (2, *shape)).astype(np.int32)
    obs = np.zeros((*shape, WIDTH), np.float32)
    obs[..., 0] = right
    obs[..., -AGENTS:] = np.eye(AGENTS)
    dones = np.zeros(shape[:3], bool)
    dones[..., -1] = True
    return Dataset(obs, actions, dones, (actions == right).sum(-1).astype(np.float32)), right


@pytest.fixture(scope="module")
def data():
    return some_data()[0]


@pytest.fixture(scope="module")
def vdn():
    """VDN and its compiled `advance`."""
    found = learner()
    return found, jax.jit(found.advance)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"algorithm": "maiql", "iql_tau": 0.5},
        {"algorithm": "mabcq"},
        {"td_lambda_loss": True, "td_lambda": 0.3},
        {"parameters_sharing": False},
        {"alignment": "original"},
    ],
    ids=lambda more: "-".join(map(str, more.values())) or "vdn",
)
def test_every_variant_finds_the_right_actions(more):
    one = learner(**more, gamma=0.3)
    data, right = some_data()
    state, report = jax.jit(one.advance)(one.fresh(0), 250, data)
    obs = jnp.moveaxis(jnp.asarray(data.obs).reshape(-1, STEPS, AGENTS, WIDTH), 1, 0)
    resets = jnp.zeros(obs.shape[:2], bool)
    _, q = one.team.apply(state.params, one.team.initial_carry(obs.shape[1]), obs, resets)
    # the original's alignment never trains a sequence's last step
    trained = slice(0, STEPS - 1 if more.get("alignment") else STEPS)
    hits = jnp.argmax(q, -1)[trained] == jnp.moveaxis(right.reshape(-1, STEPS, AGENTS), 1, 0)[trained]
    assert hits.mean() > 0.9 and all(np.isfinite(value) for value in report) and state.update == 250


def test_updates_in_pieces_are_the_same_updates(vdn, data):
    one, advance = vdn
    whole, report = advance(one.fresh(1), 7, data)
    parts, _ = advance(one.fresh(1), 4, data)
    parts, last = advance(parts, 3, data)
    again, still = advance(parts, 0, data)
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
    jax.tree.map(np.testing.assert_array_equal, whole, again)
    assert report == last == still


def test_same_seed_same_curve_and_another_seed_another(vdn, data):
    one, advance = vdn
    first, again, other = (advance(one.fresh(seed), 3, data)[1].loss for seed in (5, 5, 6))
    assert first == again and first != other


def test_lanes_are_the_single_runs(vdn, data):
    one, advance = vdn
    states = jax.vmap(one.fresh)(jnp.arange(3))
    together, reports = jax.jit(lanes(one))(states, 5, data)
    for lane in range(3):
        alone, report = advance(one.fresh(lane), 5, data)
        np.testing.assert_allclose(reports.loss[lane], report.loss, rtol=1e-5)
        assert together.update[lane] == 5
        own = jax.tree.map(lambda leaf, lane=lane: leaf[lane], together.params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), own, alone.params)


def test_the_target_is_renewed_every_third_update(vdn, data):
    one, advance = vdn
    state = one.fresh(0)
    for number in range(1, 7):
        before = state.target_params
        state, _ = advance(state, 1, data)
        expected = state.params if number % 3 == 0 else before
        jax.tree.map(np.testing.assert_array_equal, state.target_params, expected)


def test_advance_is_compiled_once(vdn, data):
    one, _ = vdn
    traced = []

    def watched(state, n, data):
        traced.append(n)
        return one.advance(state, n, data)

    step = jax.jit(watched)
    state, _ = step(one.fresh(0), jnp.int32(1), data)
    step(state, jnp.int32(2), data)
    assert len(traced) == 1


def batch_of(one, data):
    return one.draw(jax.random.key(0), data)


def test_the_last_reward_of_an_episode_is_a_target(data):
    one = learner()
    batch = batch_of(one, data)
    goals = one.goals(jnp.ones_like(batch.team_rewards), batch)
    assert goals.shape == batch.team_rewards.shape
    np.testing.assert_allclose(goals[-1], batch.team_rewards[-1])
    np.testing.assert_allclose(goals[:-1], batch.team_rewards[:-1] + 0.9, rtol=1e-6)


def test_original_rows_leave_their_last_step_out(data):
    one = learner(alignment="original")
    batch = batch_of(one, data)
    assert one.goals(jnp.ones_like(batch.team_rewards), batch).shape == (STEPS - 1, 8 * PIECES)
    np.testing.assert_array_equal(batch.resets, batch.dones)


def test_both_alignments_draw_the_same_rows():
    found, _ = some_data()
    long = Dataset(*(np.reshape(part, (ROWS, 1, PIECES * STEPS, *part.shape[3:])) for part in found))
    new, old = batch_of(learner(), found), batch_of(learner(alignment="original"), long)
    pieces = jnp.moveaxis(new.team_rewards, 0, 1).reshape(8, PIECES * STEPS)
    np.testing.assert_array_equal(pieces, old.team_rewards.T)


def test_bytes_are_read_as_numbers(data):
    one = learner()
    small = data._replace(obs=data.obs.astype(np.uint8))
    np.testing.assert_array_equal(batch_of(one, small).obs, batch_of(one, data).obs)


def test_only_the_twin_has_two_networks():
    names = {name: set(learner(algorithm=name).fresh(0).params["params"]) for name in ALGORITHMS}
    assert names["mabcq"] == {"QNetwork_0", "QNetwork_1"} and names["vdn"] == names["maiql"]


def test_the_learning_rate_can_fall():
    one = learner(lr_linear_decay=True, epochs=10)
    params = {"x": jnp.zeros(1)}
    state, sizes = one.optimiser.init(params), []
    for _ in range(11):
        change, state = one.optimiser.update({"x": jnp.ones(1)}, state, params)
        sizes.append(-float(change["x"][0]))
    assert sizes[0] > 9e-3 and sizes == sorted(sizes, reverse=True) and sizes[10] == 0


def test_labels_find_their_steps(data):
    parts = Sequences(*data[:3])
    by_time = np.arange(PIECES * STEPS * ROWS, dtype=np.float32).reshape(PIECES * STEPS, ROWS)
    found = dataset(parts, by_time).team_rewards
    assert found[3, 1, 2] == by_time[STEPS + 2, 3]
    np.testing.assert_array_equal(dataset(parts, found).team_rewards, found)
    with pytest.raises(UserError, match="the data 24 rows of 6 steps"):
        dataset(parts, by_time[:, 1:])


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"algorithm": "qmix"}, "unknown algorithm 'qmix'; there are vdn, maiql, mabcq"),
        ({"alignment": "late"}, "alignment 'late'"),
        ({"gamma": 1.5}, "GAMMA=1.5; it has to be 0 to 1"),
        ({"lr": 0.0}, "LR=0.0; it has to be above 0"),
        ({"buffer_batch_size": 0}, "BUFFER_BATCH_SIZE=0"),
        ({"algorithm": "maiql", "td_lambda_loss": True}, "TD_LAMBDA_LOSS=True is not for maiql"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(UserError, match=told):
        OfflineSettings(**wrong)


def test_data_of_another_task_is_refused(data):
    with pytest.raises(UserError, match="2 agents with observations of 3 numbers, this task 2 with 4"):
        learner().check(data._replace(obs=data.obs[..., 1:]))
