"""Files of recorded play, made where they are missing (spec 5.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.cli import UserError
from marlhf import agents
from marlhf.data.collect import UNIFORM, Collector, collect_file
from marlhf.data.files import RowsFile, file_hash
from marlhf.data.mixes import Mix, folder_names, task_folder, unilateral_columns
from marlhf.environments import Task

#: forms of the networks of player and deviator -> what plays them
Collectors = dict[tuple[Any, Any], Collector]


@dataclass(frozen=True)
class Recording:
    """Who plays, and how; `player` and `deviator` are agents' files or ``random``."""

    task: Task
    policy: str
    player: Path | str
    deviator: Path | str | None = None
    who: str = "0"
    seed: int = 5
    epsilon: float = 0.05
    num_envs: int = 128
    num_steps: int = 130
    zero_first_observations: bool = True

    def _said(self) -> dict[str, Any]:
        found = {}
        for role, file in (("player", self.player), ("deviator", self.deviator)):
            if file == UNIFORM:
                found[role] = UNIFORM
            elif file is not None:
                found[role] = {"file": Path(file).name, "sha256": file_hash(file)}
        return found

    def header(self) -> dict[str, Any]:
        """What a file says of itself beside its number and its shape."""
        return {
            **self._said(),
            "policy": self.policy,
            "who": self.who if self.deviator is not None else None,
            "seed": self.seed,
            "epsilon": self.epsilon,
            "zero_first_observations": self.zero_first_observations,
        }

    def _players(self) -> list[Any]:
        files = (self.player, self.deviator)
        return [file if file in (None, UNIFORM) else agents.load_for(self.task, Path(file)) for file in files]

    def collector(self, others: Collectors | None = None) -> Collector:
        """What plays the files.

        Args: `others` played before: one whose networks are of the same form is given new parameters and not compiled
            anew, else the new one is put among them.
        Raises: UserError when an agent's file is absent or not of this task.
        """
        players, others = self._players(), {} if others is None else others
        form = tuple(map(_form, players))
        if form not in others:
            others[form] = Collector(
                self.task,
                *players,
                epsilon=self.epsilon,
                n_envs=self.num_envs,
                n_steps=self.num_steps,
                zero_first_observations=self.zero_first_observations,
            )
        others[form].player, others[form].deviator = players
        return others[form]

    def is_there(self, path: Path) -> bool:
        """Whether a file is whole and was made like this."""
        try:
            with RowsFile(path) as file:
                shape = (file.steps, file.envs) == (self.num_steps, self.num_envs)
                return shape and self.header().items() <= file.made_by.items()
        except UserError:
            return False


def _form(player: Any) -> Any:
    """What the compiled program knows of a player."""
    return (player.network, player.meta.kind) if isinstance(player, agents.Agent) else player


def missing_files(recording: Recording, folder: Path, count: int) -> list[int]:
    """The numbers below `count` whose file is not there, damaged, or of other play."""
    return [index for index in range(count) if not recording.is_there(folder / f"traj_batch_{index}.npz")]


def record(
    recording: Recording,
    collector: Collector,
    folder: Path,
    count: int,
    told: Callable[[int, float | None], None] = lambda i, r: None,
) -> None:
    """Make the files 0 to `count` - 1 of a folder that are not there yet.

    Args: `told` is called after each file with its number and the mean return of a row for agent 0; None: it was there.
    """
    missing = missing_files(recording, folder, count)
    for index in range(count):
        value = None
        if index in missing:
            rows = collect_file(
                collector,
                folder,
                index,
                seed=recording.seed,
                policy=recording.policy,
                who=recording.who,
                made_by=recording.header(),
            )
            value = float(np.asarray(rows.rewards, np.float64)[:, 0].sum(axis=0).mean())
        told(index, value)


def agent_file(task: Task, label: str, folder: Path | None = None) -> Path | str:
    """A label's agent; Overcooked's trivial one draws its actions evenly.

    Raises: UserError when it is not there.
    """
    if task.name == "overcooked" and agents.role_of(task, label) == "trivial":
        return UNIFORM
    return agents.find_agent(task, label, folder)


def columns(task: Task, mix: Mix) -> list[tuple[str, str | None, int]]:
    """(role, deviator or None, files) of every column of a mix that has files."""
    joint = [(role, None, count) for role, count in zip(agents.LABELS, mix.batches, strict=True)]
    single = [
        (agents.LABELS[0], label, count)
        for label, count in zip(unilateral_columns(task), mix.unilateral, strict=False)
    ]
    return [column for column in joint + single if column[2]]


def record_mix(
    task: Task,
    mix: Mix,
    folder: Path,
    *,
    agents_dir: Path | None,
    who: str,
    settings: Mapping[str, Any],
    told: Callable[[float], None] = lambda share: None,
    collectors: Collectors | None = None,
) -> None:
    """Every file of a mix below `folder`, as `data.mixes.load_mix` looks for them.

    Args:
        who: which agent deviates, see `data.collect.deviating_agent`.
        settings: the other fields of `Recording`.
        told: is called with the share of the files that are there.
        collectors: of other mixes of the same task and settings, see `Recording.collector`.
    """
    collectors, there = {} if collectors is None else collectors, 0
    for role, deviator, count in columns(task, mix):
        policy = f"{role}|{deviator}" if deviator else role
        other = None if deviator is None else agent_file(task, deviator, agents_dir)
        recording = Recording(task, policy, agent_file(task, role, agents_dir), other, who, **settings)
        place = task_folder(folder, task) / folder_names(task, role, deviator, who)[0]
        if missing := missing_files(recording, place, count):
            collector, before = recording.collector(collectors), there
            record(
                recording,
                collector,
                place,
                count,
                lambda index, _, before=before: told((before + index + 1) / mix.files),
            )
            print(f"collected {len(missing)} files of {policy}", flush=True)
        there += count
        told(there / mix.files)


def agents_digest(folder: Path, labels: Sequence[str]) -> dict[str, str]:
    """Label -> SHA-256 of its file below an environment's folder; ``missing`` where there is none."""
    found = {}
    for label in labels:
        path = folder / f"{label}.safetensors"
        found[label] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
    return found
