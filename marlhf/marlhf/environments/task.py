"""What the pipeline sees of an environment: a handful of pure functions over one environment's state."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Task:
    """One environment, unbatched; n learning agents, d the longest raw observation, W the world state.

    `reset(key) -> state`; `observe(state) -> (obs [n, d], world_state [W])`, raw observations padded with zeros, the
    world state being all of them unpadded in agent order; `transition(key, state, actions [n]) -> (state,
    rewards [n], done [])`, which never resets. The key of a transition is read where something in it is drawn: the
    sampled prey of Tag.
    """

    name: str
    agents: tuple[str, ...]
    n_actions: int
    obs_size: int
    state_size: int
    episode_length: int
    reset: Callable[[jax.Array], Any] = field(repr=False)
    observe: Callable[[Any], tuple[jax.Array, jax.Array]] = field(repr=False)
    transition: Callable[[jax.Array, Any, jax.Array], tuple[Any, jax.Array, jax.Array]] = field(repr=False)
    env: Any = field(repr=False)  # JaxMARL's object, for pictures
    shared_reward: bool = False  # every agent is paid the team's reward (Overcooked)
    hint: Callable[[jax.Array, jax.Array], jax.Array] | None = (
        None  # (obs, actions [..., n]) -> telling actions
    )
    kwargs: tuple[tuple[str, Any], ...] = ()  # what make_task was told beside the name

    @property
    def n_agents(self) -> int:
        """Learning agents."""
        return len(self.agents)

    @property
    def id(self) -> str:
        """The environment's published id, for example MPE_simple_spread_v3."""
        return IDS[self.name]

    @property
    def return_divisor(self) -> int:
        """What a team's return is divided by when it is reported: n, and 1 where the reward is shared (section 1)."""
        return 1 if self.shared_reward else self.n_agents

    def team_reward(self, rewards: jax.Array) -> jax.Array:
        """`rewards["__all__"]` of rewards `[n, ...]`: their sum; agent 0's where it is shared."""
        return rewards[0] if self.shared_reward else rewards.sum(axis=0)

    def step(self, key: jax.Array, state: Any, actions: jax.Array) -> tuple[Any, jax.Array, jax.Array]:
        """A transition, then a fresh episode if it ended one (reward and done are those of the old episode).

        The key is split in two: the first for the transition, the second for the reset.
        """
        key_transition, key_reset = jax.random.split(key)
        after, rewards, done = self.transition(key_transition, state, actions)
        fresh = self.reset(key_reset)
        state = jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, after)
        return state, rewards, done


IDS = {
    "spread": "MPE_simple_spread_v3",
    "reference": "MPE_simple_reference_v3",
    "tag": "MPE_simple_tag_v3",
    "overcooked": "overcooked",
}


def quiet_jaxmarl():
    """`jaxmarl.environments`, without the lines that it prints when imported."""
    # what it imports puts sys.stdout back in place, so that redirecting it would not do
    with mock.patch("builtins.print"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import jaxmarl.environments as environments
    return environments


def library(function: Callable) -> Callable:
    """A function that calls JaxMARL, which relies on the promotion of ranks that our tests forbid."""

    @functools.wraps(function)
    def allowed(*args):
        with jax.numpy_rank_promotion("allow"):
            return function(*args)

    return allowed


def padded(observations: dict[str, jax.Array], agents: tuple[str, ...]) -> tuple[jax.Array, jax.Array]:
    """Observations by name as `[n, d]`, zero-padded to the longest, and one after another as `[W]`."""
    raw = [observations[agent].reshape(-1).astype(jnp.float32) for agent in agents]
    size = max(one.shape[0] for one in raw)
    return jnp.stack([jnp.pad(one, (0, size - one.shape[0])) for one in raw]), jnp.concatenate(raw)
