"""Optimiser conventions (head of spec section 5): optax's, with RMSProp's eps inside the root."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

Params = Any
EPS = 1e-8
DECAY = 0.9


def make(kind: str, learning_rate: float) -> optax.GradientTransformation:
    """`sgd`; `adam` (0.9, 0.999, eps 1e-8, bias correction); `rmsprop`: nu <- 0.9 nu + 0.1 g^2, step g / sqrt(nu + eps)."""
    if kind == "adam":
        return optax.adam(learning_rate)
    if kind == "rmsprop":
        return optax.rmsprop(learning_rate, decay=DECAY, eps=EPS, eps_in_sqrt=True)
    if kind == "sgd":
        return optax.sgd(learning_rate)
    raise ValueError(f"optimizer {kind!r} is none of adam, rmsprop, sgd")


def step(kind: str, learning_rate: float, gradient: Params, state: Any, params: Params) -> tuple[Params, Any]:
    """One step down the gradient; returns (parameters, optimiser state)."""
    updates, state = make(kind, learning_rate).update(gradient, state, params)
    return optax.apply_updates(params, updates), state


def second_moment(rmsprop_state: Any) -> Params:
    """nu of an RMSProp state."""
    return rmsprop_state[0].nu


def frozen_rmsprop_step(params: Params, gradient: Params, nu: Params, learning_rate: float) -> Params:
    """An RMSProp step whose statistic is not stored: p - lr g / sqrt(0.9 nu + 0.1 g^2 + eps) (spec 7.4)."""

    def move(p, g, n):
        return p - learning_rate * g * jax.lax.rsqrt(DECAY * n + (1.0 - DECAY) * jnp.square(g) + EPS)

    return jax.tree.map(move, params, gradient, nu)


def frozen_rmsprop_adjoint(p: Params, gradient: Params, nu: Params, learning_rate: float) -> Params:
    """Adjoint of the gradient in `frozen_rmsprop_step` from the adjoint p of its result: p d(step)/d(gradient)."""

    def pull(p, g, n):
        scale = jax.lax.rsqrt(DECAY * n + (1.0 - DECAY) * jnp.square(g) + EPS)
        return -learning_rate * p * (DECAY * n + EPS) * scale * scale * scale

    return jax.tree.map(pull, p, gradient, nu)


def soft_update(target: Params, params: Params, tau: float) -> Params:
    """tau * params + (1 - tau) * target, leaf by leaf."""
    return jax.tree.map(lambda old, new: tau * new + (1.0 - tau) * old, target, params)
