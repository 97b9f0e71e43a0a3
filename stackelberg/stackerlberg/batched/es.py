"""Evolution strategies for the leader: whole-episode returns of perturbed policies, no gradient inside (spec 5.7).

Every iteration perturbs the parameters by antithetic Gaussian noise, plays one episode with each, ranks the returns and
moves along the noise weighted by centred ranks, with an L2 pull to zero and Adam as RLlib's ES has it. A hidden query
can't matter: only returns are read.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from stackerlberg.batched import adam
from stackerlberg.batched.arrays import cumulative, fold, normal, ranked
from stackerlberg.batched.learners import Collect, Learner


class State(NamedTuple):
    """Parameters and Adam's memory."""

    params: dict[str, Array]
    moments: adam.Moments


def centred_ranks(returns: Array) -> Array:
    """Ranks along the first axis, scaled to [-.5, .5]: [M, N] -> [M, N]; equal returns keep their order."""
    count, lanes = returns.shape
    order = jnp.argsort(returns.T, axis=1, stable=True)  # [N, M]: sorted along neighbouring memory
    places = jnp.broadcast_to(jnp.arange(count), order.shape)
    ranks = jnp.zeros_like(order).at[jnp.arange(lanes)[:, None], order].set(places, unique_indices=True).T
    return ranks / (count - 1) - 0.5


def adam_step(
    params: dict[str, Array], moments: adam.Moments, gradient: dict[str, Array], stepsize: Array
) -> tuple[dict[str, Array], adam.Moments]:
    """ES's own Adam: epsilon is added before the bias correction, which sits in the step size."""
    count = moments.count + 1
    t = count.astype(jnp.float32)
    rate = stepsize * jnp.sqrt(-jnp.expm1(t * jnp.log(adam.BETA2))) / -jnp.expm1(t * jnp.log(adam.BETA1))
    mean = jax.tree.map(lambda m, g: adam.BETA1 * m + (1 - adam.BETA1) * g, moments.mean, gradient)
    square = jax.tree.map(lambda v, g: adam.BETA2 * v + (1 - adam.BETA2) * g * g, moments.square, gradient)
    new = jax.tree.map(
        lambda p, m, v: p - ranked(rate, p.ndim) * m / (jnp.sqrt(v) + adam.EPSILON), params, mean, square
    )
    return new, adam.Moments(mean, square, count)


class ES(Learner):
    """A softmax policy moved by evolution strategies; `episodes` per iteration, half of them mirrored."""

    def fresh(self, keys: Array, lanes: int) -> State:
        params = self.network.fresh(keys, lanes)
        return State(params, adam.start(params))

    def ends(self, state: State) -> Array:
        return cumulative(jax.nn.softmax(self.values(state), axis=0))[:, :, None]

    # DEVIATION(Q12): the configured learning rate, network and follower reach ES; in the release none of them did
    def train(self, carry, lr: Array, collect: Collect, keys: Array):
        state, arena = carry
        pairs = self.settings.episodes // 2
        noise = {
            name: normal(fold(keys, 100 + k), (*value.shape[:-1], pairs), value.shape[-1])
            for k, (name, value) in enumerate(sorted(state.params.items()))
        }
        both = {
            name: jnp.concatenate(
                [value[..., None, :] + sign * self.settings.noise * noise[name] for sign in (1, -1)], axis=-2
            )
            for name, value in state.params.items()
        }
        ends = cumulative(jax.nn.softmax(self.network.table(both), axis=0))
        arena, steps, stats = collect.play(arena, ends, keys, 2 * pairs)
        returns = steps.returns
        interleaved = jnp.stack([returns[:pairs], returns[pairs:]], axis=1).reshape(2 * pairs, -1)
        ranks = centred_ranks(interleaved).reshape(pairs, 2, -1)
        weights = ranks[:, 0] - ranks[:, 1]  # [pairs, N]
        gradient = {
            name: -(ranked(weights, noise[name].ndim) * noise[name]).sum(-2) / (2 * pairs)
            + self.settings.decay * state.params[name]
            for name in state.params
        }
        params, moments = adam_step(state.params, state.moments, gradient, lr)
        size = jnp.sqrt(sum((g**2).sum(tuple(range(g.ndim - 1))) for g in gradient.values()))
        return (State(params, moments), arena), stats | {"grad_norm": size}
