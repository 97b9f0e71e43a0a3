"""What every algorithm is to the schedule: fresh state, a behaviour, one iteration.

An algorithm gets its data from `collect.play(arena, ends, keys, episodes)`, which plays episodes against the frozen
other side and gives back the learner's own steps. It does not know whether it is the leader or the follower. The *arena* is
what lasts from episode to episode outside the learner: the follower's Q table where that is carried, else nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
from jax import Array

from stackerlberg.batched.arrays import fold
from stackerlberg.batched.kinds import Kinds
from stackerlberg.batched.networks import Network


class Steps(NamedTuple):
    """A learner's own steps, those alone that it may learn from: T steps of E episodes in N lanes."""

    observations: Array  # [T, E, N] int32
    actions: Array  # [T, E, N] int32
    rewards: Array  # [T, E, N]
    kinds: Array  # [T, E, N] int32, see `kinds.Kinds`
    returns: Array  # [E, N] its return over the whole episode, steps that it may not learn from included


class Collect(NamedTuple):
    """Where a learner gets its data.

    Attributes:
        play: (arena, ends [A - 1, O, 1 or E, N], keys [S], E) -> the arena afterwards, the steps, and statistics [N]
            with ``return_leader`` and ``return_follower``.
        kinds: all transitions that there can be.
    """

    play: Callable[[Any, Array, Array, int], tuple[Any, Steps, dict[str, Array]]]
    kinds: Kinds


@dataclass(frozen=True)
class Settings:
    """What an algorithm needs to know, all of it fixed when it is compiled (learning rates are not: they are data).

    Attributes:
        algorithm: ``PG``, ``PPO``, ``SimpleQ`` or ``ES``.
        episodes: played for one training step, `trainings` of which are an iteration.
        steps: env steps of an episode.
        learned_steps: those of them that this learner may learn from.
    """

    algorithm: str
    episodes: int = 1
    trainings: int = 1
    steps: int = 1
    learned_steps: int = 1
    # PPO
    minibatch: int = 0
    epochs: int = 30
    remainder: bool = False
    clip: float = 0.3
    value_clip: float = 10.0
    value_coefficient: float = 1.0
    entropy_coefficient: float = 0.0
    kl_coefficient: float = 0.2
    kl_target: float = 0.01
    # SimpleQ
    batch: int = 32
    capacity: int = 50_000
    kinds: int = 0  # of transitions, see `kinds`
    learning_starts: int = 0
    target_every: int = 500
    gradient_clip: float = 40.0
    parameter_noise: float = 0.0
    epsilon: tuple[float, float, int] = (0.0, 0.0, 1)  # first, last, env steps between them
    schedule: tuple[float, int] | None = None  # the learning rate falls to this by that env step
    # ES
    noise: float = 0.02
    decay: float = 0.005


class Learner:
    """An algorithm with its network; subclasses say how it starts, behaves and learns."""

    def __init__(self, settings: Settings, network: Network):
        self.settings, self.network = settings, network

    def fresh(self, keys: Array, lanes: int) -> Any:
        """The state before the first iteration: keys [S]."""
        raise NotImplementedError

    def values(self, state: Any) -> Array:
        """Logits or action values [A, O, N]; their first maximum is the greedy action."""
        return self.network.table(state.params)

    def ends(self, state: Any) -> Array:
        """How it acts when it explores, as `arrays.cumulative` [A - 1, O, 1, N]."""
        raise NotImplementedError

    def iterate(
        self, carry: tuple[Any, Any], lr: Array, collect: Collect, keys: Array
    ) -> tuple[tuple[Any, Any], dict[str, Array]]:
        """One iteration (spec 5.3 to 5.7): carry (state, arena), lr [N], keys [S] -> carry, the statistics' means [N]."""
        if self.settings.trainings == 1:
            return self.train(carry, lr, collect, keys)

        def body(carry, number):
            return self.train(carry, lr, collect, fold(keys, number))

        carry, stats = jax.lax.scan(body, carry, jax.numpy.arange(self.settings.trainings))
        return carry, jax.tree.map(lambda each: each.mean(0), stats)

    def train(
        self, carry: tuple[Any, Any], lr: Array, collect: Collect, keys: Array
    ) -> tuple[tuple[Any, Any], dict[str, Array]]:
        """One training step: sample, then update."""
        raise NotImplementedError
