"""Utilities on a stream of result dictionaries (spec 6): each takes results and yields them with a key more or less.

They compose: ``sliding_mean(copy_key(results, "a", "b"), "b", "b_mean")``. A result is changed in place and passed on.
Keys are the flat names of ``metrics.jsonl``, for example ``leader_results/policy_reward_mean/agent_0``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any

Result = MutableMapping[str, Any]


def sliding_mean(
    results: Iterable[Result], key: str, into: str, window: int = 100, reset_on: str | None = None
) -> Iterator[Result]:
    """Mean of the last `window` values of a key, None skipped; it starts anew when the key `reset_on` changes.

    Raises:
        ValueError: the window holds nothing.
    """
    if window < 1:
        raise ValueError(f"window must be at least 1, not {window}")
    recent: deque[float] = deque(maxlen=window)
    phase, started = None, False
    for result in results:
        if reset_on is not None:
            if started and result.get(reset_on) != phase:
                recent.clear()
            phase, started = result.get(reset_on), True
        if result.get(key) is not None:
            recent.append(result[key])
        result[into] = sum(recent) / len(recent) if recent else None
        yield result


def freeze(
    results: Iterable[Result], key: str, into: str, condition: Callable[[Result], bool]
) -> Iterator[Result]:
    """Copy a key until the condition holds for the first time; from then on the value that it had there."""
    frozen, value = False, None
    for result in results:
        if not frozen:
            value, frozen = result.get(key), condition(result)
        result[into] = value
        yield result


def copy_while(
    results: Iterable[Result], key: str, into: str, condition: Callable[[Result], bool]
) -> Iterator[Result]:
    """Copy a key where the condition holds; elsewhere the copy is removed."""
    for result in results:
        if condition(result) and key in result:
            result[into] = result[key]
        else:
            result.pop(into, None)
        yield result


def copy_key(results: Iterable[Result], key: str, into: str) -> Iterator[Result]:
    """Copy a key where it is there."""
    return copy_while(results, key, into, lambda result: True)


def penalised_score(
    results: Iterable[Result], leader: str, follower: str, into: str, phase: int, weight: float = 1.0
) -> Iterator[Result]:
    """Leader's score minus what the follower could still improve.

    The follower's improvement is measured from the last result before phase `phase` (key ``phase``); only a gain
    counts, ``leader - weight * max(0, follower - before)``. Before that phase the leader's score stands alone.
    """
    before = None
    for result in results:
        if result.get("phase", 0) < phase:
            before = result.get(follower, before)
        gain = 0.0
        if result.get("phase", 0) >= phase and before is not None and result.get(follower) is not None:
            gain = max(0.0, result[follower] - before)
        if result.get(leader) is not None:
            result[into] = result[leader] - weight * gain
        yield result


def distance_to_target(
    results: Iterable[Result], key: str, into: str, target: float, negative: bool = True
) -> Iterator[Result]:
    """How far a key is from a target, negative by default so that more is better."""
    for result in results:
        if result.get(key) is not None:
            distance = abs(result[key] - target)
            result[into] = -distance if negative else distance
        yield result
