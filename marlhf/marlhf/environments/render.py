"""Episodes as pictures: NumPy and Pillow only.

Everything is drawn from the world state, the observations of all learners one after another, so that recorded data can
be drawn as well as a running environment. Reference's observations hold no absolute positions; there the landmarks'
centre is the middle of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .task import Task

INK, SOFT, LINES = "#222222", "#777777", "#d8d8d8"
AGENTS = ("#004488", "#c2413b", "#228833", "#aa3377", "#66ccee", "#ccbb44", "#ee7733")
LANDMARKS = ("#bf4040", "#40bf40", "#4040bf")  # Reference's own colours
PREY, OBSTACLE, COVERED = "#228833", "#9a9a9a", "#ddaa33"
HEADER = 34
FINER = 3  # drawn so many times larger, then reduced


@dataclass(frozen=True)
class Scene:
    """Positions of T moments of a particle environment, x to the right and y up.

    `agents [T, n, 2]`, `landmarks [T, L, 2]`, radii of both; `prey [T, 2]`, `goals [T, n]` (landmark of every agent)
    and `says [T, n]` (its last message, -1 before the first) where the task has them.
    """

    agents: np.ndarray
    landmarks: np.ndarray
    radius: float
    landmark_radius: float
    prey: np.ndarray | None = None
    goals: np.ndarray | None = None
    says: np.ndarray | None = None

    @property
    def half(self) -> float:
        """Half the side of a square around the middle that holds everything."""
        parts = [self.agents, self.landmarks] + ([] if self.prey is None else [self.prey])
        return max(1.1, max(np.abs(part).max() for part in parts) + 0.2)


def scene(task: Task, world_state: np.ndarray) -> Scene:
    """What world states `[T, W]` of Spread, Reference or Tag show."""
    n = task.n_agents
    seen = np.asarray(world_state, np.float32).reshape(len(world_state), n, task.obs_size)
    if task.name == "reference":
        relative = seen[:, :, 2:8].reshape(-1, n, 3, 2)  # landmarks as each agent sees them
        middle = relative.mean(axis=2)
        colours, heard = seen[:, :, 8:11], seen[:, :, 11:21]
        says = np.where(heard.any(axis=-1), heard.argmax(axis=-1), -1)[:, ::-1]  # each hears the other
        goals = colours.argmax(axis=-1)[:, ::-1]  # and sees the other's goal
        return Scene(-middle, relative[:, 0] - middle[:, :1], 0.15, 0.1, goals=goals, says=says)
    agents = seen[:, :, 2:4]
    if task.name == "tag":
        landmarks = (seen[:, 0, 4:8].reshape(-1, 2, 2)) + agents[:, :1]
        prey = seen[:, 0, 12:14] + agents[:, 0]  # the last of the three others
        return Scene(agents, landmarks, 0.075, 0.2, prey=prey)
    count = (task.obs_size - 4 * n) // 2
    landmarks = seen[:, 0, 4 : 4 + 2 * count].reshape(-1, count, 2) + agents[:, :1]
    return Scene(agents, landmarks, 0.15, 0.05)


def pictures(
    task: Task, world_state: np.ndarray, captions: Sequence[str] | None = None, size: int = 320
) -> np.ndarray:
    """Every moment of an episode: world states `[T, W]` -> RGB `[T, H, W, 3]` uint8.

    Args: `captions` one line above each picture; `size` width of a picture in pixels.
    """
    captions = captions or [f"step {step}" for step in range(len(world_state))]
    if task.name == "overcooked":
        return np.stack(
            [_kitchen(task, state, line, size) for state, line in zip(world_state, captions, strict=True)]
        )
    shown = scene(task, world_state)
    return np.stack([_particles(shown, step, line, size) for step, line in enumerate(captions)])


class _Canvas:
    """A square below a line of text; coordinates are shares of the square, y downwards."""

    def __init__(self, size: int, caption: str, height: float = 1.0):
        self.size, self.side = size, size * FINER
        self.image = Image.new("RGB", (self.side, int(self.side * height) + HEADER * FINER), "white")
        self.draw = ImageDraw.Draw(self.image)
        self.text((0.03, -0.5 * HEADER / size), caption, 14, anchor="lm")

    def _at(self, point) -> tuple[float, float]:
        return point[0] * self.side, point[1] * self.side + HEADER * FINER

    def text(self, point, text: str, points: float, colour: str = INK, anchor: str = "mm") -> None:
        font = ImageFont.load_default(points * FINER)
        self.draw.text(self._at(point), text, colour, font, anchor=anchor)

    def disc(
        self, point, radius: float, fill: str | None, outline: str | None = None, width: float = 1
    ) -> None:
        (x, y), r = self._at(point), radius * self.side
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill, outline, int(width * FINER))

    def box(self, left_top, right_bottom, fill: str | None, outline: str | None = None) -> None:
        self.draw.rectangle((*self._at(left_top), *self._at(right_bottom)), fill, outline, FINER)

    def line(self, start, end, colour: str, width: float = 1) -> None:
        self.draw.line((*self._at(start), *self._at(end)), colour, int(width * FINER))

    def shape(self, points, fill: str) -> None:
        self.draw.polygon([self._at(point) for point in points], fill)

    def pixels(self) -> np.ndarray:
        reduced = self.image.resize((self.size, self.image.height // FINER), Image.Resampling.LANCZOS)
        return np.asarray(reduced, np.uint8)


def _particles(shown: Scene, step: int, caption: str, size: int) -> np.ndarray:
    half = shown.half

    def place(point):
        return (point[0] / half + 1) / 2, (1 - point[1] / half) / 2

    def long(length):
        return length / half / 2

    canvas = _Canvas(size, caption)
    canvas.box(place((-1, 1)), place((1, -1)), None, LINES)  # where everybody starts
    agents, landmarks = shown.agents[step], shown.landmarks[step]
    goals = None if shown.goals is None else shown.goals[step]
    plain = INK if shown.prey is None else OBSTACLE
    for index, at in enumerate(landmarks):
        canvas.disc(place(at), long(shown.landmark_radius), plain if goals is None else LANDMARKS[index])
    for index, at in enumerate(agents):
        colour = AGENTS[index % len(AGENTS)] if shown.prey is None else AGENTS[1]
        if goals is not None:
            canvas.line(place(at), place(landmarks[goals[index]]), colour, 1)
            canvas.disc(place(landmarks[goals[index]]), long(0.14 + 0.04 * index), None, colour, 2)
        others = np.delete(agents, index, axis=0)
        bumps = goals is None and (np.linalg.norm(others - at, axis=-1) < 2 * shown.radius).any()
        catches = shown.prey is not None and np.linalg.norm(shown.prey[step] - at) < shown.radius + 0.05
        mark = catches if shown.prey is not None else bumps
        canvas.disc(place(at), long(shown.radius), colour, INK if mark else None, 3)
    if goals is None and shown.prey is None:  # a covered landmark shows through the agent on it
        for at in landmarks[np.linalg.norm(agents[:, None] - landmarks, axis=-1).min(axis=0) < shown.radius]:
            canvas.disc(place(at), long(shown.landmark_radius), COVERED)
    for index, at in enumerate(agents):
        word = "" if shown.says is None or shown.says[step, index] < 0 else f":{shown.says[step, index]}"
        points = min(15, 1.1 * long(shown.radius) * size)
        canvas.text(place(at), f"{'ABCDEFGHIJKLMNOPQRST'[index]}{word}", points, "white")
    if shown.prey is not None:
        canvas.disc(place(shown.prey[step]), long(0.05), PREY, INK, 1)
    return canvas.pixels()


# Channels of Overcooked's observation (JaxMARL).
_SELF, _OTHER, _FACING, _OTHER_FACING = 0, 1, slice(2, 6), slice(6, 10)
_POT, _COUNTER, _ONIONS, _PLATES, _GOAL = 10, 11, 12, 14, 15
_IN_POT, _COOKING, _SOUP, _PLATE, _ONION = 16, 20, 21, 22, 23
_WAYS = ((0, -1), (0, 1), (1, 0), (-1, 0))  # up, down, right, left
_TILES = (
    (_COUNTER, "#c8a26a"),
    (_ONIONS, "#e3c65b"),
    (_PLATES, "#e8e8e8"),
    (_GOAL, "#8fbf8f"),
    (_POT, "#4a4a4a"),
)


def _kitchen(task: Task, world_state: np.ndarray, caption: str, size: int) -> np.ndarray:
    height, width = task.env.height, task.env.width
    grid = np.asarray(world_state[: task.obs_size]).reshape(height, width, 26)
    canvas, cell = _Canvas(size, caption, height / width), 1 / width
    for row, column in np.ndindex(height, width):
        tile, (x, y) = grid[row, column], (column * cell, row * cell)
        middle = (x + cell / 2, y + cell / 2)
        # What lies on a counter hides the counter's channel.
        lies = tile[[_SOUP, _PLATE, _ONION]].any() and not (tile[_SELF] or tile[_OTHER])
        fill = next(
            (colour for channel, colour in _TILES if tile[channel]), _TILES[0][1] if lies else "#f4f1ea"
        )
        canvas.box((x, y), (x + cell, y + cell), fill, "#ffffff")
        for channel, name in ((_ONIONS, "onions"), (_PLATES, "plates"), (_GOAL, "serve")):
            if tile[channel]:
                canvas.text((middle[0], y + 0.85 * cell), name, 9)
        if tile[_POT]:
            line = (
                "ready"
                if tile[_SOUP]
                else f"{tile[_COOKING]:.0f} left"
                if tile[_COOKING]
                else f"{tile[_IN_POT]:.0f}/3"
            )
            canvas.text(middle, line, 11, "white")
        elif tile[_SELF] or tile[_OTHER]:
            _cook(canvas, tile, middle, cell)
        else:
            _thing(canvas, tile, middle, 0.22 * cell)
    return canvas.pixels()


def _cook(canvas: _Canvas, tile: np.ndarray, middle: tuple[float, float], cell: float) -> None:
    index = 0 if tile[_SELF] else 1
    dx, dy = _WAYS[int(np.argmax(tile[(_FACING, _OTHER_FACING)[index]]))]
    tip = (middle[0] + 0.46 * cell * dx, middle[1] + 0.46 * cell * dy)
    across = (0.22 * cell * dy, 0.22 * cell * dx)
    base = (middle[0] + 0.2 * cell * dx, middle[1] + 0.2 * cell * dy)
    sides = [(base[0] + sign * across[0], base[1] + sign * across[1]) for sign in (1, -1)]
    canvas.shape([tip, *sides], INK)
    canvas.disc(middle, 0.32 * cell, AGENTS[index])
    canvas.text((middle[0], middle[1] - 0.12 * cell), "AB"[index], 13, "white")
    _thing(canvas, tile, (middle[0], middle[1] + 0.12 * cell), 0.14 * cell)


def _thing(canvas: _Canvas, tile: np.ndarray, middle: tuple[float, float], radius: float) -> None:
    """Onion, plate or served soup on a counter or in a cook's hands."""
    if tile[_SOUP]:
        canvas.disc(middle, radius, "#ffffff", SOFT)
        canvas.disc(middle, 0.65 * radius, "#d0762b")
    elif tile[_PLATE] and not tile[_PLATES]:
        canvas.disc(middle, radius, "#ffffff", SOFT)
    elif tile[_ONION] and not tile[_ONIONS]:
        canvas.disc(middle, radius, "#f2d13c", SOFT)
