"""Followers: weights by hand, padding, probes that any learner solves and a wrong sign cannot."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iqflow.alg import followers
from iqflow.alg.episodes import Episode, follower_rewards, per_agent
from iqflow.networks.layers import Sizes

SIZES = Sizes(2, 3, (4,), (8, 8))
REINFORCE = followers.Reinforce(SIZES, 0.9, 0.0, 0.05)
ACTOR_CRITIC = followers.ActorCritic(SIZES, 0.9, 0.0, 0.01, 0.01, 0.01)


def episode(seed, steps, padded=0):
    rng = np.random.default_rng(seed)
    shape = (steps + padded, SIZES.n_agents)
    observations = rng.random((2, *shape, 4), dtype=np.float32)
    actions = rng.integers(0, 3, shape, dtype=np.int32)
    rewards = rng.normal(size=shape).astype(np.float32)
    dones = np.zeros(shape, np.float32)
    dones[steps - 1] = 1.0
    valid = (np.arange(steps + padded) < steps).astype(np.float32)
    return Episode(observations[0], actions, rewards, observations[1], dones, valid)


def test_weights_by_hand():
    rewards, valid = jnp.array([1.0, 0.0, 2.0, 7.0]), jnp.array([1.0, 1.0, 1.0, 0.0])
    immediate = followers.immediate_weights(0.9, rewards, valid)
    np.testing.assert_allclose(immediate, [1.0, 0.0, 1.62, 0.0], rtol=1e-6)
    later = followers.immediate_weights(0.9, rewards, valid, to_go=True)
    np.testing.assert_allclose(later, [2.62, 1.62, 1.62, 0.0], rtol=1e-6)


def test_rewards_of_the_three_set_ups():
    rewards, given = jnp.array([[1.0, -2.0]]), jnp.array([[0.5, 0.25]])
    np.testing.assert_array_equal(follower_rewards(rewards), rewards)
    np.testing.assert_array_equal(follower_rewards(rewards, given), [[1.5, -1.75]])
    np.testing.assert_array_equal(follower_rewards(rewards, shared=True), [[-1.0, -1.0]])


@pytest.mark.parametrize("learner", [REINFORCE, ACTOR_CRITIC], ids=["reinforce", "actor-critic"])
def test_padding_changes_nothing(learner):
    states = jax.jit(lambda key: followers.init_agents(learner, key))(jax.random.key(0))
    whole = episode(0, 4, padded=3)
    cut = Episode(*(field[:4] for field in whole))
    update = jax.jit(lambda s, e: followers.update_agents(learner, s, per_agent(e, e.rewards)))
    for a, b in zip(
        jax.tree.leaves(update(states, whole)), jax.tree.leaves(update(states, cut)), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("learner", [REINFORCE, ACTOR_CRITIC], ids=["reinforce", "actor-critic"])
def test_followers_find_the_rewarded_action(learner):
    """Agent 0 is paid for action 2, agent 1 for action 0; one state, one step."""
    wanted, observations = jnp.array([2, 0]), jnp.ones((2, 4))

    def iterate(states, key):
        actions = jax.vmap(lambda k: followers.act(SIZES, states.actor, observations, k))(
            jax.random.split(key, 8)
        )
        rewards = (actions == wanted[None]).astype(jnp.float32)
        seen = jnp.broadcast_to(observations[None], (8, 2, 4))
        lesson = Episode(seen, actions, rewards, seen, jnp.ones((8, 2)), jnp.ones(8))
        return followers.update_agents(learner, states, per_agent(lesson, rewards))[0], None

    @jax.jit
    def train(key):
        init_key, key = jax.random.split(key)
        states = followers.init_agents(learner, init_key)
        states, _ = jax.lax.scan(iterate, states, jax.random.split(key, 300))
        return jnp.exp(followers.log_policies(SIZES, states.actor, observations))

    policies = train(jax.random.key(0))
    assert policies[0, 2] > 0.9 and policies[1, 0] > 0.9
