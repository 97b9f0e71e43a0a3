"""The reward model: what it is made of, its loss and its optimiser (paper: r_phi; spec section 5.3).

    R(tau)   = sum over the steps of r_phi
    L_pref   = mean over pairs of -log(1e-6 + sigma(y (R_u - R_w))) - the same for the judge's own margins
    L_mse    = mean over trajectories of the sum over t >= 1 of (r_t - r_{t-1})^2
    L        = L_pref + alpha L_mse

The judge's own term has no gradient; it makes 0 the value of a model that knows the judge. The MSE term is the paper's
regulariser along time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from common.cli import UserError
from marlhf import networks, storage

#: what a file of one is called
KIND = "reward model"
#: the learning rate goes down along a cosine and starts again after so many gradient steps
RESTART_STEPS = 200
WEIGHT_DECAY = 1e-4
EPSILON = 1e-5
_TINY = 1e-6
#: the feed-forward model reads a minibatch in so many pieces (fewer where its steps do not divide)
PIECES = 4


@dataclass(frozen=True)
class Architecture:
    """What is needed to build a reward model for a task.

    Attributes:
        reward_model_type: RNN or FF.
        ff_layer_dim: the width (of an RNN also its carry).
        n_actions, obs_size, state_size: the task's; obs_size is without the agents' one-hot index.
        embedding_action, embedding_obs: widths of the two embeddings.
    """

    reward_model_type: str
    ff_layer_dim: int
    n_actions: int
    obs_size: int
    state_size: int
    embedding_action: int = 64
    embedding_obs: int = 64

    def network(self) -> Any:
        kind = {"RNN": networks.RewardRNN, "FF": networks.RewardFF}[self.reward_model_type]
        return kind(self.ff_layer_dim, self.n_actions, self.embedding_action, self.embedding_obs)

    @property
    def recurrent(self) -> bool:
        return self.reward_model_type == "RNN"

    def init(self, key) -> Any:
        """Fresh parameters."""
        net = self.network()
        return net.init(
            key,
            net.initial_carry(1),
            jnp.zeros((1, 1, self.obs_size)),
            jnp.zeros((1, 1), jnp.int32),
            jnp.zeros((1, 1, self.state_size)),
            jnp.ones((1, 1), bool),
        )

    def reward_fn(self, params, obs, actions, world_state, resets) -> jax.Array:
        """The reward of every step from the start of the rows on.

        Args: `obs` [T, B, d] (float32 or uint8) without the one-hot index, `actions` [T, B], `world_state` [T, B, W] and `resets` [T, B]
            (both unread by FF; None will do).
        Returns: [T, B].
        """
        if not self.recurrent:
            return feed_forward_rewards(params, obs, actions)
        net = self.network()
        obs, world_state = obs.astype(jnp.float32), world_state.astype(jnp.float32)
        return net.apply(params, net.initial_carry(obs.shape[1]), obs, actions, world_state, resets)[1]


# --- the feed-forward model, arranged for speed ------------------------------------------------------------------


def _matmul(a, b):
    return jnp.matmul(a, b, precision=networks.PRECISION)


def _inputs(w_obs, b_obs, x, one_hot):
    return jnp.concatenate([jax.nn.relu(_matmul(x, w_obs) + b_obs[None, :]), one_hot], axis=-1)


def _in_pieces(*parts):
    """Each of them `[R, ...]` -> `[P, R/P, ...]`: a piece's layers stay in the processor's cache."""
    count = math.gcd(len(parts[0]), PIECES)
    return tuple(part.reshape(count, -1, *part.shape[1:]) for part in parts)


@jax.custom_vjp
def _two_layers(w_obs, b_obs, w_hidden, w_out, b_out, x, one_hot):
    """w_out . relu([relu(x w_obs + b_obs), one_hot] w_hidden) + b_out for `x` [R, d] -> [R]."""
    return _forward(w_obs, b_obs, w_hidden, w_out, b_out, x, one_hot)[0]


def _forward(w_obs, b_obs, w_hidden, w_out, b_out, x, one_hot):
    def piece(rows):
        hidden = _matmul(_inputs(w_obs, b_obs, *rows), w_hidden)
        return _matmul(jax.nn.relu(hidden), w_out), hidden > 0

    out, active = jax.lax.map(piece, _in_pieces(x, one_hot))
    return out.reshape(len(x)) + b_out, (w_obs, b_obs, w_hidden, w_out, x, one_hot, active)


def _backward(saved, grad):
    """Of the hidden layer only the signs are kept; with m = sign [R, H] and S = inputs^T (grad m):

    d/d w_hidden = S w_out,    d/d w_out = sum over the inputs of S w_hidden
    """
    w_obs, b_obs, w_hidden, w_out, x, one_hot, active = saved
    width = w_obs.shape[1]
    to_seen = w_out[:, None] * w_hidden[:width].T

    def add(sums, rows):
        x, one_hot, grad, active = rows
        inputs = _inputs(w_obs, b_obs, x, one_hot)
        grad_hidden = jnp.where(active, grad[:, None], 0.0)
        grad_seen = jnp.where(inputs[:, :width] > 0, _matmul(grad_hidden, to_seen), 0.0)
        seen = (_matmul(x.T, grad_seen), grad_seen.sum(axis=0))
        return jax.tree.map(jnp.add, sums, (*seen, _matmul(inputs.T, grad_hidden), grad.sum())), None

    nothing = (*jax.tree.map(jnp.zeros_like, (w_obs, b_obs, w_hidden)), jnp.zeros(()))
    (of_obs, of_bias, of_hidden, of_out_bias), _ = jax.lax.scan(
        add, nothing, (*_in_pieces(x, one_hot, grad), active)
    )
    return (
        of_obs,
        of_bias,
        of_hidden * w_out[None, :],
        (of_hidden * w_hidden).sum(axis=0),
        of_out_bias,
        jnp.zeros_like(x),
        jnp.zeros_like(one_hot),
    )


_two_layers.defvjp(_forward, _backward)


def feed_forward_rewards(params, obs, actions) -> jax.Array:
    """`networks.RewardFF` in a form that is about 2.6 times as fast to train on a CPU.

    An action can take few values, so its half of the second layer is a table with one line per action; and the
    gradient is written out, which spares copies. No gradient flows to the observations.

    Args: `obs` [..., d] (float32 or uint8), `actions` [...].
    Returns: [...].
    """
    act, seen, hidden, out = (params["params"][f"Dense_{number}"] for number in (1, 3, 5, 6))
    table = jax.nn.relu(act["kernel"] + act["bias"][None, :])
    split = table.shape[1]
    table = _matmul(table, hidden["kernel"][:split]) + hidden["bias"][None, :]
    w_hidden = jnp.concatenate([hidden["kernel"][split:], table])
    one_hot = jax.nn.one_hot(actions.reshape(-1), table.shape[0])
    x = obs.reshape(-1, obs.shape[-1]).astype(jnp.float32)
    weights = (seen["kernel"], seen["bias"], w_hidden, out["kernel"][:, 0], out["bias"][0])
    return _two_layers(*weights, x, one_hot).reshape(actions.shape)


# --- the loss ----------------------------------------------------------------------------------------------------


class Losses(NamedTuple):
    """The parts of a minibatch's loss (scalars)."""

    total: Any
    value: Any  # L_pref: above the judge's own
    mse: Any
    baseline: Any  # the judge's own term


def trajectory_rewards(architecture: Architecture, params, obs, actions, world_state, resets) -> jax.Array:
    """The reward of every step of B trajectories [B, L]; the arguments as in `data.trajectories.Trajectories`."""
    if not architecture.recurrent:
        return feed_forward_rewards(params, obs, actions)
    by_time = (jnp.swapaxes(part, 0, 1) for part in (obs, actions, world_state, resets))
    return jnp.swapaxes(architecture.reward_fn(params, *by_time), 0, 1)


def preference_loss(margins, target) -> jax.Array:
    """Mean of -log(1e-6 + sigma(y m)) [P] -> scalar; `target` is the chance that the first is preferred.

    1 and 0 are clear choices (y = +1 and -1), 1/2 is a choice of neither.
    """
    first = -jnp.log(_TINY + jax.nn.sigmoid(margins))
    second = -jnp.log(_TINY + jax.nn.sigmoid(-margins))
    return jnp.mean(target * first + (1.0 - target) * second)


def roughness(rewards) -> jax.Array:
    """Sum over the steps t >= 1 of (r_t - r_{t-1})^2, for `rewards` [B, L] -> [B]."""
    return jnp.sum((rewards[:, 1:] - rewards[:, :-1]) ** 2, axis=1)


def combine(predicted_margins, target, judge_margins, rewards, mse_loss_coef) -> Losses:
    """The whole loss.

    Args:
        predicted_margins: R_u - R_w of the model [P].
        target: the chance that u is preferred [P].
        judge_margins: the judge's own margins k (R_u - R_w) / range [P], or None for a judge that is not known.
        rewards: the predicted rewards [B, L] of the trajectories compared.
        mse_loss_coef: alpha.
    """
    baseline = jnp.zeros(()) if judge_margins is None else preference_loss(judge_margins, target)
    value = preference_loss(predicted_margins, target) - baseline
    mse = jnp.mean(roughness(rewards))
    return Losses(value + mse_loss_coef * mse, value, mse, baseline)


# --- the optimiser -----------------------------------------------------------------------------------------------


def learning_rate(peak: float, step) -> jax.Array:
    """peak (1 + cos(pi (s mod 200) / 200)) / 2 at gradient step s: restarts count steps, not epochs."""
    return peak * 0.5 * (1.0 + jnp.cos(jnp.pi * (step % RESTART_STEPS) / RESTART_STEPS))


def optimiser(lr: float, max_grad_norm: float) -> optax.GradientTransformation:
    """Clipping of the global norm, then AdamW."""
    return optax.chain(
        optax.clip_by_global_norm(max_grad_norm),
        optax.adamw(lambda step: learning_rate(lr, step), eps=EPSILON, weight_decay=WEIGHT_DECAY),
    )


# --- files -------------------------------------------------------------------------------------------------------


def save(path: Path | str, architecture: Architecture, params: Any, made_by: Mapping[str, Any]) -> str:
    """Write a model (`storage.save_model`); `made_by` is anything JSON can hold. Returns the file's SHA-256."""
    header = {"architecture": asdict(architecture), "made_by": dict(made_by)}
    return storage.save_model(Path(path), KIND, params, header)


def load(path: Path | str, task: Any = None) -> tuple[Architecture, Any, dict[str, Any]]:
    """Read a model: what it is, its parameters (NumPy), what made it.

    Args:
        task: has `id`, `n_actions` and `obs_size`; the model has to fit it.

    Raises:
        UserError: the file is missing, damaged, something else, or a model for another task.
    """
    params, header = storage.load_model(Path(path), KIND, "python train/reward_model.py")
    architecture = Architecture(**header["architecture"])
    if task is not None and (task.n_actions, task.obs_size) != (
        architecture.n_actions,
        architecture.obs_size,
    ):
        raise UserError(
            f"{path} reads observations of size {architecture.obs_size} and {architecture.n_actions} actions, "
            f"{task.id} has {task.obs_size} and {task.n_actions}; train a reward model for it"
        )
    return architecture, params, header["made_by"]
