"""`coin_train.py` as a person runs it: logs, agents, kill and resume."""

import contextlib
import io
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from common.cli import run_main
from common.runs import RunFolder, RunSpec, source_digest
from loqa import program, storage
from loqa.coin import config, training

SCRIPT = Path(config.__file__).resolve().parents[2] / config.PROGRAM
WORDS = (
    "hp=loqa_iclr hp.batch_size=4 hp.game.game_length=4 hp.actor.hidden_size=4 hp.qvalue.hidden_size=3 "
    "hp.agent_replay_buffer.capacity=10 hp.agent_replay_buffer.update_freq=2 hp.max_iterations=40 "
    "hp.eval_every=2 hp.save_every=20 hp.seed=7"
)


def command(run_root, *words):
    return [*WORDS.split(), *words, "--run_root", str(run_root), "--device", "cpu"]


@pytest.fixture(scope="module")
def start(script):
    """`start(run_root, words...)`: run the program here; returns its exit code."""
    module = script(SCRIPT)

    def run(run_root, *words):
        partitionable = jax.config.jax_threefry_partitionable
        try:
            return run_main(module.body, command(run_root, *words), program=config.PROGRAM)
        finally:
            jax.config.update("jax_threefry_partitionable", partitionable)

    return run


def only(run_root):
    (path,) = Path(run_root).glob("*/run.json")
    return RunFolder.read(path.parent)


def logged(run):
    return [{key: value for key, value in row.items() if key != "walltime"} for row in run.metrics()]


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    """A run that nothing interrupted."""
    root, printed = tmp_path_factory.mktemp("whole"), io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert start(root) == 0
    assert "against always_defect" in printed.getvalue()
    return only(root)


def test_killed_and_run_again_is_the_uninterrupted_run(tmp_path, start, whole, killed):
    """Killed at its end, with the buffer on and its agents saved: the same log and the same agents, bit for bit."""
    killed(SCRIPT, command(tmp_path), saves=0)
    assert only(tmp_path).status == "interrupted"
    assert start(tmp_path) == 0
    first, second = whole, only(tmp_path)
    assert first.finished and second.finished and logged(first) == logged(second)
    assert [row["iteration"] for row in logged(first)] == list(range(0, 41, 2))
    for number in (0, 20, 40):
        agents = [
            storage.load_agents(run.path / "agents" / f"minimal_state_{number}") for run in (first, second)
        ]
        for one, other in zip(*(storage.to_arrays(tree).items() for tree, _ in agents), strict=True):
            assert one[0] == other[0]
            np.testing.assert_array_equal(one[1], other[1])
    assert agents[0][1]["hp"]["actor"]["hidden_size"] == 4


def test_a_run_that_stopped_in_the_middle_goes_on(tmp_path, monkeypatch, original_streams, whole):
    """Saved after every evaluation and stopped after one of them: bit for bit the whole run."""

    def always(lane, last):
        lane.run.checkpoint(lane.done, storage.to_arrays(lane.state), {"walltime": lane.walltime})

    monkeypatch.setattr(program, "_checkpoint", always)

    class Stopped(training.Trainer):
        def row(self, iteration, report):
            if iteration == 6:
                raise KeyboardInterrupt
            return super().row(iteration, report)

    def run(kind):
        launch = config.parse([*WORDS.split(), "--run_root", str(tmp_path)])
        program.run(launch, SCRIPT, kind(launch.hp))

    with pytest.raises(KeyboardInterrupt):
        run(Stopped)
    assert not only(tmp_path).finished
    assert 4 < only(tmp_path).restore().step < 10
    run(training.Trainer)
    assert only(tmp_path).finished and logged(only(tmp_path)) == logged(whole)
    ends = [run.restore().arrays for run in (only(tmp_path), whole)]
    for name, value in ends[0].items():
        np.testing.assert_array_equal(value, ends[1][name])


def test_a_state_of_another_network_is_refused(tmp_path, start, whole, capsys):
    """A run finds the checkpoint of one on another board in its folder: one line, exit code 2, nothing lost."""
    launch = config.parse([*WORDS.split(), "hp.game.width=4"])
    roots = [SCRIPT.parent, SCRIPT.parent.parent]
    spec = RunSpec(SCRIPT.name, launch.identity(7), source_digest(SCRIPT, roots))
    wide = RunFolder.open(tmp_path, spec, [SCRIPT.name], "cpu")
    shutil.copytree(whole.path / "checkpoints", wide.path / "checkpoints")
    wide._lock.close()  # as the end of its process would
    assert start(tmp_path, "hp.game.width=4") == 2
    error = capsys.readouterr().err
    assert "does not fit" in error and error.count("\n") == 1
    kept = [
        {path.name: path.read_bytes() for path in (run.path / "checkpoints").iterdir()}
        for run in (wide, whole)
    ]
    assert kept[0] == kept[1] and only(tmp_path).status == "interrupted"


def test_bad_input_is_one_line(tmp_path, start, capsys):
    for word in ("hp.game.width=-1", "hp.nonsense=1", "hp=nothing"):
        assert start(tmp_path / "none", word) == 2
        assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "none").exists()
