"""What surrounds the algorithm: seeds side by side, resume, failures that stay with one seed, output folders."""

import fcntl
import gc
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from common.cli import UserError
from common.runs import RunFolder
from iqflow.config.loading import parse
from iqflow.trainer import output, program, storage
from iqflow.utils import trees

PAPER = Path(__file__).resolve().parents[3] / "iqflow"
SCRIPT = PAPER / "iqflow/trainer/train_multiprocess.py"


class ToyState(NamedTuple):
    seed: jax.Array
    value: jax.Array
    resets: jax.Array


class Toy:
    """A trainer whose numbers can be worked out by hand: every episode value <- value * 1.5 + seed, modulo 7."""

    fails_from = 10**9  # episode from which seed 3 is not finite

    def __init__(self, settings):
        self.settings = settings

    def fresh(self, seed):
        return ToyState(jnp.uint32(seed), jnp.float32(0), jnp.int32(0))

    def advance(self, state, n, reset, evaluate):
        def episode(_, state):
            return state._replace(value=(state.value * 1.5 + state.seed.astype(jnp.float32)) % 7)

        state = state._replace(resets=state.resets + jnp.asarray(reset, jnp.int32))
        state = lax.fori_loop(0, n, episode, state)
        return state, {
            "value": state.value,
            "resets": state.resets,
            "seed": state.seed,
            "evaluated": evaluate,
        }

    def row(self, report):
        assert report["evaluated"]
        if report["seed"] == 3 and type(self).fails_from == 0:
            raise ValueError("a parameter is not finite")
        value = float(report["value"])
        return {
            "step": 5,
            "A1_n_c": value,
            "resets": int(report["resets"]),
            "time": 0,
            "reward_env_total": value,
        }

    def probe(self, state):
        return None

    def agents(self, state):
        return {
            "mechanism": {"Dense_0": {"bias": state.value}},
            "followers": {"Dense_0": {"bias": state.value}},
        }

    def score(self, rows):
        return rows[-1]["reward_env_total"]


def launch(tmp_path, words="", seeds="1-3", episodes=10, period=4):
    common = (
        f"--alg qflow --exp ipd --config config_img_qflow --device cpu --run_root {tmp_path} --seeds {seeds}"
    )
    sets = f"--set alg.n_episodes={episodes} --set alg.period={period} --set main.save_period={period}"
    return parse(f"{common} {sets} {words}".split())


def run(launch, trainer=Toy):
    return program.run(launch, SCRIPT, trainer)


def by_hand(seed, episodes):
    value = np.float32(0)
    for _ in range(episodes):
        value = np.float32((value * np.float32(1.5) + np.float32(seed)) % np.float32(7))
    return float(value)


def folders(tmp_path):
    found = [RunFolder.read(path.parent) for path in tmp_path.glob("*/run.json")]
    return {folder.config["seed"]: folder for folder in found}


def logs(tmp_path):
    return {
        seed: [{**row, "time": 0} for row in folder.metrics()] for seed, folder in folders(tmp_path).items()
    }


def test_seeds_run_side_by_side_each_in_a_folder(tmp_path):
    summaries = run(launch(tmp_path))
    assert list(summaries) == [1, 2, 3]
    for seed, folder in folders(tmp_path).items():
        assert folder.finished
        assert [row["episode"] for row in folder.metrics()] == [4, 8, 10]
        assert folder.metrics()[-1]["reward_env_total"] == pytest.approx(by_hand(seed, 10), abs=1e-5)
        assert summaries[seed]["score"] == folder.summary["score"] == folder.metrics()[-1]["reward_env_total"]


def test_a_finished_seed_is_not_repeated(tmp_path):
    first = run(launch(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert run(launch(tmp_path)) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


@pytest.mark.parametrize("calls", [0, 2, 3, 7])
def test_a_killed_run_goes_on_and_gives_the_same_log(tmp_path, monkeypatch, calls):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(launch(whole))
    monkeypatch.setattr(program, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(program, "CHECKPOINT_TIMES", 0.0)
    count = 0

    def dies(self, *args, own=RunFolder.checkpoint):
        nonlocal count
        count += 1
        if count > calls:
            raise Killed
        own(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "checkpoint", dies)
        with pytest.raises(Killed):
            run(launch(cut))
    gc.collect()  # the killed process's locks
    run(launch(cut))
    assert logs(cut) == logs(whole)


def test_a_seed_that_is_behind_catches_up_with_the_others(tmp_path):
    run(launch(tmp_path, seeds="1,2", episodes=10))
    for seed in (1, 2):  # as if killed after episode 8
        folder = folders(tmp_path)[seed]
        record = json.loads((folder.path / "run.json").read_text())
        (folder.path / "run.json").write_text(json.dumps(record | {"status": "running"}))
    run(launch(tmp_path, seeds="1-3", episodes=10))
    rows = logs(tmp_path)
    assert [row["episode"] for row in rows[3]] == [4, 8, 10]
    assert rows[3][-1]["reward_env_total"] == pytest.approx(by_hand(3, 10), abs=1e-5)


def test_a_failing_seed_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Toy, "fails_from", 0)
    summaries = run(launch(tmp_path))
    assert summaries[3] is None and summaries[1] and summaries[2]
    assert "seed 3 failed: a parameter is not finite" in capsys.readouterr().err
    assert {seed: folder.finished for seed, folder in folders(tmp_path).items()} == {
        1: True,
        2: True,
        3: False,
    }


def test_a_seed_that_another_process_writes_is_left_out(tmp_path, capsys):
    run(launch(tmp_path, seeds="2"))
    busy = folders(tmp_path)[2]
    record = json.loads((busy.path / "run.json").read_text())
    (busy.path / "run.json").write_text(json.dumps(record | {"status": "running"}))
    with open(busy.path / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        summaries = run(launch(tmp_path))
    assert summaries[2] is None and summaries[1] and summaries[3]
    assert "seed 2 failed: another process is writing" in capsys.readouterr().err


def test_followers_are_reset_at_every_period_but_not_at_the_start(tmp_path):
    run(launch(tmp_path, "--set main.agent_reset_period=3", seeds="1"))
    assert [row["resets"] for row in logs(tmp_path)[1]] == [1, 2, 3]


def test_the_originals_folder_is_used_without_a_run_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = parse(["--alg", "qflow", "--exp", "chicken", "--config", "config_img_qflow", "--seeds", "12341"])
    assert wanted.output_folder(12341) == Path("results/img_results/iqflow/chicken/ipd_iqflow_1")
    folder = output.Output(wanted.output_folder(12341))
    folder.check({"a": 1})
    folder.claim({"a": 1})
    folder.check({"a": 1})
    with pytest.raises(UserError, match="another configuration"):
        folder.check({"a": 2})


def test_files_of_a_seed(tmp_path):
    run(launch(tmp_path, seeds="1"))
    folder = folders(tmp_path)[1].path
    lines = (folder / "log.csv").read_text().splitlines()
    assert lines[0] == "episode,step_train,step,A1_n_c,resets,time,reward_env_total"
    assert lines[1].startswith("4,4,5,") and len(lines) == 4
    assert [path.name for path in storage.saved_agents(folder / "agents")] == [
        "agents_4",
        "agents_8",
        "agents_10",
    ]
    agents, meta = storage.load_agents(folder / "agents" / "agents_10")
    assert meta["episode"] == 10 and meta["exp"] == "ipd"
    assert agents["mechanism"]["Dense_0"]["bias"] == pytest.approx(by_hand(1, 10), abs=1e-5)
    assert json.loads((folder / "config.json").read_text())["config"]["alg"]["n_episodes"] == 10


def test_only_the_newest_agents_are_kept(tmp_path):
    run(launch(tmp_path, "--set main.max_to_keep=2", seeds="1"))
    folder = folders(tmp_path)[1].path / "agents"
    assert [path.name for path in storage.saved_agents(folder)] == ["agents_8", "agents_10"]


@pytest.mark.golden("curves_*.csv")
def test_numbers_are_written_as_in_the_original(case):
    header, *lines = case.read_text().splitlines()
    columns = header.split(",")
    style = output.log_style(columns)
    for line in (lines[0], lines[-1]):
        cells = line.split(",")
        written = [
            output.log_cell(name, float(cell), style) for name, cell in zip(columns, cells, strict=True)
        ]
        assert written == cells


@pytest.mark.parametrize("damage", [lambda data: data[:-7], lambda data: data[:90] + b"x" + data[91:]])
def test_a_damaged_file_of_agents_is_refused(tmp_path, damage):
    path = storage.save_agents(tmp_path, 1, {"mechanism": {"bias": np.zeros(3)}}, {"alg": "qflow"}, 5)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="damaged"):
        storage.load_agents(path)


def test_a_checkpoint_of_another_shape_is_refused():
    like = {"a": np.zeros(3), "b": np.zeros(2)}
    for arrays, told in (
        ({"a": np.zeros(3)}, "lacks b"),
        ({"a": np.zeros(3), "b": np.zeros(2), "c": np.zeros(1)}, "has c"),
        ({"a": np.zeros(3), "b": np.zeros(4)}, r"b is float64\[4\]"),
    ):
        with pytest.raises(UserError, match=told):
            trees.from_arrays(like, arrays, "it")
