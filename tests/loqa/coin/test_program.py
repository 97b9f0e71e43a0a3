"""`coin_train.py` as a person runs it: logs, agents, kill and resume."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from common.runs import RunFolder, RunSpec, source_digest
from loqa import program, storage
from loqa.coin import config, training

SCRIPT = Path(config.__file__).resolve().parents[2] / "coin_train.py"
WORDS = (
    "hp=loqa_iclr hp.batch_size=4 hp.game.game_length=4 hp.actor.hidden_size=4 hp.qvalue.hidden_size=3 "
    "hp.agent_replay_buffer.capacity=50 hp.agent_replay_buffer.update_freq=2 hp.max_iterations=400 "
    "hp.eval_every=20 hp.save_every=200 hp.seed=7"
)


def command(run_root, *words):
    return [
        sys.executable,
        str(SCRIPT),
        *WORDS.split(),
        *words,
        "--run_root",
        str(run_root),
        "--device",
        "cpu",
    ]


def only(run_root):
    (path,) = Path(run_root).glob("*/run.json")
    return RunFolder.read(path.parent)


def logged(run):
    return [{key: value for key, value in row.items() if key != "walltime"} for row in run.metrics()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupted."""
    root = tmp_path_factory.mktemp("whole")
    done = subprocess.run(command(root), capture_output=True, text=True, check=True)
    assert "against always_defect" in done.stdout
    return only(root)


def test_killed_and_run_again_is_the_uninterrupted_run(tmp_path, whole):
    """Killed while it trains, with the buffer on: the same log and the same agents, bit for bit."""
    child = subprocess.Popen(command(tmp_path / "killed"), stdout=subprocess.DEVNULL)
    while child.poll() is None and not any((tmp_path / "killed").glob("*/agents/minimal_state_200")):
        time.sleep(0.02)
    child.kill()
    child.wait()
    again = subprocess.run(command(tmp_path / "killed"), capture_output=True, text=True, check=True)
    assert again.stdout
    first, second = whole, only(tmp_path / "killed")
    assert first.finished and second.finished and logged(first) == logged(second)
    assert [row["iteration"] for row in logged(first)] == list(range(0, 401, 20))
    for number in (0, 200, 400):
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
            if iteration == 60:
                raise KeyboardInterrupt
            return super().row(iteration, report)

    def start(kind):
        launch = config.parse([*WORDS.split(), "--run_root", str(tmp_path)])
        program.run(launch, SCRIPT, kind(launch.hp))

    with pytest.raises(KeyboardInterrupt):
        start(Stopped)
    assert not only(tmp_path).finished
    assert 40 < only(tmp_path).restore().step < 100
    start(training.Trainer)
    assert only(tmp_path).finished and logged(only(tmp_path)) == logged(whole)
    ends = [run.restore().arrays for run in (only(tmp_path), whole)]
    for name, value in ends[0].items():
        np.testing.assert_array_equal(value, ends[1][name])


def test_a_state_of_another_network_is_refused(tmp_path, whole):
    """A run finds the checkpoint of one on another board in its folder: one line, exit code 2, nothing lost."""
    launch = config.parse([*WORDS.split(), "hp.game.width=4"])
    roots = [SCRIPT.parent, SCRIPT.parent.parent]
    spec = RunSpec(SCRIPT.name, launch.identity(7), source_digest(SCRIPT, roots))
    wide = RunFolder.open(tmp_path, spec, [SCRIPT.name], "cpu")
    shutil.copytree(whole.path / "checkpoints", wide.path / "checkpoints")
    wide._lock.close()  # as the end of its process would
    again = subprocess.run(command(tmp_path, "hp.game.width=4"), capture_output=True, text=True)
    assert again.returncode == 2 and again.stderr.strip().count("\n") == 0
    assert "does not fit" in again.stderr
    kept = [
        {path.name: path.read_bytes() for path in (run.path / "checkpoints").iterdir()}
        for run in (wide, whole)
    ]
    assert kept[0] == kept[1] and only(tmp_path).status == "interrupted"


def test_bad_input_is_one_line(tmp_path):
    for word in ("hp.game.width=-1", "hp.nonsense=1", "hp=nothing"):
        run = subprocess.run(command(tmp_path / "none", word), capture_output=True, text=True)
        assert run.returncode == 2 and run.stderr.strip().count("\n") == 0, run.stderr
        assert "Traceback" not in run.stderr and not (tmp_path / "none").exists()
