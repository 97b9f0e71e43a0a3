"""Labelling: recorded shaping, chunks, episodes and rows, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.cli import UserError
from marlhf import networks, rewards
from marlhf.data.files import empty_rows
from marlhf.rewards import Judge, JudgeParams, Labels, RewardSettings, Standard

STEPS, EPISODE, AGENTS, ROWS, RAW, STATE, ACTIONS = 12, 4, 2, 5, 3, 6, 4


def groups(path, start):
    arrays = np.load(path)
    names = sorted({name.split("/")[0] for name in arrays.files if name.startswith(start)})
    if not names:
        pytest.skip(f"{path.name} holds no case {start}")
    for name in names:
        yield {
            key.removeprefix(f"{name}/"): arrays[key] for key in arrays.files if key.startswith(f"{name}/")
        }


@pytest.mark.golden("network_and_loss_cases*.npz")
def test_recorded_shaping(case):
    for found in groups(case, "shaping_"):
        first = found["first_batch_prediction"]
        standard = Standard(first.mean(), first.std())
        np.testing.assert_allclose(standard, (found["mean"], found["std"]), rtol=1e-5)
        standardised = rewards.standardise(found["prediction"], standard)
        np.testing.assert_allclose(standardised, found["standardised"], atol=1e-5)
        count, beta = int(found["action_count"]), float(found["beta"])
        costs = rewards.penalty(found["log_prob"], count, beta)
        np.testing.assert_allclose(costs, found["penalty"], atol=1e-5)
        np.testing.assert_allclose(standardised + costs, found["shaped"], atol=1e-5)

        def by_agent(part, rows=found["team"].shape[1]):  # columns come agent by agent
            return np.asarray(part).reshape(len(part), -1, rows)

        labels = Labels(by_agent(standardised), by_agent(found["log_prob"]), standard)
        np.testing.assert_allclose(rewards.team_rewards(labels, count, beta), found["team"], atol=1e-5)
        bare = rewards.team_rewards(labels, count, beta, add_log_prob=False)
        np.testing.assert_allclose(bare, found["team_standardised"], atol=1e-5)


def some_rows(seed=0, envs=ROWS):
    """Random play whose episodes end every EPISODE steps."""
    draw = np.random.default_rng(seed)
    rows = empty_rows(STEPS, AGENTS, envs, RAW + AGENTS, STATE)
    for part in rows:
        part[...] = draw.normal(size=part.shape) if part.dtype == np.float32 else 0
    rows.actions[...] = draw.integers(0, ACTIONS, rows.actions.shape)
    rows.dones[EPISODE - 1 :: EPISODE] = True
    return rows


@pytest.fixture(scope="module", params=["RNN", "FF"])
def judged(request):
    """A judge with random parameters."""
    kind = networks.RewardRNN if request.param == "RNN" else networks.RewardFF
    judge = Judge(kind(8, ACTIONS), networks.RecurrentActor(ACTIONS, 16), AGENTS, ACTIONS, RAW, STATE)
    obs, actions, forget = jnp.zeros((1, 1, RAW)), jnp.zeros((1, 1), int), jnp.ones((1, 1), bool)
    reward, reference = judge.reward_network, judge.reference_network
    keys = jax.random.split(jax.random.key(0))
    params = JudgeParams(
        reward.init(keys[0], reward.initial_carry(1), obs, actions, jnp.zeros((1, 1, STATE)), forget),
        reference.init(keys[1], reference.initial_carry(1), obs, forget),
    )
    return judge, jax.tree.map(lambda leaf: leaf + 0.1, params)


def by_hand(judge, params, rows):
    """Reward and log-probability, one agent, row and episode at a time."""
    reward, log_prob = np.empty((2, STEPS, AGENTS, len(rows.dones[0])), np.float32)
    network, policy = judge.reward_network, judge.reference_network
    forget = jnp.zeros((EPISODE, 1), bool)

    @jax.jit
    def read(obs, actions, state):
        _, found = network.apply(params.reward, network.initial_carry(1), obs, actions, state, forget)
        _, logits = policy.apply(params.reference, policy.initial_carry(1), obs, forget)
        return found[:, 0], jnp.take_along_axis(jax.nn.log_softmax(logits), actions[..., None], -1)[:, 0, 0]

    for begin in range(0, STEPS, EPISODE):
        time = slice(begin, begin + EPISODE)
        for agent in range(AGENTS):
            for row in range(reward.shape[-1]):
                obs = rows.obs[time, agent, row, None, :RAW]
                state = rows.world_state[time, row, None]
                found = read(obs, rows.actions[time, agent, row, None], state)
                reward[time, agent, row], log_prob[time, agent, row] = found
    return reward, log_prob


@pytest.mark.parametrize("size", [2, 128])
def test_labels_are_those_of_each_episode_alone(judged, size):
    judge, params = judged
    rows = some_rows()
    reward, log_prob = by_hand(judge, params, rows)
    labels = rewards.label(judge, params, rows, EPISODE, RewardSettings(batch_size=size))
    first = reward[..., :size]
    np.testing.assert_allclose(labels.standard, (first.mean(), first.std()), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(labels.log_prob, log_prob, atol=1e-5)
    expected = (reward - first.mean()) / first.std() + 1
    np.testing.assert_allclose(labels.standardised, expected, atol=1e-4)
    assert abs(labels.standardised[..., :size].mean() - 1) < 1e-5


def test_original_alignment_forgets_a_step_early(judged):
    judge, params = judged
    rows = some_rows()
    new, old = (
        rewards.label(judge, params, rows, EPISODE, RewardSettings(alignment=alignment))
        for alignment in ("corrected", "original")
    )
    same = np.isclose(new.log_prob, old.log_prob, atol=1e-6).all(axis=(1, 2))
    # up to the step before the first done nothing differs; from there on the carry does
    assert same[: EPISODE - 1].all() and not same[EPISODE - 1 :].any()


def test_original_layout_reads_another_rows_state(judged):
    judge, params = judged
    rows = some_rows()
    new, old = (
        rewards.label(judge, params, rows, EPISODE, RewardSettings(layout=layout))
        for layout in ("corrected", "original")
    )
    same = np.isclose(new.standardised - new.standardised.mean(), old.standardised - old.standardised.mean())
    assert np.allclose(new.log_prob, old.log_prob) and same.all() == (not judge.reads_state)
    states = np.arange(ROWS, dtype=np.float32).reshape(ROWS, 1, 1)
    found = judge.states(jnp.asarray(states), jnp.zeros((ROWS, 1, AGENTS, RAW)), original_pairing=True)
    if judge.reads_state:
        np.testing.assert_array_equal(found[:, 0, :, 0], [[0, 2], [0, 3], [1, 3], [1, 4], [2, 4]])


def test_without_a_reference_policy_actions_cost_nothing(judged):
    judge, params = judged
    alone = Judge(judge.reward_network, None, AGENTS, ACTIONS, RAW, STATE)
    labels = rewards.label(alone, JudgeParams(params.reward), some_rows(), EPISODE, RewardSettings())
    with_penalty = rewards.team_rewards(labels, ACTIONS, 10.0)
    np.testing.assert_allclose(with_penalty, rewards.team_rewards(labels, ACTIONS, 0.0, False), atol=1e-4)


def test_an_agents_own_observation_can_be_its_state(judged):
    judge, _ = judged
    own = Judge(judge.reward_network, judge.reference_network, AGENTS, ACTIONS, RAW, STATE, own_state=True)
    raw = jax.random.normal(jax.random.key(0), (ROWS, EPISODE, AGENTS, RAW))
    found = own.states(jnp.zeros((ROWS, EPISODE, STATE)), raw)
    np.testing.assert_array_equal(found, raw if judge.reads_state else raw[..., :0])
    if judge.reads_state:
        network, policy = judge.reward_network, judge.reference_network
        forget = jnp.ones((1, 1), bool)
        obs, actions = raw[:1, :1, 0], jnp.zeros((1, 1), int)
        params = JudgeParams(
            network.init(jax.random.key(1), network.initial_carry(1), obs, actions, obs, forget),
            policy.init(jax.random.key(2), policy.initial_carry(1), obs, forget),
        )
        own.check(params)
        labels = rewards.label(own, params, some_rows(), EPISODE, RewardSettings())
        assert labels.standardised.shape == (STEPS, AGENTS, ROWS) and np.isfinite(labels.standardised).all()


def test_the_penalty_is_clipped():
    found = rewards.penalty(jnp.log(jnp.array([1e-30, 0.25, 0.26, 1.0])), 4, 10.0)
    np.testing.assert_allclose(found, [-10, 0, 10 * np.log(1.04), 1], atol=1e-5)


def test_means_by_file():
    table = np.arange(2 * 1 * 4, dtype=np.float32).reshape(2, 1, 4)
    np.testing.assert_array_equal(rewards.mean_by_file(Labels(table, table, None), 2), [2.5, 4.5])


@pytest.mark.parametrize(
    "make",
    [
        lambda: RewardSettings(ref_log_coef=-1.0),
        lambda: RewardSettings(ref_log_coef=float("nan")),
        lambda: RewardSettings(layout="other"),
        lambda: RewardSettings(batch_size=0),
        lambda: rewards.team_rewards(None, 5, -0.5),
    ],
)
def test_impossible_settings_are_refused(make):
    with pytest.raises(UserError, match="REF_LOG_COEF|layout|BATCH_SIZE"):
        make()


def test_models_of_another_task_are_refused(judged):
    judge, params = judged
    wider = Judge(judge.reward_network, judge.reference_network, AGENTS, ACTIONS, RAW + 1, STATE)
    with pytest.raises(UserError, match="observations of 3 numbers, the models are for 2 with 4"):
        rewards.label(wider, params, some_rows(), EPISODE, RewardSettings())
    with pytest.raises(UserError, match="the reward model does not fit .* should be .4, 64. and is .3, 64."):
        wider.check(params)
    narrow = Judge(judge.reward_network, networks.RecurrentActor(ACTIONS, 8), AGENTS, ACTIONS, RAW, STATE)
    with pytest.raises(UserError, match="the reference policy does not fit"):
        narrow.check(params)


def test_rows_of_other_episodes_are_refused(judged):
    with pytest.raises(UserError, match="no whole number of episodes"):
        rewards.label(*judged, some_rows(), EPISODE + 1, RewardSettings())


def test_a_constant_reward_model_is_refused(judged):
    judge, params = judged
    nothing = params._replace(reward=jax.tree.map(jnp.zeros_like, params.reward))
    with pytest.raises(UserError, match="standard deviation"):
        rewards.label(judge, nothing, some_rows(), EPISODE, RewardSettings())
