"""The file of people's comparisons: what is kept, what is mended, what is refused."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from common.cli import UserError
from marlhf.data.files import Rows, file_hash, save_rows
from marlhf.data.people import Comparison, Journal, Side, members, read
from marlhf.data.trajectories import cut

TASK, LENGTH = "MPE_simple_spread_v3", 4
ONE = Comparison(Side("a" * 64, 1, 0), Side("b" * 64, 0, 1), "left", "ada", "2026-01-02T03:04:05+00:00")
TWO = Comparison(Side("a" * 64, 0, 1, 2), Side("a" * 64, 2, 0, 0), "equal")


@pytest.fixture
def path(tmp_path):
    journal = Journal(tmp_path / "new" / "p.jsonl", TASK)
    for entry in (ONE, TWO):
        journal.add(entry)
    journal.close()
    return journal.path


def reopened(path):
    journal = Journal(path, TASK)
    journal.close()
    return journal.comparisons


def test_what_is_added_is_read(path):
    assert read(path, TASK) == reopened(path) == [ONE, TWO]
    head, first, _ = map(json.loads, path.read_text().splitlines())
    assert head == {"format": "marlhf comparisons 1", "task": TASK}
    assert first == {
        "left": {"file": "a" * 64, "row": 1, "episode": 0, "agent": None},
        "right": {"file": "b" * 64, "row": 0, "episode": 1, "agent": None},
        "choice": "left", "who": "ada", "when": "2026-01-02T03:04:05+00:00",
    }  # fmt: skip


def test_who_and_when_may_be_left_out(path):
    entry = json.loads(path.read_text().splitlines()[1])
    del entry["who"], entry["when"]
    with open(path, "a") as file:
        file.write(json.dumps(entry) + "\n")
    assert read(path, TASK)[-1] == Comparison(ONE.left, ONE.right, "left")


def test_a_torn_last_line_is_mended_wherever_it_was_torn(path, capsys):
    whole = path.read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]
    for cut_at in range(len(whole)):
        path.write_bytes(whole[:cut_at])
        # all that was finished before the cut; a line that lacks nothing but its end counts as finished
        kept = [entry for entry, end in zip((ONE, TWO), ends[1:], strict=True) if end - 1 <= cut_at]
        journal = Journal(path, TASK)
        assert journal.comparisons == kept, cut_at
        torn = cut_at not in {0, *ends, *(end - 1 for end in ends)}
        said = capsys.readouterr().err
        assert (
            said.count("\n") == torn and ("was cut off while it was written and is dropped" in said) == torn
        )
        journal.add(ONE)
        journal.close()
        assert read(path, TASK) == [*kept, ONE] and path.read_bytes().endswith(b"\n")


def test_reading_leaves_a_torn_file_as_it_is(path, capsys):
    torn = path.read_bytes()[:-20]
    path.write_bytes(torn)
    assert read(path, TASK) == [ONE] and path.read_bytes() == torn
    assert "1 comparisons remain" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "change", "message"),
    [
        (
            2,
            lambda text: text.replace('"left",', '"middle",'),
            "choice 'middle' is none of left, right, equal",
        ),
        (2, lambda text: text.replace('"row": 1', '"row": -1'), "a side is a file's hash, a row"),
        (2, lambda text: text.replace('"row": 1', '"row": true'), "a side is a file's hash, a row"),
        (2, lambda text: text.replace('"choice"', '"choise"'), "choise"),
        (2, lambda text: text[:20], "is not a comparison"),
        (2, lambda text: "[]", "is not a comparison"),
        (
            1,
            lambda text: text.replace("comparisons 1", "comparisons 2"),
            "its format is 'marlhf comparisons 2'",
        ),
        (1, lambda text: "hello", "is not the head of a file of comparisons"),
    ],
)
def test_a_wrong_line_is_refused_by_number_and_nothing_is_lost(path, line, change, message):
    lines = path.read_text().splitlines()
    lines[line - 1] = change(lines[line - 1])
    path.write_text("\n".join(lines) + "\n")
    before = path.read_bytes()
    for use in (lambda: read(path, TASK), lambda: Journal(path, TASK)):
        with pytest.raises(UserError) as error:
            use()
        assert f"line {line} " in str(error.value) and message in str(error.value)
        assert "\n" not in str(error.value)
    assert path.read_bytes() == before


def test_another_task_a_missing_file_and_a_second_writer(path, tmp_path):
    with pytest.raises(UserError, match=f"compares episodes of {TASK}, not of overcooked"):
        read(path, "overcooked")
    with pytest.raises(UserError, match="not of overcooked"):
        Journal(path, "overcooked")
    with pytest.raises(UserError, match="label_preferences.py makes one"):
        read(tmp_path / "none", TASK)
    (tmp_path / "empty").touch()
    with pytest.raises(UserError, match="is empty or cut off"):
        read(tmp_path / "empty", TASK)
    journal = Journal(path, TASK)
    with pytest.raises(UserError, match="another labelling page writes to"):
        Journal(path, TASK)
    journal.close()


def test_a_full_disk_leaves_the_file_as_it_was(path, monkeypatch):
    journal, before = Journal(path, TASK), path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("marlhf.data.people.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        journal.add(ONE)
    assert path.read_bytes() == before and journal.comparisons == [ONE, TWO]
    monkeypatch.undo()
    journal.add(ONE)
    journal.close()
    assert read(path, TASK) == [ONE, TWO, ONE]


def test_a_killed_writer_loses_nothing_that_it_was_told(tmp_path):
    path = tmp_path / "p.jsonl"
    code = (
        "import os, signal, sys\nfrom marlhf.data.people import Comparison, Journal, Side\n"
        "journal = Journal(sys.argv[1], 'T')\n"
        "for row in range(5):\n    journal.add(Comparison(Side('a', row, 0), Side('b', row, 0), 'left'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True)
    assert done.returncode == -9
    assert [entry.left.row for entry in read(path, "T")] == [0, 1, 2, 3, 4]


def write(path, value, envs):
    steps, n = 2 * LENGTH, 3
    numbers = 1000 * value + np.arange(steps * n * envs).reshape(steps, n, envs)
    rows = Rows(
        numbers[..., None].repeat(4, axis=-1).astype(np.float32), np.zeros((steps, envs, 1), np.float32),
        numbers.astype(np.int32), numbers.astype(np.float32), np.zeros((steps, envs), np.float32),
        np.zeros((steps, envs), bool),
        *(np.zeros((steps, envs, n), kind) for kind in (np.float32, np.float32, bool)),
    )  # fmt: skip
    save_rows(path, rows, {"agents": ["a", "b", "c"], "task": TASK})
    return rows


@pytest.fixture
def play(tmp_path):
    paths = [tmp_path / "one.npz", tmp_path / "two.npz"]
    parts = [write(path, value, envs) for path, value, envs in zip(paths, (1, 2), (2, 3), strict=True)]
    axes = dict.fromkeys(("obs", "actions", "rewards"), 2)
    joined = Rows(
        *(
            np.concatenate(pair, axis=axes.get(name, 1))
            for name, pair in zip(Rows._fields, zip(*parts, strict=True), strict=True)
        )
    )
    return SimpleNamespace(
        paths=paths, parts=parts, hashes=[file_hash(path) for path in paths], joined=joined
    )


def test_members_are_the_trajectories_that_were_judged(play):
    one, two = play.hashes
    entries = [
        Comparison(Side(two, 1, 1), Side(one, 0, 0), "left"),
        Comparison(Side(one, 1, 0, 2), Side(two, 2, 1, 0), "equal"),
        Comparison(Side(one, 1, 0), Side(two, 2, 1), "right"),
    ]
    numbers, target = members("p", entries, play.paths, LENGTH)
    assert numbers.shape == (3, 2, 3) and target.tolist() == [1.0, 0.5, 0.0]
    trajectories = cut(play.joined, LENGTH)
    team = trajectories.rewards[numbers[0, 0]]
    np.testing.assert_array_equal(team, play.parts[1].rewards[LENGTH:, :, 1].T)
    single = trajectories.rewards[numbers[1, 0]]
    np.testing.assert_array_equal(single, np.tile(play.parts[0].rewards[:LENGTH, 2, 1], (3, 1)))
    singles, _ = members("p", entries[1:2], play.paths, LENGTH)
    assert singles.shape == (1, 2, 1) and singles[0, 0, 0] == numbers[1, 0, 0]


@pytest.mark.parametrize(
    ("side", "message"),
    [
        (lambda one: Side("f" * 64, 0, 0), "SHA-256 ffffffffffffffff..., which is not among the 2 files"),
        (lambda one: Side(one, 2, 0), "line 3 names row 2; .*one.npz has 0 to 1"),
        (lambda one: Side(one, 0, 2), "line 3 names episode 2; .*one.npz has 0 to 1"),
        (lambda one: Side(one, 0, 0, 3), "line 3 names agent 3; .*one.npz has 0 to 2"),
    ],
)
def test_unknown_pairs_are_refused_by_name(play, side, message):
    good = Side(play.hashes[0], 0, 0)
    entries = [Comparison(good, good, "left"), Comparison(good, side(play.hashes[0]), "left")]
    with pytest.raises(UserError, match=message):
        members("p.jsonl", entries, play.paths, LENGTH)
    with pytest.raises(UserError, match="p.jsonl holds no comparison yet"):
        members("p.jsonl", [], play.paths, LENGTH)
