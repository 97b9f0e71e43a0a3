"""Incentive Designer, actor-critic variant (Cleanup; spec 5.5).

    designer = Designer(sizes, ...);  state = init(designer, key)
    state, losses = update(designer, state, old_actors, critics, old_episode, new_episode)

from the second episode on, before the followers learn from the new episode. `old_actors` [N, ...] made the old episode;
`critics` [N, ...] are the followers' current ones, after their last training. With `env.obs_cleaned_1hot` the incentive
network sees whether an agent cleaned instead of its action: set `clean_action`.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from iqflow.alg import optimisers
from iqflow.alg.episodes import Episode, per_agent
from iqflow.alg.followers import policy_loss
from iqflow.alg.incentive_designer_pg import incentive_cost
from iqflow.networks import critics as critic_nets
from iqflow.networks import incentives as incentive_nets
from iqflow.networks.layers import Params, Sizes


@dataclass(frozen=True)
class Designer:
    """Settings; names as in the configurations. `entropy_coeff`, `lr_actor`: the followers', for the repeated SGD step."""

    sizes: Sizes
    gamma: float
    entropy_coeff: float
    lr_actor: float
    lr_reward: float
    lr_v_model: float
    reg_coeff: float
    tau: float
    r_multiplier: float = 2.0
    clean_action: int | None = None

    @property
    def incentive_net(self) -> incentive_nets.IncentiveNet:
        """The incentive network of these settings."""
        return incentive_nets.for_designer(self.sizes, self.r_multiplier, self.clean_action)


class DesignerState(NamedTuple):
    """eta, the central critic V_c with its target, and their Adam states."""

    rewarder: Params
    critic: Params
    target_critic: Params
    optimiser: Any
    critic_optimiser: Any


class DesignerLosses(NamedTuple):
    """Scalars before the step: J + reg_coeff K, K, the central critic's loss and its mean value."""

    total: jax.Array
    cost: jax.Array
    critic: jax.Array
    value: jax.Array


def init(designer: Designer, key: jax.Array) -> DesignerState:
    """A fresh designer; the target critic starts equal to the critic."""
    sizes = designer.sizes
    rewarder_key, critic_key = jax.random.split(key)
    rewarder = incentive_nets.init(designer.incentive_net, rewarder_key)
    filters = sizes.n_filters * sizes.n_agents if sizes.image else None
    critic = critic_nets.init_team(sizes, critic_key, filters)
    return DesignerState(
        rewarder,
        critic,
        critic,
        optimisers.make("adam", designer.lr_reward).init(rewarder),
        optimisers.make("adam", designer.lr_v_model).init(critic),
    )


def incentives(
    designer: Designer, rewarder: Params, observations: jax.Array, actions: jax.Array
) -> jax.Array:
    """R^eta(s, a) [..., N] of observations [..., N, *observation_shape] and the joint action [..., N]."""
    return incentive_nets.incentives(designer.incentive_net, rewarder, observations, actions)


def team_target(designer: Designer, critic: Params, episode: Episode) -> jax.Array:
    """sum_j r_j + gamma (1 - [all d]) V_c(s_{t+1}), [T]."""
    later = critic_nets.team_value(designer.sizes, critic, episode.next_observations)
    over = jnp.min(episode.dones, -1)
    return jnp.sum(episode.rewards, -1) + designer.gamma * (1.0 - over) * later


def critic_loss(
    designer: Designer, critic: Params, target_critic: Params, episode: Episode
) -> tuple[jax.Array, jax.Array]:
    """Mean squared error of V_c over the valid steps, and its mean."""
    target = lax.stop_gradient(team_target(designer, target_critic, episode))
    values = critic_nets.team_value(designer.sizes, critic, episode.observations)
    steps = jnp.maximum(jnp.sum(episode.valid), 1.0)
    loss = jnp.sum(jnp.square(values - target) * episode.valid) / steps
    return loss, jnp.sum(values * episode.valid) / steps


def expected_actors(
    designer: Designer, rewarder: Params, old_actors: Params, critics: Params, old: Episode
) -> Params:
    """theta' after one SGD step on the old episode with TD errors that contain the incentives; leaves [N, ...]."""
    sizes = designer.sizes
    given = incentives(designer, rewarder, old.observations, old.actions)

    def learn(actor, critic, experience):
        values = critic_nets.own_value(sizes, critic, experience.observations)
        later = critic_nets.own_value(sizes, critic, experience.next_observations)
        delta = experience.rewards + designer.gamma * (1.0 - experience.dones) * later - values

        def loss(actor):
            return policy_loss(sizes, actor, experience, delta, designer.entropy_coeff)

        return jax.tree.map(lambda p, g: p - designer.lr_actor * g, actor, jax.grad(loss)(actor))

    return jax.vmap(learn)(old_actors, critics, per_agent(old, old.rewards + given))


def total_loss(
    designer: Designer,
    rewarder: Params,
    critic: Params,
    old_actors: Params,
    critics: Params,
    old: Episode,
    new: Episode,
) -> tuple[jax.Array, jax.Array]:
    """J + reg_coeff K and K: J on the new episode with V_c's TD errors (no gradient), the cost on the old one."""
    expected = expected_actors(designer, rewarder, old_actors, critics, old)
    values = critic_nets.team_value(designer.sizes, critic, new.observations)
    advantage = lax.stop_gradient(team_target(designer, critic, new) - values)
    losses = jax.vmap(
        lambda actor, experience: policy_loss(designer.sizes, actor, experience, advantage, 0.0)
    )(expected, per_agent(new, new.rewards))
    given = incentives(designer, rewarder, old.observations, old.actions)
    cost = incentive_cost(designer.gamma, given, old.valid)
    return jnp.sum(losses) + designer.reg_coeff * cost, cost


def update(
    designer: Designer,
    state: DesignerState,
    old_actors: Params,
    critics: Params,
    old: Episode,
    new: Episode,
) -> tuple[DesignerState, DesignerLosses]:
    """One step of the central critic on the old episode, then one of the incentives.

    Args:
        old_actors: parameters that made `old`; critics: the followers' current ones; leaves [N, ...] each.
        old, new: the previous and the current episode.
    """
    (loss, value), gradient = jax.value_and_grad(
        lambda critic: critic_loss(designer, critic, state.target_critic, old), has_aux=True
    )(state.critic)
    critic, critic_optimiser = optimisers.step(
        "adam", designer.lr_v_model, gradient, state.critic_optimiser, state.critic
    )
    target = optimisers.soft_update(state.target_critic, critic, designer.tau)

    (total, cost), gradient = jax.value_and_grad(
        lambda rewarder: total_loss(designer, rewarder, critic, old_actors, critics, old, new), has_aux=True
    )(state.rewarder)
    rewarder, optimiser = optimisers.step(
        "adam", designer.lr_reward, gradient, state.optimiser, state.rewarder
    )
    state = DesignerState(rewarder, critic, target, optimiser, critic_optimiser)
    return state, DesignerLosses(total, cost, loss, value)
