"""The compiled iteration: what is learned when, seeds side by side, resume to the bit, every README command."""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from common.cli import UserError
from common.runs import RunFolder
from iqflow.config.loading import parse
from iqflow.eval import evaluate, mechanism, plot
from iqflow.trainer import program, storage
from iqflow.trainer.training import Trainer

PAPER = Path(__file__).resolve().parents[3] / "iqflow"
SCRIPT = PAPER / "iqflow/trainer/train_multiprocess.py"
TINY = (
    "--set qflow.batch_size=8 --set qflow.meta_batch_size=8 --set qflow.start_train=20 --set nn.n_h1=4 --set nn.n_h2=4 "
    "--set nn.n_hr1=4 --set nn.n_hr2=4 --set qflow.obj_mask=false --set alg.n_eval=2 --set alg.period=3 --set alg.n_episodes=9"
)
IPD = f"--alg qflow --exp ipd --config config_img_qflow {TINY}"


@pytest.fixture(scope="module")
def trainer():
    return Trainer(parse(IPD.split()).settings)


@pytest.fixture(scope="module")
def advance(trainer):
    return jax.jit(trainer.advance)


@pytest.fixture(scope="module")
def history(trainer, advance):
    """States before the first episode and after each of nine."""
    states = [jax.jit(trainer.fresh)(np.uint32(5))]
    for _ in range(9):
        states.append(advance(states[-1], np.int32(1), False, False)[0])
    return jax.device_get(states)


def same(first, second):
    return all(
        np.array_equal(a, b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    )


def test_what_is_learned_when(history):
    """Five steps an episode: critics from 8 transitions on (episode 2), incentives from 20 steps before (episode 5)."""
    for before, after in zip(history, history[1:], strict=False):
        episode = int(after.episode)
        old, new = before.mechanism.mechanism, after.mechanism.mechanism
        assert int(after.step) == 5 * episode == int(after.mechanism.replay.size)
        assert same(old.coop, new.coop) == same(old.env, new.env) == same(old.rew, new.rew) == (episode < 2)
        assert same(old.rewarder, new.rewarder) == (episode < 5)
        assert not same(before.followers.actor, after.followers.actor)


def test_episodes_in_one_call_are_the_same_episodes(history, advance):
    state, _ = advance(history[0], np.int32(9), False, True)
    assert same(state, history[9])


def test_without_incentives_nothing_is_paid_and_nothing_moves(trainer):
    off = Trainer(parse(f"{IPD} --set env.r_multiplier=0".split()).settings)
    start = jax.jit(off.fresh)(np.uint32(5))
    state, report = jax.jit(off.advance)(start, np.int32(9), False, True)
    assert np.all(report["received"] == 0) and np.all(report["detail"]["incentives"] == 0)
    assert same(start.mechanism.mechanism.rewarder, state.mechanism.mechanism.rewarder)
    assert np.array_equal(report["reward_env"], report["reward_total"])


def test_an_evaluation_adds_up(history, advance):
    _, report = advance(history[9], np.int32(0), False, True)
    assert np.allclose(report["n_c"] + report["n_d"], 1)
    assert np.allclose(report["received"] + report["reward_env"], report["reward_total"], atol=1e-6)
    assert np.isclose(report["reward_env"].sum(), report["reward_env_total"])
    assert report["detail"]["incentives"].shape == (5, 2, 2, 2)
    assert np.all((report["detail"]["cooperation"] > 0) & (report["detail"]["cooperation"] < 1))


def test_a_lane_is_the_run_of_its_seed(trainer, advance):
    seeds = np.arange(3, dtype=np.uint32)
    batch = jax.jit(jax.vmap(trainer.advance, in_axes=(0, None, None, None)))
    together, _ = batch(jax.jit(jax.vmap(trainer.fresh))(seeds), np.int32(9), False, True)
    for k, seed in enumerate(seeds):
        alone, _ = advance(jax.jit(trainer.fresh)(seed), np.int32(9), False, True)
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[k], b, rtol=1e-4, atol=1e-5)


def train(words, root, seeds="1,2"):
    launch = parse([*words.split(), "--seeds", seeds, "--run_root", str(root), "--device", "cpu"])
    return program.run(launch, SCRIPT, Trainer)


def content(root):
    """Logs without times, and the saved agents' bits, by seed."""
    found = {}
    for path in sorted(root.glob("*/run.json")):
        run = RunFolder.read(path.parent)
        rows = [{**row, "time": 0} for row in run.metrics()]
        files = [file.read_bytes() for file in storage.saved_agents(run.path / "agents")]
        found[run.config["seed"]] = rows, files
    return found


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    words = f"{IPD} --set main.save_period=3"
    train(words, tmp_path / "whole")
    monkeypatch.setattr(program, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(program, "CHECKPOINT_TIMES", 0.0)
    for cut in (3, 2):
        calls = []

        def dies(self, *args, own=RunFolder.checkpoint, calls=calls, cut=cut):
            calls.append(args)
            if len(calls) == cut:
                raise Killed
            own(self, *args)

        with monkeypatch.context() as patch:
            patch.setattr(RunFolder, "checkpoint", dies)
            with pytest.raises(Killed):
                train(words, tmp_path / "cut")
        gc.collect()
    train(words, tmp_path / "cut")
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    assert len(content(tmp_path / "whole")[1][1]) == 3


def test_one_trace_for_the_whole_run(tmp_path):
    traced = []

    class Counting(Trainer):
        def iterate(self, state):
            traced.append(1)
            return super().iterate(state)

    launch = parse([*IPD.split(), "--seeds", "1", "--run_root", str(tmp_path), "--device", "cpu"])
    program.run(launch, SCRIPT, Counting)
    assert len(traced) == 1


def test_a_mechanism_is_loaded_in_three_lines(tmp_path, capsys):
    train(IPD, tmp_path, "7")
    run = next(tmp_path.glob("*/run.json")).parent
    path = run / "agents" / "agents_9"

    saved = mechanism.load(path)
    incentives = saved(np.eye(5)[:, None].repeat(2, 1), np.array([[0, 1]] * 5))

    logged = np.array(RunFolder.read(run).metrics()[-1]["detail"]["incentives"])
    np.testing.assert_allclose(incentives, logged[:, 0, 1], atol=1e-6)
    with pytest.raises(UserError, match="takes observations"):
        saved(np.zeros((2, 4)), np.zeros(2))
    other = Trainer(parse(["--alg", "pg", "--exp", "er", "--config", "config_er_pg"]).settings)
    with pytest.raises(UserError, match="another map or game"):
        saved.check_fits(other.env)
    assert (
        evaluate.body(
            ["--agents", str(path), "--episodes", "3", "--out", str(tmp_path / "out"), "--device", "cpu"]
        )
        == 0
    )
    assert "payoff_1" in capsys.readouterr().out
    assert (tmp_path / "out" / "payoffs.csv").exists()
    assert plot.body([str(run / "log.csv"), "--out", str(tmp_path / "curves")]) == 0
    assert (tmp_path / "curves.png").exists()


LOGS = {
    "qflow_ipd": "--alg qflow --exp ipd --config config_img_qflow",
    "qflow_chicken": "--alg qflow --exp chicken --config config_img_qflow",
    "qflow_er": "--alg qflow --exp er --config config_er_qflow",
    "id_er": "--alg id --exp er --config config_er_id",
    "pg_er": "--alg pg --exp er --config config_er_pg",
    "qflow_ssd7x7": "--alg qflow --exp ssd --config config_ssd_qflow",
    "id_ssd7x7": "--alg id --exp ssd --config config_ssd_id",
    "pg_ssd7x7": "--alg pg --exp ssd --config config_ssd_pg",
}


@pytest.mark.golden("curves_*.csv")
def test_the_columns_are_the_originals(case):
    name = next(name for name in LOGS if case.name.startswith(f"curves_{name}"))
    trainer = Trainer(parse(LOGS[name].split()).settings)
    state = jax.eval_shape(trainer.fresh, np.uint32(0))
    shapes = jax.eval_shape(trainer.evaluation, state)
    report = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
    columns = ["episode", "step_train", *trainer.row(report)]
    assert [column for column in columns if column != "detail"] == case.read_text().splitlines()[0].split(",")


AGAIN = [  # the same programs with other numbers
    "--alg qflow --exp stag_hunt --config config_img_qflow",
    "--alg qflow --exp er --config config_er_qflow2",
    "--alg id --exp er --config config_er_id2",
    "--alg qflow --exp ssd --config config_ssd_qflow2",
    "--alg id --exp ssd --config config_ssd_id2",
    "--alg pg --exp ssd --config config_ssd_pg --set pg.centralized=true",
    "--alg id --exp er --config config_er_id --set id.decentralized=true",
    "--alg qflow --exp er --config config_er_qflow --set qflow.use_actor_critic=true --set qflow.lr_v=0.001",
    "--alg id --exp ssd --config config_ssd_id --set env.obs_cleaned_1hot=true",
]
ONCE = [words for name, words in LOGS.items() if name != "qflow_chicken"]


@pytest.mark.parametrize("words", [*ONCE, *(pytest.param(words, marks=pytest.mark.slow) for words in AGAIN)])
def test_every_command_of_the_readme_runs(tmp_path, words):
    command = [sys.executable, str(SCRIPT), *words.split(), "--n_seeds", "2"]
    command += [
        "--set",
        "alg.n_episodes=3",
        "--set",
        "alg.period=2",
        "--set",
        "alg.n_eval=2",
        "--device",
        "cpu",
    ]
    done = subprocess.run(
        [*command, "--run_root", str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    folders = [path.parent for path in tmp_path.glob("*/run.json")]
    assert len(folders) == 2
    for folder in folders:
        assert json.loads((folder / "config.json").read_text())["config"]["alg"]["n_episodes"] == 3
        lines = (folder / "log.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in lines] == ["episode", "2", "3"]
        assert (folder / "measure_1.csv").exists() == ("--exp ssd" in words and "--alg pg" not in words)
        assert storage.saved_agents(folder / "agents")
