"""Who may go where when several agents move at once (spec 3.3, step 1), in a fixed number of array operations.

Cells are numbers. An agent that moves or stays asks for a cell; one that turns or fires asks for nothing and stays.

First the cells that at least two agents asked for, in ascending order. Such a cell is free unless an agent stands on it
that claims it itself, will not leave (it asks for nothing or for its own cell), or wants the present cell of one of the
claimants. The claimant of the highest priority moves into a free cell; then all claimants ask for where they are.

Then sweeps over the agents in index order. An agent moves to an unoccupied cell; gives up on a cell whose occupant will
not leave; gives up together with an occupant that wants to swap; and waits otherwise. When a sweep changes nothing, those
that still wait stand in rings of three or more and all move at once. Every sweep but the last settles at least one
agent, so N sweeps always suffice, and after a sweep that changed nothing the others change nothing either.

With four agents or more the rules can put two on one cell: somebody wins a cell whose occupant, it turns out, cannot
leave. Where an occupant is then asked for, it is the one of the highest index.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

#: up to so many agents the sweeps are unrolled: quicker to run, slower to compile
UNROLLED = 3


class _Traffic(NamedTuple):
    cell: jax.Array  # int32 [N]: where every agent is
    goal: jax.Array  # int32 [N]: the cell that it asks for
    pending: jax.Array  # bool [N]: whether its request is still open


def _occupant(cell: jax.Array, place: jax.Array) -> jax.Array:
    """Index [] of the agent at `place` [], -1 if it is unoccupied."""
    return jnp.max(jnp.where(cell == place, jnp.arange(cell.shape[0]), -1))


def _settle_contested(traffic: _Traffic, priority: jax.Array) -> _Traffic:
    n = traffic.cell.shape[0]
    agents = jnp.arange(n)
    asked, asks = traffic.goal, traffic.pending
    same = (asked[:, None] == asked[None, :]) & asks[:, None] & asks[None, :]
    contested = same.sum(axis=1) >= 2

    def settle(_, carry):
        cell, goal, open_claims = carry
        beyond = jnp.iinfo(asked.dtype).max
        place = jnp.min(jnp.where(open_claims, asked, beyond))
        claims = open_claims & (asked == place)
        there = _occupant(cell, place)
        other = jnp.maximum(there, 0)
        remains = ~asks[other] | (goal[other] == cell[other])
        blocked = (there >= 0) & (claims & ((agents == there) | remains | (goal[other] == cell))).any()
        first = jnp.argmin(jnp.where(claims, priority, jnp.inf))
        cell = jnp.where(claims & (agents == first) & ~blocked, place, cell)
        return cell, jnp.where(claims, cell, goal), open_claims & ~claims

    start = (traffic.cell, traffic.goal, contested)
    cell, goal, _ = jax.lax.fori_loop(0, n // 2, settle, start, unroll=n <= UNROLLED)
    return _Traffic(cell, goal, asks)


def _try(traffic: _Traffic, agent: int) -> _Traffic:
    """One agent's turn in a sweep."""
    cell, goal, pending = traffic
    place, asks = goal[agent], pending[agent]
    there = _occupant(cell, place)
    other = jnp.maximum(there, 0)
    leaves = (there != agent) & pending[other] & (goal[other] != cell[other])
    swaps = leaves & (goal[other] == cell[agent])
    moves, gives_up = asks & (there < 0), asks & (there >= 0) & (~leaves | swaps)
    both = jnp.arange(cell.shape[0]) == other
    pending = pending & ~(both & asks & (there >= 0) & swaps)
    pending = pending.at[agent].set(pending[agent] & ~moves & ~gives_up)
    return _Traffic(cell.at[agent].set(jnp.where(moves, place, cell[agent])), goal, pending)


def resolve(cell: jax.Array, goal: jax.Array, asks: jax.Array, priority: jax.Array) -> jax.Array:
    """Cells int32 [N] after everybody has moved.

    Args:
        cell: int32 [N], where the agents are.
        goal: int32 [N], the cells that they ask for; their own where a wall is in the way.
        asks: bool [N], False for those that turn or fire.
        priority: float32 [N], the smallest goes first where a cell is contested; uniform draws make all orders equally
            likely.
    """
    n = cell.shape[0]
    traffic = _settle_contested(_Traffic(cell, goal, asks), priority)

    def sweep(_, traffic):
        for agent in range(n):
            traffic = _try(traffic, agent)
        return traffic

    traffic = jax.lax.fori_loop(0, n, sweep, traffic, unroll=n <= UNROLLED)
    return jnp.where(traffic.pending, traffic.goal, traffic.cell)
