"""From agents to a row of a table: play, reward model, imitation policy and offline learner, each made where it lacks.

Reward models and imitation policies are runs with addresses of their own, in the run root of whoever needed them first;
every other row that needs the same one finds it. Play lies in folders named by what made it. One process makes a
thing, others that need it wait.
"""

from __future__ import annotations

import functools
import hashlib
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from common.runs import RunFolder, find, locked
from marlhf import agents, program, reward_model, rewards
from marlhf.data import collect
from marlhf.data.files import Rows
from marlhf.data.mixes import Mix, load_mix, mix_files, parse_mix, policy_of_rows
from marlhf.environments import Task
from marlhf.options import Pipeline
from marlhf.program import Work
from marlhf.settings import Launch, pick, plain
from marlhf.stages import imitating, judging, learning, quality, recording, reward
from marlhf.stages.tasks import task_of

PROGRAM = "train/pipeline.py"
#: the seeds of the original's programs, which the published scripts never change
FIXED = {"data": 5, "reward_model": 12, "imitation": 3}
#: rough CPU microseconds for one agent's step: FF, imitation and learner as measured on Spread (README, speed), the others
#: estimated beside them; they only divide the bar
COST = {"play": 6.0, "FF": 0.9, "RNN": 3.6, "imitation": 9.7, "learner": 3.1, "test": 2.5}
Told = Callable[[float], None]


def _nobody(share: float) -> None:
    """Hears nothing."""


def stage_seed(hp: Pipeline, seed: int, stage: str) -> int:
    """The seed of a stage: drawn from the run's own, or the original program's."""
    # DEVIATION(Q14): one seed drives data, reward model, imitation and learner; the original varies the learner's alone
    if hp.upstream_seeds == "fixed":
        return FIXED[stage]
    return zlib.crc32(f"{stage} {seed}".encode())


class Row:
    """One row of a table for one seed: where its parts lie, and how they are made.

    Args:
        hp: the configuration.
        seed: drives everything, see `stage_seed`.
        root: the folder of runs. device: for the runs' records.
    """

    def __init__(self, hp: Pipeline, seed: int, root: Path, device: str):
        self.hp, self.seed, self.root, self.device = hp, seed, root, device
        self.task: Task = task_of(hp.env.env_name, hp.env.env_kwargs)
        self.mix: Mix = parse_mix(hp.mix)
        self.agents_dir = Path(hp.agents_dir) if hp.agents_dir else None
        self._collectors: recording.Collectors = {}

    @property
    def cost(self) -> dict[str, float]:
        """Part -> CPU seconds that it takes, roughly and without compiling: how the bar is divided."""
        hp, task, data = self.hp, self.task, self.hp.data
        row = task.n_agents * data.num_steps  # steps of single agents
        whole = self.mix.files * data.num_envs * row
        found = {"play": whole * COST["play"]}
        found["reward model"] = hp.rm.reward_model_epochs * whole * COST[hp.rm.reward_model_type]
        if hp.alg.algorithm != "none":
            tests = hp.alg.epochs / hp.alg.test_interval * hp.alg.num_test_episodes if hp.alg.verbose else 0
            found["imitation"] = hp.il.num_epochs * whole * COST["imitation"]
            found["learner"] = hp.alg.epochs * hp.alg.buffer_batch_size * row * COST["learner"]
            found["learner"] += tests * task.episode_length * task.n_agents * COST["test"]
        return {part: 1e-6 * value for part, value in found.items()}

    # --- play ---

    def _agents(self) -> dict[str, str]:
        folder = (self.agents_dir or agents.agents_folder()) / agents.folder_name(self.task)
        labels = {label for column in recording.columns(self.task, self.mix) for label in column[:2] if label}
        return recording.agents_digest(
            folder, sorted(labels | ({"prey"} if self.task.name == "tag" else set()))
        )

    def data_identity(self) -> dict[str, Any]:
        """What the play is, but for how much of it."""
        hp = self.hp
        return {
            "env": plain(hp.env),
            "agents": self._agents(),
            "data": plain(hp.data),
            "zero_first_observations": hp.zero_first_observations,
            "seed": stage_seed(hp, self.seed, "data"),
            "source": program.digest(Path(collect.__file__)),
        }

    @functools.cached_property
    def data_folder(self) -> Path:
        """Where the play lies: beside the runs, or with all figures' of the repository."""
        if self.hp.data_dir:
            home = Path(self.hp.data_dir)
        else:
            home = program.results_of(self.root) / "data"
        text = json.dumps(self.data_identity(), sort_keys=True)
        return home / hashlib.sha256(text.encode()).hexdigest()[:16]

    def collect(self, told: Told = _nobody) -> None:
        """Play where play lacks; `told` hears how much of it is there."""
        self._record(self.mix, self.data_folder, stage_seed(self.hp, self.seed, "data"), told)

    def rows(self) -> Rows:
        """The play, collected where it lacks."""
        self.collect()
        return _rows(self.task, self.mix, self.data_folder, self.hp.data.deviating_agent)

    def fresh_rows(self) -> tuple[Rows, np.ndarray]:
        """One file of each policy of the mixes, played with another seed, and who played each row.

        A reward model's quality is measured on these: the same kind of play whatever it was trained on.
        """
        mix, folder, who = (
            Mix((1, 1, 1, 1, 1), (1, 0, 0)),
            self.data_folder / "fresh",
            self.hp.data.deviating_agent,
        )
        self._record(mix, folder, zlib.crc32(f"fresh {stage_seed(self.hp, self.seed, 'data')}".encode()))
        rows = load_mix(self.task, mix, folder, who)
        return rows, policy_of_rows(mix_files(self.task, mix, folder, who), rows.dones.shape[1])

    def _record(self, mix: Mix, folder: Path, seed: int, told: Told = _nobody) -> None:
        hp = self.hp
        settings = {
            "seed": seed,
            "epsilon": hp.data.epsilon,
            "num_envs": hp.data.num_envs,
            "num_steps": hp.data.num_steps,
            "zero_first_observations": hp.zero_first_observations,
        }
        with locked(self.data_folder / ".lock", "the play"):
            recording.record_mix(
                self.task,
                mix,
                folder,
                agents_dir=self.agents_dir,
                who=hp.data.deviating_agent,
                settings=settings,
                told=told,
                collectors=self._collectors,
            )

    # --- what is learned from it ---

    def _upstream(self, stage: str) -> dict[str, Any]:
        data = self.data_identity() | {"mix": str(self.mix)}
        return {
            "data": data,
            "alignment": self.hp.alignment,
            "stage_seed": stage_seed(self.hp, self.seed, stage),
        }

    def _run(self, work: Work, what: str, told: Told) -> RunFolder:
        """A stage's run, found or carried out."""
        found = self._finished(work)
        if found is None:
            told(0.0)
            with locked(self.root / f".{work.spec.address}.lock", what):
                found = self._finished(work)
                if found is None:
                    labels = [f"{what}: "]
                    (found,) = program.carry_out([work], self.root, self.device, labels=labels, shown=[told])
        told(1.0)
        return found

    def _finished(self, work: Work) -> RunFolder | None:
        found = find(self.root, work.spec.address)
        return found if found.finished else None

    def reward_model(self, told: Told = _nobody) -> RunFolder:
        """The run of the reward model."""
        hp = self.hp
        identity = self._upstream("reward_model") | {"rm": plain(hp.rm), "layout": hp.layout}
        work = Work(
            "reward model",
            identity,
            identity["stage_seed"],
            Path(reward.__file__),
            lambda: reward.RewardTrainer(self.task, hp.rm, hp.layout, hp.alignment, self.rows()),
        )
        return self._run(work, "the reward model", told)

    def imitation(self, told: Told = _nobody) -> RunFolder:
        """The run of the imitation policy."""
        hp = self.hp
        identity = self._upstream("imitation") | {"il": plain(hp.il)}
        work = Work(
            "imitation",
            identity,
            identity["stage_seed"],
            Path(imitating.__file__),
            lambda: imitating.ImitationTrainer(self.task, hp.il, hp.alignment, self.rows()),
        )
        return self._run(work, "the imitation policy", told)

    def judged(self, rows: Rows, learned: RunFolder, imitated: RunFolder | None) -> judging.Judged:
        """Play, labelled by the models of these runs."""
        architecture, params, _ = reward_model.load(learned.path / learned.summary["model"], self.task)
        reference = None
        if imitated is not None:
            reference = imitating.load_policy(imitated.path / imitated.summary["model"], self.task)
        settings = pick(rewards.RewardSettings, self.hp.alg, self.hp)
        return judging.judge_rows(self.task, rows, (architecture.network(), params), reference, settings)


@functools.lru_cache(maxsize=1)
def _rows(task: Task, mix: Mix, folder: Path, who: str) -> Rows:
    return load_mix(task, mix, folder, who)


class RowTrainer:
    """The offline learner of a row, with what it stands on: its record says all a figure needs."""

    unit = "update"

    def __init__(self, row: Row):
        self.row_of_table, self.summary, self.learner = row, {}, None
        self.total, self.data, self.ahead = 0, (), 0.0

    def prepare(self, told: Told) -> None:
        """Play, reward model, imitation policy and labels, each made where it lacks."""
        row, (play, modelling, imitating_it) = self.row_of_table, self._bars(told)
        row.collect(play)
        learned = row.reward_model(modelling)
        rows, policies = row.fresh_rows()
        seen = row.judged(rows, learned, None)
        self.summary = {
            "random_return": _of_catalogue(row, "random"),
            "expert_return": _of_catalogue(row, "expert"),
            "reward_model": learned.summary["last"] | {"address": learned.path.name},
            "quality": quality.quality(seen.labels, rows, policies, row.task.episode_length),
        }
        if row.hp.alg.algorithm == "none":
            return
        imitated = row.imitation(imitating_it)
        self.summary["imitation"] = imitated.summary["last"] | {"address": imitated.path.name}
        judged = row.judged(row.rows(), learned, imitated)
        self.learner = learning.OfflineTrainer(
            row.task, row.hp.alg.algorithm, row.hp.alg, row.hp.alignment, row.rows(), judged
        )
        self.total, self.data = self.learner.total, self.learner.data

    def _bars(self, told: Told) -> list[Told]:
        """Who hears the shares of the parts before the learner, and tells the whole's."""
        cost = self.row_of_table.cost
        ends = np.cumsum(list(cost.values())) / sum(cost.values())
        starts = [0.0, *ends]
        self.ahead = float(ends[2]) if len(cost) > 3 else 0.0

        def part(number: int) -> Told:
            start, end = starts[number], ends[min(number, len(ends) - 1)]
            return lambda share: told(float(start + (end - start) * share))

        return [part(number) for number in range(3)]

    def fresh(self, seed):
        return self.learner.fresh(seed) if self.learner else ()

    def advance(self, state, n, data):
        return self.learner.advance(state, n, data)

    def lanes(self, states, n, data):
        return self.learner.lanes(states, n, data)

    def next_stop(self, done: int) -> int:
        return self.learner.next_stop(done)

    def row(self, done: int, report: Any) -> dict[str, Any]:
        return self.learner.row(done, report)

    def show(self, row) -> str:
        return self.learner.show(row)

    def save(self, state: Any, report: Any, folder: Path) -> dict[str, Any]:
        return self.summary | (self.learner.save(state, report, folder) if self.learner else {})


def _of_catalogue(row: Row, which: str) -> float | None:
    """The return of random actions or of the expert as it plays in the data, as the agents' file says."""
    meta = agents.load_meta(agents.find_agent(row.task, "expert", row.agents_dir))
    if which == "random":
        return meta.random
    ways = ("eps0.05", "greedy", "sampled")
    return next((meta.returns[way].mean for way in ways if way in meta.returns), None)


def run(launch: Launch, entry: Path) -> int:
    """Make the rows of all seeds.

    Args: `entry` the script, whose imports are part of a run's address.
    """
    root = program.run_root(launch)
    program.keep_compiled(root)
    device = program.choose_device(launch.device, launch.hp.disable_jit)
    fixed = launch.hp.upstream_seeds == "fixed"
    makers = {
        seed: functools.partial(RowTrainer, Row(launch.hp, seed, root, device)) for seed in launch.seeds
    }
    works = [
        Work(PROGRAM, launch.identity(seed), seed, entry, make, shared=fixed) for seed, make in makers.items()
    ]
    return program.run(launch, works)
