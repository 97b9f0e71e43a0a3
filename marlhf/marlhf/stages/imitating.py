"""The imitation policy as a run (spec 5.4), and its file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from common.cli import UserError
from marlhf import agents, evaluation, sequences, storage
from marlhf.data.files import Rows
from marlhf.environments import Task
from marlhf.imitation import ImitationLearner, ImitationSettings, demonstrations
from marlhf.options import ImitationBlock
from marlhf.settings import pick
from marlhf.stages.tasks import due, measured_return, save_agent, test_key


class ImitationTrainer:
    """Imitation of recorded play, tested by sampled episodes (spec 5.4)."""

    unit = "epoch"

    def __init__(self, task: Task, hp: ImitationBlock, alignment: str, rows: Rows):
        self.task, self.hp, self.total = task, hp, hp.num_epochs
        settings = pick(
            ImitationSettings,
            hp,
            feed_forward=_feed_forward(task),
            alignment=alignment,
            student_network_hidden=128,
        )
        data = demonstrations(sequences.from_rows(rows, task.episode_length, alignment))
        self.learner = ImitationLearner(settings, task.n_actions, task.obs_size, len(data.dones))
        self.learner.check(data)
        self.data = jax.device_put(data)

    def fresh(self, seed):
        return self.learner.fresh(seed)

    def advance(self, state, n, data):
        state, loss = self.learner.advance(state, n, data)
        key = test_key(state.key, state.epoch)
        played = evaluation.sampled(self.task, self.learner.network, state.params, self.hp.num_test_envs, key)
        return state, (loss, evaluation.returns(self.task, played))

    def next_stop(self, done: int) -> int:
        return due(self.hp.test_interval, self.total, done)

    def row(self, done: int, report: Any) -> dict[str, Any]:
        loss, test = report
        return {"IL_loss": float(loss), "test_return": float(test.test_returns)}

    def show(self, row: Mapping[str, Any]) -> str:
        return (
            f"imitation epoch {row['epoch']}/{self.total}: loss {row['IL_loss']:.4f}, "
            f"return of sampled play {row['test_return']:.2f}"
        )

    def save(self, state: Any, report: Any, folder: Path) -> dict[str, Any]:
        path = folder / "imitation.safetensors"
        kind = "feed_forward_actor" if _feed_forward(self.task) else "recurrent_actor"
        measured = measured_return(report[1])
        trained = {"algorithm": "imitation", "epochs": self.total, "IL_loss": float(state.loss)}
        save_agent(path, self.task, kind, "imitation", state.params, {"sampled": measured}, trained)
        return {"model": path.name, "sha256": storage.file_digest(path)}


def _feed_forward(task: Task) -> bool:
    """Overcooked's imitation policy has no memory (spec 4)."""
    return task.name == "overcooked"


def load_policy(path: Path, task: Task) -> tuple[Any, Any]:
    """An imitation policy: its network and parameters.

    Raises: UserError when the file is absent, damaged, or of another task.
    """
    if not path.is_file():
        raise UserError(
            f"no imitation policy at {path}; python train/offline_imitation_learning.py with the same mix makes it"
        )
    agent = agents.load_for(task, path)
    if agent.meta.greedy:
        raise UserError(
            f"{path} holds a Q network, not a policy; train/offline_imitation_learning.py makes one"
        )
    return agent.network, agent.params
