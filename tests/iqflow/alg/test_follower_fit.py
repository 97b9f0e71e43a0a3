"""The written-out derivatives of the follower's fit against automatic differentiation of the plain loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iqflow.alg import follower_fit, iqflow, optimisers
from iqflow.networks import joint_q
from iqflow.networks.layers import Sizes
from iqflow.utils import batching

VECTORS = Sizes(2, 2, (4,), (5, 3))
PICTURES = Sizes(2, 3, (4, 3, 2), (5, 3), None, 2)
RATE, STEPS = 0.05, 3


def case(sizes, seed):
    """A joint action value, second moments, a batch and targets."""
    rng = np.random.default_rng(seed)

    def normal(leaf):
        return rng.normal(size=leaf.shape).astype(np.float32)

    q = jax.tree.map(normal, jax.eval_shape(lambda: joint_q.init(sizes, jax.random.key(0))))
    nu = jax.tree.map(lambda leaf: np.float32(0.01) + np.square(leaf), q)
    observations = rng.normal(size=(6, sizes.n_agents, *sizes.observation_shape)).astype(np.float32)
    actions = rng.integers(0, sizes.n_actions, (6, sizes.n_agents))
    targets = rng.normal(size=actions.shape).astype(np.float32)
    return q, nu, jax.jit(joint_q.inputs, static_argnums=0)(sizes, observations, actions), targets


def plain(q, nu, batch, targets):
    """The same steps with JAX's own derivatives."""
    losses = []
    for _ in range(STEPS):
        loss, gradient = jax.value_and_grad(iqflow.regression_loss)(q, batch, targets)
        q = optimisers.frozen_rmsprop_step(q, gradient, nu, RATE)
        losses.append(loss)
    return q, jnp.stack(losses)


def fitted(q, nu, batch, targets):
    return follower_fit.fit(q, nu, batch, targets, RATE, STEPS)


def judged(fit):
    """The gradient of a smooth function of the fitted parameters by psi_0 and the targets, and what was fitted."""

    def objective(q, targets, nu, batch):
        fitted = fit(q, nu, batch, targets)
        return sum(jnp.sum(jnp.sin(3.0 * leaf)) for leaf in jax.tree.leaves(fitted[0])), fitted

    return jax.jit(jax.grad(objective, argnums=(0, 1), has_aux=True))


def assert_close(ours, theirs):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * float(jnp.max(jnp.abs(b))))


@pytest.mark.parametrize("sizes", [VECTORS, PICTURES], ids=["vectors", "pictures"])
def test_steps_and_second_order_gradient(sizes):
    q, nu, batch, targets = case(sizes, 0)
    ours, theirs = (judged(fit)(q, targets, nu, batch) for fit in (fitted, plain))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(theirs))
    assert_close(ours, theirs)


def test_one_after_the_other_and_side_by_side():
    def square(numbers):
        return jnp.square(numbers["x"])

    numbers = {"x": jnp.arange(6.0).reshape(3, 2)}
    one, all_at_once = (jax.vmap(batching.one_after_the_other(square, when)) for when in (True, False))
    np.testing.assert_array_equal(one(numbers), all_at_once(numbers))
    assert ("scan" in str(jax.make_jaxpr(one)(numbers))) == (jax.default_backend() == "cpu")
    assert "scan" not in str(jax.make_jaxpr(all_at_once)(numbers))
