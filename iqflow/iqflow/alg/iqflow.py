"""IQ-Flow's mechanism: incentives, six critics, and the interface to its meta update (spec 5.3; the paper's section on it).

    settings = IQFlow(sizes, gamma=..., ...)                       # frozen, hashable: a static argument of jit
    mechanism = init(settings, key)
    given = incentives(settings, mechanism.rewarder, observations, actions)   # [..., N, *obs], [..., N] -> [..., N]
    mechanism, losses = critic_update(settings, mechanism, batch)             # once per episode
    mechanism, report = meta.meta_update(settings, mechanism, old, new)       # then this (module `meta`)

Batches are `episodes.Batch`. The caller decides when (no update below `batch_size` transitions in replay, no meta
update before `start_train` environment steps).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from iqflow.alg import optimisers
from iqflow.alg.episodes import Batch
from iqflow.networks import critics, joint_q
from iqflow.networks import incentives as incentive_nets
from iqflow.networks.layers import Params, Sizes


@dataclass(frozen=True)
class IQFlow:
    """Settings; names as in the configurations.

    Args:
        expectile: kappa of the V regressions.
        lr_reward: incentive network (RMSProp); lr_v_model: cooperative critics (Adam) and environment critics
            (RMSProp); lr_v_rewarder: incentivised critics and the inner steps (RMSProp).
        obj_mask: leave out of the objective where the follower's greedy action is the cooperative one already.
        cost_type: 0 and 1 as in the original, on action values (spec 7.5); 2 on the incentives themselves.
        cost_reg_coeff, cost_reg_coeff2: weights of the cost where cooperative and selfish greedy actions agree,
            and where they do not (unused by cost_type 1).
        state_values: on vectors, let V^env and V^rew see the observations (spec 7.1: the original's are constants).
        inner_steps: K of the follower critic's unrolled fit.
    """

    sizes: Sizes
    gamma: float
    tau: float
    expectile: float
    lr_reward: float
    lr_v_model: float
    lr_v_rewarder: float
    r_multiplier: float = 2.0
    use_mini_init: bool = False
    obj_mask: bool = True
    cost_type: int = 0
    cost_reg_coeff: float = 0.0
    cost_reg_coeff2: float = 0.0
    state_values: bool = False
    inner_steps: int = 20

    def __post_init__(self):
        if self.cost_type not in (0, 1, 2):
            raise ValueError(f"cost_type {self.cost_type!r} is none of 0, 1, 2")

    @property
    def incentive_net(self) -> incentive_nets.IncentiveNet:
        """The incentive network of these settings."""
        return incentive_nets.for_iqflow(self.sizes, self.r_multiplier, self.use_mini_init)


class Critic(NamedTuple):
    """A joint action value, its target copy, and the state value that it bootstraps from."""

    q: Params
    target_q: Params
    v: Params
    q_optimiser: Any
    v_optimiser: Any


class Mechanism(NamedTuple):
    """IQ-Flow's whole state: eta and the cooperative, environment and incentivised ("rew") critics."""

    rewarder: Params
    rewarder_optimiser: Any
    coop: Critic
    env: Critic
    rew: Critic


class CriticLosses(NamedTuple):
    """Scalars before the step."""

    coop_q: jax.Array
    coop_v: jax.Array
    env_q: jax.Array
    env_v: jax.Array
    rew_q: jax.Array
    rew_v: jax.Array


def init(settings: IQFlow, key: jax.Array) -> Mechanism:
    """A fresh mechanism; target networks start equal to the online ones."""
    sizes = settings.sizes
    rewarder_key, *keys = jax.random.split(key, 7)

    def critic(q_key, v, rule, learning_rate):
        q = joint_q.init(sizes, q_key)
        optimiser = optimisers.make(rule, learning_rate)
        return Critic(q, q, v, optimiser.init(q), optimiser.init(v))

    rewarder = incentive_nets.init(settings.incentive_net, rewarder_key)
    each = [critics.init_each(sizes, key, settings.state_values) for key in keys[4:]]
    return Mechanism(
        rewarder,
        optimisers.make("rmsprop", settings.lr_reward).init(rewarder),
        critic(keys[0], critics.init_team(sizes, keys[3]), "adam", settings.lr_v_model),
        critic(keys[1], each[0], "rmsprop", settings.lr_v_model),
        critic(keys[2], each[1], "rmsprop", settings.lr_v_rewarder),
    )


def incentives(settings: IQFlow, rewarder: Params, observations: jax.Array, actions: jax.Array) -> jax.Array:
    """R^eta(s, a) [..., N] of observations [..., N, *observation_shape] and the joint action [..., N]."""
    return incentive_nets.incentives(settings.incentive_net, rewarder, observations, actions)


def expectile_loss(difference: jax.Array, expectile: float) -> jax.Array:
    """rho(u) = kappa u^2 for u > 0, (1 - kappa) u^2 otherwise: the expectile regression of implicit Q-learning."""
    return jnp.where(difference > 0, expectile, 1.0 - expectile) * jnp.square(difference)


def critic_update(settings: IQFlow, mechanism: Mechanism, batch: Batch) -> tuple[Mechanism, CriticLosses]:
    """One step of all six critics and their targets; every gradient is taken at the old parameters."""
    sizes = settings.sizes
    assert batch.rewards.shape == batch.dones.shape == batch.actions.shape, "[B, N] each"
    inputs = joint_q.inputs(sizes, batch.observations, batch.actions)
    given = lax.stop_gradient(incentives(settings, mechanism.rewarder, batch.observations, batch.actions))
    team_reward = jnp.sum(batch.rewards, -1, keepdims=True)
    over = jnp.min(batch.dones, -1, keepdims=True)

    def team(v, observations):
        return critics.team_value(sizes, v, observations)[:, None]

    def each(v, observations):
        return critics.each_value(sizes, v, observations, settings.state_values)

    def fit(critic, value, rewards, dones, rule, learning_rate):
        target = rewards + settings.gamma * (1.0 - dones) * value(critic.v, batch.next_observations)
        target = jnp.broadcast_to(lax.stop_gradient(target), batch.rewards.shape)
        q_loss, q_gradient = jax.value_and_grad(regression_loss)(critic.q, inputs, target)
        goal = joint_q.taken(joint_q.values(critic.target_q, inputs), inputs.codes)

        def v_loss(v):
            difference = goal - jnp.broadcast_to(value(v, batch.observations), goal.shape)
            return jnp.mean(expectile_loss(difference, settings.expectile))

        v_loss, v_gradient = jax.value_and_grad(v_loss)(critic.v)
        q, q_optimiser = optimisers.step(rule, learning_rate, q_gradient, critic.q_optimiser, critic.q)
        v, v_optimiser = optimisers.step(rule, learning_rate, v_gradient, critic.v_optimiser, critic.v)
        target_q = optimisers.soft_update(critic.target_q, q, settings.tau)
        return Critic(q, target_q, v, q_optimiser, v_optimiser), q_loss, v_loss

    own = batch.rewards + given
    coop, coop_q, coop_v = fit(mechanism.coop, team, team_reward, over, "adam", settings.lr_v_model)
    env, env_q, env_v = fit(mechanism.env, each, batch.rewards, batch.dones, "rmsprop", settings.lr_v_model)
    rew, rew_q, rew_v = fit(mechanism.rew, each, own, batch.dones, "rmsprop", settings.lr_v_rewarder)
    mechanism = mechanism._replace(coop=coop, env=env, rew=rew)
    return mechanism, CriticLosses(coop_q, coop_v, env_q, env_v, rew_q, rew_v)


def regression_loss(q: Params, inputs: joint_q.Inputs, target: jax.Array) -> jax.Array:
    """Mean over batch and agents of (q_i - y_i)^2, targets [B, N]."""
    return jnp.mean(jnp.square(joint_q.taken(joint_q.values(q, inputs), inputs.codes) - target))
