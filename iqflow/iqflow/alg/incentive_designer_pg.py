"""Incentive Designer, policy-gradient variant (Escape Room; spec 5.4).

It knows how its followers learn: it repeats their last step differentiably in eta, and asks what their next episode
says of the team's reward under the policies that this step leads to.

    designer = Designer(sizes, ...);  state = init(designer, key)
    state, losses = update(designer, state, old_actors, old_episode, new_episode)

from the second episode on, before the followers learn from the new episode. `old_actors` [N, ...] made the old episode.
Decentralised, the designer keeps models of the followers: `init_models`, then once per episode
`models, losses = update_models(designer, models, episode)`; `old_actors` are then the models' parameters before that step.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from iqflow.alg import optimisers
from iqflow.alg.episodes import Episode, discounts, per_agent
from iqflow.alg.followers import immediate_weights, policy_loss
from iqflow.networks import actors, layers
from iqflow.networks import incentives as incentive_nets
from iqflow.networks.layers import Params, Sizes


@dataclass(frozen=True)
class Designer:
    """Settings; names as in the configurations.

    Args:
        entropy_coeff, lr_actor, gamma: the followers', for the repeated step, which is plain SGD whatever rule the
            real followers use (spec 7.12).
        separate_cost_optimizer: the cost has its own Adam (`lr_cost`) and `reg_coeff` plays no part (spec 7.11).
        optimizer: rule of the followers and hence of the models of them.
    """

    sizes: Sizes
    gamma: float
    entropy_coeff: float
    lr_actor: float
    lr_reward: float
    lr_cost: float = 0.0
    reg_coeff: float = 0.0
    separate_cost_optimizer: bool = True
    r_multiplier: float = 2.0
    optimizer: str = "sgd"

    @property
    def incentive_net(self) -> incentive_nets.IncentiveNet:
        """The incentive network of these settings."""
        return incentive_nets.for_designer(self.sizes, self.r_multiplier)


class DesignerState(NamedTuple):
    """eta and its optimisers; `cost_optimiser` is None without a separate one."""

    rewarder: Params
    optimiser: Any
    cost_optimiser: Any


class DesignerLosses(NamedTuple):
    """Scalars before the step: J, and the cost K."""

    objective: jax.Array
    cost: jax.Array


class Models(NamedTuple):
    """The designer's models of its followers, leaves [N, ...]."""

    actors: Params
    optimiser: Any


def init(designer: Designer, key: jax.Array) -> DesignerState:
    """A fresh designer."""
    rewarder = incentive_nets.init(designer.incentive_net, key)
    cost_optimiser = None
    if designer.separate_cost_optimizer:
        cost_optimiser = optimisers.make("adam", designer.lr_cost).init(rewarder)
    return DesignerState(rewarder, optimisers.make("adam", designer.lr_reward).init(rewarder), cost_optimiser)


def incentives(
    designer: Designer, rewarder: Params, observations: jax.Array, actions: jax.Array
) -> jax.Array:
    """R^eta(s, a) [..., N] of observations [..., N, *observation_shape] and the joint action [..., N]."""
    return incentive_nets.incentives(designer.incentive_net, rewarder, observations, actions)


def expected_actors(designer: Designer, rewarder: Params, old_actors: Params, old: Episode) -> Params:
    """theta' = theta - lr_actor dL/dtheta on the old episode, differentiable in the incentives; leaves [N, ...]."""
    given = incentives(designer, rewarder, old.observations, old.actions)

    def learn(actor, experience):
        def loss(actor):
            weights = immediate_weights(designer.gamma, experience.rewards, experience.valid)
            return policy_loss(designer.sizes, actor, experience, weights, designer.entropy_coeff)

        return jax.tree.map(lambda p, g: p - designer.lr_actor * g, actor, jax.grad(loss)(actor))

    return jax.vmap(learn)(old_actors, per_agent(old, old.rewards + given))


def objective(
    designer: Designer, rewarder: Params, old_actors: Params, old: Episode, new: Episode
) -> jax.Array:
    """J(eta) = sum over agents and steps of -log(pi_theta'(a'|o') + 1e-15) gamma^t sum_j r_j', on the new episode."""
    expected = expected_actors(designer, rewarder, old_actors, old)
    weights = immediate_weights(designer.gamma, jnp.sum(new.rewards, -1), new.valid)
    experiences = per_agent(new, new.rewards)
    losses = jax.vmap(lambda actor, experience: policy_loss(designer.sizes, actor, experience, weights, 0.0))(
        expected, experiences
    )
    return jnp.sum(losses)


def incentive_cost(gamma: float, given: jax.Array, valid: jax.Array) -> jax.Array:
    """K = sum_t gamma^t sum_i |R_i|, incentives [T, N], valid [T]."""
    return jnp.sum(discounts(gamma, valid.shape[0]) * valid * jnp.sum(jnp.abs(given), -1))


def gradients(
    designer: Designer, rewarder: Params, old_actors: Params, old: Episode, new: Episode
) -> tuple[Params, Params, DesignerLosses]:
    """dJ/deta, dK/deta and the two values."""

    def cost(rewarder):
        given = incentives(designer, rewarder, old.observations, old.actions)
        return incentive_cost(designer.gamma, given, old.valid)

    value, gradient = jax.value_and_grad(
        lambda rewarder: objective(designer, rewarder, old_actors, old, new)
    )(rewarder)
    paid, cost_gradient = jax.value_and_grad(cost)(rewarder)
    return gradient, cost_gradient, DesignerLosses(value, paid)


def update(
    designer: Designer, state: DesignerState, old_actors: Params, old: Episode, new: Episode
) -> tuple[DesignerState, DesignerLosses]:
    """One step of the incentives.

    Args:
        old_actors: parameters that made `old`, leaves [N, ...]; old, new: the previous and the current episode.
    """
    gradient, cost_gradient, losses = gradients(designer, state.rewarder, old_actors, old, new)
    if not designer.separate_cost_optimizer:
        together = jax.tree.map(lambda g, c: g + designer.reg_coeff * c, gradient, cost_gradient)
        rewarder, optimiser = optimisers.step(
            "adam", designer.lr_reward, together, state.optimiser, state.rewarder
        )
        return DesignerState(rewarder, optimiser, None), losses
    moved, optimiser = optimisers.step("adam", designer.lr_reward, gradient, state.optimiser, state.rewarder)
    cheaper, cost_optimiser = optimisers.step(
        "adam", designer.lr_cost, cost_gradient, state.cost_optimiser, state.rewarder
    )
    rewarder = jax.tree.map(lambda old, a, b: a + (b - old), state.rewarder, moved, cheaper)
    return DesignerState(rewarder, optimiser, cost_optimiser), losses


def init_models(designer: Designer, key: jax.Array) -> Models:
    """Fresh models of all followers."""
    keys = jax.random.split(key, designer.sizes.n_agents)
    models = jax.vmap(lambda k: actors.init(designer.sizes, k))(keys)
    return Models(models, jax.vmap(optimisers.make(_rule(designer), designer.lr_actor).init)(models))


def update_models(designer: Designer, models: Models, episode: Episode) -> tuple[Models, jax.Array]:
    """One step of every model on the mean cross-entropy of its follower's actions; losses [N]."""
    sizes, rule = designer.sizes, _rule(designer)

    def learn(actor, optimiser, experience):
        def loss(actor):
            log_probs = jax.nn.log_softmax(actors.logits(sizes, actor, experience.observations))
            taken = jnp.sum(log_probs * layers.one_hot(experience.actions, sizes.n_actions), -1)
            steps = jnp.maximum(jnp.sum(experience.valid), 1.0)
            return -jnp.sum(taken * experience.valid) / steps

        value, gradient = jax.value_and_grad(loss)(actor)
        return *optimisers.step(rule, designer.lr_actor, gradient, optimiser, actor), value

    *models, losses = jax.vmap(learn)(*models, per_agent(episode, episode.rewards))
    return Models(*models), losses


def _rule(designer: Designer) -> str:
    return "adam" if designer.optimizer == "adam" else "sgd"
