"""Offline value decomposition: VDN, MAIQL and MABCQ (specification, sections 5.6 to 5.8).

    Q_tot(t) = sum_i Q_i(o_i,t, a_i,t)        G_t = r_t + gamma (1 - done_t) V_{t+1}        loss = mean error(Q_tot, G)

r is the team's labelled reward (`marlhf.rewards`). One update draws `buffer_batch_size` rows with replacement, runs the
online and the target networks over all their steps from a zero carry, and takes one Adam step; the target is a copy of
the online parameters, renewed every `target_update_interval` updates. What differs between the algorithms:

    VDN     V_{t+1}: the target's value of the online network's greedy actions; squared error; penalised reward
    MAIQL   V_{t+1}: the target's value of the dataset's next actions; expectile error; reward without penalty
    MABCQ   as VDN, with two independent Q networks whose smaller value counts, action by action
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from common.cli import UserError
from marlhf import networks, sequences
from marlhf.offline import targets
from marlhf.offline.team import Team
from marlhf.sequences import Sequences


@dataclass(frozen=True)
class Algorithm:
    """What one of the three does differently.

    Attributes:
        network: class of its Q network.
        value: V_t `[T, B]` from (online Q, target Q, dataset's actions).
        expectile: an asymmetric error, or the square.
        penalised: learns from the reward with the log-probability penalty, or without.
    """

    network: type
    value: Callable[..., jax.Array]
    expectile: bool
    penalised: bool


ALGORITHMS = {
    "vdn": Algorithm(networks.QNetwork, targets.double_q_value, expectile=False, penalised=True),
    "maiql": Algorithm(networks.QNetwork, targets.dataset_value, expectile=True, penalised=False),
    "mabcq": Algorithm(networks.TwinQNetwork, targets.double_q_value, expectile=False, penalised=True),
}


@dataclass(frozen=True)
class OfflineSettings:
    """The original's keys, in lower case (specification, section 2.5).

    Attributes:
        algorithm: `vdn`, `maiql` or `mabcq`.
        epochs: gradient updates of a whole run; read here by the learning rate's decay only.
        buffer_batch_size: rows per update.
        agent_hidden_dim, agent_init_scale, parameters_sharing: the Q networks.
        lr, eps_adam, max_grad_norm, lr_linear_decay: the optimiser; the decay goes down to 0 at the last update.
        target_update_interval: updates between two copies into the target.
        gamma, td_lambda_loss, td_lambda: the target; TD(lambda) or one step.
        iql_tau: MAIQL's expectile.
        alignment: `corrected` or `original` (Q5).
    """

    algorithm: str = "vdn"
    epochs: int = 10_000
    buffer_batch_size: int = 32
    agent_hidden_dim: int = 64
    agent_init_scale: float = 2.0
    parameters_sharing: bool = True
    lr: float = 1e-3
    eps_adam: float = 1e-3
    max_grad_norm: float = 25.0
    lr_linear_decay: bool = False
    target_update_interval: int = 3
    gamma: float = 0.9
    td_lambda_loss: bool = False
    td_lambda: float = 0.6
    iql_tau: float = 0.95
    alignment: str = "corrected"

    def __post_init__(self) -> None:
        """Raises UserError for values that no run can have."""
        if self.algorithm not in ALGORITHMS:
            raise UserError(f"unknown algorithm {self.algorithm!r}; there are {', '.join(ALGORITHMS)}")
        if self.alignment not in sequences.ALIGNMENTS:
            raise UserError(
                f"unknown alignment {self.alignment!r}; there are {', '.join(sequences.ALIGNMENTS)}"
            )
        for name in ("epochs", "buffer_batch_size", "agent_hidden_dim", "target_update_interval"):
            if getattr(self, name) < 1:
                raise UserError(f"{name.upper()}={getattr(self, name)}; it has to be at least 1")
        for name in ("lr", "eps_adam", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name.upper()}={getattr(self, name)}; it has to be above 0")
        for name in ("gamma", "td_lambda", "iql_tau"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name.upper()}={getattr(self, name)}; it has to be 0 to 1")
        if self.td_lambda_loss and ALGORITHMS[self.algorithm].expectile:
            raise UserError(
                f"TD_LAMBDA_LOSS=True is not for {self.algorithm}, whose targets look one step ahead"
            )


class Dataset(NamedTuple):
    """`Sequences` and the labelled reward that goes with them.

    Attributes:
        obs, actions, dones: as in `Sequences`.
        team_rewards: `[E, K, L]` float32.
    """

    obs: Any
    actions: Any
    dones: Any
    team_rewards: Any


def dataset(data: Sequences, team_rewards: Any) -> Dataset:
    """Put labels, `[T, E]` as `marlhf.rewards` gives them (or `[E, K, L]` already), beside their sequences.

    Raises:
        UserError: they are labels of other data.
    """
    envs, count, length = data.dones.shape
    if team_rewards.shape == (count * length, envs):
        team_rewards = sequences.by_row(team_rewards, 1, count, length)
    if team_rewards.shape != (envs, count, length):
        raise UserError(
            f"the labels are {team_rewards.shape}, the data {envs} rows of {count * length} steps; label this data"
        )
    return Dataset(*data, team_rewards)


class Batch(NamedTuple):
    """Time first: obs `[T, B, n, d+n]`, actions `[T, B, n]`, dones, resets and team_rewards `[T, B]`."""

    obs: jax.Array
    actions: jax.Array
    dones: jax.Array
    resets: jax.Array
    team_rewards: jax.Array


class Report(NamedTuple):
    """Scalars of the last update: the loss, the gradient's norm before clipping, the mean of Q_tot."""

    loss: jax.Array
    grad_norm: jax.Array
    value: jax.Array


class LearnerState(NamedTuple):
    """All that an update needs; `key` (raw, uint32 [2]) never changes, update i draws from fold_in(key, i)."""

    update: jax.Array
    key: jax.Array
    params: Any
    target_params: Any
    optimiser: Any
    last: Report


@dataclass(frozen=True)
class OfflineLearner:
    """One of the three, for a team of n agents with A actions and observations of width d+n.

    `fresh` and `advance` are pure; several seeds are an axis of `lanes`, which gives each what it would get alone.
    """

    settings: OfflineSettings
    n_agents: int
    n_actions: int
    width: int

    @property
    def algorithm(self) -> Algorithm:
        return ALGORITHMS[self.settings.algorithm]

    @functools.cached_property
    def team(self) -> Team:
        """The Q networks: `init`, `initial_carry`, `apply`."""
        hp = self.settings
        network = self.algorithm.network(self.n_actions, hp.agent_hidden_dim, hp.agent_init_scale)
        return Team(network, self.n_agents, hp.parameters_sharing)

    @functools.cached_property
    def optimiser(self) -> optax.GradientTransformation:
        hp = self.settings
        rate = optax.linear_schedule(hp.lr, 0.0, hp.epochs) if hp.lr_linear_decay else hp.lr
        return optax.chain(optax.clip_by_global_norm(hp.max_grad_norm), optax.adam(rate, eps=hp.eps_adam))

    def check(self, data: Dataset) -> None:
        """Raises UserError when the data is not of this task."""
        _, _, _, agents, width = data.obs.shape
        if (agents, width) != (self.n_agents, self.width):
            raise UserError(
                f"the data has {agents} agents with observations of {width} numbers, this task {self.n_agents} "
                f"with {self.width} (agent index included); collect it with the same task and number of agents"
            )

    def fresh(self, seed: jax.Array) -> LearnerState:
        """The state before the first update."""
        first, later = jax.random.split(jax.random.PRNGKey(seed))
        params = self.team.init(first, self.width)
        nothing = Report(*(jnp.zeros(()) for _ in Report._fields))
        copy = jax.tree.map(jnp.copy, params)
        return LearnerState(jnp.int32(0), later, params, copy, self.optimiser.init(params), nothing)

    def advance(self, state: LearnerState, n: jax.Array, data: Dataset) -> tuple[LearnerState, Report]:
        """`n` updates (int32, may be 0) in one loop on the device, and what the last of them says."""
        state = lax.fori_loop(0, n, lambda _, state: self.update(state, data), state)
        return state, state.last

    def update(self, state: LearnerState, data: Dataset) -> LearnerState:
        """One gradient step; then, every `target_update_interval` of them, the target is renewed."""
        batch = self.draw(jax.random.fold_in(state.key, state.update), data)
        interval = self.settings.target_update_interval
        grad = jax.value_and_grad(self.loss, has_aux=True)
        (loss, value), gradient = grad(
            state.params, state.target_params, batch, renewed=state.update % interval == 0
        )
        step, optimiser = self.optimiser.update(gradient, state.optimiser, state.params)
        params = optax.apply_updates(state.params, step)
        update = state.update + 1
        renew = update % interval == 0
        target = jax.tree.map(lambda new, old: jnp.where(renew, new, old), params, state.target_params)
        report = Report(loss, optax.tree.norm(gradient), value)
        return LearnerState(update, state.key, params, target, optimiser, report)

    def draw(self, key: jax.Array, data: Dataset) -> Batch:
        """A minibatch: rows with replacement, each with all its sequences."""
        chosen = jax.random.randint(key, (self.settings.buffer_batch_size,), 0, len(data.dones))
        obs, actions, dones, rewards = (sequences.time_first(jnp.asarray(part)[chosen]) for part in data)
        resets = sequences.resets(dones, self.settings.alignment)
        return Batch(obs.astype(jnp.float32), actions, dones, resets, rewards)

    def loss(
        self, params: Any, target_params: Any, batch: Batch, renewed: jax.Array | bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """The loss and the mean of Q_tot.

        Args: `renewed`: the target is a copy of `params`, so its values need not be computed (every third update).
        """
        hp, carry = self.settings, self.team.initial_carry(batch.dones.shape[1])
        _, online = self.team.apply(params, carry, batch.obs, batch.resets)
        target = lax.cond(
            renewed,
            lambda: lax.stop_gradient(online),
            lambda: self.team.apply(target_params, carry, batch.obs, batch.resets)[1],
        )
        values = targets.team_value(online, batch.actions)
        bootstrap = lax.stop_gradient(self.algorithm.value(online, target, batch.actions))
        goals = self.goals(bootstrap, batch)
        values = values[: len(goals)]
        if self.algorithm.expectile:
            error = targets.expectile_error(values, goals, hp.iql_tau)
        else:
            error = (targets.half_squared_error if hp.td_lambda_loss else targets.squared_error)(
                values, goals
            )
        return error, jnp.mean(values)

    def goals(self, bootstrap: jax.Array, batch: Batch) -> jax.Array:
        """G_t `[K, B]` from V_t `[T, B]`: K = T for whole episodes, T - 1 for rows as in the original."""
        hp, dones, rewards = self.settings, batch.dones, batch.team_rewards
        if hp.alignment == "original":
            following, last = bootstrap[1:], jnp.where(dones[-1], 0.0, bootstrap[-1])
            dones, rewards = dones[:-1], rewards[:-1]
        else:
            # DEVIATION(Q26): an episode's last reward is a target too (its done cuts the bootstrap); the original
            # leaves the last step of every sequence out
            last = jnp.zeros_like(bootstrap[0])
            following = jnp.concatenate([bootstrap[1:], last[None]])
        if hp.td_lambda_loss:
            return targets.td_lambda(rewards, dones, following, last, hp.gamma, hp.td_lambda)
        return targets.one_step(rewards, dones, following, hp.gamma)


def lanes(learner: OfflineLearner) -> Callable[..., tuple[LearnerState, Report]]:
    """`advance` for several seeds at once: states with a leading axis on every leaf, all of them after as many updates.

    They share the data. The count of updates is one number inside, so that what happens every third update happens for
    all of them or for none: mapped, a branch computes both of its sides.
    """
    one = LearnerState(*(None if name == "update" else 0 for name in LearnerState._fields))
    mapped = jax.vmap(learner.advance, in_axes=(one, None, None), out_axes=(one, 0))

    def advance(states: LearnerState, n: jax.Array, data: Dataset) -> tuple[LearnerState, Report]:
        after, reports = mapped(states._replace(update=states.update[0]), n, data)
        return after._replace(update=jnp.broadcast_to(after.update, states.update.shape)), reports

    return advance
