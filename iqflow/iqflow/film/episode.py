"""Playing one episode of Cleanup for a film, with trained followers, scripted agents, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from common.cli import UserError
from iqflow.env import scripted
from iqflow.env.cleanup import maps
from iqflow.env.cleanup.environment import Cleanup
from iqflow.eval.mechanism import SavedMechanism, load
from iqflow.networks import actors
from iqflow.trainer.building import make_sizes

FOLLOWER = "follower"
#: what the 10 x 10 map's configuration sets besides the map
_LARGE = {"view_size": 7, "apple_respawn_probability": 0.3, "threshold_depletion": 0.4}


@dataclass(frozen=True)
class Episode:
    """T steps of N agents.

    Attributes:
        names: who the agents are.
        scenes: uint8 ``[T + 1, height, width]``, codes of `iqflow.env.cleanup.drawing`.
        positions: ``[T + 1, N, 2]`` (row, column).
        rewards, cleaned: ``[T, N]`` environment rewards, and waste cells removed.
        incentives: ``[T, N]``, or None when nobody pays any.
        largest: the largest incentive that can be paid.
    """

    names: tuple[str, ...]
    scenes: np.ndarray
    positions: np.ndarray
    rewards: np.ndarray
    cleaned: np.ndarray
    incentives: np.ndarray | None
    largest: float = 1.0

    @property
    def steps(self) -> int:
        return len(self.rewards)


def trained(path: Path) -> SavedMechanism:
    """A mechanism and its followers from a run of Cleanup (``agents_EPISODE``).

    Raises:
        UserError: the file is absent, damaged, or of another game.
    """
    return trained_in(path, Cleanup, "cleanup", "ssd")


def trained_in(path: Path, game: type, name: str, experiment: str) -> SavedMechanism:
    """As `trained`, of a film's game: the class of its environment, its name, and the runs' ``--exp``."""
    found = load(path)
    if not isinstance(found.env, game):
        raise UserError(
            f"{path} was trained in {found.settings.exp}; a film of {name} needs agents of --exp {experiment}"
        )
    return found


def untrained(map_name: str, n_agents: int) -> Cleanup:
    """The paper's game on one of its maps."""
    large = _LARGE if map_name == "cleanup_10x10_sym" else {}
    return Cleanup(rows=maps.named(map_name), n_agents=n_agents, **large)


def chosen(words: Sequence[str], env: Cleanup, saved: SavedMechanism | None) -> tuple[str, ...]:
    """Who the agents are, checked: `FOLLOWER` or a scripted rule for each.

    Raises:
        UserError: an unknown word, a follower without a checkpoint, or not one word per agent.
    """
    known = (FOLLOWER, *scripted.RULES)
    for word in words:
        if word not in known:
            raise UserError(f"there is no agent {word!r}; there are {', '.join(known)}")
    if FOLLOWER in words and saved is None:
        raise UserError("--agents follower needs --checkpoint, which holds the followers")
    if len(words) != env.n_agents:
        raise UserError(f"--agents names {len(words)}; this game has {env.n_agents} agents")
    return tuple(words)


def play(env: Cleanup, words: Sequence[str], saved: SavedMechanism | None, seed: int, steps: int) -> Episode:
    """One episode of `steps` steps; the same seed gives the same episode."""
    sizes = None if saved is None else make_sizes(saved.settings, env)

    def act(agent, word, state, seen, key):
        if word != FOLLOWER:
            return scripted.RULES[word](env, state, agent, key)
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf)[agent], saved.followers)
        return jax.random.categorical(key, actors.logits(sizes, params, seen[agent]))

    def step(carry, key):
        state, seen = carry
        act_key, step_key = jax.random.split(key)
        keys = jax.random.split(act_key, len(words))
        actions = jnp.stack([act(agent, word, state, seen, keys[agent]) for agent, word in enumerate(words)])
        paid = jnp.zeros(len(words)) if saved is None else saved(seen, actions)
        following, seen, rewards, _, info = env.step(step_key, state, actions)
        return (following, seen), (env.scene(following), following.position, rewards, info.n_cleaned, paid)

    def run(key):
        reset_key, key = jax.random.split(key)
        first, seen = env.reset(reset_key)
        _, rows = jax.lax.scan(step, (first, seen), jax.random.split(key, steps))
        return (env.scene(first), first.position), rows

    # Played once: XLA's own effort would take longer than the episode.
    compiled = jax.jit(run, compiler_options={"xla_backend_optimization_level": 0})
    (scene, position), rows = jax.tree.map(np.asarray, compiled(jax.random.PRNGKey(seed)))
    scenes, positions, rewards, cleaned, paid = rows
    return Episode(
        names=tuple(words),
        scenes=np.concatenate([scene[None], scenes]),
        positions=np.concatenate([position[None], positions]).astype(int),
        rewards=rewards,
        cleaned=cleaned,
        incentives=None if saved is None else paid,
        largest=1.0 if saved is None else saved.net.r_multiplier,
    )
