"""Which pairs of recorded episodes a person is shown, and their pictures."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from common.cli import UserError
from marlhf.data.files import RowsFile, file_hash
from marlhf.data.people import Side

#: pixels
FRAME_WIDTH = 400


class Episodes:
    """The whole episodes of some files of recorded play.

    Raises:
        UserError: a file is unreadable or of another task, or rows hold no whole episode.
    """

    def __init__(self, files: Sequence[Path | str], task: Any):
        self.task = task
        self.files: dict[str, tuple[Path, int, int]] = {}  # hash -> path, rows, episodes in a row
        for name in files:
            path = Path(name)
            with RowsFile(path) as file:
                made_for = file.made_by.get("task", task.id)
                if made_for != task.id or file.sizes()[4] != task.state_size:
                    raise UserError(
                        f"{path} was made by {made_for} with world states of size {file.sizes()[4]}; "
                        f"{task.id} has size {task.state_size}"
                    )
                episodes = file.steps // task.episode_length
                if not episodes:
                    raise UserError(f"{path} holds no whole episode of {task.episode_length} steps")
                self.files.setdefault(file_hash(path), (path, file.envs, episodes))
        self._world_state = lru_cache(maxsize=4)(self._read)

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(rows * episodes for _, rows, episodes in self.files.values())

    def side(self, number: int, agent: int | None) -> Side:
        """Episode number `number`."""
        for name, (_, rows, episodes) in self.files.items():
            if number < rows * episodes:
                return Side(name, *divmod(number, episodes), agent)
            number -= rows * episodes
        raise IndexError(number)

    def _read(self, name: str) -> np.ndarray:
        with RowsFile(self.files[name][0]) as file:
            return file.array("obs/__all__")

    def states(self, side: Side) -> np.ndarray:
        """The world states of an episode [L, W]."""
        length = self.task.episode_length
        first = side.episode * length
        return self._world_state(side.file)[first : first + length, side.row]


def draw_pairs(
    episodes: Episodes, count: int, seed: int, agent: int | None = None
) -> list[tuple[Side, Side]]:
    """`count` pairs of different episodes, none twice; the same ones for the same files and seed.

    Raises:
        UserError: there are not so many pairs, or no such agent.
    """
    total, n = episodes.count, len(episodes.task.agents)
    if count < 1 or count > total * (total - 1) // 2:
        raise UserError(f"PAIRS={count}; {total} episodes make 1 to {total * (total - 1) // 2} pairs")
    if agent is not None and not 0 <= agent < n:
        raise UserError(f"agent {agent}: {episodes.task.id} has agents 0 to {n - 1}")
    draw, found = np.random.default_rng(seed), {}
    while len(found) < count:
        left, right = (int(number) for number in draw.integers(0, total, 2))
        if left != right and (right, left) not in found:
            found[left, right] = episodes.side(left, agent), episodes.side(right, agent)
    return list(found.values())


def strip(frames: np.ndarray) -> tuple[bytes, int]:
    """All frames [T, H, W, 3] in one PNG, row by row, and how many stand in a row."""
    from PIL import Image

    count, height, width, _ = frames.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.zeros((rows * columns, height, width, 3), np.uint8)
    sheet[:count] = frames
    sheet = sheet.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    buffer = io.BytesIO()
    Image.fromarray(sheet.reshape(rows * height, columns * width, 3)).save(buffer, "PNG")
    return buffer.getvalue(), columns


def default_painter() -> Callable[[Any, np.ndarray, list[str]], np.ndarray]:
    """What draws a task's world states [T, W], with a caption each, as frames [T, H, W, 3], in one scale."""
    from marlhf.environments import render

    return partial(render.pictures, size=FRAME_WIDTH)
