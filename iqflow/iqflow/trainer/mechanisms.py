"""What pays the followers: IQ-Flow, the Incentive Designer in two variants, or nobody; one interface for all.

state = mechanism.init(key)
given = mechanism.incentives(state, observations, actions)            # [..., N, *obs], [..., N] -> [..., N]
state = mechanism.learn(state, record, followers, step, key)          # one episode's update
rewarder = mechanism.rewarder(state)                                  # the incentive net's parameters
detail = mechanism.detail(state)                                      # scalars for the log
mechanism.learned(state)                                              # the parameters that have to stay finite
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from iqflow.alg import iqflow, meta, replay
from iqflow.alg.episodes import Batch
from iqflow.config.loading import Settings
from iqflow.networks import incentives as incentive_nets
from iqflow.trainer import designers
from iqflow.trainer.building import make_sizes
from iqflow.trainer.rollout import Record


def _chosen(condition: jax.Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


@dataclass(frozen=True)
class Nobody:
    """No mechanism: incentives are 0 and nothing is learned."""

    def init(self, key: jax.Array) -> tuple[()]:
        return ()

    def incentives(self, state: Any, observations: jax.Array, actions: jax.Array) -> jax.Array:
        return jnp.zeros(actions.shape)

    def learn(self, state: Any, record: Record, agents: Any, step: jax.Array, key: jax.Array) -> Any:
        return state

    def learned(self, state: Any) -> Any:
        return ()

    def detail(self, state: Any) -> dict[str, jax.Array]:
        return {}


@dataclass(frozen=True)
class Frozen:
    """A trained mechanism that pays and does not learn (`frozen.load`); its state is the incentive net's parameters."""

    net: incentive_nets.IncentiveNet
    parameters: Any

    def init(self, key: jax.Array) -> Any:
        return jax.tree.map(jnp.asarray, self.parameters)

    def incentives(self, state: Any, observations: jax.Array, actions: jax.Array) -> jax.Array:
        return incentive_nets.incentives(self.net, state, observations, actions)

    def learn(self, state: Any, record: Record, agents: Any, step: jax.Array, key: jax.Array) -> Any:
        return state

    def rewarder(self, state: Any) -> Any:
        return state

    def learned(self, state: Any) -> Any:
        return ()

    def detail(self, state: Any) -> dict[str, jax.Array]:
        return {}


class Transition(NamedTuple):
    """One step in replay; the observations are drawn again from the environment's compact state (spec 7.13)."""

    state: Any
    actions: jax.Array  # [N] uint8
    rewards: jax.Array  # [N] without incentives
    dones: jax.Array  # [N]


class QFlowState(NamedTuple):
    """The mechanism, its replay, and what its last update said."""

    mechanism: iqflow.Mechanism
    replay: replay.Buffer
    match: jax.Array  # L_match of the last meta update
    disagreement: jax.Array  # share of the new batch whose fitted greedy action is not the cooperative one


@dataclass(frozen=True)
class QFlow:
    """IQ-Flow with uniform replay (spec 5.3).

    Attributes:
        capacity: transitions kept; no more than a run can ever insert.
    """

    rule: iqflow.IQFlow
    env: Any
    capacity: int
    batch_size: int
    meta_batch_size: int
    start_train: int

    def init(self, key: jax.Array) -> QFlowState:
        state, _ = self.env.reset(key)
        n = self.env.n_agents
        example = Transition(state, jnp.zeros(n, jnp.uint8), jnp.zeros(n), jnp.zeros(n))
        memory = replay.empty(example, self.capacity)
        return QFlowState(iqflow.init(self.rule, key), memory, jnp.float32(0), jnp.float32(0))

    def incentives(self, state: QFlowState, observations: jax.Array, actions: jax.Array) -> jax.Array:
        return iqflow.incentives(self.rule, state.mechanism.rewarder, observations, actions)

    def _batch(self, memory: replay.Buffer, picked: jax.Array) -> Batch:
        rows, following = replay.take(memory, picked)
        observe = jax.vmap(self.env.observe)
        actions = rows.actions.astype(jnp.int32)
        return Batch(observe(rows.state), actions, rows.rewards, observe(following.state), rows.dones)

    def _remember(self, memory: replay.Buffer, record: Record) -> replay.Buffer:
        episode = record.episode
        rows = Transition(record.states, episode.actions.astype(jnp.uint8), episode.rewards, episode.dones)
        if episode.valid.ndim == 1:
            return replay.insert(memory, rows, episode.valid)

        def insert(memory, one):
            return replay.insert(memory, *one), None

        return lax.scan(insert, memory, (rows, episode.valid))[0]

    def learn(
        self, state: QFlowState, record: Record, agents: Any, step: jax.Array, key: jax.Array
    ) -> QFlowState:
        """Insert the episode; critics from `batch_size` transitions on; incentives from `start_train` steps on.

        Args:
            record: one episode, or several with a leading axis.
            step: environment steps before this episode.
        """
        memory = self._remember(state.replay, record)
        critic_key, meta_key = jax.random.split(key)
        batch = self._batch(memory, replay.draw(critic_key, memory, self.batch_size))
        learned, _ = iqflow.critic_update(self.rule, state.mechanism, batch)
        pair = replay.draw(meta_key, memory, 2 * self.meta_batch_size)
        old, new = (self._batch(memory, half) for half in jnp.split(pair, 2))
        paid, report = meta.meta_update(self.rule, learned, old, new)
        ready = (step >= self.start_train) & (memory.size >= 2 * self.meta_batch_size)
        learned = _chosen(ready, paid, learned)
        learned = _chosen(memory.size >= self.batch_size, learned, state.mechanism)
        disagreement = jnp.mean((report.greedy_coop != report.greedy_follower).astype(jnp.float32))
        return QFlowState(
            learned,
            memory,
            jnp.where(ready, report.match, state.match),
            jnp.where(ready, disagreement, state.disagreement),
        )

    def rewarder(self, state: QFlowState) -> Any:
        return state.mechanism.rewarder

    def learned(self, state: QFlowState) -> Any:
        return state.mechanism

    def detail(self, state: QFlowState) -> dict[str, jax.Array]:
        return {"match": state.match, "disagreement": state.disagreement}


def _iqflow(settings: Settings, env: Any) -> QFlow:
    method = settings.method
    rule = iqflow.IQFlow(
        sizes=make_sizes(settings, env),
        gamma=method.gamma,
        tau=method.tau,
        expectile=method.expectile,
        lr_reward=method.lr_reward,
        lr_v_model=method.lr_v_model,
        lr_v_rewarder=method.lr_v_rewarder,
        r_multiplier=settings.env.r_multiplier,
        use_mini_init=method.use_mini_init,
        obj_mask=method.obj_mask,
        cost_type=method.cost_type,
        cost_reg_coeff=method.cost_reg_coeff,
        cost_reg_coeff2=method.cost_reg_coeff2,
        state_values=getattr(method, "state_values", False),
    )
    schedule = settings.schedule
    most_steps = schedule.n_episodes * schedule.n_envs * env.max_steps
    capacity = replay.slots(method.mech_buffer_size, most_steps)
    return QFlow(rule, env, capacity, method.batch_size, method.meta_batch_size, method.start_train)


def make(settings: Settings, env: Any) -> Any:
    """The mechanism of a configuration."""
    if settings.alg == "pg":
        return Nobody()
    if settings.alg == "id":
        return designers.make(settings, make_sizes(settings, env), getattr(env, "clean_action", None))
    return _iqflow(settings, env)
