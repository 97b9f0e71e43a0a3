"""The same numbers as the plain path for players that remember one step, at a fraction of the work.

A memory-one player knows five states, so its heads are tables: the policy [5, 2], the Q head [T+1, 5, 2]. The losses
of an iteration depend on its B episodes only through sums per (time, state, joint action):

* the agent's loss, the entropy and a bootstrapped Q loss need counts, and are then exact sums over at most 32 cells
  per time step;
* the shaping loss needs one pass over the episodes. By loaded DiCE dD_t/dl_k = (gamma lambda)^(k-t) (G_k - V_k), so its
  gradient by l_k is (G_k - V_k) E_k, where E collects what the earlier opponent moves are worth in one linear
  recursion forward in time; (G_k - V_k) E_k is then summed per state and action. No tape, no gather, no scatter.

Tables here have four columns per time step, one per joint action of the step before: (C, C), (C, D), (D, C), (D, D) as
the player itself sees it. START is the only state at t = 0 and stands in all four columns there.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from loqa import estimators, losses
from loqa.ipd.game import REWARDS, Episodes
from loqa.losses import ActorLosses
from loqa.objective import Objective


class Tables(NamedTuple):
    """Both heads of a memory-one player, see the module's text for the columns."""

    log_probs: jax.Array  # [T+1, 4, 2]
    q: jax.Array  # [T+1, 4, 2]

    def values(self) -> jax.Array:
        """V [T+1, 4]."""
        return jnp.sum(jnp.exp(self.log_probs) * self.q, axis=-1)


def columns(by_state: jax.Array) -> jax.Array:
    """[T+1, 5, ...] by state -> [T+1, 4, ...] by the joint action before."""
    start = jnp.repeat(by_state[:1, :1], 4, axis=1)
    return jnp.concatenate([start, by_state[1:, 1:]])


def make_tables(agent, params) -> Tables:
    """Tables of a memory-one agent."""
    q = agent.q_table(params)
    log_probs = jnp.broadcast_to(agent.log_policy(params), q.shape)
    return Tables(columns(log_probs), columns(q))


# --- playing -----------------------------------------------------------------------------------------------------


def _pick(cells: jax.Array, first: jax.Array, second: jax.Array) -> jax.Array:
    """cells[..., 2 * first + second] for bools of one shape; `cells` [4, ...] broadcasts against them."""
    return jnp.where(first, jnp.where(second, cells[3], cells[2]), jnp.where(second, cells[1], cells[0]))


def play(learner, opponent, noise: jax.Array) -> Episodes:
    """Episodes of two memory-one agents; see `ipd.play`."""
    # how much each policy prefers to defect, in each state: [5]
    tables = [player.family.log_policy(player.params) for player in (learner, opponent)]
    mine, theirs = (table[:, 1] - table[:, 0] for table in tables)
    start = (mine[0] > noise[0, 0]), (theirs[0] > noise[0, 1])

    def step(before, chance):
        own, other = before
        moves = _pick(mine[1:], own, other) > chance[0], _pick(theirs[1:], other, own) > chance[1]
        return moves, moves

    _, later = lax.scan(step, start, noise[1:])
    return Episodes(*(jnp.concatenate([first[None], rest]) for first, rest in zip(start, later, strict=True)))


# --- sums over episodes ------------------------------------------------------------------------------------------


def _before(moves: jax.Array) -> jax.Array:
    """[T, B] moved one step into the past; False before the first move (any column is START there)."""
    return jnp.concatenate([jnp.zeros_like(moves[:1]), moves[:-1]])


def _after(moves: jax.Array) -> jax.Array:
    """[T, B] moved one step into the future; False after the last move."""
    return jnp.concatenate([moves[1:], jnp.zeros_like(moves[:1])])


def _masks(*bits: jax.Array) -> list[jax.Array]:
    """Bools [T, B], one per pattern of N bools, in the order of `_pick`."""
    found = [jnp.ones_like(bits[0])]
    for bit in bits:
        found = [mask & side for mask in found for side in (~bit, bit)]
    return found


def _sums(values: jax.Array, *bits: jax.Array) -> jax.Array:
    """Sum of `values` [T, B] over the episodes, per time step and pattern of N bools [T, B] -> [T, 2^N].

    A pattern that did not occur sums to exactly 0: Adam would make steps of full size out of rounding errors.
    """
    return jnp.stack([jnp.sum(jnp.where(mask, values, 0.0), axis=1) for mask in _masks(*bits)], axis=-1)


def _count(episodes: Episodes) -> jax.Array:
    """Episodes per time step [T, 4, 2, 2, 2]: joint action before, own and other's move, own move after (C at the end)."""
    own, other = episodes
    left = jnp.stack(_masks(_before(own), _before(other)), axis=1).astype(jnp.float32)
    right = jnp.stack(_masks(own, other, _after(own)), axis=1).astype(jnp.float32)
    counts = jnp.einsum("tib,tjb->tij", left, right, precision=lax.Precision.HIGHEST)
    return counts.reshape(own.shape[0], 4, 2, 2, 2)


# --- the actor's losses ------------------------------------------------------------------------------------------


def _attach(value: jax.Array, slope: jax.Array, variable: jax.Array) -> jax.Array:
    """`value`, a scalar, with the gradient `slope` (a constant) by `variable` added to its own."""
    return value + jnp.sum(lax.stop_gradient(slope) * (variable - lax.stop_gradient(variable)))


def _move_rewards(offset: float) -> jax.Array:
    """Own reward [1, 4] by joint action."""
    return jnp.asarray(REWARDS[None, 1:] + REWARDS.dtype.type(offset))


def actor_losses(hp, agent, params, opponent, episodes: Episodes) -> ActorLosses:
    """See `ipd.actor_losses`; loaded DiCE only."""
    objective, gamma = hp.objective, hp.reward_discount
    learner = make_tables(agent, params)
    constant = lax.stop_gradient(make_tables(*opponent))
    values, counts = learner.values(), _count(episodes).sum(-1)
    rewards, samples = _move_rewards(hp.reward_offset), episodes.own.size
    log_probs = learner.log_probs[:-1]

    if objective.advantage == "TD0":
        cells = (rewards + gamma * values[1:]).reshape(-1, 1, 4) - values[:-1, :, None]
        cells = lax.stop_gradient(cells) if objective.stop_grad_advantage else cells
        cells = cells.reshape(counts.shape)
        advantage = _pick_td0(lax.stop_gradient(values), rewards, gamma, episodes)
        if hp.actor.train.centre_advantage:
            centre = jnp.mean(advantage, axis=1, keepdims=True)
            advantage, cells = advantage - centre, cells - centre.reshape(-1, 1, 1, 1)
        weighted = counts * cells
    else:
        own, before = episodes.own, map(_before, episodes)
        advantage = estimators.discounted_sum(episodes.rewards(hp.reward_offset), gamma)
        advantage = advantage - _pick(_by_cell(lax.stop_gradient(values[:-1])), *before)
        if hp.actor.train.centre_advantage:
            advantage = advantage - jnp.mean(advantage, axis=1, keepdims=True)
        weighted = _sums(advantage, *map(_before, episodes), own).reshape(-1, 4, 2, 1)
    agent_loss = -jnp.sum(jnp.sum(weighted, axis=-1) * log_probs) / samples
    entropy = -jnp.sum(counts.sum((-1, -2)) * losses.entropy(log_probs)) / samples
    opponent_loss = _shaping(objective, hp.reward_offset, learner, values, constant, episodes, advantage)
    return ActorLosses(agent_loss, opponent_loss, entropy)


def _by_cell(table: jax.Array) -> jax.Array:
    """[T, 4, ...] -> [4, ..., T, 1], ready for `_pick` from arrays [T, B]."""
    return jnp.moveaxis(table, 0, -1)[..., None]


def _pick_td0(values: jax.Array, rewards: jax.Array, gamma: float, episodes: Episodes) -> jax.Array:
    """r_t + gamma V_{t+1} - V_t [T, B] from V [T+1, 4]."""
    later = rewards + gamma * values[1:]
    before = map(_before, episodes)
    return _pick(_by_cell(later), *episodes) - _pick(_by_cell(values[:-1]), *before)


def _shaping(
    objective: Objective,
    offset: float,
    learner: Tables,
    values: jax.Array,
    opponent: Tables,
    episodes: Episodes,
    advantage: jax.Array,
) -> jax.Array:
    """-mean(log pihat_t(b_t) A_t) with its gradients by the learner's log-probabilities and values.

    Args: `advantage` A_t [T, B], a constant here; the value's gradient is attached by hand.
    """
    gamma, decay = objective.reward_discount, objective.reward_discount * objective.discount
    seen, samples = episodes.swapped(), episodes.own.size
    before = tuple(map(_before, seen))
    returns = estimators.discounted_sum(seen.rewards(offset), gamma)  # G_t, which is also q_t in value
    q = _by_cell(opponent.q[:-1])
    rest = jnp.where(seen.own, _pick(q[:, 0], *before), _pick(q[:, 1], *before))
    ahead = (returns - rest) / objective.op_softmax_temp
    log_policy = jax.nn.log_sigmoid(ahead)

    # d loss / d q_t, collected forward in time into E_k = sum over t of (dD_k part of q_t) d loss / d q_t
    pull = -advantage * jax.nn.sigmoid(-ahead) / (objective.op_softmax_temp * samples)
    collected = _collect(pull, decay)
    if not objective.differentiable_current_reward:
        collected = gamma * jnp.concatenate([jnp.zeros_like(pull[:1]), collected[:-1]])
    surprise = returns - _pick(_by_cell(opponent.values()[:-1]), *before)
    mine = tuple(map(_before, episodes))
    slope = _sums(surprise * collected, *mine, episodes.own).reshape(-1, 4, 2)
    loss = _attach(-jnp.sum(log_policy * advantage) / samples, slope, learner.log_probs[:-1])
    if objective.advantage == "MC" or objective.stop_grad_advantage:
        return loss
    weight = -log_policy / samples  # d loss / d A_t, and A_t = r_t + gamma V_{t+1} - V_t
    nothing = jnp.zeros_like(values[:1])
    later, now = gamma * _sums(weight, *episodes), _sums(weight, *mine)
    return _attach(loss, jnp.concatenate([nothing, later]) - jnp.concatenate([now, nothing]), values)


def _collect(pull: jax.Array, decay: float) -> jax.Array:
    """y_t = pull_t + decay y_{t-1} [T, B]."""
    return jnp.flip(estimators.discounted_sum(jnp.flip(pull, 0), decay), 0)


# --- the Q loss --------------------------------------------------------------------------------------------------

#: error -> (loss, its derivative)
_REGRESSION = {
    "huber": (losses.huber, lambda error: jnp.clip(error, -1.0, 1.0)),
    "squared": (losses.squared, lambda error: error),
}


def q_loss(hp, agent, params, target, episodes: Episodes) -> jax.Array:
    """See `ipd.q_loss`."""
    q, gamma = columns(agent.q_table(params)), hp.reward_discount
    loss, slope = _REGRESSION[hp.qvalue.loss]
    samples = episodes.own.size
    if hp.qvalue.target == "monte-carlo":
        chosen = tuple(map(_before, episodes))
        cells = _by_cell(lax.stop_gradient(q[:-1]))
        fitted = jnp.where(episodes.own, _pick(cells[:, 1], *chosen), _pick(cells[:, 0], *chosen))
        error = fitted - estimators.discounted_sum(episodes.rewards(hp.reward_offset), gamma)
        slopes = _sums(slope(error) / samples, *chosen, episodes.own).reshape(-1, 4, 2)
        return _attach(jnp.sum(loss(error)) / samples, slopes, q[:-1])
    later = _next_values(hp, make_tables(agent, target))
    goal = _move_rewards(hp.reward_offset)[..., None] + gamma * later  # [T, joint action, own move after]
    error = q[:-1].reshape(-1, 4, 2, 1, 1) - lax.stop_gradient(goal).reshape(-1, 1, 2, 2, 2)
    return jnp.sum(_count(episodes) * loss(error)) / samples


def _next_values(hp, target: Tables) -> jax.Array:
    """What a bootstrapped target takes of the next state: [T, 4, 2] by joint action and own move after it."""
    if hp.qvalue.mode == "mean":
        later, last = target.q[1:], target.values()[-1]
    else:
        best = jnp.max(target.q, axis=-1)
        later, last = jnp.repeat(best[1:, :, None], 2, axis=-1), best[-1]
    if hp.qvalue.target == "finite-horizon":
        last = jnp.zeros_like(last)
    return jnp.concatenate([later[:-1], jnp.repeat(last.reshape(1, 4, 1), 2, axis=-1)])
