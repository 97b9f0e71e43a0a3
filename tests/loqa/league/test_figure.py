"""The league's figure: rows, picture and measurements from saved agents; its runs are those of the ablations."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from common import figures, plotting
from common.runs import RunFolder

ROOT = Path(__file__).resolve().parents[3]
FIGURES = ROOT / "loqa" / "figures"


@pytest.fixture(scope="module")
def figure(script):
    return script(FIGURES / "league.py")


def test_rows_picture_and_measurements(figure, tmp_path, write_loqa, original_streams):
    runs = {}
    for family in ("LOQA", "LOQA-noRB"):
        for seed in (42, 43):
            path = tmp_path / f"{family}{seed}"
            for iteration in (0, 6000):
                write_loqa(path / "agents" / f"minimal_state_{iteration}", seed=seed + iteration)
            runs.setdefault(family, []).append(RunFolder(path, {"config": {"hp": {"seed": seed}}}))
    rows = figure.tabulate(runs)
    plotting.write_csv(rows, tmp_path / "data.csv")
    rows = plotting.read_csv(tmp_path / "data.csv")
    ones = [row for row in rows if row["pairs"] == "one"]
    assert len(ones) == 7 * 8 // 2
    assert {(row["agent1"], row["agent2"]) for row in ones if row["family1"] == "LOQA-noRB"} >= {
        ("LOQA-noRB_42", "LOQA-noRB_43"),
        ("LOQA-noRB_43", "random"),
    }
    means = {(row["source"], row["family1"], row["family2"], row["pairs"]): row for row in rows}
    ours = [row["mean_1"] for row in ones if (row["family1"], row["family2"]) == ("LOQA", "AC")]
    np.testing.assert_allclose(means["ours", "LOQA", "AC", "all"]["mean_1"], np.mean(ours))
    assert means["paper", "M-FOS", "AD", "all"]["mean_1"] == -0.4203

    measured = figure.measure(rows)
    found = measured["loqa-ac"]
    assert (found.n, found.value) == (2, pytest.approx(np.mean(ours)))
    assert found.low < found.value < found.high
    crossed = [row for row in ones if {row["agent1"], row["agent2"]} == {"LOQA_42", "LOQA_43"}]
    assert measured["loqa-cross"].value == pytest.approx((crossed[0]["mean_1"] + crossed[0]["mean_2"]) / 2)
    assert "nosp-self" not in measured
    claims = {claim["id"] for claim in tomllib.loads((FIGURES / "league.toml").read_text())["claim"]}
    assert set(measured) | {"nosp-self"} == claims
    with plotting.house_style():
        png, _ = plotting.save(figure.draw(rows), tmp_path)
    assert png.stat().st_size > 30_000


def test_scripted_claims_hold_whatever_was_trained(figure, tmp_path, original_streams):
    """The league of the scripted players alone is judged as the quick profile judges it."""
    measured = figure.measure(figure.tabulate({}))
    for claim in figures.load(ROOT, "loqa", "league", "quick").claims:
        if claim.id in measured:
            assert claim.judge(measured[claim.id])["status"] == "reproduced", claim.id
    assert {"ac-ac", "ad-ad", "ad-ac-defector", "ad-ac-cooperator"} <= set(measured)


@pytest.mark.golden("league_family_means*.json")
def test_the_papers_rows_are_the_published_ones(case):
    tables = json.loads(case.read_text())["tables"]
    rows = json.loads((FIGURES / "league_paper.json").read_text())["rows"]
    for row in rows:
        name = f"{row['family1']}|{row['family2']}|{row['pairs']}"
        published = next(
            tables[league][name]
            for league in ("league_20230924_all", "ablation", "ablation_2", "mfos")
            if name in tables[league]
        )
        assert [row["mean_1"], row["mean_2"], row["n"]] == [*published["mean"], published["n"]]


@pytest.mark.parametrize("profile", ["quick", "paper"])
def test_its_runs_are_those_of_the_ablations(profile):
    """One training serves both figures: equal addresses in the cache."""
    addresses = {
        name: {run.spec.address for run in figures.plan(figures.load(ROOT, "loqa", name, profile))}
        for name in ("league", "ablations")
    }
    assert addresses["league"] <= addresses["ablations"]
