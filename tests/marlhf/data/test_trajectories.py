"""Cutting rows into trajectories: the recorded cases exactly, and what the corrected layout has to keep."""

import numpy as np
import pytest

from common.cli import UserError
from marlhf.data.files import Rows
from marlhf.data.trajectories import cut, resets_from_dones, trajectory_number

LENGTH, EPISODES = 26, 5


def synthetic(n, envs, agent_major_state=True):
    """The recorded case's own synthetic file: contents encode time, agent and row (README of the golden cases)."""
    steps = LENGTH * EPISODES
    t, agent, row = np.meshgrid(np.arange(steps), np.arange(n), np.arange(envs), indexing="ij")
    obs = np.stack([t, agent, row], axis=-1).astype(np.float32)
    obs = np.concatenate([obs, np.broadcast_to(np.eye(n)[:, None], (steps, n, envs, n))], axis=-1)
    state = np.moveaxis(obs[..., :3], 1, 2).reshape(steps, envs, n * 3)
    rewards = (t + 1000.0 * agent + 10000.0 * row).astype(np.float32)
    dones = np.broadcast_to((np.arange(steps) % LENGTH == LENGTH - 1)[:, None], (steps, envs))
    info = np.zeros((steps, envs, n), np.float32)
    return Rows(
        obs.astype(np.float32), state.astype(np.float32), (1000 * t + 100 * agent + row).astype(np.int32),
        rewards, rewards.sum(axis=1), dones, info, info, info.astype(bool),
    )  # fmt: skip


@pytest.mark.golden("network_and_loss_cases*.npz")
@pytest.mark.parametrize("layout", ["original", "corrected"])
def test_recorded_layouts(case, layout):
    file = np.load(case)
    if "layout/obs" not in file.files:
        pytest.skip(f"{case.name} has no case layout")
    n, envs = int(file["layout/n_agents"]), int(file["layout/n_envs"])
    found = cut(synthetic(n, envs), LENGTH, layout=layout, alignment="original")
    np.testing.assert_array_equal(found.obs, file["layout/obs"])
    np.testing.assert_array_equal(found.actions, file[f"layout/action_{layout}"])
    np.testing.assert_array_equal(found.resets, file[f"layout/done_{layout}"])
    np.testing.assert_array_equal(found.world_state[found.world_index], file[f"layout/world_state_{layout}"])
    np.testing.assert_allclose(found.returns, file[f"layout/return_{layout}"], rtol=1e-6)


def test_corrected_trajectories_belong_together():
    rows = synthetic(3, 4)
    found = cut(rows, LENGTH)
    for episode, agent, row in ((0, 0, 0), (2, 1, 3), (4, 2, 0)):
        number = trajectory_number(episode, agent, row, 3, 4)
        when = slice(LENGTH * episode, LENGTH * (episode + 1))
        np.testing.assert_array_equal(found.obs[number], rows.obs[when, agent, row, :3])
        np.testing.assert_array_equal(found.actions[number], rows.actions[when, agent, row])
        np.testing.assert_array_equal(found.rewards[number], rows.rewards[when, agent, row])
        np.testing.assert_array_equal(
            found.world_state[found.world_index[number]], rows.world_state[when, row]
        )
    assert found.resets[:, 0].all() and not found.resets[:, 1:].any()


def test_both_layouts_hold_the_same_rewards():
    rows = synthetic(2, 3)
    original, corrected = (cut(rows, LENGTH, layout=layout) for layout in ("original", "corrected"))
    np.testing.assert_array_equal(np.sort(original.rewards, axis=None), np.sort(corrected.rewards, axis=None))
    np.testing.assert_array_equal(original.obs, corrected.obs)
    assert (original.returns != corrected.returns).any()


def test_the_state_can_be_ones_own_or_left_out():
    rows = synthetic(2, 3)
    own = cut(rows, LENGTH, own_state=True)
    np.testing.assert_array_equal(own.world_state[own.world_index], own.obs)
    none = cut(rows, LENGTH, with_state=False)
    assert none.world_state[none.world_index].shape == (EPISODES * 2 * 3, LENGTH, 0)


def test_resets():
    dones = np.array([False, True, False, False, True])
    assert resets_from_dones(dones, "original").tolist() == dones.tolist()
    assert resets_from_dones(dones, "corrected").tolist() == [True, False, True, False, False]


def test_rows_that_hold_no_whole_episodes_are_refused():
    rows = synthetic(2, 3)
    for length in (27, 131):
        with pytest.raises(UserError, match=f"130 steps can't be cut into episodes of {length}"):
            cut(rows, length)
