import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from common import checkpoints
from common.cli import UserError

ROOT = Path(__file__).resolve().parents[2]


def test_round_trip_keeps_types_shapes_and_bits(tmp_path):
    arrays = {
        "policy/kernel": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32),
        "key": np.array([1, 2], np.uint32),
        "scalar": np.float64(0.1),
        "empty": np.zeros((0, 2)),
    }
    checkpoints.save(tmp_path / "c.npz", arrays, {"epoch": 3, "scores": [0.1, None]})
    loaded, meta = checkpoints.load(tmp_path / "c.npz")
    assert meta == {"epoch": 3, "scores": [0.1, None]}
    assert loaded.keys() == arrays.keys()
    for name, value in arrays.items():
        assert loaded[name].dtype == np.asarray(value).dtype
        np.testing.assert_array_equal(loaded[name], value)


def test_a_cut_or_changed_or_foreign_file_is_refused(tmp_path):
    path = tmp_path / "c.npz"
    checkpoints.save(path, {"a": np.arange(1000)}, {})
    whole = path.read_bytes()
    for size in (len(whole) - 1, len(whole) // 2, 40, 0):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="damaged|not a checkpoint"):
            checkpoints.load(path)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    path.write_bytes(bytes(flipped))
    with pytest.raises(UserError, match="damaged"):
        checkpoints.load(path)
    path.write_bytes(b"a picture")
    with pytest.raises(UserError, match="not a checkpoint of this project"):
        checkpoints.load(path)
    with pytest.raises(UserError, match="no checkpoint at"):
        checkpoints.load(tmp_path / "absent.npz")


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "c.npz"
    checkpoints.save(path, {"a": np.ones(3)}, {})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        checkpoints.save(path, {"a": np.zeros(3)}, {})
    monkeypatch.undo()
    np.testing.assert_array_equal(checkpoints.load(path)[0]["a"], np.ones(3))
    assert [file.name for file in tmp_path.iterdir()] == ["c.npz"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"count": None}, "it does not fit this command: it lacks count"),
        ({"more": np.zeros(1)}, "it does not fit this command: it has more, which nothing reads"),
        ({"count": np.array(4.0)}, "count is float64[] there and int32[] here"),
        ({"head/kernel": np.ones((3, 3))}, "head/kernel is float64[3, 3] there and float64[2, 3] here"),
    ],
)
def test_arrays_of_another_program_are_refused(change, says):
    wanted = {"head/kernel": np.ones((2, 3)), "count": np.array(4, np.int32)}
    checkpoints.check_fits(wanted, wanted, "it")
    arrays = {name: array for name, array in (wanted | change).items() if array is not None}
    with pytest.raises(UserError) as caught:
        checkpoints.check_fits(arrays, wanted, "it")
    assert says in str(caught.value)


def test_names_with_slashes_are_folders():
    assert checkpoints.nested({"a/b": 1, "a/c/d": 2, "e": 3}) == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}


def test_kill_in_the_middle_of_writes_leaves_a_whole_file(tmp_path):
    path = tmp_path / "c.npz"
    code = (
        "import sys, numpy as np; from pathlib import Path; from common import checkpoints\n"
        "for step in range(10**6):\n"
        "    checkpoints.save(Path(sys.argv[1]), {'a': np.full(200_000, step)}, {'step': step})\n"
    )
    steps = []
    for wait in (0.05, 0.11, 0.23):
        child = subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT)
        while not path.exists():
            time.sleep(0.01)
        time.sleep(wait)
        child.send_signal(signal.SIGKILL)
        child.wait()
        arrays, meta = checkpoints.load(path)
        assert (arrays["a"] == meta["step"]).all()
        steps.append(meta["step"])
        path.unlink()
    assert max(steps) > 0
