"""Episodes of Escape Room as pictures. NumPy and Pillow only.

A line per agent: where it stands, at the lever, at the start or at the door, with a trail from where it came; what it
earned in this step; and what the mechanism paid it (bar and number). The lever says how many pull it in this step, and
the door whether that opened it.
"""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

from iqflow.env.escape_room import DOOR, LEVER, PLACES
from iqflow.env.frames import agent_colour
from iqflow.film.escape_room import Episodes

INK, SOFT, PAPER, TRACK, GOLD, LINES = "#222222", "#777777", "white", "#e4e4e4", "#c98a14", "#cfcfcf"
ROOM, OPEN, SHUT = "#f6f6f6", "#cfe8d0", "#efd3d0"
WIDTH, MARGIN, LINE, TOP, FOOTER = 540, 12, 34, 62, 40
PLACE, GAP = 84, 10  # width of a place, and what is between two
REWARD = 350  # right edge of the step's reward
BAR = (368, 110)  # left edge and length of an incentive's bar


def place_edge(place: int) -> int:
    """Left edge of a place in pixels."""
    return MARGIN + place * (PLACE + GAP)


def centre(place: int, agent: int) -> tuple[int, int]:
    """Where an agent is drawn."""
    return place_edge(place) + PLACE // 2, TOP + LINE * agent + LINE // 2


def _room(draw: ImageDraw.ImageDraw, episodes: Episodes, step: int | None) -> None:
    font = ImageFont.load_default(13)
    bottom = TOP + LINE * len(episodes.names)
    for place, name in enumerate(PLACES):
        left, colour, word = place_edge(place), ROOM, name
        if step is not None and place == LEVER:
            word = f"lever {int((episodes.actions[step] == LEVER).sum())} of {episodes.min_at_lever}"
        if step is not None and place == DOOR:
            colour, word = (OPEN, "door open") if episodes.opened(step) else (SHUT, "door shut")
        draw.rectangle((left, TOP, left + PLACE, bottom), fill=colour, outline=LINES)
        draw.text((left + PLACE // 2, TOP - 10), word, fill=INK, font=font, anchor="mm")


def _agent(draw: ImageDraw.ImageDraw, episodes: Episodes, step: int, agent: int, moved: bool) -> None:
    font, small = ImageFont.load_default(13), ImageFont.load_default(11)
    came, goes = episodes.before[step, agent], episodes.actions[step, agent]
    x, y = centre(goes if moved else came, agent)
    if moved and came != goes:
        draw.line((*centre(came, agent), x, y), fill=agent_colour(agent), width=3)
    draw.ellipse((x - 12, y - 12, x + 12, y + 12), fill=agent_colour(agent))
    draw.text((x, y), str(agent + 1), fill="white", font=font, anchor="mm")
    if episodes.names[agent] != "follower":
        draw.text((WIDTH - MARGIN, y), episodes.names[agent], fill=SOFT, font=small, anchor="rm")
    if moved:
        draw.text((REWARD, y), f"{episodes.rewards[step, agent]:+g}", fill=INK, font=font, anchor="rm")
    if episodes.incentives is None:
        return
    left, length = BAR
    now = float(episodes.incentives[step, agent]) if moved else 0.0
    draw.rectangle((left, y - 8, left + length, y + 8), fill=TRACK)
    if paid := round(length * now / episodes.largest):
        draw.rectangle((left, y - 8, left + paid, y + 8), fill=GOLD)
    if moved:
        draw.text((left + 4, y), f"{now:.2f}", fill=INK, font=small, anchor="lm")


def _event(episodes: Episodes, step: int) -> str:
    opened, leave = episodes.opened(step), int((episodes.rewards[step] > 0).sum())
    if opened:
        return f"the door opens, {leave} leave" if leave else "the door opens, and nobody leaves"
    return "the door stays shut" + ("; time is up" if episodes.ends[step] else "")


def frame(episodes: Episodes, step: int, moved: bool) -> Image.Image:
    """The picture of a step (from 0), before or after the agents have moved; RGB."""
    image = Image.new("RGB", (WIDTH, TOP + LINE * len(episodes.names) + FOOTER), PAPER)
    draw = ImageDraw.Draw(image)
    font, bold = ImageFont.load_default(12), ImageFont.load_default(14)
    starts = [start for start in episodes.starts() if start <= step]
    begin, now = starts[-1], step + moved
    draw.text((MARGIN, 8), f"episode {len(starts)}, step {now - begin}", fill=INK, font=bold)
    total = episodes.rewards[begin:now].sum()
    together = f"reward together {total:+g} (at best {episodes.optimum:+g})"
    draw.text((WIDTH - MARGIN, 8), together, fill=INK, font=bold, anchor="ra")
    draw.text((REWARD, TOP - 10), "reward", fill=SOFT, font=font, anchor="rm")
    if episodes.incentives is not None:
        draw.text((BAR[0], TOP - 10), "incentive paid", fill=SOFT, font=font, anchor="lm")
    _room(draw, episodes, step if moved else None)
    for agent in range(len(episodes.names)):
        _agent(draw, episodes, step, agent, moved)
    middle = TOP + LINE * len(episodes.names) + FOOTER // 2
    words = _event(episodes, step) if moved else "a new episode begins"
    draw.text((MARGIN, middle), words, fill=INK, font=ImageFont.load_default(13), anchor="lm")
    if episodes.incentives is not None:
        paid = f"incentives so far {episodes.incentives[begin:now].sum():.1f}"
        draw.text((WIDTH - MARGIN, middle), paid, fill=INK, font=ImageFont.load_default(13), anchor="rm")
    return image


def frames(episodes: Episodes) -> list[Image.Image]:
    """All steps, and before each episode's first one the places that its agents begin at."""
    starts = set(episodes.starts())
    return [
        frame(episodes, step, moved)
        for step in range(episodes.steps)
        for moved in ((False, True) if step in starts else (True,))
    ]
