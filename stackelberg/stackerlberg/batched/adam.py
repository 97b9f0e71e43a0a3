"""Adam, and gradient clipping, on dictionaries of arrays with the lanes last."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from stackerlberg.batched.arrays import ranked

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class Moments(NamedTuple):
    """Adam's memory: running means of the gradient and its square, and each lane's number of steps."""

    mean: dict[str, Array]
    square: dict[str, Array]
    count: Array


def start(params: dict[str, Array]) -> Moments:
    """Nothing seen yet."""
    mean, square = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
    lanes = next(iter(params.values())).shape[-1]
    return Moments(mean, square, jnp.zeros((lanes,), jnp.int32))


def step(
    params: dict[str, Array], moments: Moments, gradient: dict[str, Array], lr: Array
) -> tuple[dict[str, Array], Moments]:
    """One step down the gradient as torch does it (betas .9 and .999, epsilon 1e-8).

    Args: `lr` [N] learning rates or a number.
    """
    count = moments.count + 1
    t = count.astype(jnp.float32)
    # -expm1 because 1 - .999 ** t loses five digits in float32 at the first step
    unbias1, unbias2 = -jnp.expm1(t * jnp.log(BETA1)), -jnp.expm1(t * jnp.log(BETA2))
    mean = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, moments.mean, gradient)
    square = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, moments.square, gradient)
    new = jax.tree.map(
        lambda p, m, v: (
            p - ranked(lr / unbias1, p.ndim) * m / (jnp.sqrt(v) / ranked(jnp.sqrt(unbias2), p.ndim) + EPSILON)
        ),
        params,
        mean,
        square,
    )
    return new, Moments(mean, square, count)


def clip(gradient: dict[str, Array], limit: float) -> dict[str, Array]:
    """Scale each lane's gradient so that its norm over all parameters is at most `limit`."""
    norm = jnp.sqrt(sum((g**2).sum(tuple(range(g.ndim - 1))) for g in gradient.values()))
    scale = jnp.minimum(1.0, limit / (norm + 1e-6))
    return jax.tree.map(lambda g: g * ranked(scale, g.ndim), gradient)
