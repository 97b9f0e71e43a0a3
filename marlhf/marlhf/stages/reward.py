"""The reward model as a run, from synthetic preferences or from a list of comparisons (spec 5.3)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from marlhf import agents, reward_model, storage
from marlhf.data.files import Rows
from marlhf.data.trajectories import cut
from marlhf.environments import Task
from marlhf.options import RewardBlock
from marlhf.reward_training import Comparisons, RewardTraining, RewardTrainingSettings, make_data
from marlhf.settings import pick
from marlhf.stages.tasks import own_state


class RewardTrainer:
    """The reward model, from synthetic preferences or from a list of comparisons (spec 5.3)."""

    unit = "epoch"

    def __init__(
        self,
        task: Task,
        hp: RewardBlock,
        layout: str,
        alignment: str,
        rows: Rows,
        comparisons: Comparisons | None = None,
    ):
        settings = pick(RewardTrainingSettings, hp)
        self.task, self.total = task, 1 if settings.debug else hp.reward_model_epochs
        state = task.obs_size if own_state(task) else task.state_size
        self.architecture = reward_model.Architecture(
            hp.reward_model_type, hp.ff_layer_dim, task.n_actions, task.obs_size, state
        )
        # DEVIATION(Q9): whole trajectories count, in Overcooked 400 steps; the original sums the first 26 of them
        trajectories = cut(
            rows,
            task.episode_length,
            layout=layout,
            alignment=alignment,
            own_state=own_state(task),
            with_state=self.architecture.recurrent,
        )
        self.training = RewardTraining(settings, self.architecture)
        self.data = make_data(trajectories, comparisons)
        self.training.plan(self.data)

    def fresh(self, seed):
        return self.training.fresh(seed)

    def advance(self, state, n, data):
        return self.training.advance(state, n, data)

    def next_stop(self, done: int) -> int:
        return done + 1

    def row(self, done: int, report: Any) -> dict[str, Any]:
        return {
            "reward model loss": float(report.train.total),
            "value loss": float(report.train.value),
            "mse loss": float(report.train.mse),
            "baseline loss": float(report.train.baseline),
            "learning rate": float(report.learning_rate),
            "reward model test loss": float(report.test.total),
            "test value loss": float(report.test.value),
        }

    def show(self, row: Mapping[str, Any]) -> str:
        return (
            f"reward model epoch {row['epoch']}/{self.total}: loss {row['reward model loss']:.4f}, "
            f"on held-out trajectories {row['reward model test loss']:.4f} "
            f"(preferences alone {row['test value loss']:.4f})"
        )

    def save(self, state: Any, report: Any, folder: Path) -> dict[str, Any]:
        made_by = {
            "task": agents.folder_name(self.task),
            "epoch": int(state.best_epoch),
            "test_loss": float(state.best_loss),
        }
        path = folder / "reward_model_best.safetensors"
        reward_model.save(path, self.architecture, jax.device_get(state.best_params), made_by)
        return {"model": path.name, "sha256": storage.file_digest(path), "best": made_by}
