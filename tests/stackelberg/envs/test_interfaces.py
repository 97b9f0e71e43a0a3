"""Every factory under Gymnasium's and RLlib's own checkers, stepped to the end of its episodes."""

import copy
import logging
import pickle
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from common.cli import UserError
from stackerlberg.envs import FACTORIES, LeaderEnv, make_env, register_gymnasium_envs
from stackerlberg.games import FOLLOWER, LEADER

ONE_SHOT, REPEATED = (
    "matrix_game_stackelberg_observed_queries",
    "repeated_matrix_game_stackelberg_observed_queries",
)
ASYMMETRIC = {"matrix": [[[1, 2], [5, 1], [0, 4]], [[2, 0], [0, 3], [3, 1]]]}
CASES = [
    *((name, {}) for name in FACTORIES),
    ("matrix_game", ASYMMETRIC),
    ("repeated_matrix_game", {"hypernetwork": True, "small_memory": True}),
    ("repeated_matrix_game", {"hypernetwork": True, "discrete_hyper": True, "queries": True}),
    ("repeated_matrix_game", {"queries": True, "discrete_obs": True, **ASYMMETRIC, "small_memory": True}),
    (ONE_SHOT, {"mixed_strategies": True, "matrix": np.ones((3, 2, 2)).tolist()}),
    (REPEATED, {"tell_leader": True, "discrete_obs": True, "hidden_queries": True}),
    (REPEATED, {"tell_leader": True, "small_memory": True, "n_samples": 2}),
    (REPEATED, {"n_samples": 3, "samples_summarize": "mean", "small_memory": True}),
    (REPEATED, {"hypernetwork": True, "small_memory": True}),
    (REPEATED, {"consistent_commitment": True, "query_observations": (2, 0), "discrete_obs": True}),
    ("matrix_game_tabularq", {"tell_leader": True, "param_noise": True, "n_q_episodes": 3}),
    ("matrix_game_tabularq", {"follower_sparse_reward_prob": 4, "follower_sparse_reward_scale": 4}),
    ("repeated_matrix_game_tabularq", {"tell_leader": True, "discrete_obs": True, "hidden_queries": True}),
    (
        "repeated_matrix_game_stackelberg_learning_dynamics",
        {"n_follower_episodes": 3, "follower_copies": True},
    ),
    ("matrix_game_stackelberg_learning_dynamics", {"mixed_strategies": True, "n_follower_episodes": 5}),
]
IDS = [f"{name}-{number}" for number, (name, _) in enumerate(CASES)]


def first_action(observation, rng) -> int:
    return 0


@pytest.mark.parametrize(("name", "config"), CASES, ids=IDS)
def test_episodes_stay_in_their_spaces(name, config):
    env = make_env(name, config)
    twin = pickle.loads(pickle.dumps(env))
    rng = np.random.default_rng(0)
    for episode in range(2):
        observations, infos = env.reset(seed=episode)
        assert repr(twin.reset(seed=episode)) == repr((observations, infos))
        done, steps = False, 0
        while not done:
            for agent, observation in observations.items():
                assert env.observation_spaces[agent].contains(observation), (agent, observation)
            for agent in observations:
                env.action_spaces[agent].seed(int(rng.integers(2**31)))
            actions = {agent: env.action_spaces[agent].sample() for agent in observations}
            result = env.step(actions)
            assert repr(twin.step(copy.deepcopy(actions))) == repr(result)
            observations, rewards, dones, infos = result
            assert set(rewards) <= set(env.possible_agents) and set(infos) <= set(env.possible_agents)
            done, steps = dones["__all__"], steps + 1
            assert steps < 10_000


@pytest.mark.parametrize(("name", "config"), CASES, ids=IDS)
def test_gymnasium_checker(name, config):
    env = LeaderEnv(name, config, follower=first_action)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # advice on Box ranges and on a missing registry entry
        check_env(env, skip_render_check=True)


def test_registered_with_gymnasium():
    register_gymnasium_envs()
    register_gymnasium_envs()
    env = gymnasium.make(
        f"stackerlberg/{REPEATED}-v0", env_config={"discrete_obs": True}, follower=np.zeros(160, int)
    )
    observation, _ = env.reset(seed=0)
    total, steps, over = 0.0, 0, False
    while not over:
        observation, reward, over, truncated, _ = env.step(0)
        total, steps = total + reward, steps + 1
        assert not truncated
    assert (total, steps) == (5.0, 15)


def test_a_follower_table_may_be_stochastic():
    env = LeaderEnv(REPEATED, {"discrete_obs": True, "small_memory": True}, follower=np.full((24, 2), 0.5))
    returns = []
    for seed in range(30):
        env.reset(seed=seed)
        over, total = False, 0.0
        while not over:
            _, reward, over, _, _ = env.step(0)
            total += reward
        returns.append(total)
    assert -15 < min(returns) < max(returns) <= 5


def test_leader_env_needs_a_follower():
    with pytest.raises(UserError, match="give LeaderEnv a follower"):
        LeaderEnv("matrix_game")
    assert LeaderEnv("matrix_game_tabularq").reset(seed=0)[0] == 0


@pytest.mark.parametrize(("name", "config"), CASES, ids=IDS)
def test_rllib_checker(name, config, caplog):
    pytest.importorskip("ray")
    from ray.rllib.utils.pre_checks.env import check_multiagent_environments

    from stackerlberg.envs.rllib import RllibEnv

    env = RllibEnv({"factory": name, **config})
    # Without these the checker only warns and checks nothing.
    assert all(hasattr(env, name) for name in ("observation_space", "action_space", "_agent_ids"))
    with caplog.at_level(logging.WARNING):
        check_multiagent_environments(env)
    assert not caplog.records
    assert env.num_agents == len(env.possible_agents)


def test_registered_with_rllib():
    pytest.importorskip("ray")
    from ray.tune.registry import ENV_CREATOR, _global_registry

    from stackerlberg.envs.rllib import register_rllib_envs

    register_rllib_envs()
    for name in FACTORIES:
        env = _global_registry.get(ENV_CREATOR, name)({})
        assert type(env.machine) is type(make_env(name)) and env.possible_agents[0] == LEADER


@pytest.mark.parametrize(("name", "config"), CASES, ids=IDS)
def test_rllib_episodes_keep_every_reward(name, config):
    """RLlib's own episode takes every step of every environment, late and leaving agents included."""
    pytest.importorskip("ray")
    from ray.rllib.env.multi_agent_episode import MultiAgentEpisode

    from stackerlberg.envs.rllib import RllibEnv

    env = RllibEnv({"factory": name, **config})
    episode = MultiAgentEpisode(
        observation_space=env.observation_spaces,
        action_space=env.action_spaces,
        agent_to_module_mapping_fn=lambda agent, episode: agent,
    )
    observations, infos = env.reset(seed=1)
    episode.add_env_reset(observations=observations, infos=infos)
    paid, steps = dict.fromkeys(env.possible_agents, 0.0), 0
    while not episode.is_done and steps < 200:
        actions = {
            agent: env.action_spaces[agent].sample() for agent in observations if agent not in env._over
        }
        observations, rewards, terminateds, truncateds, infos = env.step(actions)
        episode.add_env_step(
            observations=observations,
            actions=actions,
            rewards=rewards,
            infos=infos,
            terminateds=terminateds,
            truncateds=truncateds,
        )
        steps += 1
        for agent, reward in rewards.items():
            paid[agent] += reward
    for agent, kept in episode.agent_episodes.items():
        assert kept.get_return() == pytest.approx(paid[agent]), agent


def test_rllib_follower_joins_after_the_queries_and_copies_leave():
    pytest.importorskip("ray")
    from stackerlberg.envs.rllib import RllibEnv

    env = RllibEnv({"factory": REPEATED, "small_memory": True, "hidden_queries": True, "discrete_obs": True})
    observations, infos = env.reset(seed=0)
    assert set(observations) == {LEADER} and infos == {LEADER: {"hidden": True}}
    seen, over = [set(observations)], False
    while not over:
        observations, _, terminateds, truncateds, infos = env.step(dict.fromkeys(observations, 0))
        over = terminateds["__all__"]
        assert not any(truncateds.values())
        seen.append(set(observations))
    assert seen == [{LEADER}] * 3 + [{LEADER, FOLLOWER}] * 11

    copies = RllibEnv(
        {
            "factory": "repeated_matrix_game_stackelberg_learning_dynamics",
            "episode_length": 2,
            "n_follower_episodes": 2,
            "follower_copies": True,
        }
    )
    copies.reset(seed=0)
    copies.step({LEADER: 0, f"{FOLLOWER}__COPY__0": 1})
    observations, _, terminateds, _, _ = copies.step({LEADER: 0, f"{FOLLOWER}__COPY__0": 1})
    assert terminateds[f"{FOLLOWER}__COPY__0"] and f"{FOLLOWER}__COPY__1" in observations
