"""The recorded traces replay exactly: observations, rewards, dones, infos, spaces, Q tables (acceptance 1 and 2)."""

import json

import numpy as np
import pytest
from gymnasium import spaces

from stackerlberg.envs import make_env
from stackerlberg.envs.dynamics import LearningDynamics
from stackerlberg.envs.matrix import MatrixGame, SparseReward
from stackerlberg.envs.tabular_q import TabularQFollower
from stackerlberg.games import FOLLOWER, LEADER, Game, named_game
from stackerlberg.protocol import memory_name

CLASSES = {"LearningDynamicsInfoWrapper": False, "LearningDynamicsAgentCopiesWrapper": True}


def plain(value):
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def described(space) -> dict:
    if isinstance(space, spaces.Discrete):
        return {"Discrete": int(space.n)}
    if isinstance(space, spaces.Box):
        return {"Box": [float(space.low.min()), float(space.high.max()), list(space.shape)]}
    return {"Dict": {key: described(entry) for key, entry in space.items()}}


def replay(env, trace) -> None:
    observations, _ = env.reset()
    assert plain(observations) == trace[0]["obs"]
    for number, entry in enumerate(trace[1:]):
        actions = entry["actions"]
        if isinstance(actions, list):
            actions = {LEADER: actions[0], FOLLOWER: actions[1]}
        observations, rewards, dones, infos = env.step(actions)
        got = {"obs": plain(observations), "rewards": rewards, "dones": dones, "infos": infos}
        expected = {key: entry[key] for key in got if key in entry}
        assert {key: got[key] for key in expected} == expected, number
        for agent, observation in observations.items():
            assert env.observation_spaces[agent].contains(observation)


def matrix(record) -> MatrixGame:
    memory = memory_name(record["memory"], record["small_memory"])
    game = Game(record.get("game", "matrix"), record["matrix"])
    return MatrixGame(game, record["episode_length"], memory, record["reward_offset"])


def check_spaces(env, record) -> None:
    for key, of_agents in (("obs", env.observation_spaces), ("act", env.action_spaces)):
        assert {"Dict": {agent: described(space) for agent, space in of_agents.items()}} == record["spaces"][
            key
        ]


def matrix_env(record) -> None:
    env = matrix(record)
    check_spaces(env, record)
    replay(env, record["trace"])


def observed_queries_env(record) -> None:
    env = make_env(record["factory"], record["env_config"])
    check_spaces(env, record)
    for trace in record["episodes"]:
        replay(env, trace)


def tabular_q_env(record) -> None:
    # The recorded follower looks actions up under the leader's observation (quirk Q5).
    env = TabularQFollower(matrix(record), **record["wrapper"], leader_lookup=True)
    for episode in record["episodes"]:
        replay(env, episode["trace"])
        for state, values in episode["q_table_after"].items():
            assert env.q_table[int(state)].tolist() == values


def learning_dynamics(record) -> None:
    # Recorded in the prisoner's dilemma with joint memory; the file does not say so.
    steps, games = len(record["trace"]) - 1, record["kwargs"].get("n_follower_episodes", 1)
    game = MatrixGame(named_game("prisoners_dilemma"), steps // games, "5-state", -2.5)
    env = LearningDynamics(game, copies=CLASSES[record["cls"]], **record["kwargs"])
    replay(env, record["trace"])


def sparse_reward(record) -> None:
    steps = len(record["trace"]) - 1
    replay(
        SparseReward(MatrixGame(named_game("prisoners_dilemma"), steps, "5-state"), **record["kwargs"]),
        record["trace"],
    )


KINDS = {
    check.__name__: check
    for check in (matrix_env, observed_queries_env, tabular_q_env, learning_dynamics, sparse_reward)
}


@pytest.mark.golden("env_traces*.json")
def test_traces(case):
    records = json.loads(case.read_text())
    assert records
    for number, record in enumerate(records):
        try:
            KINDS[record["kind"]](record)
        except AssertionError as error:
            raise AssertionError(f"case {number}, {record['kind']}: {error}") from error


def test_own_observation_changes_the_three_state_trace():
    """DEVIATION(Q5) is a difference: with the follower's own observation a recorded table comes out otherwise."""
    game = MatrixGame(named_game("prisoners_dilemma"), 5, "3-state", -2.5)
    tables = []
    for leader_lookup in (False, True):
        env = TabularQFollower(
            game, n_q_episodes=4, epsilon=0.0, q_init_zero=True, gamma=0.9, leader_lookup=leader_lookup
        )
        env.reset()
        rng, done = np.random.default_rng(0), False
        while not done:
            done = env.step({LEADER: int(rng.integers(2))})[2]["__all__"]
        tables.append(env.q_table)
    assert not np.array_equal(*tables)
