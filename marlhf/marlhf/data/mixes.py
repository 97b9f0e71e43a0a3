"""Mixes of files by name or by numbers (spec section 2.2): which policies' play, and how many files of each.

One folder holds one policy's files, ``traj_batch_0.npz`` upward. A mix counts five columns of joint play, from the
expert to the trivial agent, and three of unilateral play, the expert with one deviator. Files are taken from number 0
upward, column by column, unilateral ones last. Columns have our own labels; the published checkpoint numbers are
understood as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.cli import UserError
from marlhf.data.files import Rows, load_files

#: the task whose play comes from IPPO
OVERCOOKED = "overcooked"


@dataclass(frozen=True)
class Mix:
    """How many files of each column."""

    batches: tuple[int, ...]
    unilateral: tuple[int, ...] = (0, 0, 0)

    def __str__(self) -> str:
        joint, single = ("|".join(map(str, part)) for part in (self.batches, self.unilateral))
        return f"{joint}_{single}"

    @property
    def files(self) -> int:
        return sum(self.batches) + sum(self.unilateral)


MIXES = {
    "diversified": Mix((15, 6, 6, 3, 15), (15, 0, 0)),
    "mix-unilateral": Mix((30, 0, 0, 0, 15), (15, 0, 0)),
    "mix-expert": Mix((45, 0, 0, 0, 15)),
    "pure-expert": Mix((60, 0, 0, 0, 0)),
}


def _numbers(text: str, length: int, whole: str) -> tuple[int, ...]:
    parts = text.split("|")
    if len(parts) != length or not all(re.fullmatch(r"\d+", part.strip()) for part in parts):
        example = "|".join("1" * length)
        raise UserError(
            f"mix {whole!r}: {text!r} has to be {length} whole numbers of files, for example {example}"
        )
    return tuple(int(part) for part in parts)


@dataclass(frozen=True)
class Named:
    """Folders of a task's policies by name, instead of where they lie below a root; empty: not named.

    `joint` has one for each of the five columns, `single` one for each deviator.
    """

    joint: tuple[str, ...] = ()
    single: tuple[str, ...] = ()


NOT_NAMED = Named()


def parse_mix(text: str) -> Mix:
    """A mix by name (``diversified``), a part of one (``diversified/3``) or numbers (``15|6|6|3|15+15|0|0``).

    Raises:
        UserError: the name is unknown, the counts are not whole numbers, or there is no file in it.
    """
    name, _, divisor = text.strip().partition("/")
    if name in MIXES:
        mix = MIXES[name]
        if divisor:
            parts = int(divisor) if re.fullmatch(r"[1-9]\d*", divisor) else 0
            if not parts or any(count % parts for count in mix.batches + mix.unilateral):
                raise UserError(
                    f"mix {text!r}: {mix} can't be divided by {divisor!r}; 3 divides every named mix"
                )
            mix = Mix(*(tuple(count // parts for count in part) for part in (mix.batches, mix.unilateral)))
        return mix
    if not re.match(r"\s*\d", text):
        raise UserError(
            f"unknown mix {text!r}; there are {', '.join(MIXES)}, or write numbers such as 15|6|6|3|15+15|0|0"
        )
    joint, _, single = text.partition("+")
    return checked(Mix(_numbers(joint, 5, text), _numbers(single, 3, text) if single else (0, 0, 0)))


def checked(mix: Mix) -> Mix:
    """The mix itself.

    Raises:
        UserError: it has not five and three columns, a negative count, or no file at all.
    """
    if len(mix.batches) != 5 or len(mix.unilateral) != 3:
        raise UserError(f"a mix has five counts of joint play and three of unilateral play, not {mix}")
    if min(mix.batches + mix.unilateral) < 0 or not mix.files:
        raise UserError(f"mix {mix}: counts are whole numbers from 0 on, and one of them is above 0")
    return mix


def unilateral_columns(task: Any) -> tuple[str, ...]:
    """What the deviating agent plays in the columns of unilateral play; the others play the expert."""
    from marlhf.agents import DEVIATORS, folder_name  # here: `parse_mix` alone needs no JAX

    # DEVIATION(Q18): one order of Overcooked's columns for every program; the original's programs differ
    return DEVIATORS[folder_name(task)]


def folder_names(task: Any, role: str, deviator: str | None = None, who: str = "0") -> list[str]:
    """What a policy's folder may be called: by our own labels, and by the published numbers.

    Args:
        task: an `environments.Task`.
        role: the column's label; with `deviator`, what the other agents play.
        deviator: what the deviating agent plays in unilateral play.
        who: which agent deviates, an index, or ``each`` when the files take turns.
    """
    from marlhf.agents import aliases, folder_name

    numbers = {label: number for number, label in aliases(folder_name(task)).items()}
    algorithm = "ippo" if task.name == OVERCOOKED else "vdn"
    labels = [role] + ([deviator] if deviator else [])
    ending = "" if deviator is None else "unilateral" + ("" if who == "0" else f"_{who}")
    found = [algorithm + "|".join(labels) + ending]
    if all(label in numbers for label in labels):
        found.append(algorithm + "|".join(numbers[label] for label in labels) + ending)
    return found


def task_folder(folder: Path | str, task: Any) -> Path:
    """Where a task's data lie: ``folder/<id>``, with ``/na<n>`` for Spread with other than three agents."""
    home = Path(folder) / task.id
    return home / f"na{task.n_agents}" if task.name == "spread" and task.n_agents != 3 else home


def _command(task: Any, single: bool) -> str:
    if task.name == OVERCOOKED:
        return "bash scripts/collect_overcooked.sh"
    several = f"AGENTS={task.n_agents} " if task.name == "spread" and task.n_agents != 3 else ""
    return f"ENVIRONMENTS={task.name} {several}bash scripts/collect_vdn{'_unilateral' if single else ''}.sh"


def table_key(task: Any) -> str:
    """What a task is called in a table of folders: its id, with ``_na<n>`` for Spread with other than three agents."""
    return f"{task.id}_na{task.n_agents}" if task.name == "spread" and task.n_agents != 3 else task.id


def _place(task: Any, folder: Path | str, names: Sequence[str]) -> Path:
    home = task_folder(folder, task)
    return next((home / name for name in names if (home / name).is_dir()), home / names[0])


def mix_files(
    task: Any, mix: Mix, folder: Path | str, who: str = "0", named: Named = NOT_NAMED
) -> list[tuple[str, Path]]:
    """The files of a mix in order: (label of the policy, path).

    Args:
        task: an `environments.Task`.
        folder: the data's root; a task's own folders lie below it (`task_folder`).
        who: which agent's deviations are meant, see `folder_names`.
        named: folders that lie elsewhere.

    Raises:
        UserError: a column asks for more files than there are; the command that makes them is named.
    """
    from marlhf.agents import LABELS

    singles = unilateral_columns(task)
    if any(mix.unilateral[len(singles) :]):
        raise UserError(
            f"the mix {mix} asks for a deviator number {len(singles) + 1}; {task.id} has {', '.join(singles)}"
        )
    columns: list[tuple[str, str | None, int, tuple[str, ...], int]] = [
        (role, None, count, named.joint, number)
        for number, (role, count) in enumerate(zip(LABELS, checked(mix).batches, strict=True))
    ]
    columns += [
        (LABELS[0], label, count, named.single, number)
        for number, (label, count) in enumerate(zip(singles, mix.unilateral, strict=False))
    ]
    found = []
    for role, deviator, count, folders, number in columns:
        names = folder_names(task, role, deviator, who)
        place = Path(folders[number]) if number < len(folders) else _place(task, folder, names)
        label = f"{role}|{deviator}" if deviator else role
        for index in range(count):
            path = place / f"traj_batch_{index}.npz"
            if not path.is_file():
                raise UserError(
                    f"the mix {mix} asks for {count} files of {label}, {place} holds {index}; "
                    f"{_command(task, deviator is not None)} makes them"
                )
            found.append((label, path))
    return found


def load_mix(task: Any, mix: Mix, folder: Path | str, who: str = "0", named: Named = NOT_NAMED) -> Rows:
    """The rows of a mix side by side along E, in the order of `mix_files`; the data are in memory once.

    Args:
        task: an `environments.Task`.

    Raises:
        UserError: files are missing, damaged, or of another task.
    """
    paths = [path for _, path in mix_files(task, mix, folder, who, named)]
    return load_files(paths, sizes=(task.obs_size + task.n_agents, task.state_size), task=task.id)


def policy_of_rows(files: Sequence[tuple[str, Path]], envs: int) -> np.ndarray:
    """[E] of text: the label of the policy that played each row, when every file has `envs` / files rows."""
    assert envs % len(files) == 0
    return np.repeat([label for label, _ in files], envs // len(files))
