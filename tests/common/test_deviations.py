"""The table of quirks in a paper's README and the DEVIATION tags in the code name the same ones."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: the quirks that each paper's specification numbers
QUIRKS = {
    "pola": range(1, 22),
    "loqa": range(25),
    "iqflow": range(1, 22),
    "stackelberg": range(1, 23),
    "marlhf": range(1, 28),
}
TAG = re.compile(r"DEVIATION\(Q(\d+)\)")


def rows(paper):
    """Quirk number -> (what is done here, switch, measured effect), from the README's table."""
    found = {}
    for line in (ROOT / paper / "README.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if re.fullmatch(r"Q\d+", cells[0]):
            assert len(cells) == 5, line
            found[int(cells[0][1:])] = cells[2:]
    return found


def tags(paper):
    """Quirk numbers with a tag in the library or a script."""
    return {int(n) for path in (ROOT / paper).rglob("*.py") for n in TAG.findall(path.read_text("utf-8"))}


@pytest.mark.parametrize("paper", QUIRKS)
def test_every_quirk_has_a_row(paper):
    assert set(rows(paper)) == set(QUIRKS[paper])


@pytest.mark.parametrize("paper", QUIRKS)
def test_every_row_says_what_is_done(paper):
    for number, (here, _, _) in rows(paper).items():
        assert re.match(r"(kept|fixed|refused|switchable)\b", here), f"Q{number}: {here}"


@pytest.mark.parametrize("paper", QUIRKS)
def test_every_tag_in_the_code_is_in_the_table_as_a_difference(paper):
    kept = {number for number, (here, _, _) in rows(paper).items() if here.startswith("kept")}
    assert not tags(paper) & kept and tags(paper) <= set(rows(paper))


@pytest.mark.parametrize("paper", QUIRKS)
def test_every_difference_in_the_table_has_its_tag(paper):
    changed = {number for number, (here, _, _) in rows(paper).items() if not here.startswith("kept")}
    assert changed == tags(paper)
