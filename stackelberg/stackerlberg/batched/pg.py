"""Policy gradient without frills (spec 5.3): loss = -mean over samples of log pi(a_t | o_t) R_t, one Adam step.

A table's log-probabilities depend on the sample only through (observation, action), so the loss is a sum over the table:
with ``S[a, o]`` the sum of R_t over the samples with that action and observation,

    loss = -(1 / n) sum_{a, o} S[a, o] log pi(a | o),   d loss / d theta[b, o] = -(1 / n) (S[b, o] - pi(b | o) sum_a S[a, o]).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from stackerlberg.batched import adam
from stackerlberg.batched.arrays import cumulative, reward_to_go, sums_by_code
from stackerlberg.batched.learners import Collect, Learner, Steps


class State(NamedTuple):
    """Parameters and Adam's memory."""

    params: dict[str, Array]
    moments: adam.Moments


def return_sums(steps: Steps, n_observations: int, n_actions: int) -> tuple[Array, Array]:
    """S[a, o] [A, O, N] and the number of samples n, from episodes of the learner's own steps."""
    codes = steps.actions * n_observations + steps.observations
    sums = sums_by_code(codes, reward_to_go(steps.rewards), n_observations * n_actions)
    return sums.reshape(n_actions, n_observations, -1), steps.actions.shape[0] * steps.actions.shape[1]


def loss_and_gradient(logits: Array, sums: Array, n: int) -> tuple[Array, Array]:
    """The loss [N] and its gradient [A, O, N] for a table of logits [A, O, N]."""
    log_pi = jax.nn.log_softmax(logits, axis=0)
    loss = -(sums * log_pi).sum((0, 1)) / n
    return loss, -(sums - jnp.exp(log_pi) * sums.sum(0, keepdims=True)) / n


class PG(Learner):
    """A softmax policy trained by policy gradient."""

    def fresh(self, keys: Array, lanes: int) -> State:
        params = self.network.fresh(keys, lanes)
        return State(params, adam.start(params))

    def ends(self, state: State) -> Array:
        return cumulative(jax.nn.softmax(self.values(state), axis=0))[:, :, None]

    def train(self, carry, lr: Array, collect: Collect, keys: Array):
        state, arena = carry
        arena, steps, stats = collect.play(arena, self.ends(state), keys, self.settings.episodes)
        table = self.network.table(state.params)
        sums, n = return_sums(steps, *table.shape[1::-1])
        loss, gradient = loss_and_gradient(table, sums, n)
        params, moments = adam.step(
            state.params, state.moments, self.network.pull(state.params, gradient), lr
        )
        return (State(params, moments), arena), stats | {"policy_loss": loss}
