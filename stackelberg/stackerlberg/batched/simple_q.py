"""SimpleQ: action values from a replay buffer, explored by parameter noise or epsilon-greedily (spec 5.5)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from stackerlberg.batched import adam
from stackerlberg.batched.arrays import (
    fold,
    greedy_ends,
    lookup,
    normal,
    ranked,
    uniform,
)
from stackerlberg.batched.kinds import Kinds
from stackerlberg.batched.learners import Collect, Learner


class Replay(NamedTuple):
    """The kinds of the stored transitions as a ring, [capacity, N], and how often each is in it, [K, N]."""

    ring: Array
    counts: Array
    size: Array  # scalars: what is filled, and where the next goes
    place: Array


class State(NamedTuple):
    """Parameters, target parameters, Adam's memory, the buffer, the noise's sd [N], env steps sampled and at the last copy."""

    params: dict[str, Array]
    target: dict[str, Array]
    moments: adam.Moments
    replay: Replay
    sigma: Array
    sampled: Array
    copied: Array


def loss_and_gradient(q: Array, target_q: Array, kinds: Kinds, drawn: Array) -> tuple[Array, Array]:
    """Mean Huber loss [N] of Q(o, a) against r + max Q_target(o', .), and its gradient by the table [A, O, N].

    Gamma is 1, and the last step of an episode has no next value.

    Args:
        q, target_q: [A, O, N].
        drawn: [K, N] how often each kind is in the batch.
    """
    best_next = jnp.concatenate([target_q.max(0), jnp.zeros_like(q[0, :1])])
    size = drawn.sum(0)
    error = q[kinds.action, kinds.observation] - (kinds.rewards + best_next[kinds.following])  # [K, N]
    far = jnp.abs(error)
    loss = (drawn * jnp.where(far < 1, 0.5 * error**2, far - 0.5)).sum(0) / size
    slopes = drawn * jnp.clip(error, -1, 1) / ranked(size, error.ndim)
    return loss, jnp.zeros_like(q).at[kinds.action, kinds.observation].add(slopes)


def draw_kinds(counts: Array, chance: Array) -> Array:
    """How often each kind is in a batch drawn with replacement: counts [K, N], chance [M, N] uniform -> [K, N]."""
    ends = jnp.cumsum(counts, axis=0)
    ends = ends / ranked(jnp.maximum(ends[-1], 1), ends.ndim)

    def step(
        below, drawn
    ):  # the sum stays in registers, which a reduction over the batch does not manage here
        return below + jnp.where(ranked(drawn, ends.ndim) < ends, 1.0, 0.0), None

    below, _ = jax.lax.scan(step, jnp.zeros_like(ends), chance, unroll=16)
    below = below.at[-1].set(chance.shape[0])
    return jnp.diff(below, axis=0, prepend=0.0)


class SimpleQ(Learner):
    """Action values with a target network; it acts greedily but for noise on its parameters or epsilon."""

    def fresh(self, keys: Array, lanes: int) -> State:
        params, settings = self.network.fresh(keys, lanes), self.settings
        # whole pushes only, so that none wraps around: at most one push less than the capacity
        capacity = max(settings.capacity // self._pushed * self._pushed, self._pushed)
        kinds = self.settings.kinds
        ring, counts = jnp.zeros((capacity, lanes), jnp.uint8), jnp.zeros((kinds, lanes), jnp.int32)
        replay = Replay(ring, counts, jnp.int32(0), jnp.int32(0))
        sigma = jnp.full((lanes,), settings.parameter_noise)
        return State(
            params,
            jax.tree.map(jnp.copy, params),
            adam.start(params),
            replay,
            sigma,
            jnp.int32(0),
            jnp.int32(0),
        )

    @property
    def _pushed(self) -> int:
        return self.settings.episodes * self.settings.learned_steps

    def epsilon(self, sampled: Array) -> Array:
        """The share of random actions after so many env steps."""
        first, last, steps = self.settings.epsilon
        return first + (last - first) * jnp.clip(sampled / steps, 0, 1)

    def ends(self, state: State) -> Array:
        return self._behaviour(state.params, state.sampled)

    def _behaviour(self, params, sampled) -> Array:
        best = greedy_ends(self.network.table(params))
        n_actions = best.shape[0] + 1
        even = jnp.arange(1, n_actions, dtype=jnp.float32).reshape(-1, 1, 1) / n_actions
        epsilon = self.epsilon(sampled)
        return ((1 - epsilon) * best + epsilon * even)[:, :, None]

    def _episode(self, state: State, arena, collect: Collect, keys: Array):
        """One episode under noise that is drawn for it alone; the noise's size answers to what it changed."""
        if not self.settings.parameter_noise:
            arena, steps, stats = collect.play(arena, self._behaviour(state.params, state.sampled), keys, 1)
            return (state._replace(sampled=state.sampled + self.settings.steps), arena), (steps, stats)
        noisy = {
            name: value
            + ranked(state.sigma, value.ndim) * normal(fold(keys, k), value.shape[:-1], value.shape[-1])
            for k, (name, value) in enumerate(sorted(state.params.items()))
        }
        # DEVIATION(Q22): the executed (noisy) actions are learned from; RLlib stored the noise-free greedy ones
        arena, steps, stats = collect.play(arena, greedy_ends(self.network.table(noisy))[:, :, None], keys, 1)
        clean = jax.nn.log_softmax(self.values(state), axis=0)
        changed = jax.nn.log_softmax(self.network.table(noisy), axis=0)
        kl = (jnp.exp(clean) * (clean - changed)).sum(0)  # [O, N]
        seen = lookup(kl, steps.observations).mean((0, 1))
        # the tolerated divergence is -log(1 - eps + eps / A) = 0 for epsilon 0
        sigma = jnp.where(seen <= 0, state.sigma * 1.01, state.sigma / 1.01)
        return (state._replace(sigma=sigma, sampled=state.sampled + self.settings.steps), arena), (
            steps,
            stats,
        )

    def train(self, carry, lr: Array, collect: Collect, keys: Array):
        episodes = self.settings.episodes

        def body(carry, number):
            return self._episode(*carry, collect, fold(keys, number))

        (state, arena), (steps, stats) = jax.lax.scan(body, carry, jnp.arange(episodes))
        stats = jax.tree.map(lambda each: each.mean(0), stats)
        # [episodes, T, 1, N]: one episode after the other
        pushed = steps.kinds.reshape(-1, state.sigma.shape[-1])
        state = state._replace(replay=_push(state.replay, pushed))
        state, loss = self._update(state, lr, collect.kinds, fold(keys, episodes))
        return (state, arena), stats | {"loss": loss, "parameter_noise": state.sigma}

    def _update(self, state: State, lr: Array, kinds: Kinds, keys: Array) -> tuple[State, Array]:
        chance = uniform(keys, (self.settings.batch,), state.sigma.shape[-1])
        drawn = draw_kinds(state.replay.counts, chance)
        table, target = self.network.table(state.params), self.network.table(state.target)
        loss, by_table = loss_and_gradient(table, target, kinds, drawn)
        gradient = adam.clip(self.network.pull(state.params, by_table), self.settings.gradient_clip)
        params, moments = adam.step(state.params, state.moments, gradient, self._rate(lr, state.sampled))
        ready = state.replay.size >= self.settings.learning_starts
        params, moments = jax.tree.map(
            lambda new, old: jnp.where(ready, new, old), (params, moments), (state.params, state.moments)
        )
        due = ready & (state.sampled - state.copied >= self.settings.target_every)
        target = jax.tree.map(lambda new, old: jnp.where(due, new, old), params, state.target)
        copied = jnp.where(due, state.sampled, state.copied)
        return state._replace(params=params, moments=moments, target=target, copied=copied), loss

    def _rate(self, lr: Array, sampled: Array) -> Array:
        if self.settings.schedule is None:
            return lr
        last, steps = self.settings.schedule
        return lr + (last - lr) * jnp.clip(sampled / steps, 0, 1)


def _push(replay: Replay, kinds: Array) -> Replay:
    """Store transitions [M, N] in the place of the oldest ones."""
    (capacity, lanes), count = replay.ring.shape, kinds.shape[0]
    known = replay.counts.shape[0]
    place = replay.place, jnp.int32(0)
    kinds = kinds.astype(jnp.uint8)
    evicted = jax.lax.dynamic_slice(replay.ring, place, (count, lanes))
    full = replay.size == capacity

    def histogram(stored: Array) -> Array:
        return (stored[None] == jnp.arange(known, dtype=jnp.uint8).reshape(-1, 1, 1)).sum(1, dtype=jnp.int32)

    counts = replay.counts + histogram(kinds) - jnp.where(full, histogram(evicted), 0)
    ring = jax.lax.dynamic_update_slice(replay.ring, kinds, place)
    size = jnp.minimum(replay.size + count, capacity)
    return Replay(ring, counts, size, (replay.place + count) % capacity)
