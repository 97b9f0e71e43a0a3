"""Training of graded agents as runs: VDN for the MPE tasks (spec 5.1, 8.2), IPPO for Overcooked (spec 5.9).

The rungs of a ladder are no part of the state: they lie in a file of their own in the run's folder. A resumed run meets
the same snapshots again, and the nearest of all is the same whether some are considered twice or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from common import checkpoints
from common.cli import UserError
from marlhf import agents
from marlhf.behaviour import ippo, ladder, vdn
from marlhf.environments import Task
from marlhf.stages.tasks import due, test_key

RUNGS = "rungs.npz"


def _save_rungs(path: Path, rungs: Mapping[str, ladder.Rung]) -> None:
    tree = {
        label: {"params": rung.params, "value": np.float64(rung.value), "updates": np.int64(rung.updates)}
        for label, rung in rungs.items()
    }
    checkpoints.save(path, traverse_util.flatten_dict(tree, sep="/"), {})


def _load_rungs(path: Path) -> dict[str, ladder.Rung]:
    if not path.exists():
        return {}
    arrays, _ = checkpoints.load(path)
    tree = traverse_util.unflatten_dict(arrays, sep="/")
    return {
        label: ladder.Rung(found["params"], float(found["value"]), int(found["updates"]))
        for label, found in tree.items()
    }


class _Grading:
    """What both trainings do with their rungs."""

    unit = "update"
    data: Any = ()

    def __init__(self, holder: Any):
        self.holder, self._file = holder, Path()

    def begin(self, folder: Path) -> None:
        """Take up the rungs of an interrupted run."""
        self._file = folder / RUNGS
        self.holder.rungs |= _load_rungs(self._file)

    def consider(self, params: Any, value: float, updates: int) -> None:
        """Give a snapshot to the ladder; what changes is written at once."""
        before = self._taken()
        self._offer(params, value, updates)
        if self._taken() != before:
            _save_rungs(self._file, self.holder.rungs)

    def _taken(self) -> dict[str, int]:
        return {label: rung.updates for label, rung in self.holder.rungs.items()}

    def _offer(self, params: Any, value: float, updates: int) -> None:
        self.holder.consider(params, value, updates)

    def show(self, row: Mapping[str, Any]) -> str:
        return f"update {row['update']}/{self.total}: " + ", ".join(
            f"{name} {value:.2f}" for name, value in row.items() if name != "update"
        )

    def _write(self, folder: Path, trained: dict[str, Any]) -> dict[str, Any]:
        metas = self.holder.write(folder / "agents", trained)
        return {
            "agents": {
                meta.label: {"skill": meta.skill, "returns": {way: m.mean for way, m in meta.returns.items()}}
                for meta in metas
            }
        }


class ExpertTrainer(_Grading):
    """Online VDN; every test's snapshot, and each of the first updates', is offered to the ladder of skill.

    Raises: UserError when the task has no targets of skill.
    """

    def __init__(self, task: Task, settings: vdn.ExpertSettings, window: int, start: Path | None):
        super().__init__(ladder.Ladder(task, settings))
        self.task, self.settings, self.total = task, settings, settings.num_updates
        self.start = agents.load_for(task, start).params if start else None
        self._window, self._last = window, []

    def fresh(self, seed):
        state = vdn.fresh(self.settings, self.task, seed)
        if self.start is None:
            return state
        return state._replace(params=self.start, target=jax.tree.map(jnp.copy, self.start))

    def advance(self, state, n, data):
        del data

        def one(_, carry):
            state, report = vdn.advance(self.settings, self.task, carry[0], 1)
            return state, report.returns[0], report.loss[0]

        state, returns, loss = jax.lax.fori_loop(0, n, one, (state, jnp.zeros(()), jnp.zeros(())))
        episodes = self.settings.num_test_episodes
        key = test_key(jax.random.PRNGKey(0), state.updates)
        test = vdn.test_returns(self.settings, self.task, state.params, key, episodes, 0.0).mean()
        return state, (returns, loss, test, state.params)

    def next_stop(self, done: int) -> int:
        return done + 1 if done < ladder.EARLY else due(self.settings.test_every, self.total, done)

    def row(self, done: int, report: Any) -> dict[str, Any]:
        returns, loss, test, params = report
        self.consider(params, float(test), done)
        self._last = [*self._last, float(test)][-self._window :]
        return {
            "timestep": done * self.settings.num_envs * self.settings.num_steps,
            "returns": float(returns),
            "test_returns": float(test),
            "avg_test_returns": float(np.mean(self._last)),
            "loss": float(loss),
        }

    def _offer(self, params: Any, value: float, updates: int) -> None:
        self.holder.consider(params, updates)  # which measures the snapshot itself, on more episodes

    def save(self, state: Any, report: Any, folder: Path) -> dict[str, Any]:
        return self._write(folder, {"algorithm": "VDN", "settings": asdict(self.settings)})


class CookTrainer(_Grading):
    """IPPO on Overcooked; the actor of every update is offered to the labels' returns.

    Raises: UserError for an activation that the saved actors don't have.
    """

    def __init__(self, task: Task, settings: ippo.IPPOSettings):
        if settings.activation != "tanh":
            raise UserError(f"ACTIVATION={settings.activation}; the saved actors are tanh")
        super().__init__(ippo.Cooks(task))
        self.task, self.settings, self.total = task, settings, settings.num_updates

    def fresh(self, seed):
        return ippo.fresh(self.settings, self.task, seed)

    def advance(self, state, n, data):
        del data

        def one(_, carry):
            before = carry[0].params  # the return of an update is that of the actor before it learnt
            state, report = ippo.advance(self.settings, self.task, carry[0], 1)
            return state, before, report.returns[0], report.loss[0]

        start = (state, state.params, jnp.zeros(()), jnp.zeros(()))
        state, before, returns, loss = jax.lax.fori_loop(0, n, one, start)
        return state, (returns, loss, before)

    def next_stop(self, done: int) -> int:
        return done + 1

    def row(self, done: int, report: Any) -> dict[str, Any]:
        returns, loss, before = report
        self.consider(before, float(returns), done - 1)
        timestep = done * self.settings.num_envs * self.settings.num_steps
        return {"timestep": timestep, "returns": float(returns), "loss": float(loss)}

    def save(self, state: Any, report: Any, folder: Path) -> dict[str, Any]:
        return self._write(folder, {"algorithm": "IPPO", "settings": asdict(self.settings)})
