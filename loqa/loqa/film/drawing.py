"""An episode of the Coin Game as pictures. NumPy and Pillow only.

Players are squares, A and B; a coin is a disc in its owner's colour with the owner's letter. A trail shows each player's
last move; one that leaves the board comes back at the opposite edge, because the board is a torus. A coin that was just
taken leaves an outline in the taker's colour, and the line below the board says who got what.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PLAYERS = ("#004488", "#c2413b")
LETTERS = ("A", "B")
INK, SOFT, LINES, GOLD = "#222222", "#777777", "#cfcfcf", "#c98a14"
MOVES = ((0, -1), (0, 1), (-1, 0), (1, 0))  # left, right, up, down as (row, column)
#: board margin, height of the lines above and below it
MARGIN, HEADER, FOOTER = 22, 76, 44


@dataclass(frozen=True)
class Episode:
    """T steps between two players; cells are row x width + column.

    Attributes:
        names: who plays A and B.
        players: ``[T + 1, 2]`` cells; coin, owner: ``[T + 1]``, the coin's cell and whose it is.
        actions, rewards: ``[T, 2]``.
    """

    height: int
    width: int
    names: tuple[str, str]
    players: np.ndarray
    coin: np.ndarray
    owner: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray

    @property
    def steps(self) -> int:
        return len(self.actions)

    def takes(self, step: int) -> tuple[bool, bool]:
        """Who took the coin in a step (1 to T)."""
        first, second = self.players[step] == self.coin[step - 1]
        return bool(first), bool(second)

    def taken(self, step: int, player: int) -> tuple[int, int]:
        """Coins that a player took up to a step: its own and the other's."""
        stands = self.players[1 : step + 1, player] == self.coin[:step]
        own = self.owner[:step] == player
        return int(np.sum(stands & own)), int(np.sum(stands & ~own))

    def event(self, step: int) -> str:
        """What happened in a step, in one line; empty if no coin was taken."""
        takers = [LETTERS[player] for player, took in enumerate(self.takes(step) if step else ()) if took]
        if not takers:
            return ""
        rewards = ", ".join(
            f"{letter} {reward:+g}" for letter, reward in zip(LETTERS, self.rewards[step - 1], strict=True)
        )
        return f"{' and '.join(takers)} took {LETTERS[self.owner[step - 1]]}'s coin: {rewards}"


@dataclass(frozen=True)
class Layout:
    """Where everything is in a frame, in pixels (x to the right, y downwards)."""

    height: int
    width: int

    @property
    def cell(self) -> int:
        """Side of a cell."""
        return max(36, min(90, 420 // max(self.height, self.width)))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame."""
        wide = max(self.width * self.cell + 2 * MARGIN, 370)
        return wide, HEADER + self.height * self.cell + 2 * MARGIN + FOOTER

    @property
    def board(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom edge of the board."""
        left, top = (self.size[0] - self.width * self.cell) // 2, HEADER + MARGIN
        return left, top, left + self.width * self.cell, top + self.height * self.cell

    def centre(self, cell: int, player: int | None = None) -> tuple[float, float]:
        """Middle of a cell, or the place of a player in it: A up left of the middle, B down right."""
        shift = 0.0 if player is None else (-0.18, 0.18)[player]
        row, column = divmod(int(cell), self.width)
        left, top, _, _ = self.board
        return left + (column + 0.5 + shift) * self.cell, top + (row + 0.5 + shift) * self.cell

    def box(self, centre: tuple[float, float], share: float) -> tuple[float, float, float, float]:
        """A square around a point, its side a share of a cell's."""
        half = share * self.cell / 2
        return centre[0] - half, centre[1] - half, centre[0] + half, centre[1] + half

    def trail(
        self, before: int, after: int, action: int, player: int
    ) -> list[tuple[float, float, float, float]]:
        """The two halves of a move: out of the old cell and into the new one, cut off at the margin.

        Inside the board they are the same line; over an edge one leaves here and one arrives there.
        """
        (x0, y0), (x1, y1) = self.centre(before, player), self.centre(after, player)
        down, across = (part * self.cell for part in MOVES[action])
        left, top, right, bottom = self.board
        reach = MARGIN - 4

        def kept(x: float, y: float) -> tuple[float, float]:
            return min(max(x, left - reach), right + reach), min(max(y, top - reach), bottom + reach)

        return [(x0, y0, *kept(x0 + across, y0 + down)), (*kept(x1 - across, y1 - down), x1, y1)]


def _tint(colour: str) -> tuple[int, ...]:
    return tuple(255 - (255 - int(colour[i : i + 2], 16)) * 2 // 5 for i in (1, 3, 5))


def _short(name: str, most: int = 22) -> str:
    return name if len(name) <= most else f"{name[: most - 3]}..."


def _header(draw: ImageDraw.ImageDraw, episode: Episode, step: int) -> None:
    font, bold = ImageFont.load_default(13), ImageFont.load_default(14)
    draw.text((12, 8), f"step {step} of {episode.steps}", fill=INK, font=bold)
    totals = episode.rewards[:step].sum(axis=0)
    for player, name in enumerate(episode.names):
        own, other = episode.taken(step, player)
        y = 32 + 22 * player
        draw.rectangle((12, y, 27, y + 15), fill=PLAYERS[player])
        draw.text((19.5, y + 8), LETTERS[player], fill="white", font=font, anchor="mm")
        draw.text((34, y + 8), _short(name), fill=INK, font=font, anchor="lm")
        draw.text((222, y + 8), f"{totals[player]:+.0f}", fill=PLAYERS[player], font=bold, anchor="rm")
        draw.text((232, y + 8), f"own {own}, other's {other}", fill=SOFT, font=font, anchor="lm")
    draw.text((222, 16), "return", fill=SOFT, font=font, anchor="rm")
    draw.text((232, 16), "coins taken", fill=SOFT, font=font, anchor="lm")


def _board(draw: ImageDraw.ImageDraw, layout: Layout) -> None:
    left, top, right, bottom = layout.board
    for column in range(layout.width + 1):
        x = left + column * layout.cell
        draw.line((x, top, x, bottom), fill=LINES)
    for row in range(layout.height + 1):
        y = top + row * layout.cell
        draw.line((left, y, right, y), fill=LINES)


def frame(episode: Episode, step: int) -> Image.Image:
    """The picture after `step` steps, 0 to T; RGB."""
    layout = Layout(episode.height, episode.width)
    image = Image.new("RGB", layout.size, "white")
    draw = ImageDraw.Draw(image)
    _header(draw, episode, step)
    _board(draw, layout)
    letter = ImageFont.load_default(max(11, round(layout.cell * 0.2)))
    if step:
        for player, took in enumerate(episode.takes(step)):
            if took:  # B's outline stands inside A's
                share = (0.96, 0.84)[player]
                square = layout.box(layout.centre(episode.coin[step - 1]), share)
                draw.rectangle(square, outline=PLAYERS[player], width=3)
        for player, action in enumerate(episode.actions[step - 1]):
            before, after = episode.players[step - 1 : step + 1, player]
            for line in layout.trail(before, after, action, player):
                draw.line(line, fill=_tint(PLAYERS[player]), width=4)
    centre, owner = layout.centre(episode.coin[step]), episode.owner[step]
    draw.ellipse(layout.box(centre, 0.46), fill=PLAYERS[owner], outline=GOLD, width=4)
    draw.text(centre, LETTERS[owner], fill="white", font=letter, anchor="mm")
    for player, cell in enumerate(episode.players[step]):
        centre = layout.centre(cell, player)
        draw.rectangle(layout.box(centre, 0.34), fill=PLAYERS[player], outline=INK)
        draw.text(centre, LETTERS[player], fill="white", font=letter, anchor="mm")
    middle, foot = layout.size[0] / 2, layout.board[3] + MARGIN
    draw.text(
        (middle, foot + 10), episode.event(step), fill=INK, font=ImageFont.load_default(13), anchor="mm"
    )
    note = "opposite edges of the board are joined"
    draw.text((middle, foot + 30), note, fill=SOFT, font=ImageFont.load_default(11), anchor="mm")
    return image


def frames(episode: Episode) -> list[Image.Image]:
    """The whole episode, T + 1 pictures."""
    return [frame(episode, step) for step in range(episode.steps + 1)]
