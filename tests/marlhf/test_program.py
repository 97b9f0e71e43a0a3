"""Run folders, seeds, chunks and resume, with an algorithm of three lines."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from common.runs import RunFolder
from marlhf import program
from marlhf.settings import Launch, Logging

ENTRY = Path(program.__file__)  # any file of the paper can stand for a stage here


@dataclass(frozen=True)
class Hp:
    seed: int = 1
    disable_jit: bool = False


class State(NamedTuple):
    key: jax.Array
    typed: jax.Array
    value: jax.Array
    weak: jax.Array


class Walk:
    """A random walk; `stop` breaks it after the report of that step."""

    unit, total = "step", 10

    def __init__(self, stop=None):
        self.stop, self.traces, self.data = stop, 0, jnp.ones(2)

    def fresh(self, seed):
        return State(jax.random.PRNGKey(seed), jax.random.key(seed), jnp.zeros(2), jnp.asarray(0.0))

    def advance(self, state, n, data):
        self.traces += 1

        def body(_, now):
            key, own = jax.random.split(now.key)
            typed, other = jax.random.split(now.typed)
            move = jax.random.normal(own, (2,)) + jax.random.normal(other, (2,))
            return State(key, typed, now.value + data * move, now.weak)

        state = lax.fori_loop(0, n, body, state)
        return state._replace(weak=jnp.asarray(0.0)), state.value

    def next_stop(self, done):
        return (done // 4 + 1) * 4

    def row(self, done, report):
        if done == self.stop:
            raise KeyboardInterrupt
        return {"value": [float(value) for value in report]}

    def show(self, row):
        return f"step {row['step']}"

    def save(self, state, report, folder):
        (folder / "model").write_bytes(state.value.tobytes())
        return {"model": "model"}


def launch(run_root, seeds=(1,), axis="auto"):
    return Launch(Hp(seeds[0]), seeds, str(run_root), "cpu", Logging(), seed_axis=axis)


def carry_out(run_root, walk, seeds=(1,), after=None, axis="auto", shared=False):
    works = [program.Work("walk", {"seed": seed}, seed, ENTRY, lambda: walk, shared) for seed in seeds]
    return program.run(launch(run_root, seeds, axis), works, after)


def folders(run_root):
    found = (RunFolder.read(path.parent) for path in Path(run_root).glob("*/run.json"))
    return {run.config["seed"]: run for run in found}


def rows(run):
    """What was logged, but for the clock."""
    return [{k: v for k, v in row.items() if k != "walltime"} for row in run.metrics()]


def test_reports_and_what_is_saved(tmp_path):
    seen = []
    carry_out(tmp_path, Walk(), after=lambda work, run: seen.append((work.seed, run.summary["model"])))
    run = folders(tmp_path)[1]
    assert run.finished and [row["step"] for row in run.metrics()] == [4, 8, 10]
    assert seen == [(1, "model")] and (run.path / "model").is_file()
    assert run.summary["last"]["step"] == 10


def test_a_finished_run_is_not_repeated(tmp_path, capsys):
    carry_out(tmp_path, Walk())
    assert carry_out(tmp_path, Walk(stop=4)) == 0
    assert "finished before" in capsys.readouterr().out


@pytest.mark.parametrize("stop", [4, 8, 10])
@pytest.mark.parametrize("pause", [0.0, 1e9])
def test_stopped_anywhere_and_run_again_is_the_same_run(tmp_path, monkeypatch, stop, pause):
    monkeypatch.setattr(program, "CHECKPOINT_SECONDS", pause)
    carry_out(tmp_path / "whole", Walk())
    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path / "broken", Walk(stop))
    assert folders(tmp_path / "broken")[1].status == "interrupted"
    carry_out(tmp_path / "broken", Walk())
    broken, whole = (folders(tmp_path / name)[1] for name in ("broken", "whole"))
    assert rows(broken) == rows(whole)
    assert (broken.path / "model").read_bytes() == (whole.path / "model").read_bytes()


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "CHECKPOINT_SECONDS", 0.0)
    carry_out(tmp_path / "whole", Walk())
    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path / "broken", Walk(stop=10))
    newest = sorted((folders(tmp_path / "broken")[1].path / "checkpoints").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:-9])
    carry_out(tmp_path / "broken", Walk())
    assert rows(folders(tmp_path / "broken")[1]) == rows(folders(tmp_path / "whole")[1])


def test_long_chunks_are_split_without_a_trace_in_the_log(tmp_path, monkeypatch):
    carry_out(tmp_path / "whole", Walk())
    monkeypatch.setattr(program, "CHUNK_SECONDS", 1e-9)
    carry_out(tmp_path / "split", Walk())
    assert rows(folders(tmp_path / "split")[1]) == rows(folders(tmp_path / "whole")[1])


def test_a_run_is_one_compilation(tmp_path):
    walk = Walk()
    carry_out(tmp_path, walk)
    assert walk.traces == 1


def test_seeds_are_runs_of_their_own(tmp_path):
    carry_out(tmp_path, Walk(), (1, 2))
    found = folders(tmp_path)
    assert set(found) == {1, 2} and rows(found[1]) != rows(found[2])


def test_seeds_that_make_their_own_data_say_so_in_one_line(tmp_path, capsys):
    carry_out(tmp_path / "own", Walk(), (1, 2))
    assert capsys.readouterr().out.count("each makes data of its own") == 1
    carry_out(tmp_path / "shared", Walk(), (1, 2), shared=True)
    carry_out(tmp_path / "one", Walk())
    assert "of its own" not in capsys.readouterr().out


def test_seeds_of_one_trainer_are_one_compilation_in_a_loop_and_side_by_side(tmp_path):
    for axis in ("loop", "vmap"):
        walk = Walk()
        carry_out(tmp_path / axis, walk, (1, 2, 3), axis=axis, shared=True)
        assert walk.traces == 1
    loop, lanes, alone = (folders(tmp_path / axis) for axis in ("loop", "vmap", "loop"))
    carry_out(tmp_path / "alone", Walk(), (2,))
    alone = folders(tmp_path / "alone")[2]
    for seed in (1, 2, 3):
        assert rows(loop[seed]) == rows(lanes[seed])
        assert (loop[seed].path / "model").read_bytes() == (lanes[seed].path / "model").read_bytes()
    assert rows(lanes[2]) == rows(alone) and lanes[1].path.name != lanes[2].path.name


@pytest.mark.parametrize("pause", [0.0, 1e9])
def test_lanes_wait_for_one_that_is_behind(tmp_path, monkeypatch, pause):
    """One stopped after eight steps, one finished, one not begun."""
    monkeypatch.setattr(program, "CHECKPOINT_SECONDS", pause)
    carry_out(tmp_path / "whole", Walk(), (1, 2, 3))
    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path / "broken", Walk(stop=8), (1,))
    carry_out(tmp_path / "broken", Walk(), (2,))
    carry_out(tmp_path / "broken", Walk(), (1, 2, 3), axis="vmap", shared=True)
    for seed, run in folders(tmp_path / "broken").items():
        assert run.finished and rows(run) == rows(folders(tmp_path / "whole")[seed])


@pytest.mark.parametrize("stop", [4, 10])
def test_stopped_lanes_go_on_to_the_same_bits(tmp_path, monkeypatch, stop):
    monkeypatch.setattr(program, "CHECKPOINT_SECONDS", 0.0)
    carry_out(tmp_path / "whole", Walk(), (1, 2), axis="vmap", shared=True)
    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path / "broken", Walk(stop), (1, 2), axis="vmap", shared=True)
    carry_out(tmp_path / "broken", Walk(), (1, 2), axis="vmap", shared=True)
    whole, broken = folders(tmp_path / "whole"), folders(tmp_path / "broken")
    assert [rows(whole[seed]) for seed in (1, 2)] == [rows(broken[seed]) for seed in (1, 2)]


class Unsaved(Walk):
    """Stopped when all is done and nothing saved; what it saves is its last report."""

    def __init__(self, broken):
        super().__init__()
        self.broken = broken

    def save(self, state, report, folder):
        if self.broken:
            raise KeyboardInterrupt
        return {"last_report": report.tolist()}


@pytest.mark.parametrize("axis", ["loop", "vmap"])
def test_the_last_report_is_there_again_when_only_saving_was_left(tmp_path, axis):
    carry_out(tmp_path / "whole", Unsaved(False), (1, 2), axis=axis, shared=True)
    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path / "broken", Unsaved(True), (1, 2), axis=axis, shared=True)
    carry_out(tmp_path / "broken", Unsaved(False), (1, 2), axis=axis, shared=True)
    whole, broken = folders(tmp_path / "whole"), folders(tmp_path / "broken")
    for seed in (1, 2):
        assert whole[seed].summary["last_report"] == broken[seed].summary["last_report"]
        assert rows(whole[seed]) == rows(broken[seed])


class Prepared(Walk):
    """Half of it is done before the first step."""

    ahead = 0.5

    def prepare(self, told):
        for share in (0.0, 0.25, 0.5):
            told(share)


def test_what_is_done_before_the_first_step_moves_the_bar(tmp_path, monkeypatch):
    seen, written = [], []
    monkeypatch.setattr(program.Progress, "update", lambda self, done, note="": seen.append(done))
    progress = RunFolder.progress

    def noted(run, done, total):
        progress(run, done, total)
        written.append(done / total)

    monkeypatch.setattr(RunFolder, "progress", noted)
    carry_out(tmp_path, Prepared())
    assert written == pytest.approx([0.0, 0.25, 0.5, 0.7, 0.9, 1.0])
    assert seen == pytest.approx([*written, 1.0])


def test_compiled_programs_are_kept_unless_the_person_said_where(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(program.jax.config, "update", lambda name, value: said.append((name, value)))
    program.keep_compiled(tmp_path / "runs")
    assert not said  # the tests have a cache of their own
    monkeypatch.setattr(program, "jax", dataclasses.make_dataclass("J", ["config"])(Config(said)))
    program.keep_compiled(tmp_path / "runs")
    assert said[0] == ("jax_compilation_cache_dir", str(tmp_path / ".compiled"))


class Config:
    jax_compilation_cache_dir = None

    def __init__(self, said):
        self.said = said

    def update(self, name, value):
        self.said.append((name, value))
