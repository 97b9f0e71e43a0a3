"""Claims and verdicts: what a paper says, what was measured, and whether the two agree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
INCOMPLETE, NOT_JUDGED = "incomplete", "not judged"
EXIT_CODES = {REPRODUCED: 0, NOT_REPRODUCED: 1, INCOMPLETE: 2, NOT_JUDGED: 0}
_NEAR = {"near", "tolerance"}
_FORMS = ({"at_least"}, {"at_most"}, {"between"}, _NEAR, _NEAR | {"reference_se"})


@dataclass(frozen=True)
class Measurement:
    """Our value for a claim, its 95 % interval, the number of independent runs behind it and its standard error."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    se: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """One checkable statement of a paper.

    Attributes:
        expect: ``{at_least: a}``, ``{at_most: b}``, ``{between: [a, b]}`` or ``{near: v, tolerance: t}``; with
            ``reference_se`` the tolerance is the larger of t and three combined standard errors.
    """

    id: str
    text: str
    paper: str
    expect: Mapping[str, Any]
    profiles: Sequence[str] = field(default=("quick", "paper"))

    def __post_init__(self):
        if set(self.expect) not in _FORMS:
            raise ValueError(
                f"claim {self.id}: expect has {sorted(self.expect)}; one of {[sorted(f) for f in _FORMS]}"
            )

    def bounds(self, se: float | None = None) -> tuple[float, float]:
        """The interval in which our value must lie, given its standard error."""
        if "between" in self.expect:
            return tuple(self.expect["between"])
        if "near" in self.expect:
            tolerance = self.expect["tolerance"]
            if "reference_se" in self.expect:
                tolerance = max(tolerance, 3 * math.hypot(se or 0.0, self.expect["reference_se"]))
            return self.expect["near"] - tolerance, self.expect["near"] + tolerance
        return self.expect.get("at_least", -math.inf), self.expect.get("at_most", math.inf)

    def judge(self, ours: Measurement | None) -> dict[str, Any]:
        """The claim as a row of ``verdict.json``."""
        low, high = self.bounds(ours.se if ours else None)
        if ours is None or not math.isfinite(ours.value):
            status, ours = INCOMPLETE, None
        else:
            status = REPRODUCED if low <= ours.value <= high else NOT_REPRODUCED
        return {
            "id": self.id,
            "text": self.text,
            "paper": self.paper,
            "expected": _words(low, high),
            **{name: getattr(ours, name, None) for name in ("value", "low", "high", "n")},
            "note": ours.note if ours else "no finished run gives a value",
            "status": status,
        }


def _words(low: float, high: float) -> str:
    if math.isinf(high):
        return f"at least {low:.4g}"
    return f"at most {high:.4g}" if math.isinf(low) else f"{low:.4g} to {high:.4g}"


def overall(statuses: Sequence[str]) -> str:
    """The verdict over several claims: incomplete before not reproduced before reproduced."""
    for status in (INCOMPLETE, NOT_REPRODUCED, REPRODUCED):
        if status in statuses:
            return status
    return NOT_JUDGED
