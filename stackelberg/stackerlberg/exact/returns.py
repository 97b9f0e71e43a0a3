"""Exact returns of stationary policies in the repeated game, by forward recursion over joint states.

A policy is a table over its player's own observations: ``[n, A]`` probabilities. Everything accepts leading
axes, which broadcast. Returns are sums over the H steps and include the protocol's reward offset
(``H * reward_offset``); a protocol with ``reward_offset=0`` gives raw payoffs. Float64 throughout.
"""

from __future__ import annotations

import numpy as np

from common.cli import UserError

from ..games import Game
from ..protocol import Protocol, all_tables

# Returns that differ by less are a tie: payoffs such as .001 and 1.5 are not exact in floating point.
TIE = 1e-9

_LARGEST_ENUMERATION = 50_000_000


def one_hot(tables: np.ndarray, actions: int) -> np.ndarray:
    """Deterministic tables ``[..., n]`` as probabilities ``[..., n, actions]``."""
    tables = np.asarray(tables)
    if tables.size and not (tables.min() >= 0 and tables.max() < actions):
        raise ValueError(f"actions must lie in 0 to {actions - 1}")
    return np.eye(actions)[tables]


def as_probabilities(policy: np.ndarray, observations: int, actions: int, what: str) -> np.ndarray:
    """A table ``[..., n]`` of actions or ``[..., n, A]`` of probabilities as the latter, checked.

    Raises:
        ValueError: it fits neither, or rows are not distributions.
    """
    policy = np.asarray(policy)
    if policy.ndim and policy.shape[-1] == observations and np.issubdtype(policy.dtype, np.integer):
        return one_hot(policy, actions)
    if policy.ndim < 2 or policy.shape[-2:] != (observations, actions):
        raise ValueError(
            f"{what} must be [..., {observations}] whole actions or [..., {observations}, {actions}] "
            f"probabilities, not {policy.shape} of {policy.dtype}"
        )
    policy = policy.astype(np.float64)
    if not (policy >= -1e-6).all() or not np.allclose(policy.sum(axis=-1), 1, atol=1e-5):
        raise ValueError(f"the rows of {what} must be probabilities that sum to 1")
    return policy


def _in_states(game: Game, protocol: Protocol, leader, follower) -> tuple[np.ndarray, np.ndarray]:
    """Both policies per joint state: ``[..., S, A0]`` and ``[..., S, A1]``."""
    n_leader, n_follower = protocol.observation_counts(game.actions)
    leader = as_probabilities(leader, n_leader, game.actions[0], "the leader's policy")
    follower = as_probabilities(follower, n_follower, game.actions[1], "the follower's policy")
    views = protocol.views(game.actions)
    return leader[..., views[:, 0], :], follower[..., views[:, 1], :]


def outcome_rewards(game: Game, protocol: Protocol) -> np.ndarray:
    """``[A1 * A0, 2]`` rewards of each outcome ``a0 + A0 * a1``, the offset included."""
    return np.swapaxes(game.payoffs, 0, 1).reshape(-1, 2) + protocol.reward_offset


def _outcomes(leader: np.ndarray, follower: np.ndarray) -> np.ndarray:
    """``[..., S, A1 * A0]`` probability of each outcome in each joint state."""
    joint = follower[..., :, None] * leader[..., None, :]
    return joint.reshape(*joint.shape[:-2], -1)


def policy_returns(game: Game, protocol: Protocol, leader, follower) -> np.ndarray:
    """Exact expected returns of two policies.

    Args:
        leader: ``[..., n_leader, A0]`` probabilities, or ``[..., n_leader]`` whole actions.
        follower: ``[..., n_follower, A1]`` or ``[..., n_follower]``; leading axes broadcast.

    Returns:
        ``[..., 2]``: (leader, follower).
    """
    outcomes = _outcomes(*_in_states(game, protocol, leader, follower))
    visits = outcomes[..., 0, :]
    total = visits
    for _ in range(protocol.episode_length - 1):
        visits = (visits[..., None, :] @ outcomes[..., 1:, :])[..., 0, :]
        total = total + visits
    return total @ outcome_rewards(game, protocol)


def returns_and_gradients(
    game: Game, protocol: Protocol, leader: np.ndarray, follower: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Exact returns and their derivatives with respect to the leader's probabilities.

    The derivative is the multilinear one: each entry of the table is free.

    Args:
        leader, follower: as in `policy_returns`, with probabilities.

    Returns:
        ``[..., 2]`` returns and ``[..., 2, n_leader, A0]`` derivatives.
    """
    actions, horizon = game.actions, protocol.episode_length
    in_leader, in_follower = _in_states(game, protocol, leader, follower)
    outcomes = _outcomes(in_leader, in_follower)
    rewards = outcome_rewards(game, protocol)
    start = np.zeros((*outcomes.shape[:-2], 1, outcomes.shape[-2]))
    start[..., 0] = 1
    visits = [start]
    for _ in range(horizon - 1):
        after = visits[-1] @ outcomes
        visits.append(np.concatenate([np.zeros_like(after[..., :1]), after], axis=-1))

    # values[..., s, player] = expected return of the remaining steps
    values = np.zeros((*outcomes.shape[:-1], 2))
    gradient = np.zeros((*outcomes.shape[:-2], 2, in_leader.shape[-2], actions[0]))
    for at in reversed(visits):
        worth = (rewards + values[..., 1:, :]).reshape(*values.shape[:-2], actions[1], actions[0], 2)
        # [..., S, A1] x [..., A1, A0 * 2] -> value of each leader action in each state
        chosen = in_follower @ worth.reshape(*worth.shape[:-3], actions[1], -1)
        chosen = chosen.reshape(*chosen.shape[:-1], actions[0], 2)
        gradient += np.moveaxis(at[..., 0, :, None, None] * chosen, -1, -3)
        values = (in_leader[..., None] * chosen).sum(axis=-2)
    n_leader = protocol.observation_counts(actions)[0]
    seen = np.eye(n_leader)[protocol.views(actions)[:, 0]].T
    return values[..., 0, :], seen @ gradient


def deterministic_returns(game: Game, protocol: Protocol) -> np.ndarray:
    """Returns of every pair of deterministic tables.

    Returns:
        ``[A0 ** n_leader, A1 ** n_follower, 2]``, both in the order of `all_tables`.

    Raises:
        UserError: too many pairs to enumerate.
    """
    (n_leader, n_follower), (leader_actions, follower_actions) = (
        protocol.observation_counts(game.actions),
        game.actions,
    )
    pairs = float(leader_actions) ** n_leader * float(follower_actions) ** n_follower
    if pairs > _LARGEST_ENUMERATION:
        raise UserError(
            f"game {game.name!r} with memory {protocol.memory!r} has {pairs:.1e} pairs of tables, more than "
            f"{_LARGEST_ENUMERATION:.0e}; use a smaller memory, or learn instead of enumerating"
        )
    leaders, followers = all_tables(n_leader, leader_actions), all_tables(n_follower, follower_actions)
    views, rewards = protocol.views(game.actions), outcome_rewards(game, protocol)
    state = np.zeros((len(leaders), len(followers)), dtype=np.int64)
    rows, columns = np.arange(len(leaders))[:, None], np.arange(len(followers))[None, :]
    total = np.zeros((*state.shape, 2))
    for _ in range(protocol.episode_length):
        own = leaders[rows, views[state, 0]]
        other = followers[columns, views[state, 1]]
        outcome = own + leader_actions * other
        total += rewards[outcome]
        state = 1 + outcome
    return total
