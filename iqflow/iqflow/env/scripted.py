"""Scripted agents in Cleanup: the probes A1 to A3 (spec 3.4), and a cleaner and a harvester that show the game's scale.

A rule is a function ``(env, state, agent, key) -> action``, int32 [], of one agent. Where a rule walks up and down it goes by
the time, so that it needs no memory. All rules think in directions of the map, so everybody has to face up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType

import jax
import jax.numpy as jnp

from common.cli import UserError
from iqflow.env.cleanup.environment import Cleanup, CleanupState
from iqflow.env.cleanup.rules import CLEAN, GO_DOWN, GO_LEFT, GO_RIGHT, GO_UP, STAY

Rule = Callable[[Cleanup, CleanupState, int, jax.Array], jax.Array]


def _index(env: Cleanup, action: int) -> jax.Array:
    """The exposed number of one of the nine actions.

    Raises:
        UserError: it is switched off, or agents may face elsewhere than up.
    """
    if action not in env.actions or env.random_orientation:
        raise UserError(
            "scripted agents walk in all four directions of the map: disable_left_right_action and random_orientation "
            "have to be false"
        )
    return jnp.int32(env.actions.index(action))


def _to_column(env: Cleanup, state: CleanupState, agent: int, column: int, then: jax.Array) -> jax.Array:
    """Left or right to a column, `then` once there."""
    here = state.position[agent, 1].astype(jnp.int32)
    walk = jnp.where(here > column, _index(env, GO_LEFT), _index(env, GO_RIGHT))
    return jnp.where(here == column, then, walk)


def uniform(env: Cleanup, state: CleanupState, agent: int, key: jax.Array) -> jax.Array:
    """Any action, all equally likely."""
    return jax.random.randint(key, (), 0, env.n_actions)


def idle(env: Cleanup, state: CleanupState, agent: int, key: jax.Array) -> jax.Array:
    """Stays where it is."""
    return _index(env, STAY)


def wanderer(env: Cleanup, state: CleanupState, agent: int, key: jax.Array) -> jax.Array:
    """A1: goes to the river, then up or down at random."""
    goes_up = jax.random.bernoulli(key)
    there = jnp.where(goes_up, _index(env, GO_UP), _index(env, GO_DOWN))
    return jnp.where(state.position[agent, 1] > env.layout.river_boundary, _index(env, GO_LEFT), there)


def cleaner(env: Cleanup, state: CleanupState, agent: int, key: jax.Array) -> jax.Array:
    """A2: goes to the river, then cleans."""
    at_river = state.position[agent, 1] <= env.layout.river_boundary
    return jnp.where(at_river, _index(env, CLEAN), _index(env, GO_LEFT))


def useless_cleaner(env: Cleanup, state: CleanupState, agent: int, key: jax.Array) -> jax.Array:
    """A3: goes to the column right of the river's boundary, then cleans."""
    return _to_column(env, state, agent, env.layout.river_boundary + 1, _index(env, CLEAN))


def patrolling_cleaner(env: Cleanup, state: CleanupState, agent: int, key: jax.Array) -> jax.Array:
    """Goes to column 2 and cleans; on maps of more than 7 rows it goes one row up or down after every two shots.

    It turns one row short of the top, from where a beam reaches nothing but its own row.
    """
    act = _index(env, CLEAN)
    rows = env.layout.height - 2
    if rows > 5:
        turns = state.time // 3
        walk = jnp.where(turns // (rows - 2) % 2 == 0, _index(env, GO_UP), _index(env, GO_DOWN))
        act = jnp.where(state.time % 3 == 2, walk, act)
    return _to_column(env, state, agent, 2, act)


def harvester(env: Cleanup, state: CleanupState, agent: int, key: jax.Array) -> jax.Array:
    """Goes to the last free column and sweeps it down and up."""
    rows = env.layout.height - 2
    goes_down = (state.time - 1) // (rows - 1) % 2 == 0
    sweep = jnp.where(goes_down, _index(env, GO_DOWN), _index(env, GO_UP))
    return _to_column(env, state, agent, env.layout.width - 2, sweep)


#: what the mechanism is tested with: a good one pays A2 more than A1 and A3
PROBES = MappingProxyType({"A1": wanderer, "A2": cleaner, "A3": useless_cleaner})

#: every rule by the name that a command line knows
RULES = MappingProxyType(
    {
        "random": uniform,
        "idle": idle,
        "cleaner": patrolling_cleaner,
        "harvester": harvester,
        **PROBES,
    }
)


def act(env: Cleanup, rules: Sequence[Rule], state: CleanupState, key: jax.Array) -> jax.Array:
    """Actions int32 [N], one rule per agent."""
    keys = jax.random.split(key, len(rules))
    return jnp.stack([rule(env, state, agent, keys[agent]) for agent, rule in enumerate(rules)])
