"""The reference policy pi_b: the data's own behaviour, imitated (specification, section 5.4; paper: imitation learning).

    loss = mean over steps and agents' sequences of -log pi_b(a_t | o_1 .. o_t)

One set of parameters for all agents, whose observations do not say which agent it is. A step reads `batch_size` rows of
one agent; with `alignment=corrected` a row is its episodes (see `marlhf.sequences`).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from common.cli import UserError
from marlhf import networks, rewards, sequences
from marlhf.data.files import Rows
from marlhf.sequences import Sequences

#: the learning rate ends here, and Adam's epsilon (specification, sections 2.7 and 5.4)
LAST_LR = 1e-4
ADAM_EPSILON = 1e-5
#: a step of a CPU reads its rows in so many pieces (fewer where they do not divide)
PIECES = 4


@dataclass(frozen=True)
class ImitationSettings:
    """The original's keys, in lower case (specification, section 2.7).

    Attributes:
        lr, max_grad_norm: Adam; the rate falls linearly to 1e-4 at the end of the last epoch.
        num_epochs: passes over the data, by which the decay is stretched.
        batch_size: rows (of one agent each) per step.
        student_network_hidden: width of the recurrent policy (a feed-forward one, Overcooked's, has 64).
        feed_forward: a policy without memory.
        alignment: `corrected` or `original` (Q5).
    """

    lr: float = 1e-3
    max_grad_norm: float = 25.0
    num_epochs: int = 100
    batch_size: int = 128
    student_network_hidden: int = 128
    feed_forward: bool = False
    alignment: str = "corrected"

    def __post_init__(self) -> None:
        """Raises UserError for values that no run can have."""
        for name in ("num_epochs", "batch_size", "student_network_hidden"):
            if getattr(self, name) < 1:
                raise UserError(f"{name.upper()}={getattr(self, name)}; it has to be at least 1")
        for name in ("lr", "max_grad_norm"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise UserError(f"{name.upper()}={getattr(self, name)}; it has to be above 0")
        if self.alignment not in sequences.ALIGNMENTS:
            known = ", ".join(sequences.ALIGNMENTS)
            raise UserError(f"unknown alignment {self.alignment!r}; there are {known}")

    def network(self, n_actions: int) -> Any:
        """The policy's network."""
        if self.feed_forward:
            return networks.FeedForwardActor(n_actions)
        return networks.RecurrentActor(n_actions, self.student_network_hidden)


class Demonstrations(NamedTuple):
    """N = E n rows of single agents, each of K sequences of L steps.

    Attributes:
        obs: `[N, K, L, d]`, without the agent index. actions: `[N, K, L]` int32. dones: `[N, K, L]` bool.
    """

    obs: Any
    actions: Any
    dones: Any


def demonstrations(data: Sequences) -> Demonstrations:
    """Every agent's rows by themselves (NumPy; the observations are copied once)."""
    envs, count, length, agents, width = data.obs.shape

    def alone(part):  # [E, K, L, n, ...] -> [E n, K, L, ...]
        return np.moveaxis(part, 3, 1).reshape(envs * agents, count, length, *part.shape[4:])

    return Demonstrations(
        obs=alone(data.obs[..., : width - agents]),
        actions=alone(data.actions),
        dones=np.repeat(data.dones, agents, axis=0),
    )


def negative_log_likelihood(network: Any, params: Any, obs, actions, resets) -> jax.Array:
    """The loss: obs `[T, B, d]`, actions `[T, B]`, resets `[T, B]`; the policy starts with nothing remembered."""
    assert obs.shape[:2] == actions.shape == resets.shape, "demonstrations"
    _, logits = network.apply(params, network.initial_carry(obs.shape[1]), obs, resets)
    return -jnp.mean(rewards.log_prob_of(logits, actions))


def optimiser(learning_rate: Any, max_grad_norm: float) -> optax.GradientTransformation:
    """Clipping by the global norm, then Adam; `learning_rate` a number or a schedule."""
    return optax.chain(optax.clip_by_global_norm(max_grad_norm), optax.adam(learning_rate, eps=ADAM_EPSILON))


class ImitationState(NamedTuple):
    """All that an epoch needs; `key` (raw, uint32 [2]) never changes, epoch i shuffles with fold_in(key, i)."""

    epoch: jax.Array
    key: jax.Array
    params: Any
    optimiser: Any
    loss: jax.Array  # mean over the last epoch


@dataclass(frozen=True)
class ImitationLearner:
    """Training for actions A, raw observations d and data of `n_rows` = E n single-agent rows.

    Raises:
        UserError: fewer rows than one batch.
    """

    settings: ImitationSettings
    n_actions: int
    obs_size: int
    n_rows: int

    def __post_init__(self) -> None:
        if self.n_rows < self.settings.batch_size:
            raise UserError(
                f"BATCH_SIZE={self.settings.batch_size} is more than the {self.n_rows} rows of the data; "
                "collect more or take a smaller batch"
            )

    @functools.cached_property
    def network(self) -> Any:
        """The policy's network."""
        return self.settings.network(self.n_actions)

    @functools.cached_property
    def optimiser(self) -> optax.GradientTransformation:
        """See `optimiser`; with the linear decay."""
        hp = self.settings
        steps = max(1, hp.num_epochs * self.n_rows // hp.batch_size)
        return optimiser(optax.linear_schedule(hp.lr, LAST_LR, steps), hp.max_grad_norm)

    def check(self, data: Demonstrations) -> None:
        """Raises UserError when the data is not of this task."""
        if data.obs.shape[-1] != self.obs_size:
            raise UserError(
                f"the data has observations of {data.obs.shape[-1]} numbers, this task of {self.obs_size}; "
                "collect it with the same task and number of agents"
            )
        assert len(data.dones) == self.n_rows, "rows"

    def fresh(self, seed: jax.Array) -> ImitationState:
        """The state before the first epoch."""
        first, later = jax.random.split(jax.random.PRNGKey(seed))
        carry, obs = self.network.initial_carry(1), jnp.zeros((1, 1, self.obs_size))
        params = self.network.init(first, carry, obs, jnp.ones((1, 1), bool))
        return ImitationState(jnp.int32(0), later, params, self.optimiser.init(params), jnp.zeros(()))

    def advance(
        self, state: ImitationState, n: jax.Array, data: Demonstrations
    ) -> tuple[ImitationState, jax.Array]:
        """`n` epochs (int32, may be 0) in one loop on the device, and the mean loss of the last of them."""
        state = lax.fori_loop(0, n, lambda _, state: self.epoch(state, data), state)
        return state, state.loss

    def epoch(self, state: ImitationState, data: Demonstrations) -> ImitationState:
        """One pass over the data in a new order, whole batches only."""
        size = self.settings.batch_size
        order = jax.random.permutation(jax.random.fold_in(state.key, state.epoch), self.n_rows)
        batches = order[: self.n_rows // size * size].reshape(-1, size)

        def step(carry, chosen):
            params, inner = carry
            loss, gradient = self.gradient(params, data, chosen)
            change, inner = self.optimiser.update(gradient, inner, params)
            return (optax.apply_updates(params, change), inner), loss

        (params, inner), losses = lax.scan(step, (state.params, state.optimiser), batches)
        return ImitationState(state.epoch + 1, state.key, params, inner, jnp.mean(losses))

    def gradient(self, params: Any, data: Demonstrations, chosen: jax.Array) -> tuple[jax.Array, Any]:
        """The loss on some rows, by number, and its gradient; on a CPU piece by piece, which spares its caches."""
        count = math.gcd(len(chosen), PIECES)
        whole = jax.value_and_grad(self.loss)

        def by_pieces(params, data, chosen):
            def add(sums, piece):
                return jax.tree.map(jnp.add, sums, whole(params, data, piece)), None

            nothing = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
            sums, _ = lax.scan(add, nothing, chosen.reshape(count, -1))
            return jax.tree.map(lambda part: part / count, sums)

        return lax.platform_dependent(params, data, chosen, cpu=by_pieces, default=whole)

    def loss(self, params: Any, data: Demonstrations, chosen: jax.Array) -> jax.Array:
        """The loss on some rows, by number."""
        obs, actions, dones = (sequences.time_first(jnp.asarray(part)[chosen]) for part in data)
        forget = sequences.resets(dones, self.settings.alignment)
        return negative_log_likelihood(self.network, params, obs.astype(jnp.float32), actions, forget)


def files_to_load(count: int, filter_ratio: float) -> int:
    """With FILTER_BY_REWARD_MODEL, files to read where `count` are asked for: count / FILTER_RATIO.

    Raises:
        UserError: the ratio is not above 0 and at most 1.
    """
    if not 0 < filter_ratio <= 1:
        raise UserError(f"FILTER_RATIO={filter_ratio}; it has to be above 0 and at most 1")
    return int(count / filter_ratio)


def files_to_keep(mean_rewards: np.ndarray, filter_ratio: float) -> np.ndarray:
    """With FILTER_BY_REWARD_MODEL, the files, by number, whose mean predicted reward lies above the quantile.

    Args: `mean_rewards` `[files]`, see `rewards.mean_by_file`; `filter_ratio` also is the quantile.
    Raises:
        UserError: no file lies above it.
    """
    kept = np.flatnonzero(mean_rewards > np.quantile(mean_rewards, filter_ratio))
    if not len(kept):
        raise UserError(
            f"no file has a mean predicted reward above the quantile FILTER_RATIO={filter_ratio}; "
            "load more files or choose a smaller ratio"
        )
    return kept


def filtered(
    rows: Rows,
    files: int,
    judge: rewards.Judge,
    params: rewards.JudgeParams,
    episode_length: int,
    settings: rewards.RewardSettings,
    filter_ratio: float,
) -> Rows:
    """With FILTER_BY_REWARD_MODEL, the rows of the files to learn from.

    Args:
        rows: `files` files of equally many rows, one after another (`files_to_load` says how many to read).
        judge, params: the reward model; a reference policy is not needed.
    """
    labels = rewards.label(judge, params, rows, episode_length, settings)
    each = rows.dones.shape[1] // files
    kept = files_to_keep(rewards.mean_by_file(labels, each), filter_ratio)
    columns = (kept[:, None] * each + np.arange(each)[None, :]).reshape(-1)
    by_agent = ("obs", "actions", "rewards")
    return Rows(
        *(np.take(part, columns, 2 if name in by_agent else 1) for name, part in rows._asdict().items())
    )
