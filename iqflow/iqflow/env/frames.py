"""Pictures for people: one RGB frame of any of the environments. NumPy and Pillow only."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from iqflow.env.cleanup import drawing
from iqflow.env.cleanup.environment import CentralisedCleanup, Cleanup, CleanupState
from iqflow.env.escape_room import PLACES, EscapeRoom, EscapeState
from iqflow.env.matrix_games import START, MatrixGame, MatrixState

CELL = 32  # pixels of a cell of Cleanup
INK, PAPER, SHADE, LIT = (34, 34, 34), (255, 255, 255), (236, 236, 236), (255, 214, 102)


def agent_colour(agent: int) -> tuple[int, int, int]:
    """The colour of an agent, in all environments that of Cleanup; it repeats after nine."""
    return tuple(int(part) for part in drawing.COLOURS[drawing.FIRST_AGENT + agent % drawing.MOST_AGENTS])


def _cleanup(env: Cleanup, state: CleanupState) -> np.ndarray:
    picture = drawing.COLOURS[np.asarray(env.scene(state))]
    return picture.repeat(CELL, axis=0).repeat(CELL, axis=1)


def _escape_room(env: EscapeRoom, state: EscapeState) -> np.ndarray:
    row = 26
    image = Image.new("RGB", (300, 44 + row * env.n_agents), PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    for place, name in enumerate(PLACES):
        draw.rectangle((100 * place + 2, 30, 100 * place + 97, image.height - 8), fill=SHADE)
        draw.text((100 * place + 50, 16), name, fill=INK, font=font, anchor="mm")
    for agent, place in enumerate(np.asarray(state.position)):
        x, y = 100 * int(place) + 50, 34 + row * agent + row // 2
        draw.ellipse((x - 10, y - 10, x + 10, y + 10), fill=agent_colour(agent), outline=INK)
    return np.asarray(image)


def _matrix(env: MatrixGame, state: MatrixState) -> np.ndarray:
    image = Image.new("RGB", (300, 232), PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    draw.text((150, 12), f"{env.name}, step {int(state.time)}", fill=INK, font=font, anchor="mm")
    for first in range(2):
        for second in range(2):
            left, top = 60 + 110 * second, 40 + 85 * first
            played = int(state.outcome) == 2 * first + second
            draw.rectangle((left, top, left + 105, top + 80), fill=LIT if played else SHADE)
            for agent, payoff in enumerate(env.payoffs[first, second]):
                where = (left + 30 + 45 * agent, top + 40)
                draw.text(where, f"{payoff:g}", fill=agent_colour(agent), font=font, anchor="mm")
        draw.text((30, 80 + 85 * first), "CD"[first], fill=agent_colour(0), font=font, anchor="mm")
        draw.text((112 + 110 * first, 30), "CD"[first], fill=agent_colour(1), font=font, anchor="mm")
    if int(state.outcome) == START:
        draw.text((168, 220), "nothing played yet", fill=INK, font=font, anchor="mm")
    return np.asarray(image)


def frame(env: Any, state: Any) -> np.ndarray:
    """A picture of a state, uint8 [height, width, 3].

    Cleanup: what the agents see, the whole map at once, 32 pixels a cell. Escape Room: a disc per agent below its place.
    Matrix games: the payoffs (agent 0 chooses the row), with the last joint action lit.
    """
    if isinstance(env, CentralisedCleanup):
        env = env.base
    draw = {Cleanup: _cleanup, EscapeRoom: _escape_room, MatrixGame: _matrix}[type(env)]
    return draw(env, state)
