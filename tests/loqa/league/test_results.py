"""Tables of a league: the published means from the published pairs, files that grow, files that contradict."""

import json
from typing import NamedTuple

import numpy as np
import pytest

from common import plotting
from common.cli import UserError
from loqa.league import heat_map, results
from loqa.league.results import Results

SETTINGS = {"games": 4, "steps": 5, "seed": 2, "mfos_memory": "reset"}


class Stats(NamedTuple):
    mean_rewards: np.ndarray
    easymisses: np.ndarray


def _family(name):
    prefixes = {
        "loqa_rb_ablation": "LOQA-noRB",
        "loqa_sp_ablation": "LOQA-noSP",
        "loqa_": "LOQA",
        "pola_": "POLA",
        "mfos_": "M-FOS",
        "Always Defect": "AD",
        "Always Cooperate": "AC",
        "random": "Random",
    }
    return next(family for prefix, family in prefixes.items() if name.startswith(prefix))


def _published_means(path):
    """(league, family means of our code) for every league of a file of pairs."""
    content = json.loads(path.read_text())
    columns = [content["columns"].index(name) for name in ("mean_reward_1", "mean_reward_2")]
    for league, table in content["leagues"].items():
        pairs = [
            (one, other, _family(one), _family(other), *(float(numbers[column - 2]) for column in columns))
            for one, other, *numbers in table["pairs"]
        ]
        yield league, results.family_means(pairs)


@pytest.mark.golden("league_pairs*.json")
def test_published_family_means(case):
    expected = json.loads((case.parent / "league_family_means.json").read_text())["tables"]
    compared = 0
    for league, rows in _published_means(case):
        found = {f"{row['family1']}|{row['family2']}|{row['pairs']}": row for row in rows}
        for name, published in expected[league].items():
            row = found[name]
            assert row["n"] == published["n"], name
            for seat in (1, 2):
                np.testing.assert_allclose(row[f"mean_{seat}"], published["mean"][seat - 1], atol=1e-4)
                np.testing.assert_allclose(row[f"std_{seat}"], published["std"][seat - 1], atol=1e-4)
            compared += 1
        assert set(found) == set(expected[league])
    assert compared > 20


@pytest.mark.golden("league_pairs*.json")
def test_heat_map_of_the_published_league(case, tmp_path):
    for league, rows in _published_means(case):
        families = heat_map.families_of(rows)
        own, other = heat_map.returns_matrix(rows, families)
        np.testing.assert_array_equal(own, other.T)
        for row in (row for row in rows if row["pairs"] == "all" and row["family1"] != row["family2"]):
            i, j = families.index(row["family1"]), families.index(row["family2"])
            np.testing.assert_allclose((own[i, j], other[i, j]), (row["mean_1"], row["mean_2"]))
        png, _ = plotting.save(heat_map.picture(rows, league), tmp_path, league)
        assert png.stat().st_size > 10_000


def test_heat_map_by_hand():
    means = results.family_means(
        [("a", "a", "A", "A", 1.0, 3.0), ("a", "b", "A", "B", 4.0, 5.0), ("b", "c", "B", "A", 6.0, 8.0)]
    )
    own, other = heat_map.returns_matrix(means, ["A", "B"])
    np.testing.assert_allclose(own, [[2.0, 6.0], [5.5, np.nan]])  # A against B: (4 + 8) / 2; B: (5 + 6) / 2
    np.testing.assert_allclose(other, own.T)


def _one(path, name="x", reward=0.25, **settings):
    kept = Results.read(path)
    kept.agents |= {name: {"family": "LOQA", "sha256": "0"}, "AD": {"family": "AD", "sha256": ""}}
    stats = Stats(np.array([reward, -1.0], np.float32), np.array([np.nan, 0.5], np.float32))
    kept.add(name, "AD", {**SETTINGS, **settings}, stats, np.array([0.1, np.nan]))
    kept.save()
    return kept


def test_files_come_back(tmp_path):
    path = tmp_path / "all_results_matrix.json"
    written = _one(path)
    read = Results.read(path)
    assert read == written
    entry = read.pairs["x", "AD"]
    assert entry["statistics"] == {"mean_rewards": [0.25, -1.0], "easymisses": [None, 0.5]}
    assert entry["standard_error"] == [0.1, None]
    (row,) = plotting.read_csv(results.write_tables(read)[0])
    assert (row["family1"], row["mean_rewards_2"], row["games"]) == ("LOQA", -1.0, 4)
    assert "easymisses_1" not in row
    (mean,) = plotting.read_csv(tmp_path / "all_family_means.csv")
    assert (mean["n"], mean["mean_1"], mean["std_2"]) == (1, 0.25, 0.0)


def test_going_on_needs_the_same_agents_and_settings(tmp_path):
    kept = _one(tmp_path / "all_results_matrix.json")
    kept.check({"x": {"family": "LOQA", "sha256": "0"}, "new": {"family": "LOQA", "sha256": "1"}}, SETTINGS)
    with pytest.raises(UserError, match="another agent called x"):
        kept.check({"x": {"family": "LOQA", "sha256": "1"}}, SETTINGS)
    with pytest.raises(UserError, match="begun with steps 5, this command says 50"):
        kept.check({}, SETTINGS | {"steps": 50})


def test_merge(tmp_path):
    _one(tmp_path / "x_vs_AD_results_matrix.json", "x")
    _one(tmp_path / "y_vs_AD_results_matrix.json", "y", steps=16)
    merged = results.merge(tmp_path)
    assert list(merged.pairs) == [("x", "AD"), ("y", "AD")] and set(merged.agents) == {"x", "y", "AD"}
    merged.save()
    assert results.merge(tmp_path).pairs == merged.pairs  # its own file takes part, and agrees
    _one(tmp_path / "z_results_matrix.json", "x", reward=0.5)
    with pytest.raises(UserError, match="other results for x and AD"):
        results.merge(tmp_path)
    with pytest.raises(UserError, match="holds no"):
        results.merge(tmp_path / "empty")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format": "other"}', '{"format": "loqa league 1", "pairs": [{}]}']
)
def test_foreign_files_are_refused(tmp_path, text):
    path = tmp_path / "all_results_matrix.json"
    path.write_text(text)
    with pytest.raises(UserError, match=str(path.name)):
        Results.read(path)
    assert path.read_text() == text
