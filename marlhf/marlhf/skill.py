"""How returns with different agents are compared: where they lie between random play and the expert (spec 8.2, 11)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LABELS = ("expert", "rookie1", "rookie2", "rookie3", "trivial")  # the five columns of a mix, best to worst


def position(value: float, random: float, expert: float) -> float:
    """s = (R - R_random) / (R_expert - R_random): 0 is random play and 1 the expert."""
    return (value - random) / (expert - random)


@dataclass(frozen=True)
class Scale:
    """Published returns of one episode, per agent (Overcooked: of the team): of uniform play and of each label."""

    random: float
    returns: Mapping[str, float]

    def skill(self, value: float) -> float:
        """s of a return."""
        return position(value, self.random, self.returns["expert"])

    def at(self, skill: float) -> float:
        """The return of a skill."""
        return self.random + skill * (self.returns["expert"] - self.random)


def _scale(random: float, *levels: float, **more: float) -> Scale:
    return Scale(random, {**dict(zip(LABELS, levels, strict=True)), **more})


# Section 8.2. Of n = 6 the published last two are in the wrong order; they are swapped here.
SCALES = {
    "spread": _scale(-27.67, -10.19, -13.82, -20.45, -23.16, -41.35),
    "reference": _scale(-30.10, -10.69, -16.22, -19.92, -27.60, -44.25),
    # Label 480 was never shipped; labels are team returns of 130 steps, 14.6 times the return here (Q12).
    "tag": _scale(4.48, 42.97, 34.43, 27.94, 17.31, 10.87, deviator1=480 / 14.6),
    "spread_na4": _scale(-40.31, -27.64, -33.08, -36.20, -37.48, -48.94),
    "spread_na5": _scale(-36.67, -19.18, -25.16, -31.81, -33.85, -40.10),
    "spread_na6": _scale(-34.87, -25.89, -29.64, -31.25, -33.28, -34.69),
    "spread_na7": _scale(-32.78, -25.10, -25.53, -27.26, -29.55, -32.62),
}
