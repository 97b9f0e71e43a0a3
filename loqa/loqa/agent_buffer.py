"""Past agents to play against: parameter trees in a ring that is as long as the run needs (spec 5.7).

A run pushes its agent every `update_freq` iterations, so a ring of that many slots is the whole history, whatever larger
capacity is asked for. With a smaller capacity the oldest agent makes room for the newest, as in the original.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class AgentBuffer(NamedTuple):
    """A ring of agents; push number p is in slot p modulo the number of slots."""

    agents: Any  # a parameter tree, each leaf with a leading axis [slots]
    pushes: jax.Array  # int32, pushes so far


def slots(capacity: int, update_freq: int, max_iterations: int) -> int:
    """Slots that a run of the iterations 0 to `max_iterations` (included) can fill, at most `capacity`."""
    # DEVIATION(Q6): the original allocates `capacity` agents and copies them all, twice, at every push
    return min(capacity, max_iterations // update_freq + 1)


def empty(agent: Any, slots: int) -> AgentBuffer:
    """A ring without agents for trees like `agent`."""
    agents = jax.tree.map(lambda leaf: jnp.zeros((slots, *leaf.shape), leaf.dtype), agent)
    return AgentBuffer(agents, jnp.zeros((), jnp.int32))


def push(buffer: AgentBuffer, agent: Any, wanted: jax.Array) -> AgentBuffer:
    """Add an agent if `wanted` (bool, may be traced); one slot is written, the rest stays in place."""
    length = jax.tree.leaves(buffer.agents)[0].shape[0]
    slot = buffer.pushes % length

    def write(ring, new):
        old = lax.dynamic_index_in_dim(ring, slot, keepdims=False)
        return lax.dynamic_update_index_in_dim(ring, jnp.where(wanted, new, old), slot, 0)

    return AgentBuffer(jax.tree.map(write, buffer.agents, agent), buffer.pushes + wanted)


def draw(buffer: AgentBuffer, key: jax.Array, count: int) -> jax.Array:
    """Slots of `count` agents, uniform with replacement over those that were pushed and are still there; int32 [count].

    The draws count from the oldest agent, as in the original, whatever the number of slots.
    """
    length = jax.tree.leaves(buffer.agents)[0].shape[0]
    filled = jnp.minimum(buffer.pushes, length)
    ranks = jax.random.randint(key, (count,), 0, filled)
    return (buffer.pushes - filled + ranks) % length


def current(batch: int, cur_agent_frac: float) -> int:
    """How many of `batch` opponents are the current agent: the last ones of the batch."""
    return int(batch * cur_agent_frac)


def take(buffer: AgentBuffer, drawn: jax.Array) -> Any:
    """The agents in slots [n]: a tree with leading axis [n]."""
    return jax.tree.map(lambda ring: ring[drawn], buffer.agents)
