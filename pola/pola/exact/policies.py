"""Policies of the exact games: pure functions from a flat parameter vector to cooperation logits in each state.

Every policy sees its owner's side of the game: states are DD, DC, CD, CC, start with the owner's own move first. The
released code orders both agents' states by agent 1's move; `Policy.swap_seats` translates parameters between the two,
and between an agent's own view of itself and its opponent's view of it. Parameters are ``[P, L]``, lanes last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SWAP = (0, 2, 1, 3, 4)  # DD, CD, DC, CC, start: the same states seen from the other seat
CD = 2  # "I cooperated, the other defected"


@dataclass(frozen=True)
class Tabular:
    """One logit for each state: pi = sigmoid(theta).

    Attributes:
        n_states: 5, or 4 where the start counts as mutual cooperation (``--init_state_representation 1``).
        matrix: rows of a pre-conditioning matrix A, pi = sigmoid(A theta); None for the identity.
    """

    n_states: int = 5
    matrix: tuple[tuple[float, ...], ...] | None = None

    @property
    def n_parameters(self) -> int:
        return self.n_states

    def logits(self, theta: Tensor) -> Tensor:
        """Logits of cooperating ``[S, L]``."""
        if self.matrix is None:
            return theta
        matrix = torch.tensor(self.matrix, dtype=theta.dtype, device=theta.device)
        return (matrix[:, :, None] * theta).sum(1)

    def swap_seats(self, theta: Tensor) -> Tensor:
        """Parameters of the same behaviour with the other agent's move named first, for `seen_across` to read."""
        return theta[list(SWAP[: self.n_states])]

    def seen_across(self) -> Tabular:
        """The policy that reads parameters of `swap_seats`."""
        if self.matrix is None:
            return self
        order = SWAP[: self.n_states]
        return Tabular(self.n_states, tuple(tuple(self.matrix[i][j] for j in order) for i in order))

    def draw(self, rng: np.random.Generator, std: float) -> np.ndarray:
        """Initial logits ``[P]``, normal with standard deviation `std`."""
        return rng.normal(0.0, std, self.n_parameters)

    def pack(self, values: Sequence[float]) -> np.ndarray:
        return np.asarray(values, dtype=np.float64)


def preconditioned(kind: str, n_states: int = 5) -> Tabular:
    """A tabular policy seen through a pre-conditioning matrix (paper, section 4.1).

    Args:
        kind: ``dd``, the released code's matrix: identity with -2 in the other rows of column DD;
            ``opponent-defects``, the matrix that Figure 3's commands were published with: the same in the column of
            the state "I cooperated, the other defected".
    """
    column = {"dd": 0, "opponent-defects": CD}[kind]
    matrix = np.eye(n_states)
    matrix[np.arange(n_states) != column, column] = -2.0
    return Tabular(n_states, tuple(map(tuple, matrix.tolist())))


@dataclass(frozen=True)
class Net:
    """Linear(6, H) - nonlinearity - Linear(H, 1) on one-hot pairs of last moves (D, C, start); see `pack`.

    Parameters are kept in the order own-move weights ``[3, H]``, other-move weights ``[3, H]``, bias ``[H]``, then the
    hidden layers ``[H, H]`` and ``[H]`` each, then ``[H]`` and ``[1]``; the one-hot products are then plain sums.

    Attributes:
        stretch: factors on the logits of DD and of all states (``--ill_condition --using_nn``).
    """

    hidden: int = 16
    extra_layers: int = 0
    nonlinearity: str = "tanh"
    n_states: int = 5
    stretch: tuple[float, float] | None = None

    @property
    def sizes(self) -> list[int]:
        h = self.hidden
        return [2 * h, h, 2 * h, h, h, *[h * h, h] * self.extra_layers, h, 1]

    @property
    def n_parameters(self) -> int:
        return sum(self.sizes)

    def logits(self, theta: Tensor) -> Tensor:
        """Logits of cooperating ``[S, L]``."""
        h = self.hidden
        own, own_start, other, other_start, bias, *deeper, readout, offset = torch.split(theta, self.sizes)
        moves = (own.view(2, 1, h, -1) + other.view(1, 2, h, -1)).view(4, h, -1)
        layers = moves if self.n_states == 4 else torch.cat([moves, (own_start + other_start)[None]])
        hidden = self._activate(layers + bias)
        for weights, shift in zip(deeper[::2], deeper[1::2], strict=True):
            hidden = self._activate((hidden[:, None] * weights.view(h, h, -1)).sum(2) + shift)
        logits = (hidden * readout).sum(1) + offset
        if self.stretch is None:
            return logits
        on_dd, everywhere = self.stretch
        factors = [on_dd * everywhere] + [everywhere] * (self.n_states - 1)
        factors = torch.tensor(factors, dtype=theta.dtype, device=theta.device)
        return logits * factors[:, None]

    def _activate(self, x: Tensor) -> Tensor:
        return torch.tanh(x) if self.nonlinearity == "tanh" else torch.nn.functional.leaky_relu(x, 0.01)

    def swap_seats(self, theta: Tensor) -> Tensor:
        """Parameters of the same behaviour with the two moves' inputs exchanged."""
        h = 3 * self.hidden
        return torch.cat([theta[h : 2 * h], theta[:h], theta[2 * h :]])

    def seen_across(self) -> Net:
        return self

    def draw(self, rng: np.random.Generator, std: float) -> np.ndarray:
        """Initial weights ``[P]``: uniform in 1/sqrt(fan in), PyTorch's default; `std` is not used."""
        layers, fan_in = [], 6
        for width in [self.hidden] * (1 + self.extra_layers) + [1]:
            bound = 1 / math.sqrt(fan_in)
            layers += [rng.uniform(-bound, bound, (width, fan_in)), rng.uniform(-bound, bound, width)]
            fan_in = width
        return self.pack(layers)

    def pack(self, layers: Sequence) -> np.ndarray:
        """Flat parameters ``[P]`` from PyTorch's layout: W (out x in) and b of each layer, own move's inputs first."""
        first, *rest = [np.asarray(layer, dtype=np.float64) for layer in layers]
        return np.concatenate([first.T.ravel(), *[layer.ravel() for layer in rest]])


Policy = Tabular | Net


def _twin_units(weight: float) -> list:
    """Two identical hidden units with opposite output weights, so that pi = 0.5 exactly."""
    row = [-weight, weight] * 3 if weight == 1 else [weight, -weight] * 3
    return [[row, row], [0.0, 0.0], [[-weight, weight]], [0.0]]


# Hand-made nets with two hidden units that cooperate with probability 0.5 in every state (`--custom_param`); the
# fourth does so within 1e-4. Inputs: agent 1's last move (D, C, start), then agent 2's.
PUBLISHED_NETS = {
    "1": _twin_units(1.0),
    "2": _twin_units(2.0),
    "3": _twin_units(10.0),
    "4": [
        [
            [1.1074687263023, 0.275260757781574, 0.489599039857568]
            + [0.130220650429065, 0.130220650428934, -0.0416038405697266],
            [0.0142691805853789, 0.933207934425381, -0.0153849853273826]
            + [0.170635830969251, 0.17063583096918, 0.985901625511033],
        ],
        [0.286705849, -0.00180708],
        [[1.0, 0.5]],
        [-1.0],
    ],
}


def draw_parameters(
    policy: Policy, repeats: int, seed: int, std: float, fixed: Sequence | None = None, stream: int = 0
) -> np.ndarray:
    """Initial parameters ``[2, P, repeats]`` of both agents, each in its own view.

    DEVIATION(Q11): every run has its own random stream, named by seed, run and `stream`, so run k is the same whatever
    the number of runs and whatever the earlier ones did.

    Args:
        fixed: a net of `PUBLISHED_NETS`, for both agents, in place of random weights.
    """
    parameters = np.empty((2, policy.n_parameters, repeats))
    for run in range(repeats):
        rng = np.random.default_rng([seed, run, stream])
        for agent in range(2):
            drawn = policy.pack(fixed) if fixed is not None else policy.draw(rng, std)
            parameters[agent, :, run] = drawn
    # Both agents are drawn in agent 1's order of states, as the original does.
    parameters[1] = policy.swap_seats(torch.from_numpy(parameters[1])).numpy()
    return parameters
