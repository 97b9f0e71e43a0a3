"""IQ-Flow's meta update: change the incentives through 20 steps of the follower critic's fit (spec 5.3).

    psi_0 = Q^rew,    psi_{k+1} = psi_k - lr g_k / sqrt(0.9 nu + 0.1 g_k^2 + eps)
    g_k = d/dpsi mean over the old batch of ( q_i(psi_k) - [ r_i + R_i^eta + gamma (1 - d_i) V_i^rew(s') ] )^2
    L(eta) = -mean over the new batch of m_i log softmax(Q(psi_20))_i [cooperative action]  +  costs

One RMSProp step on eta follows the exact dL/deta: second order, through all steps. nu is fixed (spec 7.4).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from iqflow.alg import follower_fit, optimisers
from iqflow.alg.episodes import Batch
from iqflow.alg.iqflow import IQFlow, Mechanism, incentives
from iqflow.networks import critics, joint_q, layers
from iqflow.networks.layers import Params
from iqflow.utils.batching import one_after_the_other

#: parameters of a joint action value above which a CPU works off the seeds of a run one after the other
SIDE_BY_SIDE = 10_000


class MetaReport(NamedTuple):
    """What a meta update says of itself, before its step."""

    total: jax.Array  # scalar, L
    match: jax.Array  # scalar, L_match
    cost: jax.Array  # scalar, the first cost, before its coefficient
    inner_losses: jax.Array  # [K]
    greedy_coop: jax.Array  # [B, N]
    greedy_env: jax.Array  # [B, N]
    greedy_follower: jax.Array  # [B, N], after the fit


def follower_targets(settings: IQFlow, rewarder: Params, mechanism: Mechanism, batch: Batch) -> jax.Array:
    """r_i + R_i^eta + gamma (1 - d_i) V_i^rew(s') [B, N], differentiable in `rewarder`."""
    later = critics.each_value(
        settings.sizes, mechanism.rew.v, batch.next_observations, settings.state_values
    )
    constant = batch.rewards + settings.gamma * (1.0 - batch.dones) * lax.stop_gradient(later)
    return constant + incentives(settings, rewarder, batch.observations, batch.actions)


def fitted_critic(
    settings: IQFlow, rewarder: Params, mechanism: Mechanism, old: Batch
) -> tuple[Params, jax.Array]:
    """The follower critic after its fit to the incentives of `rewarder` on the old batch, and the inner losses."""
    targets = follower_targets(settings, rewarder, mechanism, old)
    inputs = joint_q.inputs(settings.sizes, old.observations, old.actions)
    nu = optimisers.second_moment(mechanism.rew.q_optimiser)
    return follower_fit.fit(
        mechanism.rew.q, nu, inputs, targets, settings.lr_v_rewarder, settings.inner_steps
    )


def meta_loss(
    settings: IQFlow, rewarder: Params, mechanism: Mechanism, old: Batch, new: Batch
) -> tuple[jax.Array, MetaReport]:
    """L(eta) and its parts. Argmaxes, masks, Q^coop and Q^env carry no gradient."""
    psi, inner_losses = fitted_critic(settings, rewarder, mechanism, old)
    inputs = joint_q.inputs(settings.sizes, new.observations, new.actions)
    coop = lax.stop_gradient(joint_q.values(mechanism.coop.q, inputs))
    env = lax.stop_gradient(joint_q.values(mechanism.env.q, inputs))
    follower = joint_q.values(psi, inputs)
    greedy = [jnp.argmax(table, -1) for table in (coop, env, follower)]
    match = match_loss(follower, greedy[0], settings.obj_mask)
    agree = (greedy[0] == greedy[1]).astype(jnp.float32)
    if settings.cost_type == 0:
        cost, other_cost = split_cost(follower, jnp.broadcast_to(agree[..., None], follower.shape))
    elif settings.cost_type == 1:
        cost, other_cost = excess_cost(env, follower), 0.0
    else:
        # the cost of what is paid, an extra: the original's costs are on action values (spec 7.5)
        given = incentives(settings, rewarder, new.observations, new.actions)
        cost, other_cost = split_cost(given, agree)
    total = match + settings.cost_reg_coeff * cost + settings.cost_reg_coeff2 * other_cost
    return total, MetaReport(total, match, cost, inner_losses, *greedy)


def match_loss(follower: jax.Array, wanted: jax.Array, masked: bool) -> jax.Array:
    """Mean cross-entropy of the follower's softmax [B, N, A] to the wanted actions [B, N].

    `masked` leaves out the entries whose greedy action is the wanted one; the mean still divides by all B * N.
    """
    log_probs = jax.nn.log_softmax(follower)
    losses = -jnp.take_along_axis(log_probs, wanted[..., None], -1)[..., 0]
    if masked:
        losses = jnp.where(jnp.argmax(follower, -1) != wanted, losses, 0.0)
    return jnp.mean(losses)


def split_cost(values: jax.Array, agree: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Means of |w x| and |(1 - w) x| over all entries, w = 1 where cooperative and selfish greedy actions agree."""
    return jnp.mean(jnp.abs(agree * values)), jnp.mean(jnp.abs((1.0 - agree) * values))


def excess_cost(env: jax.Array, follower: jax.Array) -> jax.Array:
    """Mean of | max_a (Q^env + Q^rew) - 2 - max_a Q^env |; the 2 is the original's literal."""
    return jnp.mean(jnp.abs(jnp.max(env + follower, -1) - 2.0 - jnp.max(env, -1)))


def meta_gradient(
    settings: IQFlow, mechanism: Mechanism, old: Batch, new: Batch
) -> tuple[Params, MetaReport]:
    """dL/deta at the mechanism's incentives."""

    def gradient(mechanism, old, new):
        loss = jax.grad(lambda eta: meta_loss(settings, eta, mechanism, old, new), has_aux=True)
        return loss(mechanism.rewarder)

    big = layers.count(mechanism.rew.q) > SIDE_BY_SIDE
    return one_after_the_other(gradient, big)(mechanism, old, new)


def meta_update(
    settings: IQFlow, mechanism: Mechanism, old: Batch, new: Batch
) -> tuple[Mechanism, MetaReport]:
    """One RMSProp step of the incentives; nothing else changes.

    Args:
        old: the batch on which the follower critic is fitted; new: the batch on which the result is judged, [B, N].
    """
    gradient, report = meta_gradient(settings, mechanism, old, new)
    rewarder, optimiser = optimisers.step(
        "rmsprop", settings.lr_reward, gradient, mechanism.rewarder_optimiser, mechanism.rewarder
    )
    return mechanism._replace(rewarder=rewarder, rewarder_optimiser=optimiser), report
