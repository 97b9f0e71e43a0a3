"""`coin_train.py` as a person runs it: logs, agents, kill and resume."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from common.runs import RunFolder
from loqa import storage
from loqa.coin import config

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


def test_killed_and_run_again_is_the_uninterrupted_run(tmp_path):
    """Killed while it trains, with the buffer on: the same log and the same agents, bit for bit."""
    whole = subprocess.run(command(tmp_path / "whole"), capture_output=True, text=True, check=True)
    assert "against always_defect" in whole.stdout
    child = subprocess.Popen(command(tmp_path / "killed"), stdout=subprocess.DEVNULL)
    while child.poll() is None and not any((tmp_path / "killed").glob("*/agents/minimal_state_200")):
        time.sleep(0.02)
    child.kill()
    child.wait()
    again = subprocess.run(command(tmp_path / "killed"), capture_output=True, text=True, check=True)
    assert again.stdout
    first, second = only(tmp_path / "whole"), only(tmp_path / "killed")
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


def test_a_run_that_stopped_in_the_middle_goes_on(tmp_path, monkeypatch):
    """Saved after every evaluation and stopped after one of them: bit for bit the whole run."""
    import jax

    from loqa import program, storage
    from loqa.coin import training

    def always(lane, last):
        lane.run.checkpoint(lane.done, storage.to_arrays(lane.state), {"walltime": lane.walltime})

    monkeypatch.setattr(program, "_checkpoint", always)

    class Stopped(training.Trainer):
        def row(self, iteration, report):
            if iteration == 60:
                raise KeyboardInterrupt
            return super().row(iteration, report)

    def start(kind, folder):
        launch = config.parse([*WORDS.split(), "hp.max_iterations=80", "--run_root", str(tmp_path / folder)])
        jax.config.update("jax_threefry_partitionable", False)
        try:
            program.run(launch, SCRIPT, kind(launch.hp))
        except KeyboardInterrupt:
            assert kind is Stopped

    before = jax.config.jax_threefry_partitionable
    start(Stopped, "stopped")
    assert not only(tmp_path / "stopped").finished
    assert only(tmp_path / "stopped").restore().step > 40
    start(training.Trainer, "stopped")
    start(training.Trainer, "whole")
    jax.config.update("jax_threefry_partitionable", before)
    assert logged(only(tmp_path / "stopped")) == logged(only(tmp_path / "whole"))
    ends = [only(tmp_path / name).restore().arrays for name in ("stopped", "whole")]
    for name, value in ends[0].items():
        np.testing.assert_array_equal(value, ends[1][name])


def test_a_state_of_another_network_is_refused(tmp_path):
    """The checkpoint of a run is replaced by one of another board: one line, exit code 2, nothing lost."""
    words = "hp.max_iterations=0", "hp.batch_size=2"
    subprocess.run(command(tmp_path / "small", *words), check=True, capture_output=True)
    subprocess.run(command(tmp_path / "large", *words, "hp.game.width=4"), check=True, capture_output=True)
    small, large = only(tmp_path / "small"), only(tmp_path / "large")
    record = json.loads((small.path / "run.json").read_text("utf-8"))
    shutil.rmtree(small.path / "checkpoints")
    shutil.copytree(large.path / "checkpoints", small.path / "checkpoints")
    record["status"] = "interrupted"
    (small.path / "run.json").write_text(json.dumps(record), "utf-8")
    again = subprocess.run(command(tmp_path / "small", *words), capture_output=True, text=True)
    assert again.returncode == 2 and again.stderr.strip().count("\n") == 0
    assert "does not fit" in again.stderr and (small.path / "checkpoints").exists()


def test_bad_input_is_one_line(tmp_path):
    for word in ("hp.game.width=-1", "hp.nonsense=1", "hp=nothing"):
        run = subprocess.run(command(tmp_path / "none", word), capture_output=True, text=True)
        assert run.returncode == 2 and run.stderr.strip().count("\n") == 0, run.stderr
        assert "Traceback" not in run.stderr and not (tmp_path / "none").exists()
