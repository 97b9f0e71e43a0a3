"""The prey: advantages by hand, who plays whom, that training is repeatable and its file is a prey of Tag."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.cli import UserError
from marlhf import agents
from marlhf.behaviour import prey
from marlhf.environments import make_task
from marlhf.networks import QNetwork, RecurrentActor

SMALL = prey.PreySettings(num_envs=4, num_updates=2, agent_hidden_dim=5)


def an_adversary(action, hidden=4):
    """Adversaries that always choose one action."""
    network = QNetwork(5, hidden)
    shapes = (network.initial_carry(1), jnp.zeros((1, 1, 19)), jnp.zeros((1, 1), bool))
    params = network.init(jax.random.key(0), *shapes)
    params["params"]["Dense_1"]["bias"] = 1e6 * jax.nn.one_hot(action, 5)
    meta = agents.AgentMeta("q", "tag", {}, "expert", "behaviour", 5, hidden, 19, {}, None, None, {})
    return agents.Agent(network, params, meta)


def test_advantages_by_hand():
    settings = dataclasses.replace(SMALL, gamma=0.5, gae_lambda=0.5)
    found, goals = prey.advantages(settings, jnp.array([[1.0], [2.0]]), jnp.array([[3.0], [1.0]]))
    # errors: 1 + 0.5 - 3 = -1.5 and 2 - 1 = 1; nothing follows the last step
    np.testing.assert_allclose(found[:, 0], [-1.5 + 0.25, 1.0])
    np.testing.assert_allclose(goals[:, 0], [1.75, 2.0])


def test_a_hunt_is_between_the_adversaries_and_the_prey():
    task, adversary = make_task("tag", prey="learner"), an_adversary(2)
    actor = RecurrentActor(5, 4)
    shapes = (actor.initial_carry(1), jnp.zeros((1, 1, 16)), jnp.zeros((1, 1), bool))
    params = actor.init(jax.random.key(0), *shapes)
    params["params"]["Dense_2"]["bias"] = 1e3 * jax.nn.one_hot(1, 5)  # the prey goes left, they go right
    found = jax.jit(
        lambda key: prey.hunt(task, adversary.network, adversary.params, actor, params, key, 16, 0.0)
    )(jax.random.key(1))
    assert found.obs.shape == (26, 16, 16) and found.world_state.shape == (26, 16, 62)
    assert (found.actions == 1).all()
    speeds = found.world_state[-1].reshape(16, 62)
    assert (speeds[:, 0] > 0).mean() > 0.8 and (found.obs[-1, :, 0] < 0).mean() > 0.8  # but for contacts
    assert not found.obs[..., 14:].any()


def test_a_trained_prey_is_one_of_tag(tmp_path):
    files = prey.train_prey(
        SMALL, [an_adversary(1), an_adversary(2)], 0, tmp_path / "a", 1, lambda line: None
    )
    again = prey.train_prey(
        SMALL, [an_adversary(1), an_adversary(2)], 0, tmp_path / "b", 1, lambda line: None
    )
    assert [path.name for path in files] == ["prey_1.safetensors", "prey_2.safetensors"]
    assert [path.read_bytes() for path in files] == [path.read_bytes() for path in again]
    assert files[0].read_bytes() != files[1].read_bytes()
    table = prey.evasiveness({"right": an_adversary(2)}, ["motionless", files[1]], episodes=4)
    assert set(table) == {"motionless", "prey_2"} and table["prey_2"]["right"].episodes == 4
    task = make_task("tag", prey=str(files[1]))
    assert dict(task.kwargs) == {"prey": str(files[1])}
    with pytest.raises(UserError, match="of one width"):
        prey.train_prey(SMALL, [an_adversary(1), an_adversary(1, hidden=5)], 0, tmp_path, 1)


def test_the_prey_remembers_within_its_episode(tmp_path):
    [file] = prey.train_prey(
        dataclasses.replace(SMALL, num_updates=1), [an_adversary(1)], 0, tmp_path, 1, lambda line: None
    )
    task = make_task("tag", prey=str(file))
    state = task.reset(jax.random.key(0))
    after, _, done = jax.jit(task.step)(jax.random.key(1), state, jnp.zeros(3, int))
    assert not done and not state.carry.any() and after.carry.any()
    last = after._replace(world=after.world.replace(step=jnp.array(25)))
    fresh, _, done = jax.jit(task.step)(jax.random.key(2), last, jnp.zeros(3, int))
    assert done and not fresh.carry.any()  # the next episode's prey knows nothing of this one
