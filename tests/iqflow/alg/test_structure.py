"""What must hold of IQ-Flow whatever the numbers (spec 11, checks 9 and 10), and the sizes of its networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iqflow.alg import iqflow, meta
from iqflow.alg.episodes import Batch
from iqflow.networks import actors, critics, incentives, joint_q
from iqflow.networks.layers import Sizes, count

MATRIX = Sizes(2, 2, (5,), (16, 8), (16, 8))
ESCAPE_ROOM = Sizes(5, 3, (15,), (64, 64), (64, 32))
CLEANUP = Sizes(2, 6, (9, 9, 3), (64, 64), None, 6)


def settings(**changes):
    rates = {"lr_reward": 3e-3, "lr_v_model": 1e-3, "lr_v_rewarder": 1e-3}
    return iqflow.IQFlow(MATRIX, 0.99, 0.01, 0.85, **(rates | {"inner_steps": 3} | changes))


def random_batch(seed, size=8):
    rng = np.random.default_rng(seed)
    shape = (size, MATRIX.n_agents)
    observations = rng.random((2, *shape, 5), dtype=np.float32)
    actions = rng.integers(0, 2, shape, dtype=np.int32)
    rewards = rng.normal(size=shape).astype(np.float32)
    return Batch(observations[0], actions, rewards, observations[1], np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    "sizes, expected",
    [
        (MATRIX, {"q": 788, "team": 321, "each": 218, "incentive": 394, "actor": 250}),
        (ESCAPE_ROOM, {"q": 50895, "team": 9089, "each": 4741, "incentive": 8069, "actor": 5379}),
        (
            CLEANUP,
            {"q": 135348, "team": 66665, "each": 66730, "incentive": 67498, "actor": 35886, "own": 35561},
        ),
    ],
    ids=["matrix", "escape room", "cleanup"],
)
def test_parameter_counts(sizes, expected):
    net = incentives.for_iqflow(sizes, 2.0, use_mini_init=False)
    makers = {
        "q": lambda key: joint_q.init(sizes, key),
        "team": lambda key: critics.init_team(sizes, key),
        "each": lambda key: critics.init_each(sizes, key),
        "incentive": lambda key: incentives.init(net, key),
        "actor": lambda key: actors.init(sizes, key),
        "own": lambda key: critics.init_own(sizes, key),
    }
    found = {name: count(jax.eval_shape(makers[name], jax.random.key(0))) for name in expected}
    assert found == expected


def test_initial_incentives():
    def sample(mini, key):
        net = incentives.for_iqflow(MATRIX, 2.0, use_mini_init=mini)
        net_key, observation_key, action_key = jax.random.split(key, 3)
        observations = jax.random.normal(observation_key, (500, 2, 5))
        actions = jax.random.randint(action_key, (500, 2), 0, 2)
        return incentives.incentives(net, incentives.init(net, net_key), observations, actions)

    several = jax.jit(jax.vmap(sample, (None, 0)), static_argnums=0)
    keys = jax.random.split(jax.random.key(3), 8)
    scattered, silent = several(False, keys), several(True, keys)
    assert abs(float(jnp.mean(scattered)) - 1.0) < 0.25
    assert float(jnp.std(scattered)) > 0.05
    assert float(jnp.max(scattered)) <= 2.0
    assert 0.0 < float(jnp.mean(silent)) < 0.01


@pytest.mark.parametrize("sizes", [MATRIX, CLEANUP], ids=["matrix", "cleanup"])
def test_kernels_start_orthogonal(sizes):
    params = jax.jit(joint_q.init, static_argnums=0)(sizes, jax.random.key(0))
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path)
        if "bias" in name:
            assert not np.any(leaf), name
            continue
        kernel = np.asarray(leaf[0] if "mlp_list" in name else leaf).reshape(-1, leaf.shape[-1])
        gram = kernel.T @ kernel if kernel.shape[0] >= kernel.shape[1] else kernel @ kernel.T
        np.testing.assert_allclose(gram, 2.0 * np.eye(len(gram)), atol=1e-4, err_msg=name)


def test_a_head_does_not_see_its_own_action():
    params = jax.jit(joint_q.init, static_argnums=0)(MATRIX, jax.random.key(1))
    batch = random_batch(0)
    flipped = batch.actions.copy()
    flipped[:, 0] = 1 - flipped[:, 0]
    before, after = (
        joint_q.values(params, joint_q.inputs(MATRIX, batch.observations, actions))
        for actions in (batch.actions, flipped)
    )
    np.testing.assert_array_equal(before[:, 0], after[:, 0])
    assert not np.allclose(before[:, 1], after[:, 1])


def test_constant_values_ignore_the_state():
    batch = random_batch(0)
    for state_values in (False, True):
        params = jax.jit(critics.init_each, static_argnums=(0, 2))(MATRIX, jax.random.key(2), state_values)
        here, there = (
            critics.each_value(MATRIX, params, observations, state_values)
            for observations in (batch.observations, batch.next_observations)
        )
        assert np.array_equal(here, there) != state_values


@pytest.fixture(scope="module")
def mechanism():
    return jax.jit(iqflow.init, static_argnums=0)(settings(), jax.random.key(5))


def test_only_the_incentives_get_a_gradient(mechanism):
    """dL/d(everything that is a constant of the objective) = 0; dL/deta != 0."""

    def loss(m, rewarder):
        return meta.meta_loss(settings(obj_mask=False), rewarder, m, random_batch(0), random_batch(1))[0]

    by_mechanism, by_rewarder = jax.jit(jax.grad(loss, argnums=(0, 1), allow_int=True))(
        mechanism, mechanism.rewarder
    )
    for part in (by_mechanism.coop.q, by_mechanism.env.q, by_mechanism.rew.v):
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(part))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(by_rewarder))


def test_no_gradient_where_everybody_agrees(mechanism):
    """The follower's critic a multiple of the cooperative one: all greedy actions agree, and nothing moves."""
    agreed = mechanism._replace(coop=mechanism.coop._replace(q=mechanism.rew.q))
    s = settings(lr_v_rewarder=0.0)
    gradient, report = jax.jit(meta.meta_gradient, static_argnums=0)(
        s, agreed, random_batch(0), random_batch(1)
    )
    np.testing.assert_array_equal(report.greedy_coop, report.greedy_follower)
    assert report.total == 0.0
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_second_order_gradient_against_differences(mechanism):
    """dL/deta along itself against central differences. nu is not 0 here: there, a step is nearly the sign of g_k."""
    s = settings(obj_mask=False, lr_v_rewarder=0.05)
    rms, *rest = mechanism.rew.q_optimiser
    rms = rms._replace(nu=jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.1), rms.nu))
    mechanism = mechanism._replace(rew=mechanism.rew._replace(q_optimiser=(rms, *rest)))
    loss = jax.jit(lambda r: meta.meta_loss(s, r, mechanism, random_batch(0), random_batch(1))[0])
    gradient, _ = jax.jit(meta.meta_gradient, static_argnums=0)(
        s, mechanism, random_batch(0), random_batch(1)
    )
    norm = np.sqrt(sum(float(jnp.sum(g * g)) for g in jax.tree.leaves(gradient)))
    step = 5e-4  # short: where a ReLU flips during the fit, g_k jumps and so does L
    ahead, behind = (
        loss(jax.tree.map(lambda p, g, by=by: p + by / norm * g, mechanism.rewarder, gradient))
        for by in (step, -step)
    )
    np.testing.assert_allclose(float(ahead - behind) / (2 * step), norm, rtol=0.02)


def test_state_values_take_part_in_the_whole_update():
    """Spec 7.1 switched off: the update runs, V^env and V^rew learn from the state, and the incentives move."""
    s = settings(state_values=True, obj_mask=False)

    @jax.jit
    def learn(key):
        before = iqflow.init(s, key)
        learned, _ = iqflow.critic_update(s, before, random_batch(0))
        paid, _ = meta.meta_update(s, learned, random_batch(0), random_batch(1))
        return before, learned, paid

    before, learned, paid = learn(jax.random.key(0))
    kernel = before.env.v["MLP_0"]["Dense_0"]["kernel"]
    assert kernel.shape == (10, 16)
    for critic in ("env", "rew"):
        old, new = (getattr(m, critic).v["MLP_0"]["Dense_0"]["kernel"] for m in (before, learned))
        assert np.all(np.any(np.asarray(old != new), axis=1)), "a row of every observed number has moved"
    assert not np.array_equal(learned.rewarder["Dense_0"]["kernel"], paid.rewarder["Dense_0"]["kernel"])


@pytest.mark.parametrize("cost_type", [0, 1, 2])
def test_costs_have_a_gradient(mechanism, cost_type):
    s = settings(cost_type=cost_type, cost_reg_coeff=0.5, cost_reg_coeff2=0.25)
    gradient, report = jax.jit(meta.meta_gradient, static_argnums=0)(
        s, mechanism, random_batch(0), random_batch(1)
    )
    assert report.cost > 0
    assert report.total > report.match
    assert any(np.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="cost_type"):
        settings(cost_type=3)
    with pytest.raises(ValueError, match="output"):
        incentives.IncentiveNet(MATRIX, 2.0, "softplus")
