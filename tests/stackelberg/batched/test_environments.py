"""Batched episodes replayed in the step-by-step environments: the same codes, rewards and tables for the same actions."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from stackerlberg import exact
from stackerlberg.batched import kinds, play, referee, schedule, tabular_q, translate
from stackerlberg.batched.arrays import cumulative, fold, greedy_ends
from stackerlberg.envs import make_env
from stackerlberg.experiments.configuration import build
from stackerlberg.games import FOLLOWER, LEADER

QUERIED = "repeated_matrix_game_stackelberg_observed_queries"
ONE_SHOT = "matrix_game_stackelberg_observed_queries"
TABULAR, ONE_SHOT_TABULAR = "repeated_matrix_game_tabularq", "matrix_game_tabularq"
KEYS = jnp.stack([jax.random.PRNGKey(5)])
EPISODES = 6


def specified(factory, env_config, **keys):
    """Its configuration, what is compiled, and one lane of data."""
    own = {"follower_agent_ids": [], "inner_iterations_follower": 0} if factory.endswith("tabularq") else {}
    configuration = build({"common_config": {"env": factory, "env_config": env_config}, **own, **keys})
    spec = translate.spec_of(configuration)
    return configuration, spec, translate.data_of([configuration], spec, 1)


def seen_by(space, network, code):
    """Whether an observation is what a network sees of `code`."""
    if network.features is None:
        return lambda observation: observation == code
    return lambda observation: np.array_equal(
        np.float32(network.features)[:, code], np.float32(spaces.flatten(space, observation))
    )


@pytest.mark.parametrize(
    ("factory", "config"),
    [
        (QUERIED, {"n_samples": 3, "samples_summarize": "mean", "small_memory": True}),
        (QUERIED, {"n_samples": 2, "samples_summarize": "mean", "tell_leader": True, "small_memory": True}),
        (QUERIED, {"n_samples": 2, "small_memory": True, "discrete_obs": True, "tell_leader": True}),
        (ONE_SHOT, {"n_samples": 2, "samples_summarize": "mean", "matrix_name": "battle"}),
        (QUERIED, {"n_samples": 2, "samples_summarize": "mean", "small_memory": True,
                   "matrix": np.arange(12.0).reshape(3, 2, 2).tolist()}),
    ],
)  # fmt: skip
def test_contextual_episodes(factory, config):
    """Of a leader that draws its answers and a follower that draws its play."""
    _, spec, data = specified(factory, config)
    n0, n1 = spec.actions
    codes = spec.protocol.leader_codes(spec.actions), spec.protocol.follower_codes(spec.actions)
    rng = np.random.default_rng(0)
    leader, follower = (rng.dirichlet(np.ones(n), count).T for n, count in zip((n0, n1), codes, strict=True))
    ends = [cumulative(jnp.asarray(each, jnp.float32)[..., None]) for each in (leader, follower)]
    chance = play.draw(KEYS, spec.protocol, spec.actions, EPISODES, 1)
    run = jax.jit(functools.partial(play.play, spec.protocol, spec.actions))
    played = jax.device_get(run(data.game, ends[0][:, :, None], ends[1], chance))
    queries, env = spec.protocol.query_steps(spec.actions), make_env(factory, config)
    for episode in range(EPISODES):
        observations, _ = env.reset(seed=0)
        for step in range(spec.leader.steps):
            at = (step, episode, 0)
            actions = {LEADER: int(played.leader.actions[at])}
            code = int(played.leader.observations[at])
            assert seen_by(env.observation_spaces[LEADER], spec.leader_network, code)(observations[LEADER])
            assert (FOLLOWER in observations) == (step >= queries)
            if step >= queries:
                own = (step - queries, episode, 0)
                code = int(played.follower.observations[own])
                shown = seen_by(env.observation_spaces[FOLLOWER], spec.follower_network, code)
                assert shown(observations[FOLLOWER])
                actions[FOLLOWER] = int(played.follower.actions[own])
            observations, rewards, dones, _ = env.step(actions)
            assert rewards.get(LEADER, 0.0) == pytest.approx(played.leader.rewards[at])
            if step >= queries:
                assert rewards[FOLLOWER] == pytest.approx(played.follower.rewards[own])
        assert dones["__all__"]


def test_exact_numbers_with_answers_by_their_mean():
    """The two referees agree, and with what is played; against deterministic leaders the mean is the answer."""
    config = {"n_samples": 3, "samples_summarize": "mean", "small_memory": True, "episode_length": 3}
    configuration, spec, data = specified(QUERIED, config)
    protocol, actions, game = spec.protocol, spec.actions, translate.game_of(configuration)
    assert protocol.contexts(actions) == 4**3
    rng = np.random.default_rng(2)
    share = rng.uniform(size=3).astype(np.float32)
    leader = jnp.asarray(np.stack([share, 1 - share]))[..., None]
    replies = rng.integers(0, 2, (protocol.follower_codes(actions), 1))
    value = float(referee.protocol_value(protocol, actions, data.game, leader, jnp.asarray(replies))[0])
    followers = protocol.by_context(replies[:, 0], actions)
    expected = exact.protocol_value(game, protocol, np.asarray(leader)[..., 0].T, followers)[0]
    assert value == pytest.approx(float(expected), abs=1e-4)
    ends = greedy_ends(jnp.asarray(np.eye(2, dtype=np.float32)[replies[:, 0]].T)[..., None])
    chance = play.draw(KEYS, protocol, actions, 4000, 1)
    run = jax.jit(functools.partial(play.play, protocol, actions))
    returns = run(data.game, cumulative(leader)[:, :, None], ends, chance).returns()[0]
    assert abs(float(returns.mean()) - value) < 4 * float(returns.std()) / np.sqrt(4000)
    regret = referee.regret(protocol, actions, data.tables, jnp.asarray(replies))[:, 0]
    np.testing.assert_allclose(regret, exact.follower_regret(game, protocol, followers).regret, atol=1e-4)


TOLD = {"tell_leader": True, "discrete_obs": True}
INNER = [
    (TABULAR, {}),
    (TABULAR, TOLD),
    (TABULAR, {"tell_leader": True, "tell_leader_mock": True, "small_memory": True}),
    (TABULAR, {"tell_leader": True, "small_memory": True}),
    (ONE_SHOT_TABULAR, {"leader_reward_during_q": True, "tell_leader": True}),
    (ONE_SHOT_TABULAR, {"follower_sparse_reward_prob": 2, "follower_sparse_reward_deterministic": True}),
    (ONE_SHOT_TABULAR, {"follower_sparse_reward_prob": 1, "follower_sparse_reward_scale": 3,
                        "follower_sparse_reward_deterministic": True}),
]  # fmt: skip


@pytest.mark.parametrize(("factory", "config"), INNER)
def test_episodes_with_an_inner_learner(factory, config):
    """A leader that draws, a follower without exploration: steps, table and the follower's return."""
    games = 4
    config = config | {"n_q_episodes": games, "q_init_zero": True}
    still = {"epsilon": 1e-9} if factory == TABULAR else {"param_noise": True}
    config |= still | ({"episode_length": 3} if factory == TABULAR else {})
    _, spec, data = specified(factory, config)
    settings = spec.tabular
    if factory == ONE_SHOT_TABULAR:  # its noise has a fixed scale: none at all is not among the arguments
        settings = dataclasses.replace(settings, epsilon=0.0)
    rng = np.random.default_rng(3)
    leader = rng.dirichlet(np.ones(2), spec.protocol.leader_codes(spec.actions)).T
    ends = cumulative(jnp.asarray(leader, jnp.float32)[..., None])[:, :, None]
    own = spec.protocol.observation_counts(spec.actions)[1]
    run = jax.jit(functools.partial(tabular_q.play, settings, spec.actions))
    found = run(data.game, ends, jnp.zeros((2, own, EPISODES, 1)), KEYS)
    side, _, returned, table = jax.device_get(found)
    env = make_env(factory, config)
    env._epsilon = env._epsilon if factory == TABULAR else 0.0
    for episode in range(EPISODES):
        observations, _ = env.reset(seed=0)
        for step in range(settings.steps):
            at = (step, episode, 0)
            code = int(side.observations[at])
            assert seen_by(env.observation_spaces[LEADER], spec.leader_network, code)(observations[LEADER])
            observations, rewards, dones, _ = env.step({LEADER: int(side.actions[at])})
            assert rewards[LEADER] == pytest.approx(side.rewards[at])
        assert dones["__all__"] and env.follower_return == pytest.approx(returned[episode, 0])
        np.testing.assert_allclose(env.q_table, table[:, :, episode, 0].T, atol=1e-5)


@pytest.mark.parametrize(("factory", "config"), INNER[:5])
def test_kinds_of_an_inner_learners_transitions(factory, config):
    """Each step's kind has that step's observation, action, reward and next observation."""
    config = config | {"n_q_episodes": 3} | ({"episode_length": 2} if factory == TABULAR else {})
    _, spec, data = specified(factory, config)
    protocol, actions, settings = spec.protocol, spec.actions, spec.tabular
    ends = jnp.full((1, protocol.leader_codes(actions), 1, 1), 0.5)
    shape = (2, protocol.observation_counts(actions)[1], EPISODES)
    side, replies, *_ = tabular_q.play(
        settings, actions, data.game, ends, tabular_q.new_table(settings, KEYS, shape, 1), KEYS
    )
    every = kinds.tabular_kinds(protocol, actions, data.game, settings.reward_during_q)
    assert spec.leader.kinds == len(every.observation)
    numbers = np.asarray(kinds.of_tabular(protocol, actions, side.observations, side.actions, replies))
    np.testing.assert_array_equal(every.observation[numbers], side.observations)
    np.testing.assert_array_equal(every.action[numbers], side.actions)
    after = np.full(numbers.shape, protocol.leader_codes(actions))
    after[:-1] = side.observations[1:]
    np.testing.assert_array_equal(every.following[numbers], after)
    np.testing.assert_allclose(np.asarray(every.rewards)[numbers, 0], side.rewards, atol=1e-6)


@pytest.mark.parametrize("hidden", [False, True])
def test_a_leader_may_not_see_the_inner_learners_games(hidden):
    """The policy gradient's loss is that of the steps that are left, their returns unchanged (spec 5.6)."""
    config = {"hidden_queries": hidden, "n_q_episodes": 3, "leader_reward_during_q": True}
    leader = {"rollout_fragment_length": 20, "train_batch_size": 20}
    _, spec, data = specified(ONE_SHOT_TABULAR, config, leader_config=leader)
    assert (spec.leader.steps, spec.leader.learned_steps) == (4, 1 if hidden else 4)
    state = schedule.fresh(spec, KEYS, 1)
    keys = schedule._keys(state, schedule.LEADER, 0)
    learner = schedule._learner(spec.leader, spec.leader_network)
    side, *_ = schedule._play_tabular(
        spec, data, state["table"], learner.ends(state["leader"]), keys, spec.leader.episodes, spec.tabular
    )
    log_pi = np.asarray(jax.nn.log_softmax(learner.values(state["leader"]), axis=0))
    to_go = np.cumsum(np.asarray(side.rewards)[::-1], 0)[::-1]
    first = 3 if hidden else 0
    chosen = log_pi[side.actions, side.observations, 0]
    expected = -(chosen * to_go)[first:].mean()
    _, report = schedule.train_leader(spec, data, state, np.int32(0), np.int32(1))
    assert float(report["policy_loss"][0]) == pytest.approx(float(expected), abs=1e-5)


def test_a_sparse_reward_comes_once_in_so_many_steps():
    """Learning by whole steps from one game, the table is the reward that was paid: scaled, or nothing."""
    config = {"follower_sparse_reward_prob": 4, "follower_sparse_reward_scale": 4, "q_alpha": 1.0,
              "n_q_episodes": 1, "q_init_zero": True, "matrix_name": "prisoners_dilemma"}  # fmt: skip
    _, spec, data = specified(ONE_SHOT_TABULAR, config)
    ends = jnp.ones((1, 1, 1, 1))  # always 0
    zero = jnp.zeros((2, 1, 4000, 1))
    _, replies, returned, table = tabular_q.play(spec.tabular, (2, 2), data.game, ends, zero, KEYS)
    learnt = np.take_along_axis(np.asarray(table)[:, 0], np.asarray(replies)[:1], 0)[0, :, 0]
    worth = np.where(np.asarray(replies)[0, :, 0] == 0, 3.0, 4.0)
    np.testing.assert_array_equal(np.unique(learnt / worth), [0.0, 4.0])
    assert abs((learnt > 0).mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 4000)
    paid = np.asarray(returned)[:, 0] > 0
    assert abs(paid.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 4000)
    # chance of the two games is not the same numbers
    assert abs((paid == (learnt > 0)).mean() - (0.25**2 + 0.75**2)) < 0.05


def test_a_random_leader_that_is_told_has_a_weight_per_input():
    """Without discrete_obs the bit's weights are shared by all observations, so tables are not uniform (spec 5.2)."""
    _, spec, _ = specified(QUERIED, {"tell_leader": True, "small_memory": True})
    values = np.asarray(schedule.random_leaders(fold(KEYS, 1), spec.leader_network, 500, 1))[..., 0]
    assert values.shape == (2, 6, 500)
    # answer minus play is the same for each observation: the difference of the bit's two weights
    np.testing.assert_allclose(np.ptp(values[:, 3:] - values[:, :3], axis=1), 0, atol=1e-6)
