"""The README's table of quirks and the DEVIATION tags in the code name the same ones."""

import re
from pathlib import Path

HOME = Path(__file__).resolve().parents[2] / "marlhf"
TAG = re.compile(r"DEVIATION\(Q(\d+)\)")


def rows():
    """Quirk number -> (what is done here, switch, measured effect), from the README's table."""
    found = {}
    for line in (HOME / "README.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if re.fullmatch(r"Q\d+", cells[0]):
            assert len(cells) == 5, line
            found[int(cells[0][1:])] = cells[2:]
    return found


def tags():
    """Quirk numbers with a tag in the library or a script."""
    return {int(n) for path in HOME.rglob("*.py") for n in TAG.findall(path.read_text("utf-8"))}


def test_every_quirk_has_a_row():
    assert set(rows()) == set(range(1, 28))


def test_every_row_says_what_is_done():
    for number, (here, _, _) in rows().items():
        assert re.match(r"(kept|fixed|refused|switchable)\b", here), f"Q{number}: {here}"


def test_every_tag_in_the_code_is_in_the_table_as_a_difference():
    kept = {number for number, (here, _, _) in rows().items() if here.startswith("kept")}
    assert not tags() & kept and tags() <= set(rows())


def test_every_difference_in_the_table_has_its_tag():
    changed = {number for number, (here, _, _) in rows().items() if not here.startswith("kept")}
    assert changed == tags()
