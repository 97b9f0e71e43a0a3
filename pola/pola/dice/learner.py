"""One outer step of LOLA-DiCE, POLA-DiCE and POLA-OM for one agent (paper, Algorithms 1 and 2).

Two agents are data: `self` acts and learns, `other` is the opponent (or the model of it). Nothing here knows
which of the two sits first but the rollout, which takes `role`. The total derivative of the outer loss,

    d L_i(theta_i, theta_j^K(theta_i)) / d theta_i = partial_i L_i + (d theta_j^K / d theta_i)^T partial_j L_i,

is put together from its two parts, so that the second, the opponent shaping, can be measured.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from pola.dice import estimators
from pola.dice.networks import Params, unroll
from pola.dice.rollout import Trajectory, sample


class Networks(NamedTuple):
    """Parameters of one agent (or of one model of an agent)."""

    policy: Params
    value: Params


class Diagnostics(NamedTuple):
    """What an outer step logs, one number each."""

    divergence: jax.Array  # KL between the reference and the current policy on the outer rollout
    value_loss: jax.Array
    policy_gradient_norm: jax.Array
    value_gradient_norm: jax.Array
    shaping_norm: (
        jax.Array
    )  # norm of the part of the policy gradient that passes through the opponent's steps
    inner_shift: jax.Array  # norm of the opponent's anticipated change theta_j^K - theta_j


class PolicyTerms(NamedTuple):
    """Everything constant in the policy loss of one rollout."""

    trajectory: Trajectory
    weights: jax.Array  # [T, B] advantages, or rewards without a baseline
    reference: jax.Array | None  # [T, B, A] log-probabilities of the reference policy; None: no penalty


#: (number of the inner step or K for the outer one, own policy, opponent's policy) -> rollout seen by self
Play = Callable[[int | jax.Array, Params, Params], Trajectory]


def norm(tree) -> jax.Array:
    """Euclidean norm of all entries of a tree."""
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))


def code_table(env):
    """Table of distinct observations if the game's codes are one-hot, else None."""
    return env.distinct_observations() if env.codes_are_one_hot else None


def policy_logprobs(env, params: Params, codes: jax.Array, known=None) -> jax.Array:
    """Log-probabilities [T, B, A] of a policy along a stored sequence [T, B, S]."""
    return jax.nn.log_softmax(unroll(params, codes, code_table(env), known))


def baseline(config, env, value_params: Params, trajectory: Trajectory, learn: bool):
    """DiCE weights [T, B] of `self`, and value loss and its gradient.

    With `learn` false (nobody reads the new value parameters) loss and gradient are zero and not computed.
    """
    rewards = trajectory.self_rewards
    nothing = jnp.zeros(()), jax.tree.map(jnp.zeros_like, value_params)
    if config.no_baseline:
        return rewards, *nothing

    def loss(params):
        values = unroll(params, trajectory.codes, code_table(env))[..., 0]
        return estimators.value_loss(rewards, values[:-1], values[-1], config.gamma), values

    if learn:
        (value, values), gradient = jax.value_and_grad(loss, has_aux=True)(value_params)
    else:
        values = loss(value_params)[1]
        value, gradient = nothing
    if config.zero_vals:
        values = jnp.zeros_like(values)
    weights = estimators.advantages(rewards, values[:-1], values[-1], config.gamma, config.gae_lambda)
    return weights, value, gradient


def policy_loss(config, env, beta: float, self_policy: Params, other_policy: Params, terms: PolicyTerms):
    """-objective + beta KL of `self` on its rollout, and the KL; differentiable in both policies.

    The value of a loaded objective is 0, so its loss is beta KL in value; only the derivatives are complete.
    """
    path = terms.trajectory
    codes = path.codes[:-1]
    own = policy_logprobs(env, self_policy, codes, path.self_states)
    theirs = policy_logprobs(env, other_policy, codes, path.other_states)
    objective = estimators.dice_objective(
        estimators.chosen(own, path.self_actions),
        estimators.chosen(theirs, path.other_actions),
        terms.weights,
        config.gamma,
        loaded=not config.no_baseline,
    )
    if terms.reference is None:
        return -objective, jnp.zeros(())
    divergence = estimators.policy_divergence(terms.reference, own, config.rev_kl)
    return beta * divergence - objective, divergence


def make_inner_step(config, env):
    """The opponent's policy step theta_j - lr_in * gradient as a differentiable function of both policies.

    Its derivative is a reverse pass over a tangent pass (one Hessian-vector product): the cotangent v of the new
    parameters meets the loss as d/d(theta_i, theta_j) of <v, grad_j L_j>. Reversing a reversed scan instead would
    keep every intermediate array of the first backward pass.
    """

    def loss(other_policy, self_policy, terms):
        return policy_loss(config, env, config.inner_beta, other_policy, self_policy, terms)

    def step(self_policy, other_policy, terms):
        (value, _), gradient = jax.value_and_grad(loss, has_aux=True)(other_policy, self_policy, terms)
        moved = jax.tree.map(lambda theta, slope: theta - config.lr_in * slope, other_policy, gradient)
        return moved, value

    def forward(self_policy, other_policy, terms):
        return step(self_policy, other_policy, terms), (self_policy, other_policy, terms)

    def backward(saved, cotangents):
        self_policy, other_policy, terms = saved
        direction = cotangents[0]

        def slope(self_policy, other_policy):
            def towards(policy):
                return loss(policy, self_policy, terms)[0]

            return jax.jvp(towards, (other_policy,), (direction,))[1]

        to_self, to_other = jax.grad(slope, argnums=(0, 1))(self_policy, other_policy)
        to_self = jax.tree.map(lambda bend: -config.lr_in * bend, to_self)
        to_other = jax.tree.map(lambda part, bend: part - config.lr_in * bend, direction, to_other)
        return to_self, to_other, None

    inner = jax.custom_vjp(step)
    inner.defvjp(forward, backward)
    return inner


def inner_step(config, env, self_policy, other: Networks, path: Trajectory, reference, learn: bool):
    """One anticipated step of the opponent on a rollout that it sees as its own.

    Args: `reference` [T, B, A] log-probabilities, or None where the penalty and its gradient are zero;
    `learn`: whether anybody reads the value net after the step.
    Returns: the opponent's networks after the step, and its loss before it.
    """
    weights, value_loss, slope = baseline(config, env, other.value, path, learn)
    terms = PolicyTerms(path, weights, reference)
    policy, policy_value = make_inner_step(config, env)(self_policy, other.policy, terms)
    value = jax.tree.map(lambda theta, part: theta - config.lr_v * part, other.value, slope)
    return Networks(policy, value), value_loss + policy_value


def anticipate(config, env, self_policy: Params, other: Networks, play: Play) -> Params:
    """The opponent's policy after its K = `config.inner_steps` anticipated steps.

    The reference of the inner penalty is `other.policy`. At the first step that is also the current policy, where
    a divergence and its gradient are exactly zero, so nothing is computed for it there; after the last step
    nobody reads the opponent's value net, so that step is left out.
    """

    def advance(networks: Networks, number, first: bool = False, last: bool = False) -> Networks:
        path = play(number, self_policy, networks.policy).swapped()
        reference = None
        if config.inner_beta and not first:
            reference = policy_logprobs(env, other.policy, path.codes[:-1])
        return inner_step(config, env, self_policy, networks, path, reference, learn=not last)[0]

    steps = config.inner_steps
    networks = advance(other, 0, first=True, last=steps == 1)
    if steps > 2:
        networks, _ = lax.scan(lambda now, k: (advance(now, k), None), networks, jnp.arange(1, steps - 1))
    if steps > 1:
        networks = advance(networks, steps - 1, last=True)
    return networks.policy


def outer_gradient(config, env, me: Networks, other: Networks, reference: Params, play: Play):
    """Total gradient of the outer loss of `me`, its value, and diagnostics.

    Args: `other` the opponent's networks (or the model of them) at the start of the epoch; `reference` the policy
    that the outer penalty holds on to; `play` makes the rollouts, number K is the outer one.
    Returns: gradients as `Networks`, the loss, `Diagnostics`.
    """
    anticipated, pull_back = jax.vjp(lambda policy: anticipate(config, env, policy, other, play), me.policy)
    path = play(config.inner_steps, me.policy, anticipated)
    weights, value_loss, value_gradient = baseline(config, env, me.value, path, learn=True)
    held = policy_logprobs(env, reference, path.codes[:-1]) if config.outer_beta else None
    terms = PolicyTerms(path, weights, held)

    def loss(mine, theirs):
        return policy_loss(config, env, config.outer_beta, mine, theirs, terms)

    differentiated = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    (policy_value, divergence), (direct, to_other) = differentiated(me.policy, anticipated)
    (shaping,) = pull_back(to_other)
    gradient = jax.tree.map(jnp.add, direct, shaping)
    shift = jax.tree.map(jnp.subtract, anticipated, other.policy)
    diagnostics = Diagnostics(divergence, value_loss, *map(norm, (gradient, value_gradient, shaping, shift)))
    return Networks(gradient, value_gradient), value_loss + policy_value, diagnostics


def optimisers(config) -> Networks:
    """Outer optimisers of policy and value net."""
    make = optax.adam if config.optim == "adam" else optax.sgd
    return Networks(make(config.lr_out), make(config.lr_v))


def descend(rules: Networks, networks: Networks, gradients: Networks, states: Networks):
    """One step of both optimisers; returns the networks and optimiser states after it."""
    moved = []
    for rule, params, gradient, state in zip(rules, networks, gradients, states, strict=True):
        change, state = rule.update(gradient, state, params)
        moved.append((optax.apply_updates(params, change), state))
    return tuple(Networks(*parts) for parts in zip(*moved, strict=True))


def improve(config, env, me: Networks, optimiser: Networks, other: Networks, role, key):
    """The M = `config.outer_steps` outer steps of one agent in one epoch.

    Args: `other` and the reference policy (`me` on entry) stay as they are at the start of the epoch; `role`
    int32, 0 for the first player.
    Returns: networks, optimiser states, `Diagnostics` averaged over the steps.
    """
    rules = optimisers(config)
    reference = me.policy
    if config.no_baseline:
        rules = rules._replace(value=optax.set_to_zero())

    def step(carry, step_key):
        me, optimiser = carry

        def play(number, mine, theirs):
            rollout_key = jax.random.fold_in(step_key, number)
            return sample(env, mine, theirs, role, rollout_key, config.rollout_len, config.batch_size)

        gradients, _, diagnostics = outer_gradient(config, env, me, other, reference, play)
        return descend(rules, me, gradients, optimiser), diagnostics

    keys = jax.random.split(key, config.outer_steps)
    (me, optimiser), diagnostics = lax.scan(step, (me, optimiser), keys)
    return me, optimiser, jax.tree.map(jnp.mean, diagnostics)
