"""The three agents of the iterated prisoner's dilemma (spec, section 4): an actor head and a Q head, nothing shared.

The Q head of every agent sees the observation and the time. The policy of `logits` (a table) and of `mlp` depends on
the last joint action only: five states exist, so its head is evaluated on five rows, and its Q head on 5 (T + 1).
The flax modules carry the names of the original's parameters, so that a seed gives the original's initial parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from loqa.ipd.config import MEMORY_ONE
from loqa.ipd.game import OBSERVATIONS, STATES
from loqa.losses import Heads

Params = Any
PRECISION = lax.Precision.HIGHEST
#: width of the recurrent blocks
GRU_WIDTH = 32
_ROWS = ("start", *STATES[1:])


def _dense(width: int, name: str) -> nn.Dense:
    return nn.Dense(width, precision=PRECISION, name=name)


class Table(nn.Module):
    """Observations [..., 4] -> logits [..., 2] from a row of two numbers for each of the five states."""

    @nn.compact
    def __call__(self, observations):
        rows = jnp.stack([self.param(name, nn.initializers.zeros, (2,)) for name in _ROWS])
        # one-hot observations: START is all zeros, a later state is (own action, other's action)
        own, other = observations[..., 1], observations[..., 3]
        moved = jnp.sum(observations, axis=-1) > 0
        return rows[jnp.where(moved, 1 + 2 * own + other, 0).astype(jnp.int32)]


class Mlp(nn.Module):
    """Inputs [..., K] -> [..., 2] through two hidden layers."""

    width: int
    activation: str = "relu"

    @nn.compact
    def __call__(self, inputs):
        activate = {"relu": nn.relu, "tanh": nn.tanh}[self.activation]
        for layer in range(2):
            inputs = activate(_dense(self.width, f"dense_{layer}")(inputs))
        return _dense(2, "dense_2")(inputs)


class _GruStep(nn.Module):
    """One step of the recurrent block: Dense and ReLU, Dense (no activation: spec, Q3), GRU cell, Dense."""

    @nn.compact
    def __call__(self, state, inputs):
        hidden = nn.relu(_dense(GRU_WIDTH, "linear1")(inputs))
        hidden = _dense(GRU_WIDTH, "linear2")(hidden)
        with jax.default_matmul_precision("highest"):  # the cell has no argument for it
            state, hidden = nn.GRUCell(GRU_WIDTH, name="GRUCell")(state, hidden)
        return state, _dense(2, "linear_end")(hidden)


class Recurrent(nn.Module):
    """(state [B, H], inputs [T, B, K]) -> (state after, outputs [T, B, 2])."""

    @nn.compact
    def __call__(self, state, inputs):
        scan = nn.scan(_GruStep, variable_broadcast="params", split_rngs={"params": False})
        return scan(name="ScanPOLAGruCell_0")(state, inputs)


class TwoHeads(nn.Module):
    """Both heads under their names; `actor` and `qvalue` call them."""

    model: str
    activation: str

    def setup(self):
        actor = {"logits": Table, "gru": Recurrent}.get(self.model, lambda: Mlp(8, self.activation))
        self.actor_head = actor()
        self.qvalue_head = Recurrent() if self.model == "gru" else Mlp(16)

    def actor(self, *inputs):
        return self.actor_head(*inputs)

    def qvalue(self, *inputs):
        return self.qvalue_head(*inputs)

    def both(self, policy_inputs, q_inputs):
        return self.actor_head(*policy_inputs), self.qvalue_head(*q_inputs)


def no_memory(batch: int) -> jax.Array:
    """Recurrent state [batch, H] before the first step."""
    return jnp.zeros((batch, GRU_WIDTH))


@dataclass(frozen=True)
class Agent:
    """One family of agents; parameters are data.

    Attributes:
        model: `logits`, `mlp` or `gru`.
        activation: of `mlp`'s policy, `relu` or `tanh`.
        game_length: T.
        scaled_time: the Q head sees t / T instead of the raw step index t (spec, Q4).
    """

    model: str
    activation: str
    game_length: int
    scaled_time: bool

    @property
    def memory_one(self) -> bool:
        return self.model in MEMORY_ONE

    @property
    def _net(self) -> TwoHeads:
        return TwoHeads(self.model, self.activation)

    def init(self, key: jax.Array) -> Params:
        """Fresh parameters ``{"params": {"actor_head": ..., "qvalue_head": ...}}``."""
        policy_inputs, q_inputs = (jnp.zeros((4,)),), (jnp.zeros((5,)),)
        if not self.memory_one:
            policy_inputs = no_memory(1), jnp.zeros((1, 1, 4))
            q_inputs = no_memory(1), jnp.zeros((1, 1, 5))
        return self._net.init(key, policy_inputs, q_inputs, method=TwoHeads.both)

    def _times(self) -> jax.Array:
        times = jnp.arange(self.game_length + 1, dtype=jnp.float32)
        return times / self.game_length if self.scaled_time else times

    def _q_inputs(self, observations: jax.Array) -> jax.Array:
        """Observations [T+1, N, 4] with the time as fifth entry."""
        times = self._times()[:, None, None]
        return jnp.concatenate(
            [observations, jnp.broadcast_to(times, observations.shape[:2] + (1,))], axis=-1
        )

    def log_policy(self, params: Params) -> jax.Array:
        """Log-probabilities [5, 2] of a memory-one policy, by state."""
        return nn.log_softmax(self._net.apply(params, OBSERVATIONS, method=TwoHeads.actor))

    def q_table(self, params: Params) -> jax.Array:
        """Action values [T+1, 5, 2] of a memory-one agent, by time and state."""
        every = jnp.broadcast_to(jnp.asarray(OBSERVATIONS), (self.game_length + 1, *OBSERVATIONS.shape))
        inputs = self._q_inputs(every)
        return self._net.apply(params, inputs.reshape(-1, 5), method=TwoHeads.qvalue).reshape(
            *every.shape[:2], 2
        )

    def heads(self, params: Params, states: jax.Array) -> Heads:
        """Both heads [T+1, B, 2] on the sequences of states [T+1, B] that a player saw."""
        if self.memory_one and states.shape[1] > len(STATES):
            times = jnp.arange(states.shape[0])[:, None]
            return Heads(self.log_policy(params)[states], self.q_table(params)[times, states])
        observations = jnp.asarray(OBSERVATIONS)[states]
        inputs = (observations,), (self._q_inputs(observations),)
        if not self.memory_one:
            inputs = tuple((no_memory(states.shape[1]), *each) for each in inputs)
        logits, q = self._net.apply(params, *inputs, method=TwoHeads.both)
        if not self.memory_one:
            (_, logits), (_, q) = logits, q
        return Heads(nn.log_softmax(logits), q)

    def start(self, batch: int) -> jax.Array | None:
        """What a policy remembers before the first step."""
        return None if self.memory_one else no_memory(batch)

    def policy(self, params: Params) -> Callable:
        """The policy as a step: (memory, states [B]) -> (memory, log-probabilities [B, 2])."""
        if self.memory_one:
            table = self.log_policy(params)
            return lambda memory, states: (memory, table[states])

        def act(memory, states):
            observations = jnp.asarray(OBSERVATIONS)[states]
            memory, logits = self._net.apply(params, memory, observations[None], method=TwoHeads.actor)
            return memory, nn.log_softmax(logits[0])

        return act


@dataclass(frozen=True)
class Crowd:
    """B agents of one family, each in an episode of its own: an `Agent` whose parameters have a leading axis [B]."""

    agent: Agent

    def heads(self, params: Params, states: jax.Array) -> Heads:
        """As `Agent.heads`."""

        def one(own, seen):
            return Heads(*(part[:, 0] for part in self.agent.heads(own, seen[:, None])))

        return jax.vmap(one, in_axes=(0, 1), out_axes=1)(params, states)

    def start(self, batch: int) -> jax.Array | None:
        """As `Agent.start`."""
        return self.agent.start(batch)

    def policy(self, params: Params) -> Callable:
        """As `Agent.policy`."""
        if self.agent.memory_one:
            tables = jax.vmap(self.agent.log_policy)(params)
            return lambda memory, states: (memory, tables[jnp.arange(len(states)), states])

        def one(own, memory, state):
            memory, log_probs = self.agent.policy(own)(memory[None], state[None])
            return memory[0], log_probs[0]

        return lambda memory, states: jax.vmap(one)(params, memory, states)


def make_agent(hp) -> Agent:
    """The agents of a configuration."""
    return Agent(hp.actor.model, hp.actor.activation, hp.game_length, hp.qvalue.time_input == "scaled")
