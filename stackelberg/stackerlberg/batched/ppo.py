"""PPO with a value baseline, as RLlib 2.0.1 trains it (spec 5.4).

Ratios, entropies and divergences depend on a sample only through its observation and action, and clipping also through
the sign of its advantage. So the policy's loss is a sum over the table [A, O] of what was gathered once per minibatch:
the positive and the negative advantages and the counts. Only the value's loss looks at single samples.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from stackerlberg.batched import adam
from stackerlberg.batched.arrays import cumulative, fold, lookup, ranked, reward_to_go, sums_by_code, uniform
from stackerlberg.batched.learners import Collect, Learner, Settings, Steps


class State(NamedTuple):
    """Parameters (``value``: v(o), [O, N]), Adam's memory and the coefficient of the divergence [N]."""

    params: dict[str, Array]
    moments: adam.Moments
    kl_coefficient: Array


class Samples(NamedTuple):
    """M samples per lane, [M, N] each."""

    codes: Array  # action * O + observation
    advantages: Array
    targets: Array


class Gathered(NamedTuple):
    """A minibatch as its losses see it."""

    positive: Array  # [A, O, N] sums of positive advantages
    negative: Array  # [A, O, N] and of negative ones
    counts: Array  # [O, N]
    samples: Samples


def samples_of(steps: Steps, values: Array) -> Samples:
    """Advantages R_t - v(o_t) (GAE with lambda and gamma 1) and targets R_t: values [O, N]."""
    returns = reward_to_go(steps.rewards)
    flat = (-1, returns.shape[-1])
    codes = steps.actions * values.shape[0] + steps.observations
    advantages = returns - lookup(values, steps.observations)
    # RLlib's target is advantage + value, which in float32 need not be R_t to the last digit
    targets = advantages + lookup(values, steps.observations)
    return Samples(codes.reshape(flat), advantages.reshape(flat), targets.reshape(flat))


def standardised(advantages: Array) -> Array:
    """(A - mean) / max(1e-4, population sd), per lane: [M, N]."""
    mean = ranked(advantages.mean(0), advantages.ndim)
    deviation = jnp.sqrt(((advantages - mean) ** 2).mean(0))
    return (advantages - mean) / ranked(jnp.maximum(1e-4, deviation), advantages.ndim)


def gather(samples: Samples, n_actions: int, n_observations: int) -> Gathered:
    """What the losses need of some samples."""
    codes = samples.codes[:, None]

    def sums(weights: Array) -> Array:
        return sums_by_code(codes, weights[:, None], n_actions * n_observations).reshape(
            n_actions, n_observations, -1
        )

    positive, negative = sums(jnp.maximum(samples.advantages, 0)), sums(jnp.minimum(samples.advantages, 0))
    return Gathered(positive, negative, sums(jnp.ones_like(samples.advantages)).sum(0), samples)


def losses(
    settings: Settings, logits: Array, values: Array, old_log_pi: Array, data: Gathered, kl_coefficient: Array
) -> tuple[Array, dict[str, Array]]:
    """PPO's loss [N] and its parts for tables logits [A, O, N] and values [O, N].

    ``min(A r, A clip(r))`` is ``A min(r, 1 + c)`` for A > 0 and ``A max(r, 1 - c)`` for A < 0.
    """
    n = data.samples.codes.shape[0]
    log_pi = jax.nn.log_softmax(logits, axis=0)
    ratio = jnp.exp(log_pi - old_log_pi)
    gained = data.positive * jnp.minimum(ratio, 1 + settings.clip)
    gained = gained + data.negative * jnp.maximum(ratio, 1 - settings.clip)
    policy = -gained.sum((0, 1)) / n
    predicted = lookup(values, data.samples.codes % values.shape[0])
    error = jnp.clip((predicted - data.samples.targets) ** 2, 0, settings.value_clip).mean(0)
    kl = (data.counts * (jnp.exp(old_log_pi) * (old_log_pi - log_pi)).sum(0)).sum(0) / n
    entropy = -(data.counts * (jnp.exp(log_pi) * log_pi).sum(0)).sum(0) / n
    total = (
        policy
        + kl_coefficient * kl
        + settings.value_coefficient * error
        - settings.entropy_coefficient * entropy
    )
    return total, {"total_loss": total, "policy_loss": policy, "vf_loss": error, "kl": kl, "entropy": entropy}


def gradients(settings, logits, values, old_log_pi, data, kl_coefficient):
    """The parts of the loss, and its gradients by logits and values."""

    def summed(tables):
        total, parts = losses(settings, *tables, old_log_pi, data, kl_coefficient)
        return total.sum(), parts

    (_, parts), found = jax.value_and_grad(summed, has_aux=True)((logits, values))
    return parts, *found


class PPO(Learner):
    """A softmax policy and a value table trained by PPO."""

    def fresh(self, keys: Array, lanes: int) -> State:
        params = self.network.fresh(keys, lanes)
        noise = self.network.__class__(1, self.network.observations).fresh(fold(keys, 1000), lanes)
        params["value"] = noise["layer0"][0]
        return State(params, adam.start(params), jnp.full((lanes,), self.settings.kl_coefficient))

    def values(self, state: State) -> Array:
        return self.network.table(_policy(state.params))

    def ends(self, state: State) -> Array:
        return cumulative(jax.nn.softmax(self.values(state), axis=0))[:, :, None]

    def train(self, carry, lr: Array, collect: Collect, keys: Array):
        state, arena = carry
        arena, steps, stats = collect.play(arena, self.ends(state), keys, self.settings.episodes)
        samples = samples_of(steps, state.params["value"])
        samples = samples._replace(advantages=standardised(samples.advantages))
        old = jax.nn.log_softmax(self.values(state), axis=0)
        shape = old.shape[:2]

        def update(carry, data: Gathered):
            params, moments = carry
            table = self.network.table(_policy(params))
            parts, by_logits, by_value = gradients(
                self.settings, table, params["value"], old, data, state.kl_coefficient
            )
            gradient = self.network.pull(_policy(params), by_logits) | {"value": by_value}
            return adam.step(params, moments, gradient, lr), parts

        carry = state.params, state.moments
        # DEVIATION(Q4): the remainder (1005 samples: minibatches of 1000 and 5) is a switch, and off
        if not self.settings.remainder and samples.codes.shape[0] < 2 * self.settings.minibatch:
            whole = gather(samples, *shape)
            carry, parts = jax.lax.scan(lambda c, _: update(c, whole), carry, length=self.settings.epochs)
        else:
            carry, parts = self._shuffled(samples, shape, update, carry, fold(keys, 1))
        parts = jax.tree.map(lambda each: each.mean(0), parts)
        kl = state.kl_coefficient
        kl = jnp.where(parts["kl"] > 2 * self.settings.kl_target, 1.5 * kl, kl)
        kl = jnp.where(parts["kl"] < 0.5 * self.settings.kl_target, 0.5 * kl, kl)
        return (State(*carry, kl), arena), stats | parts | {"cur_kl_coeff": state.kl_coefficient}

    def _shuffled(self, samples: Samples, shape, update, carry, keys):
        """Epochs of shuffled minibatches; with `remainder` the rest is one more, of its own size, at a random place.

        Lanes draw different places, so the rest is offered at every place and each lane takes it once.
        """
        size, lanes = samples.codes.shape
        minibatch, remainder = self.settings.minibatch, self.settings.remainder
        whole, rest = divmod(size, minibatch)

        def chosen(order: Array, first: int, count: int) -> Gathered:
            rows = order[first : first + count]
            return gather(jax.tree.map(lambda x: jnp.take_along_axis(x, rows, 0), samples), *shape)

        def taken(carry, data: Gathered, here: Array):
            new, parts = update(carry, data)
            carry = jax.tree.map(lambda a, b: jnp.where(ranked(here, a.ndim), a, b), new, carry)
            return carry, jax.tree.map(lambda x: jnp.where(here, x, 0.0), parts)

        def epoch(carry, number):
            drawn = fold(keys, number)
            order = jnp.argsort(uniform(drawn, (size,), lanes), axis=0)
            kept, extra = [], remainder and rest > 0
            place = jnp.floor(uniform(fold(drawn, 1), (), lanes) * (whole + 1))
            for k in range(whole + 1):
                if extra:
                    carry, parts = taken(carry, chosen(order, size - rest, rest), place == k)
                    kept.append(parts)
                if k < whole:
                    carry, parts = update(carry, chosen(order, k * minibatch, minibatch))
                    kept.append(parts)
            return carry, jax.tree.map(lambda *each: sum(each) / (whole + extra), *kept)

        return jax.lax.scan(epoch, carry, jnp.arange(self.settings.epochs))


def _policy(params: dict[str, Array]) -> dict[str, Array]:
    return {name: value for name, value in params.items() if name != "value"}
