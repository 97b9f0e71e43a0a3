"""The GRU with known states against the plain recurrence: values, first and second derivatives, differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pola.dice import networks
from pola.dice.recurrence import Gates, gru_scan, gru_states, linear_recurrence

T, B, H = 5, 3, 4


@pytest.fixture(scope="module")
def inputs():
    random = np.random.default_rng(0)
    gates = Gates(*random.normal(size=(3, T, B, H)).astype(np.float32))
    weights = Gates(*(0.5 * random.normal(size=(3, H, H)).astype(np.float32)))
    return jax.tree.map(jnp.asarray, (gates, weights, random.normal(size=H).astype(np.float32)))


def _known(gates, weights, bias):
    states = gru_scan(*jax.lax.stop_gradient((gates, weights, bias)))
    return gru_states(states, gates, weights, bias)


def _score(unroll):
    mix = jnp.asarray(np.random.default_rng(1).normal(size=(T, B, H)), jnp.float32)
    return lambda *inputs: jnp.sum(jnp.sin(mix + unroll(*inputs) ** 2))


def test_first_derivatives_are_those_of_the_plain_scan(inputs, distance):
    plain, known = (jax.jit(jax.value_and_grad(_score(unroll), (0, 1, 2))) for unroll in (gru_scan, _known))
    (value, slopes), (wanted, wanted_slopes) = known(*inputs), plain(*inputs)
    assert value == wanted
    assert distance(slopes, wanted_slopes) < 2e-6


def test_second_derivatives_are_those_of_the_plain_scan(inputs, distance):
    random = np.random.default_rng(2)
    direction = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), inputs)

    def bend(unroll):
        def along(*inputs):
            return jax.jvp(_score(unroll), inputs, direction)[1]

        return jax.jit(jax.grad(along, (0, 1, 2)))(*inputs)

    assert distance(bend(_known), bend(gru_scan)) < 2e-6
    twice = jax.jit(jax.grad(lambda *x: jnp.sum(jax.grad(_score(_known), 1)(*x).reset ** 2), (0, 1, 2)))
    plain = jax.jit(jax.grad(lambda *x: jnp.sum(jax.grad(_score(gru_scan), 1)(*x).reset ** 2), (0, 1, 2)))
    assert distance(twice(*inputs), plain(*inputs)) < 5e-6


def test_derivatives_are_differences(inputs):
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), inputs)
        random = np.random.default_rng(3)
        direction = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape)), exact)
        score, step = jax.jit(_score(_known)), 1e-4

        def moved(size):
            return jax.tree.map(lambda leaf, way: leaf + size * way, exact, direction)

        first = jax.jit(lambda *x: jax.jvp(_score(_known), x, direction)[1])
        ahead, here, back = score(*moved(step)), score(*exact), score(*moved(-step))
        assert float(first(*exact)) == pytest.approx(float(ahead - back) / (2 * step), rel=1e-6)
        second = jax.jvp(lambda *x: first(*x), exact, direction)[1]
        assert float(second) == pytest.approx(float(ahead - 2 * here + back) / step**2, rel=1e-4)


def test_linear_recurrence_of_two_steps_by_hand():
    decay, source = jnp.full((2, 1, 1), 0.5), jnp.array([[[3.0]], [[1.0]]])
    coefficients = Gates(*(jnp.full((2, 1, 1), value) for value in (1.0, 2.0, 3.0)))
    weights = Gates(*(jnp.full((1, 1), value) for value in (0.1, 0.2, 0.3)))
    # the first is 3, the second 0.5 times 3, plus 0.1 + 0.4 + 0.9 times 3, plus 1
    found = linear_recurrence(decay, coefficients, weights, source)
    np.testing.assert_allclose(found[:, 0, 0], [3.0, 1.5 + 4.2 + 1.0], rtol=1e-6)


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_a_sequence_is_the_repeated_step(layers):
    key = jax.random.PRNGKey(layers)
    params = networks.init_params(key, 6, H, layers, 2)
    inputs = jax.random.normal(key, (T, B, 6))
    net, state = networks.RecurrentNet(H, layers, 2), jnp.zeros((B, H))
    outputs = networks.unroll(params, inputs)
    for step, wanted in zip(inputs, outputs, strict=True):
        state, output = net.apply({"params": params}, state=state, observation=step)
        np.testing.assert_allclose(output, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("observation", "outputs", "count"), [(36, 4, 27460), (36, 1, 27265), (6, 2, 25410), (6, 1, 25345)]
)
def test_parameter_counts_of_the_paper(observation, outputs, count):
    shapes = jax.eval_shape(lambda: networks.init_params(jax.random.PRNGKey(0), observation, 64, 1, outputs))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


def test_initial_kernels_are_lecun_normal_and_orthogonal():
    params = networks.init_params(jax.random.PRNGKey(0), 36, 256, 2, 4)
    recurrent = np.asarray(params["GRUCell"]["hr"]["kernel"])
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(256), atol=1e-5)
    assert np.std(params["linear2"]["kernel"]) == pytest.approx(1 / 16, rel=0.02)
    assert not any(np.any(layer["bias"]) for name, layer in params.items() if name.startswith("linear"))
