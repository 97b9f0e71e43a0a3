"""Networks: recorded outputs and gradients, initialisation, the two ways of evaluating them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common import checkpoints
from loqa.coin import agents, recurrence
from loqa.losses import state_values

ACCURACY = 1e-5


def assert_trees_close(found, wanted, atol):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol, rtol=0), found, wanted)


@pytest.mark.golden("gru_agent_*.npz")
def test_recorded_agent(recorded):
    params, seen = recorded.tree("param")["params"], jnp.asarray(recorded["obs"])[:, None]
    heads = jax.jit(agents.sequence)(params, seen)
    np.testing.assert_allclose(heads.log_probs[:, 0], recorded["logp"], atol=ACCURACY)
    np.testing.assert_allclose(heads.q[:, 0], recorded["qvalue"], atol=ACCURACY)
    np.testing.assert_allclose(state_values(heads)[:, 0], recorded["value"], atol=ACCURACY)
    carries, act = agents.start(params, 1), jax.jit(agents.step)
    for time, now in enumerate(seen):
        carries, step = act(params, carries, now, time)
        np.testing.assert_allclose(step.log_probs, heads.log_probs[time], atol=ACCURACY)
        np.testing.assert_allclose(step.q, heads.q[time], atol=ACCURACY)
    np.testing.assert_allclose(carries.actor[0], recorded["final_carry_actor"], atol=ACCURACY)
    np.testing.assert_allclose(carries.q[0], recorded["final_carry_qvalue"], atol=ACCURACY)
    grad = jax.jit(jax.grad(lambda p: agents.sequence(p, seen).log_probs[:, 0, 0].sum()))(params)
    assert_trees_close(grad, recorded.tree("grad_logp0")["params"], ACCURACY)
    grad = jax.jit(jax.grad(lambda p: state_values(agents.sequence(p, seen)).sum()))(params)
    assert_trees_close(grad, recorded.tree("grad_value")["params"], ACCURACY)


@pytest.mark.golden("trained_forward_*.npz")
def test_a_published_agent(case, recorded):
    name = case.stem.removeprefix("trained_forward_")
    params = checkpoints.nested(dict(np.load(case.with_name(f"trained_loqa_{name}.npz"))))
    seen = np.load(case.with_name("coin_trace_case0.npz"))["obs"][:, 0]
    heads = agents.sequence(params, jnp.asarray(seen.reshape(len(seen), 1, -1), jnp.float32))
    np.testing.assert_allclose(heads.log_probs[:, 0], recorded["logp"], atol=1e-4)
    np.testing.assert_allclose(heads.q[:, 0], recorded["qvalue"], atol=1e-4)
    np.testing.assert_allclose(state_values(heads)[:, 0], recorded["value"], atol=1e-4)


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_known_activity_and_folded_layers_change_nothing(layers):
    """A long sequence (which folds linear2 into the gates), with and without the rollout's activity."""
    sizes = agents.Architecture(12, 5, layers, 4, layers)
    params = agents.init(sizes, jax.random.PRNGKey(1))
    seen = jax.random.normal(jax.random.PRNGKey(2), (7, 9, 12))
    block = params["actor_head"][agents.BLOCK]
    gates = agents.input_gates(block, seen)
    activity = recurrence.run(gates, *agents.recurrent_weights(block))
    assert_trees_close(agents.sequence_gates(block, seen), gates, 1e-6)

    def loss(params, *known):
        return jnp.sum(
            agents.policy_sequence(params, seen, *known) * jnp.cos(jnp.arange(4.0)).reshape(1, 1, -1)
        )

    slope = jax.jit(jax.grad(loss))
    assert_trees_close(slope(params, activity), slope(params), 1e-5)
    np.testing.assert_allclose(
        agents.policy_outputs(params, seen), agents.policy_sequence(params, seen), atol=1e-6
    )
    np.testing.assert_allclose(agents.q_outputs(params, seen), agents.q_sequence(params, seen), atol=1e-6)


def test_gradient_of_the_recurrence():
    """Against differentiating the plain recurrence, for every input."""
    keys = jax.random.split(jax.random.PRNGKey(3), 7)
    gates = recurrence.Gates(*(jax.random.normal(key, (6, 3, 4)) for key in keys[:3]))
    weights = recurrence.Gates(*(jax.random.normal(key, (4, 4)) for key in keys[3:6]))
    bias, mask = jax.random.normal(keys[6], (4,)), jnp.sin(jnp.arange(72.0)).reshape(6, 3, 4)

    def known(*inputs):
        return jnp.sum(mask * recurrence.states_of(recurrence.run(*jax.lax.stop_gradient(inputs)), *inputs))

    def plain(*inputs):
        return jnp.sum(mask * recurrence.run(*inputs).state)

    found, wanted = (jax.jit(jax.grad(loss, (0, 1, 2)))(gates, weights, bias) for loss in (known, plain))
    assert_trees_close(found, wanted, 1e-5)


def test_a_different_agent_in_every_episode():
    sizes = agents.Architecture(12, 5, 2, 4, 2)
    params = [agents.init(sizes, key) for key in jax.random.split(jax.random.PRNGKey(1), 3)]
    seen = jax.random.normal(jax.random.PRNGKey(2), (4, 3, 12))
    crowd = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
    together = jax.jit(jax.vmap(lambda one, own: agents.sequence(one, own[:, None]), (0, 1), 1))(crowd, seen)
    for episode in range(3):
        alone = jax.jit(agents.sequence)(params[episode], seen[:, episode, None])
        np.testing.assert_allclose(together.log_probs[:, episode], alone.log_probs, atol=1e-6)
        np.testing.assert_allclose(together.q[:, episode], alone.q, atol=1e-6)
