"""An episode of Cleanup as pictures. NumPy and Pillow only.

The board has the colours that the agents see; every agent carries its number. Above the board each agent has a line: what
it has earned and cleaned so far, and what the mechanism paid it, in this step (bar and number) and in total.
"""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

from iqflow.env.cleanup.drawing import COLOURS
from iqflow.env.frames import agent_colour
from iqflow.film.episode import Episode

INK, SOFT, PAPER, TRACK, GOLD = "#222222", "#777777", "white", "#e4e4e4", "#c98a14"
WIDTH, MARGIN, LINE, TOP = 420, 12, 22, 52
BAR = (256, 100)  # left edge and length of an incentive's bar


def cell_size(episode: Episode) -> int:
    """Side of a cell in pixels."""
    return min(56, (WIDTH - 2 * MARGIN) // episode.scenes.shape[2])


def board_corner(episode: Episode) -> tuple[int, int]:
    """Left and top edge of the board in pixels."""
    left = (WIDTH - cell_size(episode) * episode.scenes.shape[2]) // 2
    return left, TOP + LINE * len(episode.names) + MARGIN


def _header(draw: ImageDraw.ImageDraw, episode: Episode, step: int) -> None:
    font, bold = ImageFont.load_default(12), ImageFont.load_default(14)
    draw.text((MARGIN, 8), f"step {step} of {episode.steps}", fill=INK, font=bold)
    total = episode.rewards[:step].sum()
    draw.text((WIDTH - MARGIN, 8), f"apples together {total:+.0f}", fill=INK, font=bold, anchor="ra")
    for x, word in ((160, "reward"), (210, "cleaned")):
        draw.text((x, TOP - 10), word, fill=SOFT, font=font, anchor="rm")
    if episode.incentives is not None:
        draw.text((BAR[0], TOP - 10), "incentive: now, total", fill=SOFT, font=font, anchor="lm")
    for agent, name in enumerate(episode.names):
        y = TOP + LINE * agent + LINE // 2
        draw.rectangle((MARGIN, y - 8, MARGIN + 16, y + 8), fill=agent_colour(agent))
        draw.text((MARGIN + 8, y), str(agent + 1), fill="white", font=font, anchor="mm")
        draw.text((MARGIN + 24, y), name, fill=INK, font=font, anchor="lm")
        draw.text((160, y), f"{episode.rewards[:step, agent].sum():+g}", fill=INK, font=font, anchor="rm")
        draw.text((210, y), f"{episode.cleaned[:step, agent].sum()}", fill=INK, font=font, anchor="rm")
        if episode.incentives is not None:
            _incentive(draw, episode, step, agent, y)


def _incentive(draw: ImageDraw.ImageDraw, episode: Episode, step: int, agent: int, y: int) -> None:
    font = ImageFont.load_default(12)
    now = float(episode.incentives[step - 1, agent]) if step else 0.0
    left, length = BAR
    draw.rectangle((left, y - 6, left + length, y + 6), fill=TRACK)
    share = now / episode.largest if episode.largest else 0.0
    if share > 0:
        draw.rectangle((left, y - 6, left + round(length * share), y + 6), fill=GOLD)
    draw.text((left + 4, y), f"{now:.2f}", fill=INK, font=font, anchor="lm")
    total = episode.incentives[:step, agent].sum()
    draw.text((WIDTH - MARGIN, y), f"{total:.1f}", fill=INK, font=font, anchor="rm")


def frame(episode: Episode, step: int) -> Image.Image:
    """The picture after `step` steps, 0 to T; RGB."""
    size, (left, top) = cell_size(episode), board_corner(episode)
    height, width = episode.scenes.shape[1:]
    image = Image.new("RGB", (WIDTH, top + size * height + MARGIN), PAPER)
    draw = ImageDraw.Draw(image)
    _header(draw, episode, step)
    picture = COLOURS[episode.scenes[step]].repeat(size, axis=0).repeat(size, axis=1)
    image.paste(Image.fromarray(picture), (left, top))
    font = ImageFont.load_default(max(11, size // 3))
    for agent, (row, column) in enumerate(episode.positions[step]):
        # a beam hides an agent; its number stays, so that one sees who stands there
        middle = left + (column + 0.5) * size, top + (row + 0.5) * size
        draw.text(
            middle,
            str(agent + 1),
            fill="white",
            font=font,
            anchor="mm",
            stroke_width=2,
            stroke_fill=agent_colour(agent),
        )
    return image


def frames(episode: Episode) -> list[Image.Image]:
    """The whole episode, T + 1 pictures."""
    return [frame(episode, step) for step in range(episode.steps + 1)]
