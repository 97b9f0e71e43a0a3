"""Comparisons made by people: a file of JSON lines, one choice each, and what reward learning makes of it.

The first line says what the file is, every other line is one choice between two recorded episodes:

    {"format": "marlhf comparisons 1", "task": "MPE_simple_spread_v3"}
    {"left": {"file": "<SHA-256>", "row": 3, "episode": 0, "agent": null}, "right": {...}, "choice": "left",
     "who": "ada", "when": "2026-01-02T03:04:05+00:00"}

A side is an episode of a file of recorded play, named by the SHA-256 of that file, and of it one agent's trajectory
(``agent`` is its index) or the whole team's (null). ``choice`` is left, right or equal; ``who`` and ``when`` may be
left out. A line is on the disk before the next pair is shown; one that was cut off by a crash is dropped with a message.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.cli import UserError
from marlhf.data.files import RowsFile, file_hash
from marlhf.data.trajectories import trajectory_number

FORMAT = "marlhf comparisons 1"
#: choice -> the chance that the left side is the better one
CHOICES = {"left": 1.0, "right": 0.0, "equal": 0.5}


@dataclass(frozen=True)
class Side:
    """One recorded episode, and whose part in it is judged: an agent's index, or None for the team."""

    file: str
    row: int
    episode: int
    agent: int | None = None


@dataclass(frozen=True)
class Comparison:
    """A choice between two sides."""

    left: Side
    right: Side
    choice: str
    who: str = ""
    when: str = ""


def _side(found: Any) -> Side:
    side = Side(**found)
    numbers = (side.row, side.episode, 0 if side.agent is None else side.agent)
    if not isinstance(side.file, str) or any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError("a side is a file's hash, a row, an episode, and an agent or null")
    return side


def _comparison(line: bytes) -> Comparison:
    found = json.loads(line)
    found |= {name: _side(found[name]) for name in ("left", "right")}
    comparison = Comparison(**found)
    if comparison.choice not in CHOICES:
        raise ValueError(f"choice {comparison.choice!r} is none of {', '.join(CHOICES)}")
    return comparison


def _parse(path: Path, content: bytes) -> tuple[str | None, list[Comparison], int]:
    """(task, comparisons, bytes that are whole) of a file's content; the task is None where not even the head is whole.

    Raises:
        UserError: something other than the last line can't be read.
    """
    lines = content.splitlines(keepends=True)
    task, comparisons, whole = None, [], 0
    for number, line in enumerate(lines, 1):
        try:
            if number == 1:
                head = json.loads(line)
                if head["format"] != FORMAT:
                    raise ValueError(f"its format is {head['format']!r}")
                task = str(head["task"])
            else:
                comparisons.append(_comparison(line))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if number == len(lines) and not line.endswith(b"\n"):
                break  # cut off while it was written
            wanted = "the head of a file of comparisons" if number == 1 else "a comparison"
            raise UserError(
                f"{path} line {number} is not {wanted} ({error}); mend or remove that line"
            ) from None
        whole += len(line)
    return task, comparisons, whole


def _tell(path: Path, kept: int) -> None:
    print(
        f"{path}: the last line was cut off while it was written and is dropped; {kept} comparisons remain",
        file=sys.stderr,
    )


def read(path: Path | str, task: str) -> list[Comparison]:
    """All comparisons of a file; the file stays as it is, a last line that was cut off is left out with a message.

    Args:
        task: the id of the task at hand.

    Raises:
        UserError: the file is missing, is something else, or is of another task.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UserError(
            f"no file of comparisons at {path}; python train/label_preferences.py makes one"
        ) from None
    found, comparisons, whole = _parse(path, content)
    _same_task(path, found, task)
    if whole < len(content):
        _tell(path, len(comparisons))
    return comparisons


def _same_task(path: Path, found: str | None, task: str) -> None:
    if found is None:
        raise UserError(f"{path} is empty or cut off before its first comparison; make comparisons first")
    if found != task:
        raise UserError(f"{path} compares episodes of {found}, not of {task}; name the task it was made for")


class Journal:
    """The file of comparisons, open for more; every addition is on the disk when `add` returns.

    One process writes at a time. A last line that was cut off is removed from the file, with a message.

    Raises:
        UserError: the file is of another task, is something else, or another page writes to it.
    """

    def __init__(self, path: Path | str, task: str):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self._begin(task)
        except BaseException:
            os.close(self._file)
            raise

    def _begin(self, task: str) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another labelling page writes to {self.path}; stop it or choose another file"
            ) from None
        content = self.path.read_bytes()
        found, self.comparisons, whole = _parse(self.path, content)
        if found is not None:
            _same_task(self.path, found, task)
        if whole < len(content):
            _tell(self.path, len(self.comparisons))
            os.ftruncate(self._file, whole)
        self._size = whole
        if found is None:
            self._append({"format": FORMAT, "task": task})
        elif whole and not content[:whole].endswith(b"\n"):  # all of the last line but its end is there
            self._write(b"\n")

    def add(self, comparison: Comparison) -> None:
        """Append a choice, on the disk when this returns.

        Raises:
            OSError: it could not be written (a full disk); the file is as before.
        """
        self._append(asdict(comparison))
        self.comparisons.append(comparison)

    def _append(self, entry: dict[str, Any]) -> None:
        self._write(json.dumps(entry).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        try:
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(line)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def members(
    path: Path | str, comparisons: Sequence[Comparison], files: Sequence[Path | str], episode_length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Comparisons as numbers of the trajectories that `trajectories.cut` makes of these files side by side.

    Args:
        path: where the comparisons come from, for errors.
        comparisons: what `read` gave.
        files: the files of recorded play in the order of their rows (`mixes.mix_files`); all of one shape of episodes.
        episode_length: L.

    Returns:
        Members [P, 2, m] int32 (m = 1 where only single agents are judged, else n; a single agent among teams stands
        m times) and the chance that the left side is the better one [P] float32: the two fields of
        `reward_training.Comparisons`.

    Raises:
        UserError: there is no comparison, or one names a file that is not among these, or an episode or agent that it
            has not.
    """
    if not comparisons:
        raise UserError(f"{path} holds no comparison yet; python train/label_preferences.py adds some")
    places: dict[str, tuple[int, RowsFile]] = {}
    envs = 0
    for name in files:
        with RowsFile(name) as file:
            places.setdefault(file_hash(name), (envs, file))
            envs += file.envs
    teams = any(side.agent is None for entry in comparisons for side in (entry.left, entry.right))

    def numbers(side: Side, line: int) -> list[int]:
        if side.file not in places:
            raise UserError(
                f"{path} line {line} compares an episode of the file with SHA-256 {side.file[:16]}..., which is not "
                f"among the {len(files)} files of play given; name the files that were judged"
            )
        first, file = places[side.file]
        n, episodes = len(file.agents), file.steps // episode_length
        for what, number, count in (
            ("row", side.row, file.envs),
            ("episode", side.episode, episodes),
            ("agent", side.agent or 0, n),
        ):
            if number >= count:
                raise UserError(f"{path} line {line} names {what} {number}; {file.path} has 0 to {count - 1}")
        own = range(n) if side.agent is None else [side.agent] * (n if teams else 1)
        return [trajectory_number(side.episode, agent, first + side.row, n, envs) for agent in own]

    found = [
        [numbers(entry.left, line), numbers(entry.right, line)] for line, entry in enumerate(comparisons, 2)
    ]
    target = [CHOICES[entry.choice] for entry in comparisons]
    return np.asarray(found, np.int32), np.asarray(target, np.float32)
