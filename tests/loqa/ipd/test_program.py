"""`ipd.py` as a person runs it: the README's command, kills, seeds, saved agents, bad input."""

import json
import shlex
import shutil
import sys

import jax
import numpy as np
import pytest

from common import checkpoints
from common.cli import run_main
from common.runs import RunFolder
from loqa import program, storage
from loqa.ipd.config import PROGRAM

README = (
    'wandb.state=enabled wandb.tags="[ipd_10_seeds]" hp=logits hp.eval_every=100 hp.batch_size=2048 '
    "hp.game_length=50 hp.qvalue.mode=mean hp.qvalue.train.lr_loss_qvalue=1e-2 hp.actor.train.lr_loss_actor=1e-3 "
    "hp.actor.train.entropy_beta=0.0 hp.seed=42 hp.agent_replay_buffer.mode=disabled hp.epsilon_greedy=0.2 "
    "hp.qvalue.replay_buffer.mode=disabled"
)
SMALL = "hp.batch_size=4 hp.game_length=5 hp.eval_every=2 hp.max_iterations=9 --device cpu"
#: fresh noise, both buffers, two learners, resets
EVERYTHING = (
    f"hp=logits hp.rng_mode=fresh hp.just_self_play=false hp.reset.mode=enabled hp.reset.every=7 {SMALL} "
    "hp.agent_replay_buffer.update_freq=2 hp.agent_replay_buffer.capacity=3 hp.qvalue.replay_buffer.capacity=6"
)


@pytest.fixture(scope="module")
def start(ipd):
    """`start(words, run_root)`: run the program here; returns its exit code."""

    def run(words, root):
        argv = [*shlex.split(words), "--run_root", str(root)]
        partitionable = jax.config.jax_threefry_partitionable
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", [PROGRAM, *argv])
                return run_main(ipd.body, argv, program=PROGRAM)
        finally:
            jax.config.update("jax_threefry_partitionable", partitionable)

    return run


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    """Runs that nothing interrupted: the seeds 1 and 4 of one process, 10 iterations each."""
    root = tmp_path_factory.mktemp("whole")
    assert start(f"hp=logits {SMALL} --seeds 1,4", root) == 0
    return _runs(root)


def _runs(root):
    """Finished runs below `root` by seed."""
    runs = [RunFolder.read(path.parent) for path in root.glob("*/run.json")]
    assert all(run.finished for run in runs)
    return {run.config["hp"]["seed"]: run for run in runs}


def _log(run):
    """The log without what a clock says."""
    return [{key: value for key, value in row.items() if key != "walltime"} for row in run.metrics()]


def _same(one, two):
    ends = [checkpoints.load(sorted((run.path / "checkpoints").glob("*.npz"))[-1])[0] for run in (one, two)]
    first, second = ends
    return (
        _log(one) == _log(two)
        and first.keys() == second.keys()
        and all(np.array_equal(first[name], second[name]) for name in first)
    )


def test_the_readme_command_at_a_small_size(start, tmp_path, monkeypatch, capsys):
    """Verbatim but for its size: later overrides win. No account: offline, one line, and the log is whole."""
    monkeypatch.setenv("WANDB_MODE", "disabled")  # wandb itself is tested in tests/common
    words = f"{README} hp.batch_size=8 hp.game_length=5 hp.eval_every=1 hp.max_iterations=3 hp.save_every=2"
    assert start(words, tmp_path) == 0
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("iteration")] == [
        f"iteration: {i}" for i in range(4)
    ]
    (run,) = _runs(tmp_path).values()
    rows = run.metrics()
    assert [row["iteration"] for row in rows] == [0, 1, 2, 3]
    names = (
        "kl_q_logps_0 kl_logps_q_1 advantage_0 loss_agent_0_qvalue agent0_entropy grad_agent0_norm "
        "grad_opponent0_norm agent0_mean_rewards qvalue_0_START_C p_1_DD_D value_0_CD walltime"
    )
    for name in names.split():
        assert all(np.isfinite(row[name]) for row in rows), name
    for state in ("START", "CC", "CD", "DC", "DD"):
        assert rows[-1][f"p_0_{state}_C"] + rows[-1][f"p_0_{state}_D"] == pytest.approx(1)
        assert f"0_{state}_C" in rows[-1]
    assert (
        rows[0]["grad_agent0_norm"] > 0 and rows[-1]["loss_agent_0_qvalue"] < rows[0]["loss_agent_0_qvalue"]
    )
    saved = sorted(path.name for path in (run.path / "agents").iterdir())
    assert saved == ["minimal_state_0", "minimal_state_2", "minimal_state_3"]
    agents, meta = storage.load_agents(run.path / "agents" / "minimal_state_3")
    assert meta["iteration"] == 3 and meta["hp"]["seed"] == 42
    np.testing.assert_array_equal(
        agents["agent0"]["params"]["actor_head"]["CC"], agents["agent1"]["params"]["actor_head"]["CC"]
    )


@pytest.mark.parametrize("words", [f"hp=logits {SMALL} --seed 4", EVERYTHING])
def test_killed_and_run_again_is_the_uninterrupted_run(start, whole, tmp_path, monkeypatch, words):
    monkeypatch.setattr(program, "CHECKPOINT_SECONDS", 0.0)
    if words == EVERYTHING:
        assert start(words, tmp_path / "whole") == 0
        (first,) = _runs(tmp_path / "whole").values()
    else:
        first = whole[4]

    class Killed(BaseException):
        pass

    real = program._record

    def dies(launch, lane, trainer, report):
        real(launch, lane, trainer, report)
        if lane.done >= 5:
            lane.run.log({"iteration": 99})  # a row that no checkpoint knows of
            raise Killed

    monkeypatch.setattr(program, "_record", dies)
    with pytest.raises(Killed):
        start(words, tmp_path / "killed")
    monkeypatch.setattr(program, "_record", real)
    for lock in (tmp_path / "killed").glob("*/.lock"):
        lock.unlink()  # the lock of a killed process dies with it; this one lives in this process
    assert start(words, tmp_path / "killed") == 0
    (resumed,) = _runs(tmp_path / "killed").values()
    assert resumed.path.name == first.path.name
    assert resumed.record["sessions"] == 2 and _same(first, resumed)


def test_a_killed_process_goes_on(start, whole, killed, tmp_path, ipd):
    """The same with a real process and SIGKILL, then finished by this one."""
    words = f"hp=logits {SMALL} --seed 4"
    killed(ipd.__file__, [*words.split(), "--run_root", tmp_path], saves=0)
    (folder,) = tmp_path.iterdir()
    assert RunFolder.read(folder).status == "interrupted"
    assert start(words, tmp_path) == 0
    (run,) = _runs(tmp_path).values()  # another length would be another run
    assert run.record["sessions"] == 2 and _same(whole[4], run)


def test_seeds_of_one_process_are_the_runs_of_each_seed(start, whole, tmp_path):
    assert start(f"hp=logits {SMALL} --seed 4", tmp_path) == 0
    (alone,) = _runs(tmp_path).values()
    assert set(whole) == {1, 4} and whole[4].path.name == alone.path.name and _same(whole[4], alone)
    assert _log(whole[1]) != _log(whole[4])


@pytest.mark.parametrize(
    ("words", "reason"),
    [("hp=nosuch", "nosuch"), ("hp.batch_size=-1", "hp.batch_size"), ("hp.game_name=IPD", "leave it out")],
)
def test_bad_input_is_one_line_and_exit_code_2(start, tmp_path, capsys, words, reason):
    assert start(words, tmp_path / "runs") == 2
    said = capsys.readouterr()
    assert reason in said.err and said.err.count("\n") == 1 and not said.out
    assert not (tmp_path / "runs").exists()


def test_a_damaged_checkpoint_is_not_used(start, whole, tmp_path):
    shutil.copytree(whole[4].path, tmp_path / whole[4].path.name)
    (damaged,) = _runs(tmp_path).values()
    for path in (damaged.path / "checkpoints").glob("*.npz"):
        path.write_bytes(path.read_bytes()[:-7])
    record = json.loads((damaged.path / "run.json").read_text())
    (damaged.path / "run.json").write_text(json.dumps(record | {"status": "running"}))
    assert start(f"hp=logits {SMALL} --seed 4", tmp_path) == 0
    (again,) = _runs(tmp_path).values()
    assert again.record["sessions"] == 2 and _same(whole[4], again)
