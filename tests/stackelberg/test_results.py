"""Utilities on a stream of results."""

import pytest

from stackerlberg import results


def stream(*values, key="x", phases=None):
    phases = phases or [0] * len(values)
    return [{key: value, "phase": phase} for value, phase in zip(values, phases, strict=True)]


def column(found, key):
    return [result.get(key) for result in found]


def test_a_sliding_mean_skips_what_is_missing_and_forgets():
    found = results.sliding_mean(stream(1.0, None, 3.0, 8.0), "x", "mean", window=2)
    assert column(found, "mean") == [1.0, 1.0, 2.0, 5.5]


def test_a_sliding_mean_starts_anew_in_a_new_phase():
    found = results.sliding_mean(stream(1.0, 3.0, 10.0, phases=[0, 0, 1]), "x", "mean", reset_on="phase")
    assert column(found, "mean") == [1.0, 2.0, 10.0]


def test_a_sliding_mean_without_values_is_none():
    assert column(results.sliding_mean([{}], "x", "mean"), "mean") == [None]
    with pytest.raises(ValueError, match="at least 1"):
        next(results.sliding_mean([{}], "x", "mean", window=0))


def test_a_key_freezes_where_its_condition_holds_first():
    found = results.freeze(stream(1, 2, 3, 4), "x", "kept", lambda result: result["x"] >= 2)
    assert column(found, "kept") == [1, 2, 2, 2]


def test_a_key_is_copied_only_while_its_condition_holds():
    found = results.copy_while(stream(1, 5, 2), "x", "copy", lambda result: result["x"] > 3)
    assert [result.get("copy") for result in found] == [None, 5, None]
    reused = {"x": 5, "copy": "stale"}
    assert "copy" not in next(results.copy_while([reused], "x", "copy", lambda result: False))


def test_copy_key():
    assert column(results.copy_key(stream(1, 2), "x", "y"), "y") == [1, 2]


def test_the_score_loses_what_the_follower_gains_after_its_phase():
    rows = [
        {"phase": 0, "f": 1.0},
        {"phase": 1, "l": 6.0, "f": 2.0},
        {"phase": 2, "l": 6.0, "f": 5.0},
        {"phase": 2, "l": 6.0, "f": 1.0},
    ]
    found = list(results.penalised_score(rows, "l", "f", "score", phase=2, weight=0.5))
    assert column(found, "score") == [None, 6.0, 4.5, 6.0]


def test_distance_to_a_target():
    assert column(results.distance_to_target(stream(3.0, 7.0), "x", "d", 5.0), "d") == [-2.0, -2.0]
    assert column(results.distance_to_target(stream(3.0), "x", "d", 5.0, negative=False), "d") == [2.0]


def test_they_compose():
    found = results.sliding_mean(results.copy_key(stream(1.0, 3.0), "x", "y"), "y", "mean")
    assert column(found, "mean") == [1.0, 2.0]
