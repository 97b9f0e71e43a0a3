"""A session as Tune runs it: one row per step, checkpoints that any node can go on from."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.result import SHOULD_CHECKPOINT

from common import checkpoints

from ..experiments.catalogue import Condition
from ..experiments.configuration import build
from .cluster import quiet
from .session import Session

STATE = "state.npz"


def task_of(condition: Condition, seed: int, **more: Any) -> dict[str, Any]:
    """What a trial needs to know, as JSON: the condition, the seed, and `Session`'s keywords."""
    tree = json.dumps(condition.tree)
    return {
        "label": condition.label,
        "varied": json.dumps(condition.varied),
        "tree": tree,
        "seed": seed,
        **more,
    }


def session_of(task: dict[str, Any]) -> Session:
    """The session of a task."""
    task = dict(task)
    tree = json.loads(task.pop("tree"))
    condition = Condition(task.pop("label"), json.loads(task.pop("varied")), tree, build(tree))
    return Session(condition, task.pop("seed"), **task)


class Trial(tune.Trainable):
    """``config["task"]`` as a trial. A result holds the row as text, so that Tune leaves it as it is.

    With ``config["checkpoint_seconds"]`` a checkpoint is written when so much time has gone since the last one.
    """

    def setup(self, config: dict[str, Any]) -> None:
        quiet()
        self._every, self._saved = config["checkpoint_seconds"], time.monotonic()
        self.session = session_of(config["task"])

    def step(self) -> dict[str, Any]:
        row = self.session.run()
        phase = row["phase"]
        begins_next = self.session.done or self.session.blocks[self.session.number].phase != phase
        result = {"row": json.dumps(row), "seed": self.session.seed, "done": self.session.done}
        if phase == 0 and begins_next:
            weights = self.session.weights["agent_1"]
            result["follower"] = json.dumps({name: value.tolist() for name, value in weights.items()})
        if time.monotonic() - self._saved > self._every or begins_next:
            result[SHOULD_CHECKPOINT], self._saved = True, time.monotonic()
        return result

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        checkpoints.save(Path(checkpoint_dir) / STATE, self.session.arrays(), {})

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        arrays, _ = checkpoints.load(Path(checkpoint_dir) / STATE)
        self.session.restore(arrays)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Go on with another trial in the same process."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        self.session.close()
