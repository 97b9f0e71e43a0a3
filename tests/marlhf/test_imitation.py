"""Imitation: the recorded case, what an epoch reads, learning, lanes, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from common.cli import UserError
from marlhf import imitation, networks, rewards
from marlhf.data.files import empty_rows
from marlhf.imitation import ImitationLearner, ImitationSettings
from marlhf.sequences import Sequences

ROWS, PIECES, STEPS, AGENTS, RAW, ACTIONS = 6, 2, 3, 2, 4, 3


@pytest.mark.golden("network_and_loss_cases*.npz")
def test_recorded_loss_gradient_and_learning_curve(case):
    arrays = np.load(case)
    names = sorted({name.split("/")[0] for name in arrays.files if name.startswith("reference_policy")})
    if not names:
        pytest.skip(f"{case.name} holds no case reference_policy")
    for name in names:
        found = {
            key.removeprefix(f"{name}/"): arrays[key] for key in arrays.files if key.startswith(f"{name}/")
        }
        params = {}
        for key, value in found.items():
            if key.startswith("params64/"):
                _, *folders, leaf = key.split("/")
                place = params
                for folder in folders:
                    place = place.setdefault(folder, {})
                place[leaf] = jnp.asarray(value, jnp.float32) / 64
        network = networks.RecurrentActor(found["logits"].shape[-1], len(params["params"]["Dense_0"]["bias"]))
        parts = (jnp.asarray(found[part]) for part in ("obs", "actions", "dones"))
        batch = tuple(parts)

        @jax.jit
        def step(params, network=network, batch=batch):
            return jax.value_and_grad(
                lambda params: imitation.negative_log_likelihood(network, params, *batch)
            )(params)

        adam = imitation.optimiser(1e-3, 25.0)
        state, curve = adam.init(params), []
        for number in range(len(found["loss_curve_4_steps"])):
            loss, gradient = step(params)
            if not number:
                np.testing.assert_allclose(loss, found["loss"], rtol=1e-4)
                np.testing.assert_allclose(optax.tree.norm(gradient), found["grad_global_norm"], rtol=1e-4)
            curve.append(loss)
            change, state = adam.update(gradient, state, params)
            params = optax.apply_updates(params, change)
        np.testing.assert_allclose(curve, found["loss_curve_4_steps"], rtol=1e-4)


def some_data(seed=0):
    """Sequences whose best action is written in the first number of the observation."""
    draw = np.random.default_rng(seed)
    shape = (ROWS, PIECES, STEPS, AGENTS)
    actions = draw.integers(0, ACTIONS, shape).astype(np.int32)
    obs = draw.normal(size=(*shape, RAW + AGENTS)).astype(np.float32)
    obs[..., 0] = actions
    obs[..., RAW:] = np.eye(AGENTS)
    dones = np.zeros(shape[:3], bool)
    dones[..., -1] = True
    return Sequences(obs, actions, dones)


@pytest.fixture(scope="module")
def learner():
    hp = ImitationSettings(lr=1e-2, num_epochs=40, batch_size=4, student_network_hidden=8)
    return ImitationLearner(hp, ACTIONS, RAW, ROWS * AGENTS)


@pytest.fixture(scope="module")
def advance(learner):
    return jax.jit(learner.advance)


def test_demonstrations_are_single_agents_without_their_index():
    data = some_data()
    found = imitation.demonstrations(data)
    assert found.obs.shape == (ROWS * AGENTS, PIECES, STEPS, RAW)
    for row in range(ROWS):
        for agent in range(AGENTS):
            number = row * AGENTS + agent
            np.testing.assert_array_equal(found.obs[number], data.obs[row, :, :, agent, :RAW])
            np.testing.assert_array_equal(found.actions[number], data.actions[row, :, :, agent])
            np.testing.assert_array_equal(found.dones[number], data.dones[row])


def test_it_learns_what_the_observation_says(learner, advance):
    data = imitation.demonstrations(some_data())
    state, first = advance(learner.fresh(0), 1, data)
    state, last = advance(state, 30, data)
    assert first > 0.9 and last < 0.5 and state.epoch == 31


def test_the_gradient_by_pieces_is_the_gradient(learner):
    """Rows that divide into the pieces, that divide into fewer, and that do not."""
    data, params = imitation.demonstrations(some_data()), learner.fresh(0).params
    for rows in (8, 6, 5):
        chosen = jnp.arange(rows)[::-1]
        found = jax.jit(learner.gradient)(params, data, chosen)
        whole = jax.jit(jax.value_and_grad(learner.loss))(params, data, chosen)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, whole)


def test_epochs_in_pieces_are_the_same_epochs(learner, advance):
    data = imitation.demonstrations(some_data())
    whole, loss = advance(learner.fresh(3), 3, data)
    parts, _ = advance(learner.fresh(3), 2, data)
    parts, last = advance(parts, 1, data)
    again, still = advance(parts, 0, data)
    assert loss == last == still
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
    jax.tree.map(np.testing.assert_array_equal, whole, again)


def test_an_epoch_reads_every_row_once(learner, advance):
    data = imitation.demonstrations(some_data())
    state = learner.fresh(0)
    # with a learning rate of 0 the mean of the batches' losses is the mean over the whole data
    still = ImitationLearner(
        ImitationSettings(lr=1e-30, batch_size=4, student_network_hidden=8), ACTIONS, RAW, ROWS * AGENTS
    )
    _, loss = jax.jit(still.advance)(state, 1, data)
    everything = learner.loss(state.params, data, jnp.arange(ROWS * AGENTS))
    # the decay's end is a learning rate of its own, a ten-thousandth; it moves the loss a little
    np.testing.assert_allclose(loss, everything, rtol=1e-3)


def test_lanes_are_the_single_runs(learner, advance):
    data = imitation.demonstrations(some_data())
    states = jax.vmap(learner.fresh)(jnp.arange(2))
    together, losses = jax.jit(jax.vmap(learner.advance, in_axes=(0, None, None)))(states, 2, data)
    for lane in range(2):
        alone, loss = advance(learner.fresh(lane), 2, data)
        np.testing.assert_allclose(losses[lane], loss, rtol=1e-5)
        own = jax.tree.map(lambda leaf, lane=lane: leaf[lane], together.params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), own, alone.params)


def test_seeds_differ(learner):
    first, second = (learner.fresh(seed) for seed in (0, 1))
    assert not np.array_equal(
        first.params["params"]["Dense_0"]["kernel"], second.params["params"]["Dense_0"]["kernel"]
    )


def test_the_learning_rate_falls_linearly(learner):
    # 40 epochs of 12 rows in batches of 4: 120 steps from 1e-2 to 1e-4
    params = {"x": jnp.zeros(1)}
    state, sizes = learner.optimiser.init(params), []
    for _ in range(125):
        change, state = learner.optimiser.update({"x": jnp.ones(1)}, state, params)
        sizes.append(-float(change["x"][0]))
    np.testing.assert_allclose(sizes[0], 1e-2, rtol=1e-3)
    np.testing.assert_allclose(sizes[60], (1e-2 + 1e-4) / 2, rtol=1e-3)
    np.testing.assert_allclose(sizes[120:], 1e-4, rtol=1e-3)


def test_a_feed_forward_policy_has_no_memory():
    hp = ImitationSettings(num_epochs=1, batch_size=4, feed_forward=True)
    learner = ImitationLearner(hp, ACTIONS, RAW, ROWS * AGENTS)
    state, loss = jax.jit(learner.advance)(learner.fresh(0), 1, imitation.demonstrations(some_data()))
    assert isinstance(learner.network, networks.FeedForwardActor) and np.isfinite(loss)


def test_filtering_whole_files():
    assert imitation.files_to_load(15, 0.5) == 30
    np.testing.assert_array_equal(imitation.files_to_keep(np.array([0.1, 3.0, -1.0, 0.5]), 0.5), [1, 3])
    with pytest.raises(UserError, match="no file"):
        imitation.files_to_keep(np.ones(4), 0.5)
    with pytest.raises(UserError, match="FILTER_RATIO"):
        imitation.files_to_load(15, 0.0)


def test_filtered_rows_are_those_of_the_better_files():
    envs, steps, files = 6, 4, 3
    rows = empty_rows(steps, AGENTS, envs, RAW + AGENTS, 1)
    for part in rows:
        part[...] = 0
    rows.obs[..., 0] = np.array([3.0, 3.0, 1.0, 2.0, 5.0, 6.0])
    rows.team_rewards[...] = rows.world_state[..., 0] = np.arange(envs)
    rows.dones[-1] = True
    # this reward model says what the observation's first number is
    network = networks.RewardFF(1, ACTIONS, 1, 1)
    judge = rewards.Judge(network, None, AGENTS, ACTIONS, RAW, 1)
    params = {
        "Dense_1": {"kernel": jnp.zeros((ACTIONS, 1)), "bias": jnp.zeros(1)},
        "Dense_3": {"kernel": jnp.eye(RAW, 1), "bias": jnp.zeros(1)},
        "Dense_5": {"kernel": jnp.array([[0.0], [1.0]]), "bias": jnp.zeros(1)},
        "Dense_6": {"kernel": jnp.ones((1, 1)), "bias": jnp.zeros(1)},
    }
    made = rewards.JudgeParams({"params": params})
    hp = rewards.RewardSettings()
    found = imitation.filtered(rows, files, judge, made, steps, hp, 0.5)
    np.testing.assert_array_equal(found.team_rewards[0], [4, 5])
    np.testing.assert_array_equal(found.obs[0, 1, :, 0], [5, 6])
    np.testing.assert_array_equal(found.world_state[0, :, 0], [4, 5])
    assert found.actions.shape == (steps, AGENTS, 2) and found.returned_episode.shape == (steps, 2, AGENTS)


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"lr": -1.0}, "LR=-1.0"),
        ({"lr": float("nan")}, "LR=nan"),
        ({"max_grad_norm": 0.0}, "MAX_GRAD_NORM"),
        ({"batch_size": 0}, "BATCH_SIZE"),
        ({"alignment": "shifted"}, "alignment 'shifted'"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(UserError, match=told):
        ImitationSettings(**wrong)


def test_data_that_does_not_fit_is_refused(learner):
    with pytest.raises(UserError, match="more than the 12 rows"):
        ImitationLearner(ImitationSettings(batch_size=13), ACTIONS, RAW, 12)
    data = imitation.demonstrations(some_data())
    with pytest.raises(UserError, match="observations of 3 numbers, this task of 4"):
        learner.check(data._replace(obs=data.obs[..., 1:]))
