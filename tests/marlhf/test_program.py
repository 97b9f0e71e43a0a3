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

    def save(self, state, folder):
        (folder / "model").write_bytes(state.value.tobytes())
        return {"model": "model"}


def launch(run_root, seeds=(1,)):
    return Launch(Hp(seeds[0]), seeds, str(run_root), "cpu", Logging())


def carry_out(run_root, walk, seeds=(1,), after=None):
    works = [program.Work("walk", {"seed": seed}, seed, ENTRY, lambda: walk) for seed in seeds]
    return program.run(launch(run_root, seeds), works, after)


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
