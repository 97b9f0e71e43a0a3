"""Run folders, seeds, chunks and resume, with an algorithm of three lines."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from common.cli import UserError
from common.runs import RunFolder
from loqa import program, storage
from loqa.settings import Jax, Launch, Wandb

SCRIPT = Path(program.__file__)  # any file of the paper can stand for a script here


@dataclass(frozen=True)
class Hp:
    seed: int = 1
    max_iterations: int = 10
    eval_every: int = 4
    save_every: int = 5
    save_dir: str = ""


class State(NamedTuple):
    iteration: jax.Array
    key: jax.Array
    value: jax.Array


class Walk:
    """A random walk; `stop` breaks it after the evaluation of that iteration."""

    name = "ipd.py"

    def __init__(self, stop=None):
        self.stop, self.traces = stop, 0

    def fresh(self, seed):
        return State(jnp.int32(0), jax.random.PRNGKey(seed), jnp.zeros(2))

    def advance(self, state, n):
        self.traces += 1

        def body(_, now):
            key, own = jax.random.split(now.key)
            return State(now.iteration + 1, key, now.value + jax.random.normal(own, (2,)))

        state = lax.fori_loop(0, n, body, state)
        return state, {"value": state.value}

    def row(self, iteration, report):
        if iteration == self.stop:
            raise KeyboardInterrupt
        return {"iteration": iteration, "value": [float(v) for v in report["value"]]}

    def show(self, row):
        return f"iteration {row['iteration']}"

    def agents(self, state):
        return {"agent0": {"params": {"value": state.value}}}


def launch(run_root, seeds=(1,), axis="auto", **hp):
    return Launch(Hp(**hp), seeds, str(run_root), "cpu", axis, Wandb(), Jax())


def folders(run_root):
    """Seed -> its finished or interrupted run."""
    found = (RunFolder.read(path.parent) for path in Path(run_root).glob("*/run.json"))
    return {run.config["hp"]["seed"]: run for run in found}


def rows(run):
    """What was logged, but for the clock."""
    return [{k: v for k, v in row.items() if k != "walltime"} for row in run.metrics()]


def test_evaluations_saved_agents_and_the_last_iteration(tmp_path):
    assert program.run(launch(tmp_path), SCRIPT, Walk()) == 0
    run = folders(tmp_path)[1]
    assert run.finished and [row["iteration"] for row in run.metrics()] == [0, 4, 8, 10]
    assert sorted(path.name for path in (run.path / "agents").iterdir()) == [
        "minimal_state_0", "minimal_state_10", "minimal_state_5",
    ]  # fmt: skip
    agents, meta = storage.load_agents(run.path / "agents" / "minimal_state_10")
    assert meta["iteration"] == 10 and meta["hp"]["seed"] == 1
    assert agents["agent0"]["params"]["value"].tolist() == run.metrics()[-1]["value"]
    times = [row["walltime"] for row in run.metrics()]
    assert times == sorted(times)


def test_a_finished_run_is_not_repeated(tmp_path, capsys):
    program.run(launch(tmp_path), SCRIPT, Walk())
    assert program.run(launch(tmp_path), SCRIPT, Walk(stop=0)) == 0
    assert "finished before" in capsys.readouterr().out


def test_agents_go_where_save_dir_says(tmp_path):
    program.run(launch(tmp_path / "runs", save_dir=str(tmp_path / "mine")), SCRIPT, Walk())
    assert len(list((tmp_path / "mine").glob("*/minimal_state_10"))) == 1


@pytest.mark.parametrize("stop", [0, 4, 8, 10])
@pytest.mark.parametrize("pause", [0.0, 1e9])
def test_stopped_anywhere_and_run_again_is_the_same_run(tmp_path, monkeypatch, stop, pause):
    monkeypatch.setattr(program, "CHECKPOINT_SECONDS", pause)
    program.run(launch(tmp_path / "whole"), SCRIPT, Walk())
    with pytest.raises(KeyboardInterrupt):
        program.run(launch(tmp_path / "broken"), SCRIPT, Walk(stop))
    assert folders(tmp_path / "broken")[1].status == "interrupted"
    # A process that ends gives its lock back; here the same process goes on.
    again = launch(tmp_path / "broken")
    assert program.run(again, SCRIPT, Walk()) == 0
    assert rows(folders(tmp_path / "broken")[1]) == rows(folders(tmp_path / "whole")[1])


def test_seeds_side_by_side_are_the_single_runs(tmp_path):
    program.run(launch(tmp_path / "batch", (1, 2, 3), "vmap"), SCRIPT, Walk())
    program.run(launch(tmp_path / "loop", (1, 2, 3), "loop"), SCRIPT, Walk())
    batch, loop = folders(tmp_path / "batch"), folders(tmp_path / "loop")
    assert set(batch) == {1, 2, 3}
    for seed in batch:
        assert rows(batch[seed]) == rows(loop[seed])
    assert rows(batch[1]) != rows(batch[2])


def test_a_lane_that_is_ahead_waits_for_the_others(tmp_path):
    program.run(launch(tmp_path, (2,)), SCRIPT, Walk())
    with pytest.raises(KeyboardInterrupt):
        program.run(launch(tmp_path, (1,)), SCRIPT, Walk(stop=8))
    program.run(launch(tmp_path, (1, 2, 3), "vmap"), SCRIPT, Walk())
    program.run(launch(tmp_path / "whole", (1, 2, 3), "loop"), SCRIPT, Walk())
    for seed, run in folders(tmp_path / "whole").items():
        assert rows(folders(tmp_path)[seed]) == rows(run)


def test_long_chunks_are_split_without_a_trace_in_the_log(tmp_path, monkeypatch):
    program.run(launch(tmp_path / "whole"), SCRIPT, Walk())
    monkeypatch.setattr(program, "CHUNK_SECONDS", 1e-9)
    program.run(launch(tmp_path / "split"), SCRIPT, Walk())
    assert rows(folders(tmp_path / "split")[1]) == rows(folders(tmp_path / "whole")[1])


def test_all_lanes_and_chunks_are_one_compilation(tmp_path):
    walk = Walk()
    program.run(launch(tmp_path, (1, 2)), SCRIPT, walk)
    assert walk.traces == 1


def test_a_folder_for_wandb_without_wandb_is_refused(tmp_path):
    with pytest.raises(UserError, match="wandb.wandb_dir needs wandb.state=enabled"):
        wanted = dataclasses.replace(launch(tmp_path), wandb=Wandb(wandb_dir="x"))
        program.run(wanted, SCRIPT, Walk())


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "CHECKPOINT_SECONDS", 0.0)
    program.run(launch(tmp_path / "whole"), SCRIPT, Walk())
    with pytest.raises(KeyboardInterrupt):
        program.run(launch(tmp_path / "broken"), SCRIPT, Walk(stop=10))
    newest = sorted((folders(tmp_path / "broken")[1].path / "checkpoints").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:-9])
    program.run(launch(tmp_path / "broken"), SCRIPT, Walk())
    assert rows(folders(tmp_path / "broken")[1]) == rows(folders(tmp_path / "whole")[1])


def test_the_mirror_of_a_run_ends_with_it(tmp_path, monkeypatch, wandb_records):
    """So that the same run can go on, or be made again elsewhere, in the same process."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB__SERVICE_WAIT", "300")  # its process may start slowly on a busy machine
    with pytest.raises(KeyboardInterrupt):
        program.run(launch(tmp_path / "one"), SCRIPT, Walk(stop=8))
    program.run(launch(tmp_path / "one"), SCRIPT, Walk())
    program.run(launch(tmp_path / "two"), SCRIPT, Walk())
    mirrored = {}
    for root, ended in (("one", (0, 1)), ("two", (0,))):
        for file in (tmp_path / root).glob("*/wandb/offline-run-*/run-*.wandb"):
            *records, last = wandb_records(file)
            assert last.HasField("exit")
            steps = sum(record.HasField("history") for record in records)
            mirrored[root, last.exit.exit_code] = steps
        assert {code for name, code in mirrored if name == root} == set(ended)
    assert mirrored == {("one", 1): 2, ("one", 0): 4, ("two", 0): 4}
