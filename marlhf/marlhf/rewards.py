"""From recorded play to the team's labelled reward (specification, section 5.5; paper: standardisation and pessimism).

    r~ = (r_phi - m) / s + 1        m, s over the first chunk of rows, the expert's        (paper: standardisation)
    r  = r~ + clip(beta (log pi_b(a | o) + log A), -10, 1)                                  (paper: dataset penalty)

and the team's reward is the sum of r over the agents. An average expert's action is worth about 1; an action that the
reference policy pi_b finds as likely as a random choice costs nothing.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common.cli import UserError
from marlhf import networks, sequences
from marlhf.data.files import Rows

#: the penalty of one agent's action stays between these
PENALTY_MIN, PENALTY_MAX = -10.0, 1.0


@dataclass(frozen=True)
class RewardSettings:
    """The original's keys, in lower case (specification, section 2.5).

    Attributes:
        ref_log_coef: beta.
        add_log_prob: add the penalty, or learn from r~ alone.
        batch_size: rows per chunk; the first chunk fixes m and s (Q21, kept: it defines beta's scale).
        alignment: when recurrent models forget (Q5), see `marlhf.sequences`.
        layout: `original` gives the reward model another row's world state (Q2).
    """

    ref_log_coef: float = 10.0
    add_log_prob: bool = True
    batch_size: int = 128
    alignment: str = "corrected"
    layout: str = "corrected"

    def __post_init__(self) -> None:
        """Raises UserError for values that no run can have."""
        check_beta(self.ref_log_coef)
        if self.batch_size < 1:
            raise UserError(f"BATCH_SIZE={self.batch_size}; it has to be at least 1")
        for name in ("alignment", "layout"):
            if getattr(self, name) not in sequences.ALIGNMENTS:
                known = ", ".join(sequences.ALIGNMENTS)
                raise UserError(f"unknown {name} {getattr(self, name)!r}; there are {known}")


def check_beta(beta: float) -> None:
    """Raises UserError for a penalty that would reward leaving the data."""
    if not (math.isfinite(beta) and beta >= 0):
        raise UserError(f"REF_LOG_COEF={beta}; it has to be a number from 0 on")


class Standard(NamedTuple):
    """Mean and population standard deviation of the first chunk's predictions, scalars."""

    mean: Any
    std: Any


def standardise(prediction: jax.Array, standard: Standard) -> jax.Array:
    """r~, of any shape."""
    return (prediction - standard.mean) / standard.std + 1.0


def penalty(log_prob: jax.Array, n_actions: int, beta: float | jax.Array) -> jax.Array:
    """clip(beta (log pi_b + log A), -10, 1), of any shape."""
    return jnp.clip(beta * (log_prob + math.log(n_actions)), PENALTY_MIN, PENALTY_MAX)


def log_prob_of(logits: jax.Array, actions: jax.Array) -> jax.Array:
    """log pi(a): logits `[..., A]` and actions `[...]` -> `[...]`. A masked sum: its gradient needs no scatter."""
    every = jnp.arange(logits.shape[-1]).reshape((1,) * actions.ndim + (-1,))
    return jnp.sum(jnp.where(actions[..., None] == every, jax.nn.log_softmax(logits), 0.0), axis=-1)


class JudgeParams(NamedTuple):
    """Parameters of the reward model and of the reference policy (`None` when there is none)."""

    reward: Any
    reference: Any = None


@dataclass(frozen=True)
class Judge:
    """The two learned models of a task, side by side.

    Args:
        reward_network: `RewardRNN` or `RewardFF` of `marlhf.networks`.
        reference_network: `RecurrentActor` or `FeedForwardActor`; `None`: no penalty can be had.
        n_agents, n_actions, obs_size, state_size: n, A, d and W of the task.
        own_state: an agent's world state is its own observation (Overcooked).
    """

    reward_network: Any
    reference_network: Any
    n_agents: int
    n_actions: int
    obs_size: int
    state_size: int
    own_state: bool = False

    @property
    def reads_state(self) -> bool:
        """Whether the reward model reads a world state at all."""
        return isinstance(self.reward_network, networks.RewardRNN)

    @property
    def _state_width(self) -> int:
        return (self.obs_size if self.own_state else self.state_size) if self.reads_state else 0

    def states(self, world_state: jax.Array, raw: jax.Array, original_pairing: bool = False) -> jax.Array:
        """The state that goes with each agent's actions, `[B, L, n, W]`, from `[B, L, W]` and raw obs `[B, L, n, d]`.

        Args:
            original_pairing: slot (agent a, row b) gets the state of row (a B + b) // n, as in the original (Q2).
        """
        if self.own_state or not self.reads_state:
            return raw if self.reads_state else raw[..., :0]
        batch = len(world_state)
        row = jnp.broadcast_to(jnp.arange(batch)[:, None], (batch, self.n_agents))
        if original_pairing:
            slot = jnp.arange(self.n_agents)[None, :] * batch + jnp.arange(batch)[:, None]
            row = slot // self.n_agents
        return jnp.moveaxis(world_state[row], 1, 2)

    def predict(self, params: JudgeParams, obs, actions, states, resets) -> tuple[jax.Array, jax.Array]:
        """(r_phi, log pi_b), both `[T, B, n]`.

        Args:
            obs: `[T, B, n, d]`, without the agent index. actions: `[T, B, n]`. states: `[T, B, n, W]`.
            resets: `[T, B]`, where recurrent models forget before a step; they start with nothing.
        """
        steps, batch, agents = actions.shape
        assert obs.shape == (steps, batch, agents, self.obs_size) and resets.shape == (steps, batch)

        def flat(part):
            return part.reshape(steps, batch * agents, *part.shape[3:])

        forget = jnp.repeat(resets, agents, axis=1)
        carry = self.reward_network.initial_carry(batch * agents)
        _, reward = self.reward_network.apply(
            params.reward, carry, flat(obs), flat(actions), flat(states), forget
        )
        if self.reference_network is None:
            return reward.reshape(actions.shape), jnp.full(actions.shape, -math.log(self.n_actions))
        carry = self.reference_network.initial_carry(batch * agents)
        _, logits = self.reference_network.apply(params.reference, carry, flat(obs), forget)
        return reward.reshape(actions.shape), log_prob_of(logits, flat(actions)).reshape(actions.shape)

    def check(self, params: JudgeParams) -> None:
        """Raises UserError when a model's parameters are not those of this task's networks."""

        def shapes(network, *rest):
            obs, forget = jnp.zeros((1, 1, self.obs_size)), jnp.ones((1, 1), bool)
            inputs = (network.initial_carry(1), obs, *rest, forget)
            return jax.eval_shape(network.init, jax.random.key(0), *inputs)

        actions, state = jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1, self._state_width))
        fits(shapes(self.reward_network, actions, state), params.reward, "the reward model", self.obs_size)
        if self.reference_network is not None:
            fits(shapes(self.reference_network), params.reference, "the reference policy", self.obs_size)


def fits(expected: Any, params: Any, what: str, obs_size: int) -> None:
    """Raises UserError, one line, when parameters are not of the expected shapes."""

    def named(tree):
        leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
        return {
            jax.tree_util.keystr(path, simple=True, separator="/"): np.shape(leaf) for path, leaf in leaves
        }

    here, there = named(expected), named(params)
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            raise UserError(
                f"{what} does not fit this task (observations of {obs_size} numbers): {name} should be "
                f"{here.get(name, 'absent')} and is {there.get(name, 'absent')}; train it for this task"
            )


class Labels(NamedTuple):
    """What the models say of every step of some rows (NumPy).

    Attributes:
        standardised: r~ `[T, n, E]` float32. log_prob: log pi_b `[T, n, E]` float32. standard: m and s.
    """

    standardised: np.ndarray
    log_prob: np.ndarray
    standard: Standard


@functools.lru_cache(maxsize=4)
def _chunk_reader(judge: Judge, alignment: str, original_pairing: bool, count: int, length: int):
    """The compiled pass over one chunk of rows: reward and log-probability, `[R, T, n]`."""

    @jax.jit
    def read(params, obs, actions, dones, world_state):
        raw = sequences.without_index(obs.astype(jnp.float32), judge.n_agents)
        states = judge.states(world_state.astype(jnp.float32), raw, original_pairing)
        rows = len(dones)

        def cut(part):
            return sequences.time_first(part.reshape(rows, count, length, *part.shape[2:]))

        resets = sequences.resets(cut(dones), alignment)
        found = judge.predict(params, cut(raw), cut(actions), cut(states), resets)
        return tuple(jnp.moveaxis(part, 0, 1).reshape(rows, count * length, -1) for part in found)

    return read


def label(
    judge: Judge, params: JudgeParams, rows: Rows, episode_length: int, settings: RewardSettings
) -> Labels:
    """Read every row with both models, chunk by chunk: beyond the data, memory for one chunk and two floats a step.

    Raises:
        UserError: data and models are of different tasks, or a reward model that says the same of everything.
    """
    steps, agents, envs, width = rows.obs.shape
    if (agents, width) != (judge.n_agents, judge.obs_size + judge.n_agents):
        raise UserError(
            f"the data has {agents} agents with observations of {width - agents} numbers, the models are for "
            f"{judge.n_agents} with {judge.obs_size}; use models and data of one task"
        )
    judge.check(params)
    count, length = sequences.pieces(steps, episode_length, settings.alignment)
    read = _chunk_reader(judge, settings.alignment, settings.layout == "original", count, length)
    params = jax.device_put(params)
    size = min(settings.batch_size, envs)
    reward, log_prob = (np.empty((steps, agents, envs), np.float32) for _ in range(2))
    for first, last, chunk in _chunks(rows, size):
        found = read(params, *chunk)
        for into, part in zip((reward, log_prob), found, strict=True):
            into[:, :, first:last] = np.moveaxis(np.asarray(part), 0, 2)[:, :, : last - first]
    standard = Standard(*(np.float32(of(reward[:, :, :size], dtype=np.float64)) for of in (np.mean, np.std)))
    if not (np.isfinite(standard.std) and standard.std > 0):
        raise UserError(
            f"the reward model's predictions have standard deviation {standard.std} over the first {size} rows, "
            "so they can't be standardised; train it longer or with a smaller MSE_LOSS_COEF"
        )
    return Labels(np.asarray(standardise(reward, standard)), log_prob, standard)


def _chunks(rows: Rows, size: int) -> Iterator[tuple[int, int, tuple[np.ndarray, ...]]]:
    """(first row, end, (obs, actions, dones, world_state) row first); the last chunk is filled up with its last row."""
    envs = rows.dones.shape[1]
    for first in range(0, envs, size):
        last = min(first + size, envs)
        index = np.minimum(np.arange(first, first + size), last - 1)
        yield (
            first,
            last,
            (
                np.moveaxis(rows.obs[:, :, index], 2, 0),
                np.moveaxis(rows.actions[:, :, index], 2, 0),
                np.moveaxis(rows.dones[:, index], 1, 0),
                np.moveaxis(rows.world_state[:, index], 1, 0),
            ),
        )


# DEVIATION(Q11): Overcooked's team reward is the sum over its agents too; the original adds "__all__", so doubles it
def team_rewards(labels: Labels, n_actions: int, beta: float, add_log_prob: bool = True) -> np.ndarray:
    """The team's reward `[T, E]` float32: the sum over agents of r, or of r~ without `add_log_prob`.

    Raises:
        UserError: beta is negative.
    """
    check_beta(beta)
    reward = labels.standardised
    if add_log_prob:
        reward = reward + np.asarray(penalty(labels.log_prob, n_actions, beta))
    return reward.sum(axis=1, dtype=np.float32)


def mean_by_file(labels: Labels, rows_per_file: int) -> np.ndarray:
    """Mean predicted reward of each file `[files]`, for data whose files have so many rows each."""
    return labels.standardised.reshape(*labels.standardised.shape[:2], -1, rows_per_file).mean(axis=(0, 1, 3))
