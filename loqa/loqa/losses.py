"""LOQA's losses: the learner's own policy gradient, the shaping of its opponent, entropy, and the Q regression.

All take one player's two heads on its own observations, and return batch means. Shapes: `[T+1, B, A]` for the heads
(the last observation only bootstraps), `[T, B]` for what happened. Symbols: l_t log-probability of the learner's
action, A_t its advantage, b_t, s_t, G_t action, reward and return of the opponent.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from loqa import estimators
from loqa.objective import Objective


class Heads(NamedTuple):
    """One player's heads on its own observations: `log_probs` [T+1, B, A] and action values `q` [T+1, B, A]."""

    log_probs: jax.Array
    q: jax.Array


class Experience(NamedTuple):
    """What happened: own `actions`, `rewards` [T, B], and the opponent's; actions are int32."""

    actions: jax.Array
    rewards: jax.Array
    op_actions: jax.Array
    op_rewards: jax.Array


class ActorLosses(NamedTuple):
    """Scalars, means over the batch; `entropy` is minus the mean entropy, not yet times beta."""

    agent: jax.Array
    opponent: jax.Array
    entropy: jax.Array


def chosen(table: jax.Array, actions: jax.Array) -> jax.Array:
    """table[..., a] for each action: [..., A] and [...] -> [...]. A masked sum, whose gradient needs no scatter."""
    return jnp.sum(jnp.where(is_chosen(actions, table.shape[-1]), table, 0.0), axis=-1)


def is_chosen(actions: jax.Array, count: int) -> jax.Array:
    """Mask [..., A] of the actions [...]."""
    every = jnp.arange(count).reshape((1,) * actions.ndim + (count,))
    return actions[..., None] == every


def state_values(heads: Heads) -> jax.Array:
    """V = sum over actions of pi times Q, [T+1, B]."""
    return jnp.sum(jnp.exp(heads.log_probs) * heads.q, axis=-1)


def entropy(log_probs: jax.Array) -> jax.Array:
    """Entropy of [..., A] log-probabilities; an action of probability 0 adds 0 (and no NaN to the gradient)."""
    finite = jnp.where(jnp.isfinite(log_probs), log_probs, 0.0)
    return -jnp.sum(jnp.exp(log_probs) * finite, axis=-1)


def advantages(objective: Objective, rewards: jax.Array, values: jax.Array) -> jax.Array:
    """A_t [T, B] of the learner, from rewards [T, B] and values [T+1, B].

    As released (`stop_grad_advantage` off) a TD0 advantage lets gradients through both of its values, into the Q
    head and the actor head, in every loss that it weighs.
    """
    estimate = {"TD0": estimators.td0_advantage, "MC": estimators.mc_advantage}[objective.advantage]
    advantage = estimate(rewards, values, objective.reward_discount)
    return lax.stop_gradient(advantage) if objective.stop_grad_advantage else advantage


def actor_losses(
    objective: Objective, learner: Heads, opponent: Heads, experience: Experience
) -> ActorLosses:
    """The three terms of the actor's loss (spec sections 5.3 and 5.4).

    Args:
        objective: which estimators.
        learner: heads of the player that learns, differentiable.
        opponent: heads of the other player on *its* observations; they are constants here.
        experience: seen from the learner's side.

    Returns:
        The agent's loss -mean(l_t A_t), the opponent's (shaping) loss, and minus the mean entropy of the steps t < T.
    """
    steps, batch, actions = learner.log_probs.shape
    assert learner.q.shape == (steps, batch, actions), "learner's heads"
    assert opponent.log_probs.shape == opponent.q.shape == (steps, batch, actions), "opponent's heads"
    assert all(part.shape == (steps - 1, batch) for part in experience), "experience"

    opponent = Heads(*lax.stop_gradient(tuple(opponent)))
    log_probs = chosen(learner.log_probs[:-1], experience.actions)
    values = state_values(learner)
    advantage = advantages(objective, experience.rewards, values)
    return ActorLosses(
        agent=-jnp.mean(log_probs * advantage),
        opponent=_SHAPING[objective.method](objective, log_probs, values, advantage, opponent, experience),
        entropy=-jnp.mean(entropy(learner.log_probs[:-1])),
    )


def opponent_log_policy(objective: Objective, op_q, op_actions, action_value) -> jax.Array:
    """log pihat_t(b_t): softmax over the opponent's action values, the entry of b_t replaced.

    Args:
        op_q: constants [T, B, A]; op_actions: b_t [T, B].
        action_value: q_t [T, B], the differentiable value of the action that the opponent took.

    Returns:
        [T, B]; its derivative in q_t is (1 - pihat_t(b_t)) / tau, or 1 / tau with the normaliser stopped.
    """
    row = jnp.where(is_chosen(op_actions, op_q.shape[-1]), action_value[..., None], op_q)
    normaliser = jax.nn.logsumexp(row / objective.op_softmax_temp, axis=-1)
    if objective.stop_grad_normalizing_constant:
        normaliser = lax.stop_gradient(normaliser)
    return action_value / objective.op_softmax_temp - normaliser


def _loaded_returns(objective, log_probs, opponent, experience):
    return estimators.loaded_dice_returns(
        experience.op_rewards,
        log_probs,
        state_values(opponent),
        objective.reward_discount,
        objective.discount,
    )


def loaded_action_values(objective: Objective, log_probs, opponent: Heads, experience) -> jax.Array:
    """q_t [T, B]: the opponent's return from t on, differentiable through the learner's log-probabilities [T, B].

    Without `differentiable_current_reward` q_t = s_t + gamma D_{t+1}: the learner moves at the same time as the
    opponent, so only its later actions are credited.
    """
    returns = _loaded_returns(objective, log_probs, opponent, experience)
    if objective.differentiable_current_reward:
        return returns
    rewards = experience.op_rewards
    later = jnp.concatenate([returns[1:], jnp.zeros_like(returns[:1])])
    return rewards + objective.reward_discount * later


def _loaded_dice(objective, log_probs, values, advantage, opponent, experience):
    """-mean(log pihat_t(b_t) A_t): the paper's method."""
    action_value = loaded_action_values(objective, log_probs, opponent, experience)
    log_policy = opponent_log_policy(objective, opponent.q[:-1], experience.op_actions, action_value)
    return -jnp.mean(log_policy * advantage)


def _loaded_aa(objective, log_probs, values, advantage, opponent, experience):
    """-mean(q_t A_t): no softmax (precursor of Advantage Alignment)."""
    return -jnp.mean(loaded_action_values(objective, log_probs, opponent, experience) * advantage)


def _n_step(objective, log_probs, values, advantage, opponent, experience):
    """The paper's loss with n-step values in the place of whole returns, on the steps t <= T - n.

    Its own TD0 advantages are constants, and their last value is missing (spec, Q17: kept): the values are cut to
    these steps and a zero stands after them.
    """
    gamma, n = objective.reward_discount, objective.n_step
    action_value = estimators.n_step_values(
        experience.op_rewards,
        log_probs,
        state_values(opponent),
        gamma,
        n,
        baseline=jnp.mean(experience.op_rewards),
    )
    count = action_value.shape[0]
    if objective.advantage == "TD0":
        cut = lax.stop_gradient(values[:count])
        cut = jnp.concatenate([cut, jnp.zeros_like(cut[:1])])
        weight = estimators.td0_advantage(experience.rewards[:count], cut, gamma)
    else:
        weight = advantage[:count]
    log_policy = opponent_log_policy(
        objective, opponent.q[:count], experience.op_actions[:count], action_value
    )
    return -jnp.mean(log_policy * weight)


def _loaded_ios(objective, log_probs, values, advantage, opponent, experience):
    """A research leftover of the original, in the form of either program.

    Both push the opponent's return D_t on masked steps. Coin: loss mean(O_t A_t mask) with O_t = D_t - V_t of the
    opponent and mask -1[O_t > 0] 1[A_t != 0]. Prisoner's dilemma: inf_weight mean(D_t A_t mask), the mask
    -1[o_t > 0] 1[a_t < 0] from both players' advantages centred over the episode (o_t the opponent's TD error).
    """
    returns = _loaded_returns(objective, log_probs, opponent, experience)
    op_values = state_values(opponent)
    if objective.ios_form == "coin":
        gain = returns - op_values[:-1]
        mask = -1.0 * ((gain > 0) & (advantage != 0))
        return jnp.mean(gain * advantage * lax.stop_gradient(mask))
    op_advantage = estimators.td0_advantage(experience.op_rewards, op_values, objective.reward_discount)
    mask = -1.0 * ((_centred(op_advantage) > 0) & (_centred(advantage) < 0))
    return objective.inf_weight * jnp.mean(returns * advantage * lax.stop_gradient(mask))


def _centred(values: jax.Array) -> jax.Array:
    """[T, B] minus its mean over time: what normalising leaves of the sign."""
    return values - jnp.mean(values, axis=0, keepdims=True)


_SHAPING = {
    "loaded-dice": _loaded_dice,
    "n_step": _n_step,
    "loaded-ios": _loaded_ios,
    "loaded-aa": _loaded_aa,
}


def q_targets(
    mode: str, target: Heads, actions, rewards, gamma: float, *, target_kind: str = "bootstrapped"
) -> jax.Array:
    """y_t [T, B], what Q_t(a_t) is regressed on (a constant).

    Args:
        mode: `mean` (SARSA: the value of the next action taken, and of the policy after the last step) or `argmax`.
        target: heads of the target network on all T+1 observations.
        actions, rewards: the learner's own, [T, B].
        target_kind: `bootstrapped` as released; `finite-horizon`, the same with nothing after the last step;
            `monte-carlo`, the discounted sum of the rewards, in which `mode` and `target` play no part.
    """
    if target_kind == "monte-carlo":
        return lax.stop_gradient(estimators.discounted_sum(rewards, gamma))
    if mode == "mean":
        later = chosen(target.q[1:-1], actions[1:])
        last = state_values(target)[-1:]
    else:
        best = jnp.max(target.q[1:], axis=-1)
        later, last = best[:-1], best[-1:]
    if target_kind == "finite-horizon":
        last = jnp.zeros_like(last)
    return lax.stop_gradient(rewards + gamma * jnp.concatenate([later, last]))


def huber(error: jax.Array) -> jax.Array:
    """x^2 / 2 inside [-1, 1], |x| - 1/2 outside."""
    size = jnp.abs(error)
    inside = jnp.minimum(size, 1.0)
    return 0.5 * inside * inside + (size - inside)


def squared(error: jax.Array) -> jax.Array:
    """x^2 / 2: what `huber` is inside its bounds, everywhere."""
    return 0.5 * error * error


def q_loss(
    mode: str,
    q: jax.Array,
    target: Heads,
    actions: jax.Array,
    rewards: jax.Array,
    gamma: float,
    *,
    target_kind: str = "bootstrapped",
    loss: str = "huber",
) -> jax.Array:
    """Mean error of Q_t(a_t), t < T, against `q_targets` (spec section 5.5); a scalar.

    Args:
        mode, target, actions, rewards, gamma, target_kind: as in `q_targets`.
        q: [T+1, B, A], differentiable.
        loss: `huber` (as released) or `squared`.
    """
    assert q.shape[0] == actions.shape[0] + 1 and q.shape[:-1] == target.q.shape[:-1], "T+1 steps of values"
    targets = q_targets(mode, target, actions, rewards, gamma, target_kind=target_kind)
    return jnp.mean({"huber": huber, "squared": squared}[loss](chosen(q[:-1], actions) - targets))
