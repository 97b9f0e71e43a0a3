"""The offline learners as runs (spec 5.6 to 5.8), and their agents' files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from marlhf import evaluation, rewards, sequences
from marlhf.data.files import Rows
from marlhf.environments import Task
from marlhf.offline import learner as offline
from marlhf.options import OfflineBlock
from marlhf.settings import pick
from marlhf.stages.judging import Judged
from marlhf.stages.tasks import due, measured_return, save_agent, test_key


class OfflineData(NamedTuple):
    """What an update and a test read."""

    dataset: offline.Dataset
    judge: rewards.JudgeParams
    standard: rewards.Standard
    beta: Any


class OfflineTrainer:
    """VDN, MAIQL or MABCQ on labelled rows, tested by greedy episodes (spec 5.6 to 5.8)."""

    unit = "update"

    def __init__(
        self, task: Task, algorithm: str, hp: OfflineBlock, alignment: str, rows: Rows, judged: Judged
    ):
        self.task, self.hp, self.total = task, hp, hp.epochs
        settings = pick(offline.OfflineSettings, hp, algorithm=algorithm, alignment=alignment)
        width = task.obs_size + task.n_agents
        self.learner = offline.OfflineLearner(settings, task.n_agents, task.n_actions, width)
        penalised = hp.add_log_prob and self.learner.algorithm.penalised
        beta = hp.ref_log_coef if penalised else 0.0
        team = rewards.team_rewards(judged.labels, task.n_actions, hp.ref_log_coef, penalised)
        rows_as_read = sequences.from_rows(rows, task.episode_length, alignment)
        data = offline.dataset(rows_as_read, team)
        self.learner.check(data)
        self.test = evaluation.GreedyTest(task, self.learner.team, hp.num_test_episodes, judged.judge)
        self.data = jax.device_put(OfflineData(data, judged.params, judged.labels.standard, np.float32(beta)))

    def fresh(self, seed):
        return self.learner.fresh(seed)

    def advance(self, state, n, data):
        state, report = self.learner.advance(state, n, data.dataset)
        if not self.hp.verbose:
            return state, (report, None)
        key = test_key(state.key, state.update)
        return state, (report, self.test(state.params, key, data.judge, data.standard, data.beta))

    def lanes(self, states, n, data):
        one, test = offline.lanes(self.learner), None
        states, reports = one(states, n, data.dataset)
        if self.hp.verbose:
            keys = jax.vmap(test_key)(states.key, states.update)
            judged = (data.judge, data.standard, data.beta)
            test = jax.vmap(lambda params, key: self.test(params, key, *judged))(states.params, keys)
        return states, (reports, test)

    # DEVIATION(Q7): a test every TEST_INTERVAL updates; in the original its quotient was 0, a test after every update
    def next_stop(self, done: int) -> int:
        return due(self.hp.test_interval, self.total, done)

    def row(self, done: int, report: Any) -> dict[str, Any]:
        learned, tested = report
        found = {
            "loss": float(learned.loss),
            "q_tot": float(learned.value),
            "grad_norm": float(learned.grad_norm),
        }
        if tested is not None:
            found["test_returns"] = float(tested.returns.test_returns)
            found |= {name: float(value) for name, value in tested.predicted._asdict().items()}
        return found

    def show(self, row: Mapping[str, Any]) -> str:
        tested = f", test return {row['test_returns']:.2f}" if "test_returns" in row else ""
        return f"{self.learner.settings.algorithm} update {row['update']}/{self.total}: loss {row['loss']:.2f}{tested}"

    def save(self, state: Any, report: Any, folder: Path) -> dict[str, Any]:
        if not self.hp.verbose:
            return {}
        measured = measured_return(report[1].returns)
        value = round(measured.mean, 2)
        path = folder / "agents" / f"vdn_model_{value}.safetensors"
        algorithm, own = self.learner.settings.algorithm, not self.hp.parameters_sharing
        kind, trained = ("twin_q" if algorithm == "mabcq" else "q"), {"algorithm": algorithm}
        save_agent(path, self.task, kind, "offline", state.params, {"greedy": measured}, trained, own)
        return {"agent": f"agents/{path.name}", "test_return": measured.mean}
