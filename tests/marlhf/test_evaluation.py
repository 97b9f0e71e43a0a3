"""Tests of agents: true returns, what the learned models say, and lanes; on Spread and in a toy task."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from marlhf import evaluation, networks
from marlhf.environments.task import Task
from marlhf.evaluation import GreedyTest
from marlhf.offline.team import Team
from marlhf.rewards import Judge, JudgeParams, Standard

EPISODES, LENGTH, AGENTS, ACTIONS = 6, 4, 2, 3


def toy_task(shared=False):
    """A counter seen by every agent; an agent earns its own action, and 10 times it for agent 1."""

    def transition(key, state, actions):
        return state + 1, actions * jnp.array([1.0, 10.0]), state + 1 >= LENGTH

    def observe(state):
        return jnp.stack([jnp.array([state, 1.0]), jnp.array([state, -1.0])]), jnp.array([state, 2.0, 3.0])

    return Task(
        name="toy",
        agents=("a", "b"),
        n_actions=ACTIONS,
        obs_size=2,
        state_size=3,
        episode_length=LENGTH,
        reset=lambda key: jnp.float32(0),
        observe=observe,
        transition=transition,
        env=None,
        shared_reward=shared,
    )


@pytest.fixture(scope="module")
def team():
    return Team(networks.QNetwork(ACTIONS, 8), AGENTS)


@pytest.fixture(scope="module")
def params(team):
    return team.init(jax.random.key(1), 2 + AGENTS)


@pytest.fixture(scope="module")
def judge():
    return Judge(networks.RewardRNN(8, ACTIONS), networks.RecurrentActor(ACTIONS, 8), AGENTS, ACTIONS, 2, 3)


@pytest.fixture(scope="module")
def judge_params(judge):
    obs, forget, actions = jnp.zeros((1, 1, 2)), jnp.ones((1, 1), bool), jnp.zeros((1, 1), int)
    keys = jax.random.split(jax.random.key(0))
    reward, policy = judge.reward_network, judge.reference_network
    state = jnp.zeros((1, 1, 3))
    return JudgeParams(
        reward.init(keys[0], reward.initial_carry(1), obs, actions, state, forget),
        policy.init(keys[1], policy.initial_carry(1), obs, forget),
    )


def always(action):
    def act(key, carry, obs):
        return carry, jnp.full(obs.shape[:2], action)

    return act


def test_play_sees_whole_episodes():
    task = toy_task()
    seen = jax.jit(lambda key: evaluation.play(task, EPISODES, always(2), (), key))(jax.random.key(0))
    assert seen.obs.shape == (LENGTH, EPISODES, AGENTS, 2)
    np.testing.assert_array_equal(seen.obs[:, 0, 1], [[0, -1], [1, -1], [2, -1], [3, -1]])
    np.testing.assert_array_equal(seen.world_state[:, 0], [[step, 2, 3] for step in range(LENGTH)])
    np.testing.assert_array_equal(seen.rewards[0, 0], [2, 20])


@pytest.mark.parametrize("shared, expected", [(False, LENGTH * 22 / 2), (True, LENGTH * 2)])
def test_returns_are_divided_by_the_agents_unless_shared(shared, expected):
    task = toy_task(shared)
    found = evaluation.returns(task, evaluation.play(task, EPISODES, always(2), (), jax.random.key(0)))
    assert found.test_returns == expected
    np.testing.assert_array_equal(found.agents, [2 * LENGTH, 20 * LENGTH])


def test_greedy_play_is_that_of_one_long_pass(team, params):
    task = toy_task()
    seen = evaluation.greedy(task, team, params, EPISODES, jax.random.key(0))
    index = jnp.broadcast_to(jnp.eye(AGENTS)[None, None], (LENGTH, EPISODES, AGENTS, AGENTS))
    obs = jnp.concatenate([seen.obs, index], axis=-1)
    never = jnp.zeros((LENGTH, EPISODES), bool)
    _, q = team.apply(params, team.initial_carry(EPISODES), obs, never)
    np.testing.assert_array_equal(seen.actions, jnp.argmax(q, -1))


def test_sampled_play_follows_the_policy(judge, judge_params):
    policy, task = judge.reference_network, toy_task()
    sure = jax.tree.map(jnp.zeros_like, judge_params.reference)
    sure["params"]["Dense_2"]["bias"] = jnp.array([0.0, 50.0, 0.0])
    assert (evaluation.sampled(task, policy, sure, EPISODES, jax.random.key(0)).actions == 1).all()
    even = jax.tree.map(jnp.zeros_like, judge_params.reference)
    found = evaluation.sampled(task, policy, even, 200, jax.random.key(0)).actions
    np.testing.assert_allclose(jnp.bincount(found.reshape(-1), length=3) / found.size, 1 / 3, atol=0.05)


def test_predictions_are_those_of_the_models_on_whole_episodes(team, params, judge, judge_params):
    task, standard = toy_task(), Standard(0.5, 2.0)
    key = jax.random.key(3)
    found = GreedyTest(task, team, EPISODES, judge)(params, key, judge_params, standard, 1.5)
    seen = evaluation.greedy(task, team, params, EPISODES, key)
    bare = log_term = 0.0
    forget = jnp.zeros((LENGTH, EPISODES), bool)
    for agent in range(AGENTS):
        obs, actions = seen.obs[:, :, agent], seen.actions[:, :, agent]
        carry = judge.reward_network.initial_carry(EPISODES)
        parts = (obs, actions, seen.world_state, forget)
        _, reward = judge.reward_network.apply(judge_params.reward, carry, *parts)
        bare += ((reward - 0.5) / 2.0 + 1.0).sum(0).mean()
        carry = judge.reference_network.initial_carry(EPISODES)
        _, logits = judge.reference_network.apply(judge_params.reference, carry, obs, forget)
        log_prob = jnp.take_along_axis(jax.nn.log_softmax(logits), actions[..., None], -1)[..., 0]
        log_term += jnp.clip(1.5 * (log_prob + jnp.log(3.0)), -10, 1).sum(0).mean()
    np.testing.assert_allclose(found.predicted.test_predicted_rewards, bare, rtol=1e-5)
    np.testing.assert_allclose(found.predicted.test_reward_reference_log_term, log_term, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.predicted.test_predicted_rewards_with_log, bare + log_term, rtol=1e-4)


def test_lanes_are_the_single_tests(team):
    test = GreedyTest(toy_task(), team, EPISODES)
    several = jax.vmap(lambda key: team.init(key, 2 + AGENTS))(jax.random.split(jax.random.key(5), 3))
    keys = jax.random.split(jax.random.key(6), 3)
    together = jax.vmap(test)(several, keys)
    assert together.predicted is None
    for lane in range(3):
        alone = test(jax.tree.map(lambda leaf, lane=lane: leaf[lane], several), keys[lane])
        assert together.returns.test_returns[lane] == alone.returns.test_returns


def test_spread_at_random_is_what_the_original_measured():
    from marlhf.environments import make_task

    task = make_task("spread")
    network = networks.RecurrentActor(task.n_actions, 8)
    obs = jnp.zeros((1, 1, task.obs_size))
    params = network.init(jax.random.key(0), network.initial_carry(1), obs, jnp.ones((1, 1), bool))
    even = jax.tree.map(jnp.zeros_like, params)

    @jax.jit
    def test(key):
        return evaluation.returns(task, evaluation.sampled(task, network, even, 1024, key))

    with jax.numpy_rank_promotion("allow"):  # JaxMARL promotes
        found = test(jax.random.key(0))
    # specification, section 8.2: -27.67; the standard error of 1 024 episodes is about 0.2
    assert abs(found.test_returns + 27.67) < 1.0
