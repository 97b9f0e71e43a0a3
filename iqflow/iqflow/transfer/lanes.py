"""This project's own followers in several lanes of one program, each under a mechanism of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from iqflow.config.loading import Settings
from iqflow.trainer.mechanisms import Frozen
from iqflow.trainer.training import Trainer


class LaneTrainer(Trainer):
    """The trainer of ``--alg pg`` with the frozen mechanism of every seed.

    Args:
        frozen: by seed; empty: nobody pays.
    """

    def __init__(self, settings: Settings, frozen: Mapping[int, Frozen]):
        super().__init__(settings, next(iter(frozen.values()), None))
        self.seeds = jnp.array(list(frozen), jnp.uint32)
        trees = [one.parameters for one in frozen.values()]
        self.parameters = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees) if trees else None

    def fresh(self, seed) -> Any:
        """New followers, and the mechanism of this seed."""
        state = super().fresh(seed)
        if self.parameters is None:
            return state
        lane = jnp.argmax(self.seeds == jnp.uint32(seed))
        return state._replace(mechanism=jax.tree.map(lambda leaf: leaf[lane], self.parameters))
