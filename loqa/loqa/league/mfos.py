"""M-FOS agents (Lu et al. 2022) as the paper's league has them: a convolutional recurrent policy.

A file is a plain NPZ of float32 arrays in the layouts in which torch keeps them:

    conv1.weight [16, 7, 3, 3], conv1.bias [16]           circular convolution of 7 planes, ReLU
    conv2.weight [16, 16, 3, 3], conv2.bias [16]          circular convolution, ReLU
    linear.weight [H, 16 x 9], linear.bias [H]            of the flattened planes (channel, row, column), ReLU
    gru.weight_ih, gru.weight_hh [3H, H]                  gates stacked as reset, update, candidate
    gru.bias_ih, gru.bias_hh [3H]
    policy.weight [4, H], policy.bias [4]                 of the ReLU of the GRU's state

The widths are read from the arrays (16 in the paper's agents). A torch checkpoint becomes such a file where torch is
installed: load it with `torch.load(path, map_location="cpu")` and write
`numpy.savez("mfos_42.npz", **{ours: state[theirs].numpy() for ours, theirs in names.items()})`, with `names` from the
table above to the names in that checkpoint. (A GRU layer's and a GRU cell's arrays have the same layouts.)

The seven planes: the four of the observation, then the own and the other's reward of the step before and the done flag
(0 in the league), each spread over the board. At evaluation the "meta" vector that multiplies the GRU's output is all
ones, so it is not here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from loqa.coin.recurrence import PRECISION, along_last, matmul
from loqa.league.agents import View, gumbel, sample

PLANES = 7
ARRAYS = (
    *("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "linear.weight", "linear.bias"),
    *("gru.weight_ih", "gru.weight_hh", "gru.bias_ih", "gru.bias_hh", "policy.weight", "policy.bias"),
)


def expected_shapes(arrays: Mapping[str, np.ndarray], height: int, width: int) -> dict[str, tuple[int, ...]]:
    """The shape of every array, given the widths that `arrays` has itself."""
    channels, hidden = arrays["conv1.weight"].shape[0], arrays["gru.weight_hh"].shape[-1]
    return {
        "conv1.weight": (channels, PLANES, 3, 3),
        "conv1.bias": (channels,),
        "conv2.weight": (channels, channels, 3, 3),
        "conv2.bias": (channels,),
        "linear.weight": (hidden, channels * height * width),
        "linear.bias": (hidden,),
        "gru.weight_ih": (3 * hidden, hidden),
        "gru.weight_hh": (3 * hidden, hidden),
        "gru.bias_ih": (3 * hidden,),
        "gru.bias_hh": (3 * hidden,),
        "policy.weight": (4, hidden),
        "policy.bias": (4,),
    }


def _linear(params: Any, name: str, inputs: jax.Array, part: str = "") -> jax.Array:
    bias = params[f"{name}.bias{part}"]
    return matmul(inputs, params[f"{name}.weight{part}"].T) + along_last(bias, inputs)


def _circular(params: Any, name: str, planes: jax.Array) -> jax.Array:
    """3 x 3 convolution [B, C, H, W] on the torus, then ReLU."""
    around = jnp.pad(planes, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="wrap")
    outputs = lax.conv_general_dilated(around, params[f"{name}.weight"], (1, 1), "VALID", precision=PRECISION)
    return jax.nn.relu(outputs + params[f"{name}.bias"].reshape(1, -1, 1, 1))


def gru(params: Any, inputs: jax.Array, state: jax.Array) -> jax.Array:
    """torch's GRU cell: inputs and state [B, H] -> next state [B, H]."""
    given = jnp.split(_linear(params, "gru", inputs, "_ih"), 3, axis=-1)
    recalled = jnp.split(_linear(params, "gru", state, "_hh"), 3, axis=-1)
    reset = jax.nn.sigmoid(given[0] + recalled[0])
    update = jax.nn.sigmoid(given[1] + recalled[1])
    candidate = jnp.tanh(given[2] + reset * recalled[2])
    return (1.0 - update) * candidate + update * state


@dataclass(frozen=True)
class MfosPolicy:
    """Samples from an M-FOS network.

    `carried`: its recurrent state goes on from one game to the next of a pair, as in the original's league (it was never
    reset there); such games are played one after another.
    """

    height: int = 3
    width: int = 3
    # DEVIATION(Q14): every game starts from a zero state unless the league is told --mfos_memory carried
    carried: bool = False

    #: the network's output for each of our actions (its own order is right, left, down, up)
    ORDER: ClassVar = (1, 0, 3, 2)

    def start(self, params: Any, batch: int) -> jax.Array:
        """Zero state [B, H]."""
        return jnp.zeros((batch, params["gru.weight_hh"].shape[-1]))

    def logits(self, params: Any, memory: jax.Array, observation: jax.Array, rewards: jax.Array):
        """State [B, H], flat observation [B, 4HW], rewards [B, 2] -> next state, logits [B, 4] in our order."""
        batch = observation.shape[0]
        board = observation.reshape(batch, 4, self.height, self.width)
        told = jnp.concatenate([rewards, jnp.zeros((batch, 1))], axis=1)[:, :, None, None]
        planes = jnp.concatenate([board, jnp.broadcast_to(told, (batch, 3, self.height, self.width))], axis=1)
        planes = _circular(params, "conv2", _circular(params, "conv1", planes))
        hidden = jax.nn.relu(_linear(params, "linear", planes.reshape(batch, -1)))
        memory = gru(params, hidden, memory)
        outputs = _linear(params, "policy", jax.nn.relu(memory))
        return memory, outputs[:, np.array(self.ORDER)]

    def draw(self, keys: jax.Array) -> jax.Array:
        """See `league.agents`."""
        return gumbel(keys)

    def act(self, params: Any, memory, view: View, seat: int, noise: jax.Array):
        """See `league.agents`; observations are egocentric, so the seat plays no part."""
        del seat
        memory, logits = self.logits(params, memory, view.observation, view.rewards)
        return memory, sample(noise, logits)
