"""Losses of the prisoner's dilemma by hand: one or two steps, two episodes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from loqa.ipd import memory_one
from loqa.ipd.game import Episodes, next_state

C, D = False, True


@pytest.fixture(params=["plain", "memory-one"])
def module(request, ipd):
    return {"plain": ipd, "memory-one": memory_one}[request.param]


def _zero_q(agent):
    """An agent whose Q head is 0 everywhere and whose policy is uniform."""
    return jax.tree.map(jnp.zeros_like, agent.init(jax.random.PRNGKey(0)))


def test_next_state_is_told_from_ones_own_side():
    own, other = jnp.asarray([C, C, D, D]), jnp.asarray([C, D, C, D])
    np.testing.assert_array_equal(next_state(own, other), [1, 2, 3, 4])
    np.testing.assert_array_equal(next_state(other, own), [1, 3, 2, 4])


def test_losses_of_two_steps(ipd, module, readme_hp):
    """CC, then (D, C): own rewards -1, 0, the other's -1, -3; V = 0, so A = -1, 0 and l = log 1/2.

    G = -1 - 3 gamma, -3. pihat(b) = sigmoid(G_t - 0). d loss / d q_0 = -A_0 (1 - pihat_0) / 2, and the learner's later
    move (D after CC) is credited with gamma (G_1 - 0): descent lowers l_1 D when that hurts the opponent.
    """
    hp = readme_hp("hp.game_length=2 hp.batch_size=1 hp.actor.train.stop_grad_advantage=true")
    agent = ipd.make_agent(hp)
    params = _zero_q(agent)
    episodes = Episodes(jnp.asarray([[C], [D]]), jnp.asarray([[C], [C]]))
    rival = ipd.Player(agent, params)

    def actor(p):
        return module.actor_losses(hp, agent, p, rival, episodes)

    found, gradients = jax.jit(lambda p: (actor(p), jax.jacrev(actor)(p)))(params)
    gamma = 0.96
    g0, g1 = -1 - 3 * gamma, -3.0
    pihat = 1 / (1 + np.exp(-np.array([g0, g1])))
    np.testing.assert_allclose(found.agent, -(np.log(0.5) * -1) / 2, rtol=1e-5)
    np.testing.assert_allclose(found.opponent, -np.mean(np.log(pihat) * np.array([-1, 0])), rtol=1e-5)
    np.testing.assert_allclose(found.entropy, -np.log(2), rtol=1e-5)
    slope = 0.5 * (1 - pihat[0]) * gamma * g1  # by l_1 = log pi(D | CC)
    head = gradients.opponent["params"]["actor_head"]
    np.testing.assert_allclose(head["CC"], slope * np.array([-0.5, 0.5]), rtol=1e-4)
    for unseen in ("start", "CD", "DC", "DD"):
        np.testing.assert_array_equal(head[unseen], [0, 0])


def test_centred_advantages_cancel_what_all_episodes_share(ipd, module, readme_hp):
    """Two episodes that earn the same have centred advantages of 0, so no loss is left."""
    words = "hp.game_length=2 hp.batch_size=2 hp.actor.train.centre_advantage=true"
    for advantage in ("TD0", "MC"):
        hp = readme_hp(f"{words} hp.actor.train.advantage={advantage}")
        agent = ipd.make_agent(hp)
        params = _zero_q(agent)
        same = jnp.asarray([[C, C], [D, D]])

        @jax.jit
        def losses(episodes, hp=hp, agent=agent, params=params):
            return module.actor_losses(hp, agent, params, ipd.Player(agent, params), episodes)

        found = losses(Episodes(same, ~same))
        np.testing.assert_allclose([found.agent, found.opponent], [0, 0], atol=1e-6)
        mixed = jnp.asarray([[C, D], [D, C]])
        found = losses(Episodes(mixed, mixed))
        # own rewards (-1, -2) and (-2, -1); returns follow with gamma; l = log 1/2 everywhere, so the sum cancels
        np.testing.assert_allclose(found.agent, 0, atol=1e-6)
        assert abs(float(found.opponent)) > 1e-3


@pytest.mark.parametrize(
    ("words", "goal"),
    [
        ("hp.qvalue.target=monte-carlo", [-3 - 2 * 0.96, -2.0]),
        ("hp.qvalue.target=finite-horizon", [-3.0, -2.0]),
        ("hp.qvalue.target=bootstrapped hp.reward_offset=1.5", [-1.5, -0.5]),
    ],
)
@pytest.mark.parametrize("loss", ["huber", "squared"])
def test_q_loss_of_two_steps(ipd, module, readme_hp, words, goal, loss):
    """(C, D), then (D, D), with Q = 0 everywhere."""
    hp = readme_hp(f"hp.game_length=2 hp.batch_size=1 {words} hp.qvalue.loss={loss}")
    agent = ipd.make_agent(hp)
    params = _zero_q(agent)
    episodes = Episodes(jnp.asarray([[C], [D]]), jnp.asarray([[D], [D]]))
    found = jax.jit(lambda p: module.q_loss(hp, agent, p, p, episodes))(params)
    error = np.abs(goal)
    each = 0.5 * error**2 if loss == "squared" else np.where(error < 1, 0.5 * error**2, error - 0.5)
    np.testing.assert_allclose(found, each.mean(), rtol=1e-5)
