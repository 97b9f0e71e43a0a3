"""Playing episodes of Escape Room for a film, one after the other, with trained followers, fixed moves, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from common.cli import UserError
from iqflow.env.escape_room import DOOR, LEVER, PLACES, START, EscapeRoom
from iqflow.eval.mechanism import SavedMechanism
from iqflow.film.episode import FOLLOWER, trained_in
from iqflow.networks import actors
from iqflow.trainer.building import make_sizes

#: agents that always go to one place, or anywhere
RANDOM = "random"
WORDS = (FOLLOWER, *PLACES, RANDOM)
#: steps of a film unless it says otherwise; an episode lasts 1 to 5
STEPS = 12


@dataclass(frozen=True)
class Episodes:
    """T steps of N agents, of one or more episodes.

    Attributes:
        names: who the agents are.
        min_at_lever: M, how many have to pull the lever.
        optimum: greatest total reward of an episode.
        before, actions: int ``[T, N]`` where every agent stands, and where it goes (0 lever, 1 start, 2 door).
        rewards: ``[T, N]`` environment rewards.
        ends: bool ``[T]``, whether the episode is over after the step.
        incentives: ``[T, N]``, or None when nobody pays any.
        largest: the largest incentive that can be paid.
    """

    names: tuple[str, ...]
    min_at_lever: int
    optimum: float
    before: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    ends: np.ndarray
    incentives: np.ndarray | None
    largest: float = 1.0

    @property
    def steps(self) -> int:
        return len(self.actions)

    def starts(self) -> list[int]:
        """The steps (from 0) that begin an episode."""
        return [0, *(np.flatnonzero(self.ends[:-1]) + 1).tolist()]

    def opened(self, step: int) -> bool:
        """Whether enough agents pulled the lever in a step (from 0)."""
        return int((self.actions[step] == LEVER).sum()) >= self.min_at_lever

    def complete(self) -> list[float]:
        """Total reward of every episode that was played to its end."""
        edges = [0, *(np.flatnonzero(self.ends) + 1).tolist()]
        return [float(self.rewards[a:b].sum()) for a, b in zip(edges, edges[1:], strict=False)]


def trained(path: Path) -> SavedMechanism:
    """A mechanism and its followers from a run of Escape Room (``agents_EPISODE``).

    Raises:
        UserError: the file is absent, damaged, or of another game.
    """
    return trained_in(path, EscapeRoom, "escape-room", "er")


def chosen(words: Sequence[str] | None, saved: SavedMechanism | None) -> tuple[EscapeRoom, tuple[str, ...]]:
    """The game and who the agents are, one of `WORDS` each.

    Left out (None), all are followers; without a checkpoint two pull the lever and three go to the door.

    Raises:
        UserError: an unknown word, a follower without a checkpoint, fewer than two agents, or not one word per agent.
    """
    if words is None:
        words = (
            ("lever", "lever", "door", "door", "door") if saved is None else [FOLLOWER] * saved.env.n_agents
        )
    for word in words:
        if word not in WORDS:
            raise UserError(f"there is no agent {word!r}; there are {', '.join(WORDS)}")
    if saved is not None:
        if len(words) != saved.env.n_agents:
            raise UserError(f"--agents names {len(words)}; this game has {saved.env.n_agents} agents")
        return saved.env, tuple(words)
    if FOLLOWER in words:
        raise UserError("--agents follower needs --checkpoint, which holds the followers")
    if not 2 <= len(words) <= 10:
        raise UserError(f"--agents names {len(words)}; without a checkpoint it has to be 2 to 10")
    return EscapeRoom(n_agents=len(words)), tuple(words)


def play(
    env: EscapeRoom, words: Sequence[str], saved: SavedMechanism | None, seed: int, steps: int
) -> Episodes:
    """`steps` steps, a new episode after each that ends; the same seed gives the same film."""
    sizes = None if saved is None else make_sizes(saved.settings, env)
    fixed = {"lever": LEVER, "start": START, "door": DOOR}

    def act(agent, word, seen, key):
        if word == FOLLOWER:
            params = jax.tree.map(lambda leaf: jnp.asarray(leaf)[agent], saved.followers)
            return jax.random.categorical(key, actors.logits(sizes, params, seen[agent])).astype(jnp.int32)
        return jnp.int32(fixed[word]) if word in fixed else jax.random.randint(key, (), 0, env.n_actions)

    def step(carry, key):
        state, seen = carry
        act_key, step_key, reset_key = jax.random.split(key, 3)
        keys = jax.random.split(act_key, len(words))
        actions = jnp.stack([act(agent, word, seen, keys[agent]) for agent, word in enumerate(words)])
        paid = jnp.zeros(len(words)) if saved is None else saved(seen, actions)
        following, after, rewards, done, _ = env.step(step_key, state, actions)
        ahead = jax.tree.map(
            lambda new, old: jnp.where(done, new, old), env.reset(reset_key), (following, after)
        )
        return ahead, (state.position, actions, rewards, done, paid)

    def run(key):
        reset_key, key = jax.random.split(key)
        return jax.lax.scan(step, env.reset(reset_key), jax.random.split(key, steps))[1]

    # Played once: XLA's own effort would take longer than the film.
    compiled = jax.jit(run, compiler_options={"xla_backend_optimization_level": 0})
    before, actions, rewards, ends, paid = jax.tree.map(np.asarray, compiled(jax.random.PRNGKey(seed)))
    return Episodes(
        names=tuple(words),
        min_at_lever=env.min_at_lever,
        optimum=env.optimum,
        before=before.astype(int),
        actions=actions,
        rewards=rewards,
        ends=ends,
        incentives=None if saved is None else paid,
        largest=1.0 if saved is None else saved.net.r_multiplier,
    )
