"""Recorded play: what a file holds (acceptance 8 of the specification), who deviates, and that no two files agree."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.cli import UserError
from marlhf import networks
from marlhf.agents import Agent, AgentMeta
from marlhf.data import collect
from marlhf.data.collect import UNIFORM, Collector, collect_file, deviating_agent, file_key
from marlhf.data.files import RowsFile, load_files
from marlhf.data.trajectories import cut
from marlhf.environments import make_task

ENDS, STARTS = [25, 51, 77, 103, 129], [26, 52, 78, 104]


@pytest.fixture(autouse=True)
def strict_ranks():
    """JaxMARL itself promotes ranks."""
    with jax.numpy_rank_promotion("allow"):
        yield


@functools.lru_cache
def spread():
    return make_task("spread")


def agent(task, seed, kind="q"):
    """An agent that has learned nothing."""
    network = (networks.QNetwork if kind == "q" else networks.FeedForwardActor)(task.n_actions)
    inputs = task.obs_size + (task.n_agents if kind == "q" else 0)
    params = network.init(
        jax.random.key(seed), network.initial_carry(1), jnp.zeros((1, 1, inputs)), jnp.ones((1, 1), bool)
    )
    meta = AgentMeta(kind, task.name, {}, "some", "behaviour", task.n_actions, 64, inputs, {}, None, None, {})
    return Agent(network, params, meta)


@pytest.fixture(scope="module")
def joint():
    return Collector(spread(), agent(spread(), 0))


@pytest.fixture(scope="module")
def rows(joint):
    return joint(file_key(0, "a", 0))


@pytest.fixture(scope="module")
def single():
    return Collector(spread(), agent(spread(), 0), agent(spread(), 1), epsilon=0.0, n_envs=4, n_steps=26)


def test_what_a_file_holds(rows):
    assert rows.obs.shape == (130, 3, 128, 21) and rows.world_state.shape == (130, 128, 54)
    assert rows.actions.shape == rows.rewards.shape == (130, 3, 128) and rows.dones.shape == (130, 128)
    assert np.flatnonzero(rows.dones.any(axis=1)).tolist() == ENDS and rows.dones[ENDS].all()
    blind = ~rows.obs.any(axis=(1, 2, 3))
    assert np.flatnonzero(blind).tolist() == STARTS, "agents see nothing at all at an episode's start"
    assert rows.world_state.any(axis=2).all(), "the world state is never hidden"
    np.testing.assert_allclose(rows.team_rewards, rows.rewards.sum(axis=1), rtol=1e-5, atol=1e-5)
    first = rows.rewards[:26].sum(axis=0).T
    np.testing.assert_allclose(rows.returned_episode_returns[25], first, rtol=1e-4)
    assert (rows.returned_episode_lengths[25:] == 26).all()
    np.testing.assert_array_equal(rows.returned_episode[..., 0], rows.dones)


@pytest.mark.golden("label_distortion*.json")
def test_labels_of_the_original_layout_are_half_noise(rows, case):
    recorded = [entry["corr"] for entry in json.loads(case.read_text()).values() if isinstance(entry, dict)]
    true, label = (cut(rows, 26, layout=layout).returns for layout in ("corrected", "original"))
    assert abs(np.corrcoef(true, label)[0, 1] - np.mean(recorded)) < 0.03
    np.testing.assert_allclose(label.mean(), true.mean(), rtol=1e-4)


def test_noise_is_as_frequent_as_asked(joint, rows):
    player = joint.player
    resets = np.concatenate([np.ones((1, 128), bool), rows.dones[:-1]])
    obs = rows.obs.reshape(130, 3 * 128, 21)
    _, q = player.network.apply(
        player.params, player.network.initial_carry(3 * 128), obs, jnp.tile(resets, (1, 3))
    )
    greedy = np.asarray(q.argmax(axis=-1)).reshape(130, 3, 128)
    differ = (greedy != rows.actions).mean()
    assert abs(differ - 0.05 * 4 / 5) < 0.005, "one of five even actions is the greedy one"
    assert len(np.unique(rows.actions[greedy != rows.actions])) == 5


def test_files_start_from_states_of_their_own(joint, rows):
    for other in (file_key(0, "a", 1), file_key(0, "b", 0), file_key(1, "a", 0)):
        assert (joint(other).world_state[0] != rows.world_state[0]).any(axis=1).all()
    np.testing.assert_array_equal(joint(file_key(0, "a", 0)).obs, rows.obs)


@pytest.mark.parametrize("who", [0, 2])
def test_the_chosen_agent_deviates(single, who):
    rows = single(file_key(0, "a", 0), who)
    obs = rows.obs.reshape(26, 12, 21)
    resets = np.zeros((26, 12), bool)

    def greedy(player):
        _, q = player.network.apply(player.params, player.network.initial_carry(12), obs, resets)
        return np.asarray(q.argmax(axis=-1)).reshape(26, 3, 4)

    expert, other = greedy(single.player), greedy(single.deviator)
    for index in range(3):
        np.testing.assert_array_equal(rows.actions[:, index], (other if index == who else expert)[:, index])
    assert (expert[:, who] != other[:, who]).any()


def test_a_file_says_what_made_it(single, tmp_path):
    rows = collect_file(
        single, tmp_path, 4, seed=7, policy="expert|rookie1", who="each", made_by={"agents_hash": "abc"}
    )
    path = tmp_path / "traj_batch_4.npz"
    found = load_files([path])
    with RowsFile(path) as file:
        made_by = file.made_by
    np.testing.assert_array_equal(found.actions, rows.actions)
    expected = {
        "task": "MPE_simple_spread_v3", "policy": "expert|rookie1", "seed": 7, "index": 4, "epsilon": 0.0,
        "deviating_agent": 1, "agents": list(spread().agents), "agents_hash": "abc", "episode_length": 26,
    }  # fmt: skip
    assert made_by.items() >= expected.items()


def test_overcooked_records_what_was_done(tmp_path):
    """The worse policy's actions are what the file holds, and observations are bytes."""
    task = make_task("overcooked")
    always = agent(task, 0, "feed_forward_actor")
    bias = jnp.zeros(6).at[4].set(100.0)  # this deviator stays where it is
    layers = always.params["params"]
    stay = Agent(
        always.network, {"params": {**layers, "Dense_2": {**layers["Dense_2"], "bias": bias}}}, always.meta
    )
    play = Collector(task, UNIFORM, stay, n_envs=2, n_steps=400)
    collect_file(play, tmp_path, 0, seed=0, policy="x", made_by={})
    rows = load_files([tmp_path / "traj_batch_0.npz"])
    assert rows.obs.dtype == np.uint8 and rows.obs.shape == (400, 2, 2, 522)
    assert (rows.actions[:, 0] == 4).all()
    counts = np.bincount(rows.actions[:, 1].reshape(-1), minlength=6)
    assert len(counts) == 6 and counts.min() > 80, "the uniform player draws all six actions"
    assert rows.dones[399].all() and not rows.dones[:399].any()
    # A cook that stays is where it was: its place among the observation's channels never changes.
    grid = rows.obs[:, 0, 0, :520].reshape(400, 4, 5, 26)
    assert (grid[..., 0] == grid[0, ..., 0]).all() and grid[0, ..., 0].sum() == 1


def test_bad_numbers(single):
    with pytest.raises(
        UserError, match="NUM_STEPS=27; rows have to hold whole episodes, so a multiple of 26"
    ):
        Collector(spread(), UNIFORM, n_steps=27)
    with pytest.raises(UserError, match="EPSILON=1.5"):
        Collector(spread(), UNIFORM, epsilon=1.5)
    with pytest.raises(UserError, match="agents 0 to 2"):
        single(collect.file_key(0, "a", 0), 3)
    with pytest.raises(UserError, match="'all'; it has to be 0 to 2, or each"):
        deviating_agent("all", 0, 3)
    assert [deviating_agent("each", index, 3) for index in range(4)] == [0, 1, 2, 0]
