"""The networks of the pipeline (specification, section 4), as flax modules with one calling convention.

Recurrent ones read a whole sequence: `apply(params, carry, obs [T, B, d], resets [T, B]) -> (carry, output [T, B, A])`.
`resets[t]` zeroes the carry *before* step t. `initial_carry(batch)` is the carry at a sequence's start; the
feed-forward ones carry nothing, an array `[B, 0]`, so that every network can stand in every loop.

Parameters are named as in the published checkpoints (`Dense_0`, `ScannedRNN_0/GRUCell_1/hn`, ...), so that theirs load.
All Dense kernels are orthogonal with the stated gain and all biases zero; float32, matrix products at full precision.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from marlhf.recurrence import Weights, gru

PRECISION = jax.lax.Precision.HIGHEST
SQRT2 = 2.0**0.5


def _dense(width: int, gain: float, name: str) -> nn.Dense:
    return nn.Dense(width, kernel_init=nn.initializers.orthogonal(gain), precision=PRECISION, name=name)


class _Gate(nn.Module):
    """Kernel and, if asked for, bias of one of the GRU's gates, to be joined with its neighbours' into one product."""

    width: int
    kernel_init: nn.initializers.Initializer
    bias: bool

    @nn.compact
    def __call__(self, fan_in: int) -> tuple[jax.Array, jax.Array]:
        kernel = self.param("kernel", self.kernel_init, (fan_in, self.width))
        if self.bias:
            return kernel, self.param("bias", nn.initializers.zeros_init(), (self.width,))
        return kernel, jnp.zeros(self.width)


class _GRU(nn.Module):
    """The standard GRU of flax over a sequence: h' = (1 - z) n + z h, n = tanh(in x + b + r (hn h + b)).

    Only the parameters are here, the three gates' side by side; the loop is `marlhf.recurrence.gru`.
    """

    width: int

    @nn.compact
    def __call__(self, carry, inputs, resets):
        outer, inner = nn.initializers.lecun_normal(), nn.initializers.orthogonal()
        of_inputs = [
            _Gate(self.width, outer, True, name=name)(inputs.shape[-1]) for name in ("ir", "iz", "in")
        ]
        of_carry = [
            _Gate(self.width, inner, name == "hn", name=name)(self.width) for name in ("hr", "hz", "hn")
        ]
        kernel_x, bias_x = (jnp.concatenate(parts, axis=-1) for parts in zip(*of_inputs, strict=True))
        kernel_h, bias_h = (jnp.concatenate(parts, axis=-1) for parts in zip(*of_carry, strict=True))
        return gru(Weights(kernel_x, bias_x, kernel_h, bias_h), carry, inputs, resets)


class ScannedRNN(nn.Module):
    """A GRU over time whose carry is zeroed before every step with a reset: `(carry [B, H], x [T, B, F], resets [T, B])`."""

    width: int

    @nn.compact
    def __call__(self, carry, inputs, resets):
        return _GRU(self.width, name="GRUCell_1")(carry, inputs, resets)


class QNetwork(nn.Module):
    """Recurrent Q values: Dense -> ReLU -> GRU -> Dense. `init_scale` is the gain of both Dense layers."""

    n_actions: int
    hidden: int = 64
    init_scale: float = 2.0

    @nn.compact
    def __call__(self, carry, obs, resets):
        x = nn.relu(_dense(self.hidden, self.init_scale, "Dense_0")(obs))
        carry, x = ScannedRNN(self.hidden, name="ScannedRNN_0")(carry, x, resets)
        return carry, _dense(self.n_actions, self.init_scale, "Dense_1")(x)

    @nn.nowrap
    def initial_carry(self, batch: int) -> jax.Array:
        """Zeros `[batch, hidden]`."""
        return jnp.zeros((batch, self.hidden))


class TwinQNetwork(nn.Module):
    """Two independent Q networks with a carry each; the value is the smaller of the two, element by element.

    The published code lacks this class ("DoubleAgentRNN"); this is its description (specification, section 4).
    """

    n_actions: int
    hidden: int = 64
    init_scale: float = 2.0

    @nn.compact
    def __call__(self, carry, obs, resets):
        names = ("QNetwork_0", "QNetwork_1")
        twins = [QNetwork(self.n_actions, self.hidden, self.init_scale, name=name) for name in names]
        (carry_0, q_0), (carry_1, q_1) = (
            twin(own, obs, resets) for twin, own in zip(twins, carry, strict=True)
        )
        return (carry_0, carry_1), jnp.minimum(q_0, q_1)

    @nn.nowrap
    def initial_carry(self, batch: int) -> tuple[jax.Array, jax.Array]:
        """Zeros `[batch, hidden]`, one for each twin."""
        return (jnp.zeros((batch, self.hidden)), jnp.zeros((batch, self.hidden)))


class RecurrentActor(nn.Module):
    """Logits of a recurrent policy: Dense -> ReLU -> GRU -> Dense -> ReLU -> Dense (imitation, Tag's prey)."""

    n_actions: int
    hidden: int = 128

    @nn.compact
    def __call__(self, carry, obs, resets):
        x = nn.relu(_dense(self.hidden, SQRT2, "Dense_0")(obs))
        carry, x = ScannedRNN(self.hidden, name="ScannedRNN_0")(carry, x, resets)
        x = nn.relu(_dense(self.hidden, 2.0, "Dense_1")(x))
        return carry, _dense(self.n_actions, 0.01, "Dense_2")(x)

    @nn.nowrap
    def initial_carry(self, batch: int) -> jax.Array:
        """Zeros `[batch, hidden]`."""
        return jnp.zeros((batch, self.hidden))


class FeedForwardActor(nn.Module):
    """Logits of a policy without memory: the actor tower of IPPO (Overcooked's reference policy)."""

    n_actions: int
    hidden: int = 64

    @nn.compact
    def __call__(self, carry, obs, resets):
        del resets
        x = jnp.tanh(_dense(self.hidden, SQRT2, "Dense_0")(obs))
        x = jnp.tanh(_dense(self.hidden, SQRT2, "Dense_1")(x))
        return carry, _dense(self.n_actions, 0.01, "Dense_2")(x)

    @nn.nowrap
    def initial_carry(self, batch: int) -> jax.Array:
        """Nothing: `[batch, 0]`."""
        return jnp.zeros((batch, 0))


class ActorCritic(nn.Module):
    """IPPO's two towers: `apply(params, obs [..., d]) -> (logits [..., A], value [...])`.

    `Dense_0` to `Dense_2` are the actor, named as in `FeedForwardActor`; `Dense_3` to `Dense_5` the critic.
    """

    n_actions: int
    hidden: int = 64
    activation: str = "tanh"

    @nn.compact
    def __call__(self, obs):
        squash = {"tanh": jnp.tanh, "relu": nn.relu}[self.activation]
        actor = squash(_dense(self.hidden, SQRT2, "Dense_0")(obs))
        actor = squash(_dense(self.hidden, SQRT2, "Dense_1")(actor))
        critic = squash(_dense(self.hidden, SQRT2, "Dense_3")(obs))
        critic = squash(_dense(self.hidden, SQRT2, "Dense_4")(critic))
        logits = _dense(self.n_actions, 0.01, "Dense_2")(actor)
        return logits, _dense(1, 1.0, "Dense_5")(critic)[..., 0]

    @staticmethod
    def actor(params: dict) -> dict:
        """The parameters of the actor alone, for `FeedForwardActor` (which squashes with tanh)."""
        return {"params": {name: params["params"][name] for name in ("Dense_0", "Dense_1", "Dense_2")}}


class RewardRNN(nn.Module):
    """Recurrent reward model: `(carry [B, H], obs [T, B, d], actions [T, B], world_state [T, B, W], resets [T, B])
    -> (carry, reward [T, B])`.

    The two embeddings are linear (no activation), as published.
    """

    width: int
    n_actions: int
    embedding_action: int = 64
    embedding_obs: int = 64

    @nn.compact
    def __call__(self, carry, obs, actions, world_state, resets):
        action = _dense(self.embedding_action, SQRT2, "Dense_0")(jax.nn.one_hot(actions, self.n_actions))
        seen = _dense(self.embedding_obs, SQRT2, "Dense_1")(obs)
        x = jnp.concatenate([action, seen, world_state], axis=-1)
        x = nn.relu(_dense(self.width, SQRT2, "Dense_2")(x))
        carry, x = ScannedRNN(self.width, name="ScannedRNN_0")(carry, x, resets)
        x = nn.relu(_dense(self.width, 2.0, "Dense_3")(x))
        return carry, _dense(1, 1.0, "Dense_4")(x)[..., 0]

    @nn.nowrap
    def initial_carry(self, batch: int) -> jax.Array:
        """Zeros `[batch, width]`."""
        return jnp.zeros((batch, self.width))


class RewardFF(nn.Module):
    """Feed-forward reward model of (observation, action), with `RewardRNN`'s signature; no carry, no world state.

    The published class also builds Dense_0, Dense_2 and Dense_4, whose outputs it overwrites; only the layers that
    act are here, under their published names.
    """

    width: int
    n_actions: int
    embedding_action: int = 64
    embedding_obs: int = 64

    @nn.compact
    def __call__(self, carry, obs, actions, world_state, resets):
        del world_state, resets
        action = _dense(self.embedding_action, SQRT2, "Dense_1")(jax.nn.one_hot(actions, self.n_actions))
        seen = _dense(self.embedding_obs, SQRT2, "Dense_3")(obs)
        x = jnp.concatenate([nn.relu(action), nn.relu(seen)], axis=-1)
        x = nn.relu(_dense(self.width, SQRT2, "Dense_5")(x))
        return carry, _dense(1, 1.0, "Dense_6")(x)[..., 0]

    @nn.nowrap
    def initial_carry(self, batch: int) -> jax.Array:
        """Nothing: `[batch, 0]`."""
        return jnp.zeros((batch, 0))
