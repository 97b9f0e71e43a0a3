"""The environments under Gymnasium's interface and checker, and under gym 0.26.2."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from common.cli import UserError
from iqflow.env import registration
from iqflow.env.cleanup.drawing import COLOURS, FIRST_AGENT
from iqflow.env.registration import ENVIRONMENTS


@pytest.fixture(autouse=True)
def registered():
    registration.register()
    registration.register()  # again changes nothing


def make(name, **settings):
    return gymnasium.make(name, **settings).unwrapped


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_gymnasium_s_own_checker_is_content(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(name, render_mode="rgb_array"))


def test_the_centralised_variant_passes_too():
    env = make("iqflow/Cleanup7x7-v0", centralised=True, render_mode="rgb_array")
    assert env.action_space.n == 36 and env.observation_space.shape == (1, 9, 9, 3)
    check_env(env)
    env.reset(seed=0)
    _, reward, _, _, info = env.step(35)  # both clean; agent 0 at (5, 2) reaches (2, 1), and nobody else any
    assert reward == 0 and info["n_cleaned"].tolist() == [1]


def test_escaping_terminates_and_the_time_limit_truncates():
    env = make("iqflow/EscapeRoom-v0", n_agents=3, min_at_lever=1, max_steps=2)
    env.reset(seed=0)
    seen, reward, terminated, truncated, info = env.step(np.array([0, 2, 2]))
    assert (reward, terminated, truncated) == (19.0, True, False)
    assert info["rewards"].tolist() == [-1, 10, 10] and seen.shape == (3, 9)
    env.reset()
    assert env.step(np.array([1, 1, 1]))[2:4] == (False, False)
    assert env.step(np.array([1, 1, 1]))[2:4] == (False, True)


def test_cleanup_tells_who_cleaned_and_draws_what_is_there():
    env = make("iqflow/Cleanup7x7-v0", render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (7 * 32, 7 * 32, 3) and picture.dtype == np.uint8
    for agent, (row, column) in enumerate(((5, 2), (1, 4))):
        assert np.all(
            picture[32 * row : 32 * row + 32, 32 * column : 32 * column + 32] == COLOURS[FIRST_AGENT + agent]
        )
    assert env.step(np.array([5, 4]))[4]["n_cleaned"].tolist() == [1, 0]


def test_the_last_outcome_of_a_matrix_game_is_lit():
    env = make("iqflow/StagHunt-v0", render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    env.step(np.array([1, 0]))
    changed = np.argwhere((env.render() != before).any(-1))
    body = changed[changed[:, 0] > 30]  # below the title
    body = body[body[:, 0] < 205]  # above the note of an unplayed game
    assert body[:, 0].min() >= 125 and body[:, 1].max() <= 165  # the lower left quarter: agent 0 defects


def test_what_is_refused():
    env = make("iqflow/EscapeRoom-v0")
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(5, int))
    env.reset(seed=0)
    with pytest.raises(gymnasium.error.InvalidAction):
        env.step(np.full(5, 3))
    assert env.render() is None
    with pytest.raises(UserError, match="unknown map 'moon'"):
        make("iqflow/Cleanup7x7-v0", map_name="moon")
    with pytest.raises(UserError, match="min_at_lever is 7"):
        make("iqflow/EscapeRoom-v0", min_at_lever=7)


def test_the_same_seed_is_the_same_episode_in_gym_0_26_too():
    gym = pytest.importorskip("gym")
    from iqflow.env import gym_adapter

    gym_adapter.register()
    gym_adapter.register()
    old = gym.make(
        "iqflow/Cleanup7x7-v0", disable_env_checker=True, shuffle_spawn=True, render_mode="rgb_array"
    )
    new = make("iqflow/Cleanup7x7-v0", shuffle_spawn=True, render_mode="rgb_array")
    assert old.action_space == gym.spaces.MultiDiscrete([6, 6])
    assert old.observation_space == gym.spaces.Box(0.0, 1.0, (2, 9, 9, 3), np.float32)
    np.testing.assert_array_equal(old.reset(seed=5)[0], new.reset(seed=5)[0])
    for action in ([5, 1], [2, 3], [5, 3], [5, 4]):
        theirs, ours = old.step(np.array(action)), new.step(np.array(action))
        np.testing.assert_array_equal(theirs[0], ours[0])
        assert theirs[1:4] == ours[1:4]
        np.testing.assert_array_equal(theirs[4]["rewards"], ours[4]["rewards"])
    np.testing.assert_array_equal(old.render(), new.render())
    central = gym.make("iqflow/Cleanup7x7-v0", disable_env_checker=True, centralised=True)
    assert central.action_space == gym.spaces.Discrete(36)
    old.close()
