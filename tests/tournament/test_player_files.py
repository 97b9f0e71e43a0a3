"""Player files: what is read, and that everything wrong is one clear line."""

import json
from pathlib import Path

import numpy as np
import pytest

from common.cli import UserError
from tournament.player_file import CHECK_TOLERANCE, read, read_all

PLAYERS = Path(__file__).resolve().parents[2] / "tournament" / "players"
SHIPPED = sorted(PLAYERS.glob("*.json"))


def test_observations_become_situations(tit_for_tat, write):
    player = read(write(tit_for_tat))
    assert player.table.tolist() == [1, 0, 1, 0, 1]  # CC, CD, DC, DD, start
    assert player.label == player.group == "mine" and player.network is None


def test_order_of_the_observations_does_not_matter(tit_for_tat, write):
    tit_for_tat |= {"sees": ["DD", "CD", "start", "CC", "DC"], "cooperate": [0.1, 0.2, 0.3, 0.4, 0.5]}
    assert read(write(tit_for_tat)).table.tolist() == [0.4, 0.2, 0.5, 0.1, 0.3]


def test_a_recurrent_player_is_read_with_its_check(recurrent, write):
    player = read(write(recurrent))
    assert player.table is None and player.network.cooperation == 1
    situations, recorded = player.check
    assert np.allclose(player.network.along(situations), recorded, atol=CHECK_TOLERANCE)


def wrong(key, value):
    return lambda data: data | {key: value}


def without(key):
    return lambda data: {name: value for name, value in data.items() if name != key}


def cooperate(*values):
    return wrong("cooperate", list(values))


BAD = {
    "format": (wrong("format", "opponent-shaping-player/2"), "it is no player"),
    "no object": (lambda data: [data], "it is no player"),
    "kind": (wrong("kind", "memory-two"), "it can be memory-one or recurrent"),
    "unknown key": (wrong("forgiveness", 1), "'forgiveness', which nobody reads"),
    "missing key": (without("about"), "lacks 'about'"),
    "other kind's key": (wrong("cell", "gru"), "'cell', which nobody reads"),
    "empty text": (wrong("about", " "), "about is ' '"),
    "other name": (wrong("name", "yours"), "has to be the file's, 'mine'"),
    "long label": (wrong("label", "x" * 23), "longer than 22"),
    "too few": (cooperate(1, 0), "list of 3 probabilities"),
    "too many": (cooperate(1, 0, 0, 0, 0), "list of 3 probabilities"),
    "above one": (cooperate(1, 1.01, 0), "1.01, which is no probability"),
    "below zero": (cooperate(1, -0.01, 0), "-0.01, which is no probability"),
    "a truth value": (cooperate(True, 1, 0), "True, which is no probability"),
    "a text": (cooperate("1", 1, 0), "'1', which is no probability"),
    "no list": (wrong("cooperate", 0.5), "list of 3 probabilities"),
    "unknown observation": (wrong("sees", ["start", "-C", "-B"]), "'-B'; an observation is"),
    "uncovered": (wrong("sees", ["start", "-C", "CD"]), "no observation for DD"),
    "covered twice": (wrong("sees", ["start", "--", "-D"]), "-- and -D for CD"),
    "sees no list": (wrong("sees", "start"), "has to be a list of observations"),
    "made by nobody": (wrong("made_by", "me"), "made_by has to be an object"),
    "made by no command": (wrong("made_by", {"commands": [], "game": "loqa/ipd"}), "made_by commands is []"),
    "made by extra": (
        wrong("made_by", {"commands": ["x"], "game": "y", "when": "now"}),
        "'when', which nobody reads",
    ),
    "made by wrong": (
        wrong("made_by", {"commands": ["x"], "game": "y", "seed": "one"}),
        "has to be a number",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_one_line(case, tit_for_tat, write):
    change, expected = BAD[case]
    path = write(change(tit_for_tat), "mine")
    with pytest.raises(UserError) as caught:
        read(path)
    text = str(caught.value)
    assert expected in text and text.startswith(f"player file {path}: ") and "\n" not in text


def at(*keys, value):
    """Changes something deep inside."""

    def change(data):
        place = data
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        return data

    return change


BAD_NETWORKS = {
    "cell": (wrong("cell", "lstm"), "the only one is gru"),
    "answers": (wrong("answers", ["C", "C"]), "answers is"),
    "inputs": (wrong("inputs", [[1, 0]] * 4), "list of 5 vectors"),
    "ragged inputs": (wrong("inputs", [[1, 0]] * 4 + [[1]]), "of one length"),
    "textual inputs": (wrong("inputs", [["a"]] * 5), "inputs holds something that is no number"),
    "activation": (at("layers", 0, "activation", value="gelu"), "activation is 'gelu'"),
    "layers": (wrong("layers", {}), "layers has to be a list"),
    "layer's width": (wrong("layers", []), "gru ir kernel has shape [3, 3]; it has to be [4, 3]"),
    "gate missing": (lambda data: data | {"gru": {}}, "gru lacks 'hn'"),
    "array": (at("gru", "ir", "kernel", value=[1, 2]), "gru ir kernel has to be an object"),
    "base64": (at("gru", "ir", "kernel", "float32", value="%%%"), "is not base64 of as many float32"),
    "shape": (at("gru", "ir", "kernel", "shape", value=[2, 2]), "is not base64 of as many float32"),
    "shape's sign": (at("gru", "ir", "kernel", "shape", value=[-1, 3]), "list of whole numbers above 0"),
    "bias": (at("gru", "hr", "bias", value={"shape": [3], "float32": ""}), "'bias', which nobody reads"),
    "readout": (
        at("readout", "bias", value={"shape": [3], "float32": "AAAAAAAAAAAAAAAA"}),
        "it has to be [2]",
    ),
    "NaN": (at("readout", "bias", value={"shape": [2], "float32": "AADAfwAAwH8="}), "no number"),
    "check's words": (at("check", "history", value=["C"]), "check history has to be"),
    "check's length": (at("check", "cooperate", value=[0.5]), "list of 8 probabilities"),
    "check": (at("check", "cooperate", 3, value=0.123), "a wrong or damaged file"),
}


@pytest.mark.parametrize("case", BAD_NETWORKS)
def test_what_is_wrong_in_a_network_is_one_line(case, recurrent, write):
    change, expected = BAD_NETWORKS[case]
    with pytest.raises(UserError) as caught:
        read(write(change(recurrent), "mine"))
    assert expected in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "is no JSON"),
        ("", "is no JSON"),
        ('{"format": 1, "format": 2}', "'format' stands there twice"),
        ('{"cooperate": [NaN]}', "NaN is no number"),
        ('{"cooperate": [1e999]}', "it is no player"),
    ],
)
def test_no_json(text, expected, write):
    with pytest.raises(UserError, match="player file") as caught:
        read(write(text, "mine"))
    assert expected in str(caught.value)


def test_infinity_is_no_probability(tit_for_tat, write):
    with pytest.raises(UserError, match="inf, which is no probability"):
        read(write(json.dumps(tit_for_tat).replace("[1.0, 1, 0.0]", "[1e999, 1, 0]"), "mine"))


def test_files_and_folders(tit_for_tat, write, tmp_path):
    first, second = write(tit_for_tat), write(tit_for_tat | {"name": "other"}, "other")
    assert [player.name for player in read_all([tmp_path])] == ["mine", "other"]
    assert [player.name for player in read_all([second, first])] == ["other", "mine"]
    with pytest.raises(UserError, match="two player files are called mine"):
        read_all([tmp_path, first])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no player file"):
        read_all([tmp_path / "empty"])
    with pytest.raises(UserError, match="no player file at"):
        read_all([tmp_path / "absent.json"])


def test_the_digest_is_the_content_s(tit_for_tat, write):
    before = read(write(tit_for_tat)).digest
    assert read(write(tit_for_tat)).digest == before != read(write(tit_for_tat | {"about": "changed"})).digest


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_player(path):
    """It is read, says what made it, is small, and a recurrent one answers as its paper's own network did."""
    player = read(path)
    assert player.paper in {"pola", "loqa", "iqflow", "stackelberg"}
    assert player.made_by["revision"] and player.made_by["commands"][-1] == "python write_players.py"
    assert path.stat().st_size < 100 * 2**10
    if player.network is not None:
        situations, recorded = player.check
        assert len(set(situations)) == 5 and np.ptp(recorded) > 0.1, "a history that tells nothing"


def test_every_paper_has_players():
    assert {read(path).paper for path in SHIPPED} == {"pola", "loqa", "iqflow", "stackelberg"}
