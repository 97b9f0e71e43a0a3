"""The front page says what is published, and every figure it could name has a target."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from common import report

ROOT = Path(__file__).resolve().parents[2]
FIGURES = sorted(path for path in ROOT.glob("*/figures/*.toml"))
MARKED = "top\n<!-- figures:begin -->\nold\n<!-- figures:end -->\nbottom\n"


def test_the_readme_table_is_what_is_published():
    text = (ROOT / "README.md").read_text("utf-8")
    assert report.front_page(text, ROOT / "published") == text, "run make readme"


def test_the_table_names_command_number_and_verdict(tmp_path):
    claim = {
        "text": "cooperates",
        "paper": "0.3",
        "value": 0.31,
        "low": None,
        "high": None,
        "n": 4,
        "status": "reproduced",
    }
    verdict = {
        "paper": "pola",
        "figure": "fig9",
        "command": "make reproduce-pola-fig9",
        "claims": [claim],
        "status": "reproduced",
        "seconds": 61.0,
        "provenance": {"device": "cpu"},
    }
    folder = tmp_path / "pola" / "fig9"
    folder.mkdir(parents=True)
    (folder / "verdict.json").write_text(json.dumps(verdict))
    text = report.front_page(MARKED, tmp_path)
    assert text.startswith("top\n") and text.endswith("bottom\n") and "old" not in text
    row = next(line for line in text.splitlines() if "fig9" in line)
    for part in ("make reproduce-pola-fig9", "0.3 / **0.31 (n = 4)**", "1 of 1", "reproduced", "61 s"):
        assert part in row
    assert report.front_page(text, tmp_path) == text


@pytest.mark.parametrize("manifest", FIGURES, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_every_figure_is_published_and_has_its_targets(manifest):
    paper, figure = manifest.parts[-3], manifest.stem
    published = ROOT / "published" / paper / figure
    for name in ("data.csv", "figure.png", "figure.svg", "run.json", "verdict.json"):
        assert (published / name).is_file(), f"published/{paper}/{figure} lacks {name}"
    listed = subprocess.run(
        ["make", "--no-print-directory", "-C", str(ROOT)], capture_output=True, text=True, check=True
    ).stdout
    assert re.search(rf"reproduce-{paper}-{figure}\b", listed)
