"""Statistics over seeds: means with a band, proportions, time to a threshold."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Interval(NamedTuple):
    """An estimate and the two ends of its interval; floats, or arrays of one shape."""

    value: Any
    low: Any
    high: Any


class Proportion(NamedTuple):
    """Successful seeds: how many of how many, their share, and its Wilson interval."""

    successes: int
    n: int
    value: float
    low: float
    high: float


#: of every interval here
LEVEL = 0.95
#: the normal quantile; not 1.959964: the factor that the papers write, so that their bands come out to the last digit
Z = 1.96


def _student_quantile(freedom: int) -> float:
    """The t with P(|T| < t) = `LEVEL`, by bisection on the closed form for whole degrees of freedom."""
    low, high = 0.0, math.pi / 2  # angle = atan(t / sqrt(freedom))
    for _ in range(100):
        angle = (low + high) / 2
        sine, cosine = math.sin(angle), math.cos(angle)
        term = total = cosine if freedom % 2 else 1.0
        for k in range(3 if freedom % 2 else 2, freedom, 2):
            term *= cosine**2 * (k - 1) / k
            total += term
        inside = 2 / math.pi * (angle + sine * total * (freedom > 1)) if freedom % 2 else sine * total
        low, high = (angle, high) if inside < LEVEL else (low, angle)
    return math.sqrt(freedom) * math.tan(low)


def mean_interval(x: ArrayLike, *, kind: str = "normal") -> Interval:
    """Mean over seeds with a 95 % band.

    Args:
        x: scores ``[S]`` or ``[S, T]``, seeds first. NaN propagates.
        kind: "normal", ``z * sd / sqrt(n)`` with the population's sd (ddof 0): the band of POLA's figures;
            "student", ``t * sd / sqrt(n)`` with ddof 1: right for few seeds (NaN band for one seed);
            "deviation", one standard deviation (ddof 0): a spread (LOQA's bars, Stackelberg's bands).

    Returns:
        mean, low, high, each of the shape of `x` without its first axis.
    """
    array = np.asarray(x, dtype=np.float64)
    if array.ndim == 0 or len(array) == 0:
        raise ValueError("mean_interval needs at least one score")
    n, mean = len(array), array.mean(0)
    if kind == "normal":
        half = Z * array.std(0) / math.sqrt(n)
    elif kind == "student":
        half = mean * np.nan
        if n > 1:
            half = _student_quantile(n - 1) * array.std(0, ddof=1) / math.sqrt(n)
    elif kind == "deviation":
        half = array.std(0)
    else:
        raise ValueError(f"kind must be normal, student or deviation, not {kind!r}")
    return Interval(mean, mean - half, mean + half)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval for a proportion: inside [0, 1], and wide even at 0 of n and n of n."""
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"wilson needs 0 <= successes <= n and n >= 1, not {successes} of {n}")
    share = successes / n
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def success_proportion(successful: ArrayLike) -> Proportion:
    """Share of successful seeds with its Wilson interval, from one truth value per seed."""
    flags = np.asarray(successful).astype(bool).ravel()
    low, high = wilson(int(flags.sum()), flags.size)
    return Proportion(int(flags.sum()), flags.size, float(flags.mean()), low, high)


def first_time_to_threshold(x: ArrayLike, y: ArrayLike, threshold: float) -> float | None:
    """The first x at which y is at least `threshold`; None if it never is.

    Several conditions, or strict ones: hand in truth values as `y` and ``threshold=1``. NaN does not pass.
    """
    x, passed = np.asarray(x), np.asarray(y, dtype=np.float64) >= threshold
    if x.ndim != 1 or x.shape != passed.shape:
        raise ValueError(f"x {x.shape} and y {passed.shape} must be 1-D and alike")
    return x[passed.argmax()].item() if passed.any() else None
