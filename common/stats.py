"""Statistics over seeds: means with a band, IQM, stratified bootstrap, proportions, time to a threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import NormalDist
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


def _normal_quantile(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    # 1.96 and not 1.959964: the factor that the papers write, so that their bands come out to the last digit.
    return 1.96 if level == 0.95 else NormalDist().inv_cdf((1 + level) / 2)


def _student_quantile(level: float, freedom: int) -> float:
    """The t with P(|T| < t) = level, by bisection on the closed form for whole degrees of freedom."""
    _normal_quantile(level)
    low, high = 0.0, math.pi / 2  # angle = atan(t / sqrt(freedom))
    for _ in range(100):
        angle = (low + high) / 2
        sine, cosine = math.sin(angle), math.cos(angle)
        term = total = cosine if freedom % 2 else 1.0
        for k in range(3 if freedom % 2 else 2, freedom, 2):
            term *= cosine**2 * (k - 1) / k
            total += term
        inside = 2 / math.pi * (angle + sine * total * (freedom > 1)) if freedom % 2 else sine * total
        low, high = (angle, high) if inside < level else (low, angle)
    return math.sqrt(freedom) * math.tan(low)


def mean_interval(x: ArrayLike, level: float = 0.95, *, kind: str = "normal", axis: int = 0) -> Interval:
    """Mean over seeds with a band.

    Args:
        x: scores; `axis` is the seeds' axis (the first one: ``[S]`` or ``[S, T]``). NaN propagates.
        level: confidence level; unused by "deviation".
        kind: "normal", ``z * sd / sqrt(n)`` with the population's sd (ddof 0): the band of POLA's figures;
            "student", ``t * sd / sqrt(n)`` with ddof 1: right for few seeds (NaN band for one seed);
            "deviation", one standard deviation (ddof 0): a spread (LOQA's bars, Stackelberg's bands).

    Returns:
        mean, low, high, each of the shape of `x` without `axis`.
    """
    array = np.asarray(x, dtype=np.float64)
    if array.ndim == 0 or array.shape[axis] == 0:
        raise ValueError("mean_interval needs at least one score")
    n, mean = array.shape[axis], array.mean(axis)
    if kind == "normal":
        half = _normal_quantile(level) * array.std(axis) / math.sqrt(n)
    elif kind == "student":
        half = mean * np.nan
        if n > 1:
            half = _student_quantile(level, n - 1) * array.std(axis, ddof=1) / math.sqrt(n)
    elif kind == "deviation":
        half = array.std(axis)
    else:
        raise ValueError(f"kind must be normal, student or deviation, not {kind!r}")
    return Interval(mean, mean - half, mean + half)


def iqm(scores: ArrayLike | Mapping[str, ArrayLike]) -> float:
    """Interquartile mean: the mean without the lowest and highest ``floor(n / 4)`` scores, tasks pooled."""
    parts = scores.values() if isinstance(scores, Mapping) else [scores]
    pooled = np.sort(np.concatenate([np.ravel(np.asarray(part, dtype=np.float64)) for part in parts]))
    if pooled.size == 0:
        raise ValueError("iqm needs at least one score")
    cut = pooled.size // 4
    return float(pooled[cut : pooled.size - cut].mean())


def stratified_bootstrap(
    scores: ArrayLike | Mapping[str, ArrayLike],
    statistic: Callable[[Any], float] = iqm,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval; seeds are drawn with replacement within each task (Agarwal et al. 2021).

    Args:
        scores: ``[tasks, seeds]``, or a mapping task -> ``[seeds]`` whose lengths may differ.
        statistic: takes scores of the same form and gives one number: `iqm`, ``np.mean``, or for a mapping
            a difference, ``lambda s: s["loqa"].mean() - s["pola"].mean()``.
        seed: of the resampling; the same seed gives the same interval.

    Returns:
        The statistic of the scores themselves, and the two ends of its interval.
    """
    _normal_quantile(level)
    tasks = (
        scores
        if isinstance(scores, Mapping)
        else dict(enumerate(np.atleast_2d(np.asarray(scores, np.float64))))
    )
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in tasks.items()}
    if not arrays or any(values.ndim != 1 or values.size == 0 for values in arrays.values()):
        raise ValueError("scores must be [tasks, seeds], or a mapping of tasks to at least one score each")
    form = (
        (lambda parts: parts)
        if isinstance(scores, Mapping)
        else (lambda parts: np.stack(list(parts.values())))
    )
    rng = np.random.default_rng(seed)
    draws = [
        statistic(form({name: rng.choice(values, values.size) for name, values in arrays.items()}))
        for _ in range(n_resamples)
    ]
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(form(arrays))), float(low), float(high))


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion: inside [0, 1], and wide even at 0 of n and n of n."""
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"wilson needs 0 <= successes <= n and n >= 1, not {successes} of {n}")
    z, share = _normal_quantile(level), successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def success_proportion(successful: ArrayLike, level: float = 0.95) -> Proportion:
    """Share of successful seeds with its Wilson interval, from one truth value per seed."""
    flags = np.asarray(successful).astype(bool).ravel()
    low, high = wilson(int(flags.sum()), flags.size, level)
    return Proportion(int(flags.sum()), flags.size, float(flags.mean()), low, high)


def first_time_to_threshold(x: ArrayLike, y: ArrayLike, threshold: float, sustained: int = 1) -> float | None:
    """The first x from which y is at least `threshold` for `sustained` points running; None if that never is.

    Several conditions, or strict ones: hand in truth values as `y` and ``threshold=1``. NaN does not pass.
    """
    x, passed = np.asarray(x), np.asarray(y, dtype=np.float64) >= threshold
    if x.ndim != 1 or x.shape != passed.shape or sustained < 1:
        raise ValueError(f"x {x.shape} and y {passed.shape} must be 1-D and alike, and sustained >= 1")
    for start in range(x.size - sustained + 1):
        if passed[start : start + sustained].all():
            return x[start].item()
    return None
