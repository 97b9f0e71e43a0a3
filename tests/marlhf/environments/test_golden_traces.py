"""Recorded traces: particle physics, keyed rollouts with automatic resets, Overcooked."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from marlhf.environments import RolloutManager, make_task

RAW_TAG = {"prey": "learner"}  # the traces of Tag give all four agents' actions


def read(path):
    """The arrays of a file by case: {case: {field: array}}."""
    arrays, cases = np.load(path), {}
    for name in arrays.files:
        case, field = name.split("/", 1)
        cases.setdefault(case, {})[field] = arrays[name]
    return cases


def task_for(case, data):
    """The task of a case, from its name and its sizes."""
    if case.startswith("spread"):
        agents = data["actions"].shape[1]
        width = data["obs"].shape[-1] - agents if "obs" in data else data["obs0/agent_0"].shape[-1]
        return make_task("spread", num_agents=agents, num_landmarks=(width - 4 * agents) // 2)
    return make_task("reference") if case.startswith("reference") else make_task("tag", **RAW_TAG)


@pytest.mark.golden("mpe_step_traces*.npz")
def test_particle_steps(case):
    for name, data in read(case).items():
        task = task_for(name, data)
        state = task.reset(jax.random.key(0))
        start = {"p_pos": jnp.asarray(data["p_pos0"]), "p_vel": jnp.zeros_like(state.p_vel)}
        if "goal" in data:
            start["goal"] = jnp.asarray(data["goal"])
        state = state.replace(**start)

        def step(state, actions, task=task):
            state, rewards, done = task.transition(jax.random.key(1), state, actions)
            return state, (state.p_pos, state.p_vel, task.observe(state)[0], rewards, done)

        obs = task.observe(state)[0]
        _, (p_pos, p_vel, later, rewards, done) = jax.lax.scan(step, state, jnp.asarray(data["actions"]))
        np.testing.assert_allclose(p_pos, data["p_pos"], atol=5e-5, err_msg=name)
        np.testing.assert_allclose(p_vel, data["p_vel"], atol=5e-5, err_msg=name)
        np.testing.assert_array_equal(done, data["done"], err_msg=name)
        for index, agent in enumerate(task.agents):
            first, recorded = data[f"obs0/{agent}"], data[f"obs/{agent}"]
            size = recorded.shape[-1]
            np.testing.assert_allclose(obs[index, :size], first, atol=1e-5, err_msg=name)
            np.testing.assert_allclose(later[:, index, :size], recorded, atol=5e-5, err_msg=name)
            assert not later[:, index, size:].any()
            np.testing.assert_allclose(rewards[:, index], data[f"reward/{agent}"], atol=5e-5, err_msg=name)


@pytest.mark.golden("mpe_keyed_rollout*.npz")
def test_keyed_rollouts(case):
    mode = "nonpartitionable" not in case.name
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.threefry_partitionable(mode))
        for name, data in read(case).items():
            task = task_for(name, data)
            actions = jnp.asarray(data["actions"])
            manager = RolloutManager(task, actions.shape[-1])
            view, state = manager.reset(jax.random.PRNGKey(7))

            def step(carry, actions, manager=manager):
                key, state = carry
                key, now = jax.random.split(key)
                view, rewards, team, done, episode, state = manager.step(now, state, actions)
                return (key, state), (view, rewards, team, done, episode)

            _, (later, rewards, team, done, episode) = jax.lax.scan(
                step, (jax.random.PRNGKey(8), state), actions
            )
            obs = np.concatenate([view.obs[None], later.obs])
            world = np.concatenate([view.world_state[None], later.world_state])
            for ours, recorded in (
                (obs, "obs"),
                (world, "global_state"),
                (rewards, "reward"),
                (team, "team_reward"),
                (done, "done"),
                (episode.returns, "returned_episode_returns"),
                (episode.lengths, "returned_episode_lengths"),
            ):
                np.testing.assert_allclose(ours, data[recorded], atol=1e-4, rtol=1e-5, err_msg=recorded)
            ends = np.flatnonzero(data["done"][:, 0])
            assert not obs[ends + 1].any() and world[ends + 1].any(axis=-1).all()


@pytest.mark.golden("overcooked_step_traces*.npz")
def test_overcooked_steps(case):
    task = make_task("overcooked")
    env_directions = jnp.asarray([[0, -1], [0, 1], [1, 0], [-1, 0]])
    for name, data in read(case).items():
        state = task.reset(jax.random.key(0))
        directions = jnp.asarray(data["init_dir"], jnp.int32)
        state = state.replace(
            agent_dir_idx=directions, agent_dir=env_directions[directions].astype(state.agent_dir.dtype)
        )

        def step(state, actions):
            state, rewards, done = task.transition(jax.random.key(1), state, actions)
            return state, (task.observe(state)[0], rewards, done, state.agent_pos, state.agent_inv)

        first = task.observe(state)[0]
        _, (later, rewards, done, where, holds) = jax.lax.scan(step, state, jnp.asarray(data["actions"]))
        obs = np.concatenate([first[None], later]).reshape(data["obs"].shape)
        np.testing.assert_array_equal(obs, data["obs"], err_msg=name)
        np.testing.assert_array_equal(rewards[:, 0], data["reward"], err_msg=name)
        np.testing.assert_array_equal(rewards[:, 1], data["reward"], err_msg=name)
        np.testing.assert_array_equal(done, data["done"], err_msg=name)
        np.testing.assert_array_equal(where, data["agent_pos"], err_msg=name)
        np.testing.assert_array_equal(holds, data["agent_inv"], err_msg=name)
