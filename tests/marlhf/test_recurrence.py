"""The GRU: its values and its hand-written gradient against flax's cell and the automatic one."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from marlhf.recurrence import Weights, gru

STEPS, BATCH, FEATURES, WIDTH = 5, 3, 4, 2


@pytest.fixture(scope="module")
def given():
    """Weights, carry, inputs, resets."""
    keys = jax.random.split(jax.random.key(0), 7)
    wide = 3 * WIDTH
    shapes = ((FEATURES, wide), (wide,), (WIDTH, wide), (wide,))
    weights = Weights(*(jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=False)))
    carry = jax.random.normal(keys[4], (BATCH, WIDTH))
    inputs = jax.random.normal(keys[5], (STEPS, BATCH, FEATURES))
    resets = jax.random.bernoulli(keys[6], 0.3, (STEPS, BATCH))
    assert resets.any() and not resets.all()
    return weights, carry, inputs, resets


def by_the_book(weights, carry, inputs, resets):
    """The same, step by step, left to the automatic gradient."""
    every = []
    for x, reset in zip(inputs, resets, strict=True):
        carry = jnp.where(reset[:, None], 0.0, carry)
        of_x = x @ weights.kernel_x + weights.bias_x[None, :]
        of_h = carry @ weights.kernel_h + weights.bias_h[None, :]
        (r_x, z_x, n_x), (r_h, z_h, n_h) = jnp.split(of_x, 3, -1), jnp.split(of_h, 3, -1)
        r, z = jax.nn.sigmoid(r_x + r_h), jax.nn.sigmoid(z_x + z_h)
        carry = (1 - z) * jnp.tanh(n_x + r * n_h) + z * carry
        every.append(carry)
    return carry, jnp.stack(every)


def test_it_is_flax_cell(given):
    weights, carry, inputs, _ = given
    weights = weights._replace(bias_h=weights.bias_h.at[: 2 * WIDTH].set(0.0))
    parts = {}
    for letter, x, b, h, c in zip("rzn", *(jnp.split(part, 3, -1) for part in weights), strict=True):
        parts[f"i{letter}"] = {"kernel": x, "bias": b}
        parts[f"h{letter}"] = {"kernel": h, **({"bias": c} if letter == "n" else {})}
    with jax.numpy_rank_promotion("allow"):
        expected, _ = nn.GRUCell(WIDTH).apply({"params": parts}, carry, inputs[0])
    last, every = gru(weights, carry, inputs[:1], jnp.zeros((1, BATCH), bool))
    np.testing.assert_allclose(last, expected, atol=1e-6)
    np.testing.assert_array_equal(every[0], last)


def test_values_and_gradients_are_those_of_the_book(given):
    *smooth, resets = given
    keys = jax.random.split(jax.random.key(1))
    pull = (jax.random.normal(keys[0], (BATCH, WIDTH)), jax.random.normal(keys[1], (STEPS, BATCH, WIDTH)))

    def pulled(function):
        def scalar(*smooth):
            return sum(jnp.sum(out * by) for out, by in zip(function(*smooth, resets), pull, strict=True))

        return jax.jit(jax.value_and_grad(scalar, argnums=(0, 1, 2)))

    found, expected = pulled(gru)(*smooth), pulled(by_the_book)(*smooth)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), found, expected)


def test_a_reset_cuts_the_past_off(given):
    weights, carry, inputs, _ = given
    resets = jnp.zeros((STEPS, BATCH), bool).at[2].set(True)
    gradient = jax.grad(lambda carry: gru(weights, carry, inputs, resets)[0].sum())(carry)
    np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


def test_lanes_have_their_own_weights(given):
    weights, carry, inputs, resets = given
    several = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), weights)

    def slope(weights):
        return jax.grad(lambda weights: gru(weights, carry, inputs, resets)[1].sum())(weights)

    together = jax.vmap(slope)(several)
    for lane in range(2):
        alone = slope(jax.tree.map(lambda leaf, lane=lane: leaf[lane], several))
        jax.tree.map(
            lambda a, b, lane=lane: np.testing.assert_allclose(a[lane], b, rtol=1e-5, atol=1e-5),
            together,
            alone,
        )
