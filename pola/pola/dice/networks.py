"""Recurrent networks of the sampled games (paper, appendix B.2): one architecture for policies and values.

observation -> [Dense, ReLU] -> [Dense] -> GRU -> Dense. `RecurrentNet` defines the parameters and their
initialisation (Flax); the functions below evaluate the same network over whole sequences, with everything that
does not depend on the hidden state taken out of the time loop.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from pola.dice.recurrence import Gates, along_last, gru_scan, gru_states, matmul, recall

Params = dict


class RecurrentNet(nn.Module):
    """One step of the network; `layers_before_gru` is 0, 1 or 2 (the second has no activation, as published)."""

    hidden_size: int
    layers_before_gru: int
    outputs: int

    @nn.compact
    def __call__(self, observation: jax.Array, state: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Observation [B, D] and state [B, H] -> next state [B, H] and outputs [B, `outputs`]."""
        hidden = observation
        if self.layers_before_gru >= 1:
            hidden = nn.relu(nn.Dense(self.hidden_size, name="linear1")(hidden))
        if self.layers_before_gru == 2:
            hidden = nn.Dense(self.hidden_size, name="linear2")(hidden)
        state, _ = nn.GRUCell(self.hidden_size, name="GRUCell")(state, hidden)
        return state, nn.Dense(self.outputs, name="linear_end")(state)


def init_params(key: jax.Array, observation_size: int, hidden_size: int, layers: int, outputs: int) -> Params:
    """Fresh parameters: Dense and input kernels LeCun-normal, recurrent kernels orthogonal, biases zero."""
    net = RecurrentNet(hidden_size, layers, outputs)
    return net.init(key, jnp.zeros((1, observation_size)), jnp.zeros((1, hidden_size)))["params"]


def _dense(layer: Params, inputs: jax.Array) -> jax.Array:
    return matmul(inputs, layer["kernel"]) + along_last(layer["bias"], inputs)


def input_gates(params: Params, observations: jax.Array) -> Gates:
    """Input side of the three gates, [..., D] -> [..., H] each."""
    hidden = observations
    if "linear1" in params:
        hidden = nn.relu(_dense(params["linear1"], hidden))
    if "linear2" in params:
        hidden = _dense(params["linear2"], hidden)
    cell = params["GRUCell"]
    return Gates(*(_dense(cell[name], hidden) for name in ("ir", "iz", "in")))


def recurrent_weights(params: Params) -> tuple[Gates, jax.Array]:
    """Recurrent kernels [H, H] and the candidate's bias [H]."""
    cell = params["GRUCell"]
    return Gates(*(cell[name]["kernel"] for name in ("hr", "hz", "hn"))), cell["hn"]["bias"]


def readout(params: Params, states: jax.Array) -> jax.Array:
    """Output layer, [..., H] -> [..., outputs]."""
    return _dense(params["linear_end"], states)


def coded_gates(params: Params, codes: jax.Array, table: np.ndarray | None) -> Gates:
    """`input_gates` of a sequence.

    Args: `codes` [..., D] observations, or, with a `table` [S, D] of distinct observations, their one-hot
    codes [..., S]: then the input layers see S rows instead of T x B.
    """
    if table is None:
        return input_gates(params, codes)
    return recall(codes, input_gates(params, jnp.asarray(table)))


def unroll(params: Params, codes: jax.Array, table=None, known: jax.Array | None = None) -> jax.Array:
    """Outputs [T, B, outputs] over a stored sequence, from a zero state.

    Args: `codes`, `table` as in `coded_gates`; `known` [T, B, H], the hidden states if a rollout with these
    parameters already made them: the forward recurrence is then not run again.
    """
    return readout(params, hidden_states(params, codes, table, known))


def hidden_states(params: Params, codes: jax.Array, table=None, known: jax.Array | None = None) -> jax.Array:
    """The hidden states [T, B, H] behind `unroll`, differentiable in `params`."""
    gates = coded_gates(params, codes, table)
    weights, bias = recurrent_weights(params)
    if known is None:
        known = gru_scan(*jax.lax.stop_gradient((gates, weights, bias)))
    return gru_states(known, gates, weights, bias)
