"""An episode of the Coin Game as pictures. NumPy and Pillow only.

The players, red and blue, are squares; a coin is a disc in its owner's colour with the owner's letter. A trail shows each
player's last move; one that leaves the board comes back at the opposite edge, because the board is a torus. A coin that
was just taken leaves an outline in the taker's colour, and the line below the board says who got what.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pola.dice.coin_game import MOVES, SIDE

PLAYERS, NAMES = ("#c2413b", "#004488"), ("red", "blue")
INK, SOFT, LINES, GOLD = "#222222", "#777777", "#cfcfcf", "#c98a14"
CELL, MARGIN, HEADER, FOOTER = 90, 22, 76, 44  # a cell, the board's margin, the lines above and below it
WIDTH, HEIGHT = 390, HEADER + SIDE * CELL + 2 * MARGIN + FOOTER
LEFT, TOP = (WIDTH - SIDE * CELL) // 2, HEADER + MARGIN  # corner of the board
RIGHT, BOTTOM = LEFT + SIDE * CELL, TOP + SIDE * CELL
SHIFTS = (-0.18, 0.18)  # red stands up left of a cell's middle, blue down right


@dataclass(frozen=True)
class Episode:
    """T steps between two players, red and blue; positions are (row, column).

    Attributes:
        names: who plays red and blue.
        players: int ``[T + 1, 2, 2]`` positions of red and blue.
        coin: int ``[T + 1, 2]`` the coin's position; owner: ``[T + 1]`` whose it is (0 red, 1 blue).
        actions, rewards: ``[T, 2]``.
    """

    names: tuple[str, str]
    players: np.ndarray
    coin: np.ndarray
    owner: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray

    @property
    def steps(self) -> int:
        return len(self.actions)

    def takes(self) -> np.ndarray:
        """Who took the coin in every step, bool ``[T, 2]``."""
        return (self.players[1:] == self.coin[:-1, None]).all(axis=-1)

    def taken(self, step: int, player: int) -> tuple[int, int]:
        """Coins that a player took up to a step: its own and the other's."""
        took, own = self.takes()[:step, player], self.owner[:step] == player
        return int(np.sum(took & own)), int(np.sum(took & ~own))

    def event(self, step: int) -> str:
        """What happened in a step (from 1), in one line; empty if nobody took the coin."""
        takers = [name for name, took in zip(NAMES, self.takes()[step - 1], strict=True) if took]
        if not takers:
            return ""
        gains = zip(NAMES, self.rewards[step - 1], strict=True)
        rewards = ", ".join(f"{name} {reward:+g}" for name, reward in gains)
        return f"{' and '.join(takers)} took {NAMES[self.owner[step - 1]]}'s coin: {rewards}"


def centre(position: np.ndarray, player: int | None = None) -> tuple[float, float]:
    """Middle of a cell, or the place of a player in it, in pixels."""
    shift = 0.5 if player is None else 0.5 + SHIFTS[player]
    row, column = (int(part) for part in position)
    return LEFT + (column + shift) * CELL, TOP + (row + shift) * CELL


def box(middle: tuple[float, float], share: float) -> tuple[float, float, float, float]:
    """A square around a point, its side a share of a cell's."""
    half = share * CELL / 2
    return middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half


def trail(before: np.ndarray, after: np.ndarray, action: int, player: int) -> list[tuple[float, ...]]:
    """The two halves of a move: out of the old cell and into the new one, cut off at the margin.

    Inside the board they are the same line; over an edge one leaves here and one arrives there.
    """
    (x0, y0), (x1, y1) = centre(before, player), centre(after, player)
    down, across = (int(part) * CELL for part in MOVES[action])
    reach = MARGIN - 4

    def kept(x: float, y: float) -> tuple[float, float]:
        return min(max(x, LEFT - reach), RIGHT + reach), min(max(y, TOP - reach), BOTTOM + reach)

    return [(x0, y0, *kept(x0 + across, y0 + down)), (*kept(x1 - across, y1 - down), x1, y1)]


def _tint(colour: str) -> tuple[int, ...]:
    return tuple(255 - (255 - int(colour[i : i + 2], 16)) * 2 // 5 for i in (1, 3, 5))


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else f"{name[: most - 3]}..."


def _header(draw: ImageDraw.ImageDraw, episode: Episode, step: int) -> None:
    font, bold = ImageFont.load_default(13), ImageFont.load_default(14)
    draw.text((12, 8), f"step {step} of {episode.steps}", fill=INK, font=bold)
    totals = episode.rewards[:step].sum(axis=0)
    for player, name in enumerate(episode.names):
        own, other = episode.taken(step, player)
        y = 32 + 22 * player
        draw.rectangle((12, y, 27, y + 15), fill=PLAYERS[player])
        draw.text((19.5, y + 8), NAMES[player][0].upper(), fill="white", font=font, anchor="mm")
        draw.text((34, y + 8), _short(name), fill=INK, font=font, anchor="lm")
        draw.text((242, y + 8), f"{totals[player]:+.0f}", fill=PLAYERS[player], font=bold, anchor="rm")
        draw.text((252, y + 8), f"own {own}, other's {other}", fill=SOFT, font=font, anchor="lm")
    draw.text((242, 16), "return", fill=SOFT, font=font, anchor="rm")
    draw.text((252, 16), "coins taken", fill=SOFT, font=font, anchor="lm")


def _last_move(draw: ImageDraw.ImageDraw, episode: Episode, step: int) -> None:
    for player, took in enumerate(episode.takes()[step - 1]):
        if took:  # blue's outline stands inside red's
            square = box(centre(episode.coin[step - 1]), (0.96, 0.84)[player])
            draw.rectangle(square, outline=PLAYERS[player], width=3)
    for player, action in enumerate(episode.actions[step - 1]):
        before, after = episode.players[step - 1 : step + 1, player]
        for line in trail(before, after, action, player):
            draw.line(line, fill=_tint(PLAYERS[player]), width=4)


def frame(episode: Episode, step: int) -> Image.Image:
    """The picture after `step` steps, 0 to T; RGB."""
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    _header(draw, episode, step)
    for number in range(SIDE + 1):
        x, y = LEFT + number * CELL, TOP + number * CELL
        draw.line((x, TOP, x, BOTTOM), fill=LINES)
        draw.line((LEFT, y, RIGHT, y), fill=LINES)
    letter = ImageFont.load_default(18)
    if step:
        _last_move(draw, episode, step)
    middle, owner = centre(episode.coin[step]), episode.owner[step]
    draw.ellipse(box(middle, 0.46), fill=PLAYERS[owner], outline=GOLD, width=4)
    draw.text(middle, NAMES[owner][0].upper(), fill="white", font=letter, anchor="mm")
    for player, place in enumerate(episode.players[step]):
        middle = centre(place, player)
        draw.rectangle(box(middle, 0.34), fill=PLAYERS[player], outline=INK)
        draw.text(middle, NAMES[player][0].upper(), fill="white", font=letter, anchor="mm")
    foot, words = BOTTOM + MARGIN, episode.event(step) if step else ""
    draw.text((WIDTH / 2, foot + 10), words, fill=INK, font=ImageFont.load_default(13), anchor="mm")
    note = "opposite edges of the board are joined"
    draw.text((WIDTH / 2, foot + 30), note, fill=SOFT, font=ImageFont.load_default(11), anchor="mm")
    return image


def frames(episode: Episode) -> list[Image.Image]:
    """The whole episode, T + 1 pictures."""
    return [frame(episode, step) for step in range(episode.steps + 1)]
