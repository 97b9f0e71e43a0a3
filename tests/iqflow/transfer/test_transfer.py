"""Transfer's command line, where its mechanisms come from, and what its learners are given."""

import fcntl
import json
import os
import shlex
import subprocess
import sys

import jax
import numpy as np
import pytest

from common.cli import UserError, run_main
from common.runs import RunFolder, RunSpec
from iqflow.config.loading import override, read_tree, resolve
from iqflow.trainer import storage
from iqflow.trainer import transfer as script
from iqflow.trainer.mechanisms import Frozen
from iqflow.trainer.training import Trainer
from iqflow.transfer import mechanisms
from iqflow.transfer.games import Games
from iqflow.transfer.lanes import LaneTrainer
from iqflow.transfer.settings import parse

TINY = ["env.max_steps=4", "nn.n_h1=4", "nn.n_h2=4", "nn.n_filters=1"]
TRAINED = "--alg qflow --exp ssd --config config_ssd_qflow " + " ".join(f"--set {word}" for word in TINY)


def agents(bias):
    """A tiny mechanism that pays 2 sigmoid(bias) for everything, and its configuration."""
    settings = resolve("it", override(read_tree("config_ssd_qflow"), TINY), "qflow", "ssd")
    trainer = Trainer(settings)
    shapes = jax.eval_shape(trainer.agents, jax.eval_shape(trainer.fresh, np.uint32(0)))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    zeros["mechanism"]["Dense_2"]["bias"] += np.float32(bias)
    return zeros, {"alg": "qflow", "exp": "ssd", "config": settings.tree(), "seed": 1}


def save(folder, bias=0.0):
    saved, meta = agents(bias)
    return storage.save_agents(folder, 9, saved, meta, keep=1)


# --- the command line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "named"), [
    ("--reward incentive", "needs one of --mechanism FILE and --mechanism_run"),
    ("--reward shared --mechanism x", "--mechanism is not read with --reward shared"),
    ("--reward incentive --mechanism x --mechanism_run y", "needs one of"),
    ("--reward selfish --set main.agent_reset_period=3", "agent_reset_period has to be 0"),
    ("--reward selfish --set pg.centralized=true", "pg.centralized"),
    ("--reward selfish --set pg.shared_reward=true", "is set by --reward shared"),
    ("--reward selfish --config config_ssd_qflow", "not for --alg pg"),
    ("--reward selfish --seed 1 --seeds 2", "exclude each other"),
    ("--reward incentive --mechanism_run '--alg pg --exp ssd --config config_ssd_pg'", "has to train a mechanism"),
    ("--reward incentive --mechanism_run '--seed 3'", "--mechanism_run --seed"),
])  # fmt: skip
def test_bad_command_lines(words, named):
    with pytest.raises(UserError, match=named):
        parse(shlex.split(words))


def test_a_run_is_addressed_by_what_it_computes(tmp_path):
    first, second = save(tmp_path / "a"), save(tmp_path / "b", bias=1.0)
    same = tmp_path / "copy"
    same.write_bytes(first.read_bytes())

    def identity(*words):
        return json.dumps(parse(["--seed", "3", *words]).identity(), sort_keys=True)

    paid = identity("--reward", "incentive", "--mechanism", str(first))
    assert paid == identity("--reward", "incentive", "--mechanism", str(same))
    others = [
        identity("--reward", "incentive", "--mechanism", str(second)),
        identity("--reward", "incentive", "--mechanism_run", TRAINED),
        identity("--reward", "incentive", "--mechanism_run", f"{TRAINED} --set alg.n_episodes=9"),
        identity("--reward", "incentive", "--mechanism", str(first), "--followers", "keras"),
        identity("--reward", "shared"),
        identity("--reward", "selfish"),
    ]
    assert len({paid, *others}) == 7


def test_shared_reward_is_the_configurations_switch():
    assert parse(["--reward", "shared"]).settings.method.shared_reward
    assert not parse(["--reward", "selfish"]).settings.method.shared_reward


# --- where the mechanism comes from -----------------------------------------------------------------------------------


@pytest.fixture
def trainings(monkeypatch):
    """In the place of a training: a finished run with a mechanism that pays by its seed. Returns the seeds trained."""
    done = []

    def run(launch, script, make_trainer):
        addresses = mechanisms._addresses(launch, script)
        for seed in launch.seeds:
            name = "iqflow/trainer/train_multiprocess.py"
            folder = RunFolder.open(
                launch.run_root, spec := RunSpec(name, launch.identity(seed), "code"), [], "cpu"
            )
            assert spec.address == addresses[seed]
            save(folder.path / "agents", bias=float(seed))
            folder.finish({})
            done.append(seed)

    monkeypatch.setattr(mechanisms.program, "run", run)
    monkeypatch.setattr(mechanisms, "source_digest", lambda *args: "code")
    return done


def test_mechanisms_are_trained_once_and_found_again(tmp_path, trainings):
    def words(root, seeds):
        reward = ["--reward", "incentive", "--mechanism_run", TRAINED, "--seeds", seeds]
        return parse([*reward, "--run_root", str(root), *(f"--set={word}" for word in TINY)])

    here = tmp_path / "results" / "iqflow" / "transfer" / "quick" / "runs"
    found = mechanisms.mechanisms(words(here, "1,2"))
    assert trainings == [1, 2]
    for seed, one in found.items():
        np.testing.assert_array_equal(one.parameters["Dense_2"]["bias"], np.float32([seed, seed]))
    assert mechanisms.mechanisms(words(here, "1-3")).keys() == {1, 2, 3} and trainings == [1, 2, 3]
    beside = tmp_path / "results" / "iqflow" / "other" / "paper" / "runs"
    mechanisms.mechanisms(words(beside, "1-3"))
    assert trainings == [1, 2, 3] and not list(beside.glob("*/run.json"))
    with open(here / ".mechanisms.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go of


def test_a_mechanism_of_another_map_is_refused(tmp_path):
    path = save(tmp_path)
    large = ["env.map_name=cleanup_other", *TINY]
    words = ["--reward", "incentive", "--mechanism", str(path), *(f"--set={word}" for word in large)]
    with pytest.raises(UserError, match="map_name"):
        mechanisms.mechanisms(parse(words))


def test_every_seed_has_its_own_mechanism(tmp_path):
    words = ["--reward", "incentive", "--mechanism", str(save(tmp_path)), *(f"--set={word}" for word in TINY)]
    transfer = parse(words)
    one = mechanisms.mechanisms(transfer)[12340]
    frozen = {
        seed: Frozen(one.net, jax.tree.map(lambda leaf, seed=seed: leaf + seed, one.parameters))
        for seed in (5, 8)
    }
    trainer = LaneTrainer(transfer.settings, frozen)
    make = jax.jit(trainer.fresh, compiler_options={"xla_backend_optimization_level": 0})
    for seed in (8, 5):
        state = make(np.uint32(seed))
        np.testing.assert_array_equal(state.mechanism["Dense_2"]["bias"], np.float32([seed, seed]))
    assert trainer.agents(state).keys() == {"followers"}


# --- what the learners are given --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reward", "expected"), [
    ("selfish", [[1, 2], [0, 2]]), ("shared", [[3, 3], [2, 2]]), ("incentive", [[2, 6], [1, 6]]),
])  # fmt: skip
def test_rewards(toy, payer, reward, expected):
    games = Games(toy, 2, reward, payer if reward == "incentive" else None)
    seen = games.reset(3, 0)
    assert seen.shape == (2, 2, 2, 2, 1) and not seen.any()
    games.step(np.zeros((2, 2), int))
    seen, rewards, done, info = games.step(np.array([[1, 2], [0, 2]]))
    np.testing.assert_array_equal(rewards, expected)
    np.testing.assert_array_equal(info["own_rewards"], [[1, 2], [0, 2]])
    np.testing.assert_array_equal(info["n_cleaned"], [[0, 1], [0, 1]])
    assert np.all(seen == 2) and not done and info["incentives"].any() == (reward == "incentive")
    assert games.step(np.zeros((2, 2), int))[2]


def test_games_and_mechanisms_go_together(toy, payer):
    for reward, pays in (("incentive", None), ("shared", payer)):
        with pytest.raises(UserError, match="does not go together"):
            Games(toy, 1, reward, pays)


# --- the whole command -------------------------------------------------------------------------------------------------


def test_bad_input_is_one_line_and_exit_code_2(capsys):
    words = ["--reward", "incentive", "--mechanism", "nowhere", "--device", "cpu"]
    assert run_main(script.body, words, program="transfer.py") == 2
    assert capsys.readouterr().err == "transfer.py: no checkpoint at nowhere\n"


@pytest.mark.slow
@pytest.mark.parametrize("followers", ["jax", "keras"])
@pytest.mark.parametrize("reward", ["incentive", "shared", "selfish"])
def test_every_command_runs(tmp_path, reward, followers):
    sets = [*TINY, "alg.n_episodes=3", "alg.period=2", "alg.n_eval=2"]
    words = [
        "--reward",
        reward,
        "--followers",
        followers,
        "--seeds",
        "1,2",
        *(f"--set={word}" for word in sets),
    ]
    words += ["--mechanism", str(save(tmp_path / "mechanism"))] if reward == "incentive" else []
    command = [sys.executable, script.__file__, *words, "--run_root", str(tmp_path), "--device", "cpu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    folders = [RunFolder.read(path.parent) for path in tmp_path.glob("*/run.json")]
    assert len(folders) == 2
    for folder in folders:
        rows = folder.metrics()
        assert [row["episode"] for row in rows if "step" in row] == [2, 3]
        assert rows[-1].get("A1_received", 0) == pytest.approx(4 if reward == "incentive" else 0)
