"""The Coin Game's agent: a recurrent policy and a recurrent action-value head that share nothing (spec 4).

observation -> [Dense, ReLU] -> [Dense] -> GRU -> Dense. The flax modules below only define the parameters, their names
and their initialisation; the functions evaluate the same networks, one step at a time with a carry or over whole
sequences with everything that does not depend on the carry taken out of the time loop.

A parameter tree is ``{"actor_head": {"ScanPOLAGruCell_0": {...}}, "qvalue_head": {...}}``. Every function is written for
one agent; different agents in every episode are `jax.vmap` over the trees.
"""

from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from loqa.coin import recurrence
from loqa.coin.game import N_ACTIONS
from loqa.coin.recurrence import Activity, Gates, along_last, matmul
from loqa.losses import Heads

Params = dict
BLOCK = "ScanPOLAGruCell_0"


@dataclass(frozen=True)
class Architecture:
    """Sizes of an agent; `layers` is the number of dense layers before the GRU, 0, 1 or 2."""

    observation_size: int
    actor_hidden: int = 64
    actor_layers: int = 2
    q_hidden: int = 64
    q_layers: int = 2


class _Block(nn.Module):
    hidden: int
    layers: int

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        if self.layers >= 1:
            inputs = nn.relu(nn.Dense(self.hidden, name="linear1")(inputs))
        if self.layers == 2:  # no activation after it, as published (spec 7, Q3)
            inputs = nn.Dense(self.hidden, name="linear2")(inputs)
        state, _ = nn.GRUCell(self.hidden, name="GRUCell")(
            jnp.zeros((*inputs.shape[:-1], self.hidden)), inputs
        )
        return nn.Dense(N_ACTIONS, name="linear_end")(state)


class _Head(nn.Module):
    hidden: int
    layers: int

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        return _Block(self.hidden, self.layers, name=BLOCK)(inputs)


class _Agent(nn.Module):
    sizes: Architecture

    @nn.compact
    def __call__(self, observation: jax.Array) -> tuple[jax.Array, jax.Array]:
        timed = jnp.concatenate([observation, jnp.zeros((1, 1))], axis=-1)
        logits = _Head(self.sizes.actor_hidden, self.sizes.actor_layers, name="actor_head")(observation)
        return logits, _Head(self.sizes.q_hidden, self.sizes.q_layers, name="qvalue_head")(timed)


def init(sizes: Architecture, key: jax.Array) -> Params:
    """Fresh parameters: Dense and input kernels LeCun-normal, recurrent kernels orthogonal, biases zero."""
    return _Agent(sizes).init(key, jnp.zeros((1, sizes.observation_size)))["params"]


# --- one head, evaluated -----------------------------------------------------------------------------------------


def _dense(layer: Params, inputs: jax.Array) -> jax.Array:
    return matmul(inputs, layer["kernel"]) + along_last(layer["bias"], inputs)


def input_gates(block: Params, inputs: jax.Array) -> Gates:
    """Input side of the GRU's gates, [..., D] -> [..., H] each."""
    if "linear1" in block:
        inputs = nn.relu(_dense(block["linear1"], inputs))
    if "linear2" in block:
        inputs = _dense(block["linear2"], inputs)
    return Gates(*(_dense(block["GRUCell"][name], inputs) for name in ("ir", "iz", "in")))


def sequence_gates(block: Params, inputs: jax.Array) -> Gates:
    """`input_gates` of a whole sequence [T, B, D].

    No activation follows `linear2`, so where the sequence is long it is multiplied into the gates' kernels once.
    """
    if "linear2" not in block or inputs[..., 0].size <= 3 * block["linear2"]["bias"].size:
        return input_gates(block, inputs)
    if "linear1" in block:
        inputs = nn.relu(_dense(block["linear1"], inputs))
    inner, gates = block["linear2"], (block["GRUCell"][name] for name in ("ir", "iz", "in"))
    folded = (
        {
            "kernel": matmul(inner["kernel"], gate["kernel"]),
            "bias": matmul(inner["bias"][None], gate["kernel"])[0] + gate["bias"],
        }
        for gate in gates
    )
    return Gates(*(_dense(gate, inputs) for gate in folded))


def recurrent_weights(block: Params) -> tuple[Gates, jax.Array]:
    """Recurrent kernels [H, H] and the candidate's bias [H]."""
    cell = block["GRUCell"]
    return Gates(*(cell[name]["kernel"] for name in ("hr", "hz", "hn"))), cell["hn"]["bias"]


def readout(block: Params, states: jax.Array) -> jax.Array:
    """Output layer, [..., H] -> [..., A]."""
    return _dense(block["linear_end"], states)


def head_step(head: Params, carry: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One step of a head: carry [B, H] and inputs [B, D] -> next carry and outputs [B, A]."""
    block = head[BLOCK]
    carry = recurrence.gru_step(input_gates(block, inputs), carry, *recurrent_weights(block)).state
    return carry, readout(block, carry)


def head_sequence(head: Params, inputs: jax.Array, activity: Activity | None = None) -> jax.Array:
    """Outputs [T, B, A] of a head over a sequence [T, B, D] from a zero carry, differentiable in `head`.

    Args: `activity` [T, B, H], if a rollout with this head on these inputs already made it.
    """
    block = head[BLOCK]
    gates, (weights, bias) = sequence_gates(block, inputs), recurrent_weights(block)
    if activity is None:
        activity = recurrence.run(*jax.lax.stop_gradient((gates, weights, bias)))
    return readout(block, recurrence.states_of(activity, gates, weights, bias))


def head_outputs(head: Params, inputs: jax.Array) -> jax.Array:
    """`head_sequence` where no gradient is wanted: keeps less."""
    block = head[BLOCK]
    return _dense(
        block["linear_end"], recurrence.states(sequence_gates(block, inputs), *recurrent_weights(block))
    )


# --- the agent ---------------------------------------------------------------------------------------------------


class Carries(NamedTuple):
    """Recurrent states of both heads, [B, H] each."""

    actor: jax.Array
    q: jax.Array


def hidden_size(head: Params) -> int:
    """H of a head."""
    return head[BLOCK]["GRUCell"]["hn"]["bias"].shape[-1]


def start(params: Params, batch: int) -> Carries:
    """Carries at the beginning of `batch` episodes."""
    return Carries(*(jnp.zeros((batch, hidden_size(params[name]))) for name in ("actor_head", "qvalue_head")))


def policy_step(params: Params, carry: jax.Array, observation: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The policy at one step: actor carry [B, H], flat observation [B, D] -> next carry, log-probabilities [B, A]."""
    carry, logits = head_step(params["actor_head"], carry, observation)
    return carry, jax.nn.log_softmax(logits)


def step(params: Params, carries: Carries, observation: jax.Array, time: jax.Array) -> tuple[Carries, Heads]:
    """Both heads at one step.

    Args: flat `observation` [B, D], `time` the step's number, from 0 (raw, as published: spec 7, Q4).
    Returns: next carries and `Heads` of [B, A] each.
    """
    actor, log_probs = policy_step(params, carries.actor, observation)
    q, values = head_step(params["qvalue_head"], carries.q, at_time(observation, time))
    return Carries(actor, q), Heads(log_probs, values)


def at_time(observation: jax.Array, time: jax.Array) -> jax.Array:
    """Observation [..., D] with the step's number appended, [..., D + 1]."""
    number = jnp.broadcast_to(jnp.asarray(time, jnp.float32), (*observation.shape[:-1], 1))
    return jnp.concatenate([observation, number], axis=-1)


def timed(observations: jax.Array) -> jax.Array:
    """Observations [T, B, D] with their step numbers 0 to T - 1 appended, [T, B, D + 1]."""
    steps = jnp.arange(observations.shape[0]).reshape(-1, 1, 1)
    return at_time(observations, jnp.broadcast_to(steps, (*observations.shape[:-1], 1)))


def policy_sequence(params: Params, observations: jax.Array, activity: Activity | None = None) -> jax.Array:
    """Log-probabilities [T, B, A] over observations [T, B, D]; see `head_sequence`."""
    return jax.nn.log_softmax(head_sequence(params["actor_head"], observations, activity))


def q_sequence(params: Params, observations: jax.Array) -> jax.Array:
    """Action values [T, B, A] over observations [T, B, D], numbered from 0."""
    return head_sequence(params["qvalue_head"], timed(observations))


def q_outputs(params: Params, observations: jax.Array) -> jax.Array:
    """`q_sequence` where no gradient is wanted."""
    return head_outputs(params["qvalue_head"], timed(observations))


def policy_outputs(params: Params, observations: jax.Array) -> jax.Array:
    """`policy_sequence` where no gradient is wanted."""
    return jax.nn.log_softmax(head_outputs(params["actor_head"], observations))


def sequence(params: Params, observations: jax.Array, activity: Activity | None = None) -> Heads:
    """Both heads over observations [T, B, D] from zero carries; `Heads` of [T, B, A] each."""
    return Heads(policy_sequence(params, observations, activity), q_sequence(params, observations))
