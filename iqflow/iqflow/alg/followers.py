"""The selfish learners: REINFORCE-like (matrix games, Escape Room; spec 5.1) and actor-critic (Cleanup; spec 5.2).

A learner is a frozen dataclass of settings with `init(key)`, `update(state, experience)` and an `actor` in its state;
all act on one agent. `init_agents`, `act` and `update_agents` are the same for N agents stacked along the leading axis:

    learner = Reinforce(sizes, gamma=0.99, entropy_coeff=0.05, lr_actor=1e-3)       # or ActorCritic(...)
    states = init_agents(learner, key)                                              # leaves [N, ...]
    actions = act(learner.sizes, states.actor, observations, key)                   # [N, *obs] -> [N] int32
    states, losses = update_agents(learner, states, episodes.per_agent(episode, rewards))

The centralised controller is the same learner with one agent and A^N actions. No epsilon-greedy mixing (spec 7.3).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from iqflow.alg import optimisers
from iqflow.alg.episodes import Experience, discounts
from iqflow.networks import actors, critics, layers
from iqflow.networks.layers import Params, Sizes

TINY = 1e-15  # added to probabilities before the logarithm, as in the original


class ReinforceState(NamedTuple):
    """A REINFORCE-like follower."""

    actor: Params
    optimiser: Any


class ActorCriticState(NamedTuple):
    """An actor-critic follower."""

    actor: Params
    critic: Params
    target_critic: Params
    actor_optimiser: Any
    critic_optimiser: Any


class Losses(NamedTuple):
    """Scalars before the step; `critic` and `value` (mean V over the episode) are 0 without a critic."""

    actor: jax.Array
    critic: jax.Array
    value: jax.Array


def policy_loss(
    sizes: Sizes, actor: Params, experience: Experience, weights: jax.Array, entropy_coeff: float
) -> jax.Array:
    """Sum over the valid steps of -log(pi(a_t|o_t) + 1e-15) w_t - c_H H(pi(.|o_t)), weights w [T] as given."""
    steps = experience.actions.shape[0]
    assert weights.shape == experience.valid.shape == (steps,), "a weight for every step"
    probabilities = jax.nn.softmax(actors.logits(sizes, actor, experience.observations))
    taken = jnp.sum(probabilities * layers.one_hot(experience.actions, sizes.n_actions), -1)
    loss = -jnp.log(taken + TINY) * weights - entropy_coeff * entropy(probabilities)
    return jnp.sum(loss * experience.valid)


def entropy(probabilities: jax.Array) -> jax.Array:
    """-sum pi log pi over the last axis; a probability that underflowed to 0 adds 0."""
    positive = jnp.where(probabilities > 0, probabilities, 1.0)
    return -jnp.sum(probabilities * jnp.log(positive), -1)


def immediate_weights(gamma: float, rewards: jax.Array, valid: jax.Array, to_go: bool = False) -> jax.Array:
    """gamma^t r_t [T], the original's weight of an action (spec 7.2); `to_go`: sum over k >= t of gamma^k r_k."""
    weights = discounts(gamma, rewards.shape[0]) * rewards * valid
    return lax.cumsum(weights, reverse=True) if to_go else weights


def mean_over(gradient: Params, axis: str | None) -> Params:
    """The gradient's mean over a mapped axis, or itself."""
    return gradient if axis is None else lax.pmean(gradient, axis)


@dataclass(frozen=True)
class Reinforce:
    """REINFORCE-like follower: every action is weighted by its own discounted immediate reward.

    Args:
        optimizer: `adam`, or anything else for plain SGD, as the configuration key works.
        reward_to_go: weight an action by everything that follows it (an extra; spec 7.2).
        axis: name of a mapped axis of episodes over which gradients are averaged (`--n_envs`); None: one episode.
    """

    sizes: Sizes
    gamma: float
    entropy_coeff: float
    lr_actor: float
    optimizer: str = "sgd"
    reward_to_go: bool = False
    axis: str | None = None

    @property
    def rule(self) -> str:
        """The optimiser that `optimizer` means."""
        return "adam" if self.optimizer == "adam" else "sgd"

    def init(self, key: jax.Array) -> ReinforceState:
        """A fresh follower."""
        actor = actors.init(self.sizes, key)
        return ReinforceState(actor, optimisers.make(self.rule, self.lr_actor).init(actor))

    def loss(self, actor: Params, experience: Experience) -> jax.Array:
        """L(theta) of spec 5.1, a scalar."""
        weights = immediate_weights(self.gamma, experience.rewards, experience.valid, self.reward_to_go)
        return policy_loss(self.sizes, actor, experience, weights, self.entropy_coeff)

    def update(self, state: ReinforceState, experience: Experience) -> tuple[ReinforceState, Losses]:
        """One step on one episode."""
        loss, gradient = jax.value_and_grad(self.loss)(state.actor, experience)
        gradient = mean_over(gradient, self.axis)
        actor, optimiser = optimisers.step(self.rule, self.lr_actor, gradient, state.optimiser, state.actor)
        return ReinforceState(actor, optimiser), Losses(loss, jnp.float32(0), jnp.float32(0))


@dataclass(frozen=True)
class ActorCritic:
    """Actor-critic follower: one-step TD critic with a soft target, then the actor with the new critic; Adam.

    Args: `axis` as in `Reinforce`.
    """

    sizes: Sizes
    gamma: float
    entropy_coeff: float
    lr_actor: float
    lr_v: float
    tau: float
    axis: str | None = None

    def init(self, key: jax.Array) -> ActorCriticState:
        """A fresh follower; the target critic starts equal to the critic."""
        actor_key, critic_key = jax.random.split(key)
        actor = actors.init(self.sizes, actor_key)
        critic = critics.init_own(self.sizes, critic_key)
        actor_optimiser = optimisers.make("adam", self.lr_actor).init(actor)
        critic_optimiser = optimisers.make("adam", self.lr_v).init(critic)
        return ActorCriticState(actor, critic, critic, actor_optimiser, critic_optimiser)

    def td_target(self, critic: Params, experience: Experience) -> jax.Array:
        """r_t + gamma (1 - d_t) V(o_{t+1}), [T]."""
        later = critics.own_value(self.sizes, critic, experience.next_observations)
        return experience.rewards + self.gamma * (1.0 - experience.dones) * later

    def critic_loss(
        self, critic: Params, target_critic: Params, experience: Experience
    ) -> tuple[jax.Array, jax.Array]:
        """Mean squared TD error over the valid steps, and the mean of V(o_t)."""
        target = lax.stop_gradient(self.td_target(target_critic, experience))
        values = critics.own_value(self.sizes, critic, experience.observations)
        steps = jnp.maximum(jnp.sum(experience.valid), 1.0)
        loss = jnp.sum(jnp.square(values - target) * experience.valid) / steps
        return loss, jnp.sum(values * experience.valid) / steps

    def actor_loss(self, actor: Params, critic: Params, experience: Experience) -> jax.Array:
        """Sum over the steps of -log(pi + 1e-15) delta_t - c_H H, delta_t the TD error (no gradient)."""
        values = critics.own_value(self.sizes, critic, experience.observations)
        advantage = lax.stop_gradient(self.td_target(critic, experience) - values)
        return policy_loss(self.sizes, actor, experience, advantage, self.entropy_coeff)

    def update(self, state: ActorCriticState, experience: Experience) -> tuple[ActorCriticState, Losses]:
        """One step of critic, target and actor on one episode (spec 5.2, in this order)."""
        (critic_loss, value), gradient = jax.value_and_grad(self.critic_loss, has_aux=True)(
            state.critic, state.target_critic, experience
        )
        gradient = mean_over(gradient, self.axis)
        critic, critic_optimiser = optimisers.step(
            "adam", self.lr_v, gradient, state.critic_optimiser, state.critic
        )
        target = optimisers.soft_update(state.target_critic, critic, self.tau)
        loss, gradient = jax.value_and_grad(self.actor_loss)(state.actor, critic, experience)
        gradient = mean_over(gradient, self.axis)
        actor, actor_optimiser = optimisers.step(
            "adam", self.lr_actor, gradient, state.actor_optimiser, state.actor
        )
        state = ActorCriticState(actor, critic, target, actor_optimiser, critic_optimiser)
        return state, Losses(loss, critic_loss, value)


Learner = Reinforce | ActorCritic
State = ReinforceState | ActorCriticState


def init_agents(learner: Learner, key: jax.Array) -> State:
    """N fresh followers, every leaf with the leading axis N."""
    return jax.vmap(learner.init)(jax.random.split(key, learner.sizes.n_agents))


def log_policies(sizes: Sizes, agents: Params, observations: jax.Array) -> jax.Array:
    """log pi of every agent on its own observation: actors [N, ...], [N, *observation_shape] -> [N, A]."""
    return jax.vmap(lambda actor, observation: actors.log_policy(sizes, actor, observation))(
        agents, observations
    )


def act(sizes: Sizes, agents: Params, observations: jax.Array, key: jax.Array) -> jax.Array:
    """A sampled action of every agent, int32 [N]; `agents` are the stacked actors."""
    return jax.random.categorical(key, log_policies(sizes, agents, observations)).astype(jnp.int32)


def update_agents(learner: Learner, states: State, experiences: Experience) -> tuple[State, Losses]:
    """Every follower learns from its own experience; all leading axes are N."""
    return jax.vmap(learner.update)(states, experiences)
