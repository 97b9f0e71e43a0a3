"""Files of recorded play: what is written is read, and anything else is refused with one line."""

import json

import numpy as np
import pytest

from common.cli import UserError
from marlhf.data import files
from marlhf.data.files import Rows, RowsFile, load_files, save_rows

AGENTS = ["agent_0", "agent_1"]


def some_rows(seed=0, envs=3, width=6, seen=np.float32):
    draw = np.random.default_rng(seed)
    steps, n, state = 8, 2, 7
    return Rows(
        obs=draw.integers(0, 9, (steps, n, envs, width)).astype(seen),
        world_state=draw.integers(0, 9, (steps, envs, state)).astype(seen),
        actions=draw.integers(0, 5, (steps, n, envs)).astype(np.int32),
        rewards=draw.normal(size=(steps, n, envs)).astype(np.float32),
        team_rewards=draw.normal(size=(steps, envs)).astype(np.float32),
        dones=draw.random((steps, envs)) < 0.2,
        returned_episode_returns=draw.normal(size=(steps, envs, n)).astype(np.float32),
        returned_episode_lengths=draw.normal(size=(steps, envs, n)).astype(np.float32),
        returned_episode=draw.random((steps, envs, n)) < 0.2,
    )


@pytest.mark.parametrize("seen", [np.float32, np.uint8])
def test_a_file_gives_back_what_was_saved(tmp_path, seen):
    rows = some_rows(seen=seen)
    save_rows(tmp_path / "deep" / "a.npz", rows, {"agents": AGENTS, "seed": 5})
    path = tmp_path / "deep" / "a.npz"
    found = load_files([path])
    with RowsFile(path) as file:
        made_by = file.made_by
    assert made_by == {"format": files.FORMAT, "agents": AGENTS, "seed": 5}
    for name, want in rows._asdict().items():
        got = getattr(found, name)
        np.testing.assert_array_equal(got, want, err_msg=name)
        assert got.dtype == want.dtype, name
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.npz"]


def test_the_arrays_have_the_names_of_the_description(tmp_path):
    rows = some_rows()
    save_rows(tmp_path / "a.npz", rows, {"agents": AGENTS})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as npz:
        names = {f"{kind}/{who}" for kind in ("obs", "rewards", "dones") for who in (*AGENTS, "__all__")}
        names |= {f"actions/{who}" for who in AGENTS} | {"header"}
        names |= {f"infos/{name}" for name in Rows._fields if name.startswith("returned_episode")}
        assert set(npz.files) == names
        np.testing.assert_array_equal(npz["obs/agent_1"], rows.obs[:, 1])
        np.testing.assert_array_equal(npz["obs/__all__"], rows.world_state)
        np.testing.assert_array_equal(npz["rewards/__all__"], rows.team_rewards)
        assert json.loads(str(npz["header"]))["agents"] == AGENTS


def test_the_same_play_is_the_same_file(tmp_path):
    for name in ("a", "b"):
        save_rows(tmp_path / name, some_rows(), {"agents": AGENTS})
    assert files.file_hash(tmp_path / "a") == files.file_hash(tmp_path / "b")


def test_several_files_lie_side_by_side(tmp_path):
    parts = [some_rows(seed, envs=1 + seed) for seed in range(3)]
    paths = [tmp_path / f"{seed}.npz" for seed in range(3)]
    for path, part in zip(paths, parts, strict=True):
        save_rows(path, part, {"agents": AGENTS, "task": "T"})
    rows = load_files(paths, sizes=(6, 7), task="T")
    assert rows.obs.shape == (8, 2, 6, 6)
    for name, axis in (("obs", 2), ("actions", 2), ("rewards", 2), ("dones", 1), ("returned_episode", 1)):
        want = np.concatenate([getattr(part, name) for part in parts], axis=axis)
        np.testing.assert_array_equal(getattr(rows, name), want)


def test_files_of_another_task_or_shape_are_refused(tmp_path):
    one, other = tmp_path / "one.npz", tmp_path / "other.npz"
    save_rows(one, some_rows(), {"agents": AGENTS, "task": "T"})
    save_rows(other, some_rows(width=9), {"agents": AGENTS, "task": "T"})
    with pytest.raises(UserError, match="was made by T, not by U"):
        load_files([one], task="U")
    with pytest.raises(UserError, match="size 6 and world states of size 7, this task has 5 and 7"):
        load_files([one], sizes=(5, 7))
    with pytest.raises(UserError, match="other.npz does not fit beside .*one.npz"):
        load_files([one, other])


def test_damage_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(UserError, match="no file of recorded play at"):
        load_files([path])
    with pytest.raises(UserError, match="no file at"):
        files.file_hash(path)
    save_rows(path, some_rows(), {"agents": AGENTS})
    whole = path.read_bytes()
    for damaged in (b"", b"not a file of ours", whole[: len(whole) // 2], whole[:-30]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="not a whole file of recorded play.*collect it again"):
            load_files([path])
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0xFF
    path.write_bytes(bytes(flipped))
    with pytest.raises(UserError, match="not a whole file of recorded play"):
        load_files([path])
    np.savez(path, header=np.array(json.dumps({"format": files.FORMAT, "agents": AGENTS})))
    with pytest.raises(UserError, match="not a whole file of recorded play"):
        load_files([path])
    np.savez(path, something=np.zeros(3))
    with pytest.raises(UserError, match="no header of the form"):
        load_files([path])


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    save_rows(path, some_rows(), {"agents": AGENTS})
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "no space")

    monkeypatch.setattr("common.checkpoints.os.replace", full)
    with pytest.raises(OSError, match="no space"):
        save_rows(path, some_rows(1), {"agents": AGENTS})
    assert path.read_bytes() == before and [item.name for item in tmp_path.iterdir()] == ["a.npz"]
