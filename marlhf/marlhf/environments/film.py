"""One episode of a committed agent or of an agent file, for a film."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from common import gif
from common.cli import UserError

from .. import agents
from . import RolloutManager, make_task, render
from .task import Task


@dataclass(frozen=True)
class Played:
    """Steps of one environment: the moments before each step `world_state [T, W]`, and the team's rewards `[T]`
    as reported (per agent; Overcooked: for both)."""

    task: Task
    label: str
    world_state: np.ndarray
    rewards: np.ndarray

    @property
    def steps(self) -> int:
        return len(self.rewards)

    @property
    def total(self) -> float:
        """Return, per agent where the reward isn't shared."""
        return float(self.rewards.sum())


def _file(game: str, checkpoint: str, prey: str) -> Path:
    path = Path(checkpoint)
    if path.suffix == ".safetensors" or path.exists():
        return path
    return agents.find_agent(make_task(game, prey="random" if game == "tag" else prey), checkpoint)


def play(game: str, checkpoint: str, prey: str, seed: int, steps: int | None) -> Played:
    """Let an agent act: greedily over Q values, by sampling for a policy.

    Args: `checkpoint` a file or a label of the catalogue; `steps` None for one episode (Overcooked: 100 steps).
    Raises: UserError on an agent of another task, or one that isn't there.
    """
    path = _file(game, checkpoint, prey)
    kwargs = dict(agents.load_meta(path).kwargs)
    if game == "tag":
        kwargs["prey"] = prey
    elif prey != "default":
        raise UserError(f"--prey {prey}: only Tag has a prey")
    task = make_task(game, **kwargs)
    agent = agents.load_for(task, path, alone=False)
    manager, team = RolloutManager(task, 1, zero_first_observations=False), agent.team(task.n_agents)
    count = steps or (100 if game == "overcooked" else task.episode_length)
    greedy = agent.meta.greedy

    def step(carry, key):
        view, state, memory, reset = carry
        key_action, key_env = jax.random.split(key)
        seen = view.obs if greedy else view.obs[..., : task.obs_size]
        memory, scores = team.apply(agent.params, memory, seen[None, None, :, 0], reset[None])
        scores = scores[0, 0]
        drawn = jnp.argmax(scores, axis=-1) if greedy else jax.random.categorical(key_action, scores)
        after, _, rewards, done, _, state = manager.step(key_env, state, drawn[:, None])
        return (after, state, memory, done), (view.world_state[0], rewards[0])

    @jax.jit
    def episode(key):
        key, key_reset = jax.random.split(key)
        view, state = manager.reset(key_reset)
        start = (view, state, team.initial_carry(1), jnp.zeros(1, bool))
        return jax.lax.scan(step, start, jax.random.split(key, count))[1]

    world_state, rewards = episode(jax.random.PRNGKey(seed))
    label, rewards = f"{game} {agent.meta.label}", np.asarray(rewards) / task.return_divisor
    return Played(task, label, np.asarray(world_state), rewards)


def save(played: Played, path: Path, fps: float) -> int:
    """Draw an episode and write it as a GIF; its size in bytes."""
    so_far = np.concatenate([[0.0], np.cumsum(played.rewards)[:-1]])
    captions = [f"{played.label}   step {step}   return {total:.1f}" for step, total in enumerate(so_far)]
    pictures = render.pictures(played.task, played.world_state, captions)
    return gif.save([Image.fromarray(one) for one in pictures], path, fps, colours=128)
