"""A recurrent player's network, in NumPy: [dense layers] -> GRU -> dense, softmax over the two actions.

    r = sigmoid(x W_ir + b_ir + h W_hr)      z = sigmoid(x W_iz + b_iz + h W_hz)
    n = tanh(x W_in + b_in + r (h W_hn + b_hn))      h' = (1 - z) n + z h      logits = h' W + b

from h = 0 at the start of a match. As only five situations exist, the input side is computed once for each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

ACTIVATIONS = ("relu", "none")
#: the cell's weights by name: kernels [inputs or H, H], biases [H]
GRU_INPUTS = ("ir", "iz", "in")
GRU_STATES = ("hr", "hz", "hn")


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))  # without overflow at either end


@dataclass(frozen=True, eq=False)
class Dense:
    """``x kernel + bias``; `activation` is one of `ACTIVATIONS`."""

    kernel: np.ndarray
    bias: np.ndarray
    activation: str = "none"

    def __call__(self, x: np.ndarray) -> np.ndarray:
        x = x @ self.kernel + self.bias
        return np.maximum(x, 0) if self.activation == "relu" else x


@dataclass(frozen=True, eq=False)
class Network:
    """A player's network.

    Attributes:
        inputs: ``[5, D]`` what it is shown in each situation, in the order of `game.SITUATIONS`.
        layers: before the cell.
        gru: kernel and, for ir, iz, in and hn, bias of each of the cell's six parts.
        readout: to two logits; cooperation: which of them is cooperation's.
    """

    inputs: np.ndarray
    layers: tuple[Dense, ...]
    gru: dict[str, Dense]
    readout: Dense
    cooperation: int

    @cached_property
    def gates(self) -> np.ndarray:
        """``[5, 3, H]`` input side of the three gates in each situation."""
        x = self.inputs
        for layer in self.layers:
            x = layer(x)
        return np.stack([self.gru[name](x) for name in GRU_INPUTS], axis=1)

    @cached_property
    def _recurrent(self) -> np.ndarray:
        return np.concatenate([self.gru[name].kernel for name in GRU_STATES], axis=1)

    def start(self) -> np.ndarray:
        """``[H]`` the memory before the first round."""
        return np.zeros(self.readout.kernel.shape[0], np.float32)

    def step(self, state: np.ndarray, situation: int) -> tuple[np.ndarray, float]:
        """Memory ``[H]`` and number of the situation -> next memory, probability of cooperation."""
        size = state.shape[0]
        gates, recalled = self.gates[situation], state @ self._recurrent
        reset, update = _sigmoid(gates[:2] + recalled[: 2 * size].reshape(2, size))
        candidate = np.tanh(gates[2] + reset * (recalled[2 * size :] + self.gru["hn"].bias))
        state = (1 - update) * candidate + update * state
        logits = self.readout(state)
        return state, float(_sigmoid(logits[self.cooperation] - logits[1 - self.cooperation]))

    def along(self, situations: Sequence[int]) -> list[float]:
        """Probability of cooperation at each step of a history of situations."""
        state, found = self.start(), []
        for situation in situations:
            state, probability = self.step(state, situation)
            found.append(probability)
        return found
