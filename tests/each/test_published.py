"""Every published figure can be redrawn from its CSV, and its verdict is what that CSV says.

A figure's module needs its paper's packages, so a run of these tests is about the papers of its environment.
"""

import importlib.metadata
import json
import shutil
from pathlib import Path

import pytest

from common import figures

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = {distribution.name for distribution in importlib.metadata.distributions()}
PACKAGES = {path.parent.name: path.parent.parent.name for path in ROOT.glob("*/*/programs.py")}
HERE = [paper for package, paper in PACKAGES.items() if package in INSTALLED]
FIGURES = [(paper, name) for paper in HERE for name in figures.figure_ids(ROOT, paper)]


def published(paper, name):
    return ROOT / "published" / paper / name


def test_this_environment_is_a_papers():
    assert HERE and FIGURES


@pytest.mark.parametrize(("paper", "name"), FIGURES)
def test_a_published_figure_is_redrawn_byte_for_byte(paper, name, tmp_path):
    verdict = json.loads((published(paper, name) / "verdict.json").read_bytes())
    shutil.copy(published(paper, name) / "data.csv", tmp_path)
    figures.draw(figures.load(ROOT, paper, name, verdict["profile"]), tmp_path)
    for picture in ("figure.svg", "figure.png"):
        assert (tmp_path / picture).read_bytes() == (published(paper, name) / picture).read_bytes(), picture


@pytest.mark.parametrize(("paper", "name"), FIGURES)
def test_a_published_verdict_is_what_its_data_say(paper, name, tmp_path):
    verdict = json.loads((published(paper, name) / "verdict.json").read_bytes())
    shutil.copy(published(paper, name) / "data.csv", tmp_path)
    figure = figures.load(ROOT, paper, name, verdict["profile"])
    measured = figures.draw(figure, tmp_path)
    assert [claim.judge(measured.get(claim.id)) for claim in figure.claims] == verdict["claims"]


@pytest.mark.parametrize(("paper", "name"), FIGURES)
def test_a_published_verdict_names_its_runs_and_where_they_ran(paper, name):
    verdict = json.loads((published(paper, name) / "verdict.json").read_bytes())
    records = json.loads((published(paper, name) / "run.json").read_bytes())
    assert verdict["provenance"]["revision"] and verdict["provenance"]["packages"]
    assert {run["status"] for run in verdict["runs"]} == {"finished"}
    assert len(records) == len({run["address"] for run in verdict["runs"]})
    assert all(record["status"] == "finished" and record["seconds"] > 0 for record in records)
    # Runs that were copied here from another checkout would bring its folder along.
    assert not [word for record in records for word in record["command"].split() if Path(word).is_absolute()]
