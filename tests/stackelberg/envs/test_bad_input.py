"""What is wrong is named, and what would be right (issue 6, bad input; quirk Q7)."""

import numpy as np
import pytest

from common.cli import UserError
from stackerlberg.envs import check_env_config, make_env
from stackerlberg.envs.matrix import MatrixGame
from stackerlberg.games import Game, named_game, resolve_game
from stackerlberg.protocol import Protocol, all_tables

REPEATED = "repeated_matrix_game_stackelberg_observed_queries"


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("matrix_gam", {}, "did you mean 'matrix_game'"),
        ("no such thing", {}, "there are .*matrix_game"),
        (REPEATED, {"small_memroy": True}, "has no argument 'small_memroy'; did you mean 'small_memory'"),
        ("repeated_matrix_game_tabularq", {"q_alpha": 0.01}, "no argument 'q_alpha'; did you mean 'alpha'"),
        ("matrix_game_tabularq", {"reward_offset": -2.5}, "no argument 'reward_offset'"),
        (REPEATED, {"small_memory": 1}, "'small_memory' .* must be true or false, not 1"),
        (REPEATED, {"memory": False}, "matrix_game has no memory"),
        (REPEATED, {"query_observations": (0, 5)}, "query 5 does not fit the memory '5-state'"),
        (REPEATED, {"episode_length": 0}, "episode_length must be a whole number of at least 1, not 0"),
        (REPEATED, {"n_samples": 1.5}, "n_samples must be a whole number"),
        (REPEATED, {"samples_summarize": "median"}, "there are list, mean"),
        (REPEATED, {"samples_summarize": "mean", "discrete_obs": True}, "no whole-number code"),
        (REPEATED, {"tell_leader_mock": True}, "no meaning without tell_leader"),
        (REPEATED, {"tell_leader": True, "consistent_commitment": True}, "without tell_leader"),
        (REPEATED, {"hypernetwork": True, "discrete_obs": True}, "answers are whole numbers"),
        ("repeated_matrix_game", {"discrete_hyper": True}, "without hypernetwork"),
        ("repeated_matrix_game", {"discrete_obs": True}, "without queries"),
        (
            "repeated_matrix_game",
            {"hypernetwork": True, "discrete_hyper": True, "matrix": np.zeros((3, 2, 2))},
            "two actions, not 3",
        ),
        ("matrix_game_tabularq", {"n_q_episodes": -1}, "n_q_episodes must be"),
        ("matrix_game_tabularq", {"q_alpha": 2}, "q_alpha must lie in"),
        ("matrix_game_tabularq", {"follower_sparse_reward_prob": 0}, "at least 1, not 0"),
        (
            "matrix_game_stackelberg_learning_dynamics",
            {"n_reward_episodes": 40},
            "more than n_follower_episodes 32",
        ),
        ("test_env", {"num_agents": 0}, "num_agents must be"),
        ("matrix_game", {"matrix_name": "prisoner_dilemma"}, "did you mean 'prisoners_dilemma'"),
        (
            "matrix_game",
            {"matrix": [[1, 2], [3, 4]]},
            r"shape \[leader actions, follower actions, 2\], not \[2, 2\]",
        ),
        ("matrix_game", {"matrix": [[[1, 2]], [[3, float("nan")]]]}, r"entry \[1\]\[0\]\[1\] is nan"),
        ("matrix_game", {"matrix": [[[1, 2], [3, 4]], [[5, 6]]]}, "equally long rows"),
        ("matrix_game", {"matrix": [[["a", "b"]]]}, "must hold numbers"),
    ],
)
def test_refused(name, config, message):
    with pytest.raises(UserError, match=message) as caught:
        make_env(name, config)
    assert "\n" not in str(caught.value)


def test_a_configuration_can_be_checked_without_building():
    check_env_config(REPEATED, {"small_memory": True, "matrix_name": "not looked at"})
    with pytest.raises(UserError, match="no argument"):
        check_env_config(REPEATED, {"_deepmind": True})


def test_games_and_protocols_are_checked():
    with pytest.raises(UserError, match="one shape"):
        Game.from_bimatrix([[1, 2]], [[1], [2]])
    with pytest.raises(UserError, match="unknown memory '4-state'; there are none, 3-state, 5-state"):
        Protocol("4-state")
    with pytest.raises(UserError, match="finite"):
        Protocol(reward_offset=float("inf"))
    with pytest.raises(UserError, match="can't be enumerated"):
        all_tables(30, 3)
    with pytest.raises(ValueError, match="read-only"):
        named_game("chicken").payoffs[0, 0, 0] = 7


def test_wrong_actions_are_named():
    env = MatrixGame(resolve_game("chicken"), 1)
    with pytest.raises(RuntimeError, match="call reset"):
        env.step({"agent_0": 0, "agent_1": 0})
    env.reset()
    with pytest.raises(ValueError, match="agent_1 must act"):
        env.step({"agent_0": 0})
    with pytest.raises(ValueError, match="agent_0's action must be in"):
        env.step({"agent_0": 2, "agent_1": 0})
