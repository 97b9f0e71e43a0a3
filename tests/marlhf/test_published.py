"""Every published figure can be redrawn from its CSV, and its verdict is what that CSV says."""

import json
import shutil
from pathlib import Path

import pytest

from common import figures

ROOT = Path(__file__).resolve().parents[2]
FIGURES = figures.figure_ids(ROOT, "marlhf")


def published(name):
    return ROOT / "published" / "marlhf" / name


@pytest.mark.parametrize("name", FIGURES)
def test_a_published_figure_is_redrawn_byte_for_byte(name, tmp_path):
    verdict = json.loads((published(name) / "verdict.json").read_bytes())
    shutil.copy(published(name) / "data.csv", tmp_path)
    figures.draw(figures.load(ROOT, "marlhf", name, verdict["profile"]), tmp_path)
    for picture in ("figure.svg", "figure.png"):
        assert (tmp_path / picture).read_bytes() == (published(name) / picture).read_bytes(), picture


@pytest.mark.parametrize("name", FIGURES)
def test_a_published_verdict_is_what_its_data_say(name, tmp_path):
    verdict = json.loads((published(name) / "verdict.json").read_bytes())
    shutil.copy(published(name) / "data.csv", tmp_path)
    figure = figures.load(ROOT, "marlhf", name, verdict["profile"])
    measured = figures.draw(figure, tmp_path)
    assert [claim.judge(measured.get(claim.id)) for claim in figure.claims] == verdict["claims"]


@pytest.mark.parametrize("name", FIGURES)
def test_a_published_verdict_names_its_runs_and_where_they_ran(name):
    verdict = json.loads((published(name) / "verdict.json").read_bytes())
    records = json.loads((published(name) / "run.json").read_bytes())
    assert verdict["provenance"]["revision"] and verdict["provenance"]["packages"]
    assert {run["status"] for run in verdict["runs"]} == {"finished"}
    assert len(records) == len({run["address"] for run in verdict["runs"]})
    assert all(record["status"] == "finished" and record["seconds"] > 0 for record in records)
