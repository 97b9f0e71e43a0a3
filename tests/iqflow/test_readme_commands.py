"""Every command of the README runs as it stands there, at a small size."""

import json
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import jax
import numpy as np
import pytest

from common.runs import RunFolder
from iqflow.config.loading import parse
from iqflow.config.settings import ALGORITHMS
from iqflow.trainer import program, storage, training

HOME = Path(__file__).resolve().parents[2] / "iqflow"
TRAINER = HOME / "iqflow" / "trainer"
SMALL = {
    "alg": {"n_episodes": 3, "period": 2, "n_eval": 1},
    "nn": {"n_h1": 4, "n_h2": 4, "n_hr1": 4, "n_hr2": 4},
    "qflow": {"batch_size": 4, "meta_batch_size": 4, "start_train": 0},
    "env": {"max_steps": 5},
}


def commands():
    """The words after ``python`` of every line in the README's blocks that calls the trainer's scripts."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", (HOME / "README.md").read_text("utf-8"), re.M | re.S)
    lines = "\n".join(blocks).splitlines()
    found = [shlex.split(line)[1:] for line in lines if line.startswith("python ")]
    return [words for words in found if words[0] in ("train_multiprocess.py", "tune_multiprocess.py")]


TRAIN = [words for words in commands() if words[0] == "train_multiprocess.py"]
TUNE = [words for words in commands() if words[0] == "tune_multiprocess.py"]


def option(words, name):
    return words[words.index(name) + 1]


def small(words, run_root):
    """The command's flags with the sizes turned down, as far as its configuration has them, and two seeds."""
    tree = parse(words[1:]).settings.tree()
    sets = [
        f"{section}.{key}={value}"
        for section, keys in SMALL.items()
        for key, value in keys.items()
        if key in tree.get(section, {})
    ]
    own = [word for k, word in enumerate(words[1:], 1) if "--n_seeds" not in (word, words[k - 1])]
    return [
        *own,
        "--n_seeds",
        "2",
        *(word for one in sets for word in ("--set", one)),
        "--device",
        "cpu",
        "--run_root",
        str(run_root),
    ]


def kind(words):
    """Algorithm and kind of game, and the keys that the README sets: one kind is one program with other numbers."""
    sets = tuple(value for flag, value in pairwise(words) if flag == "--set")
    return option(words, "--alg"), parse(words[1:]).settings.kind, sets


#: what compiles for a minute; these commands, and the second ones of a kind, are run when slow tests are asked for
LONG = {("qflow", "er", ()), ("qflow", "ssd", ()), ("id", "ssd", ()), ("pg", "ssd", ())}


def weight(words):
    """The mark of a command's test."""
    first = next(other for other in TRAIN if kind(other) == kind(words))
    return () if words is first and not kind(words)[2] and kind(words) not in LONG else pytest.mark.slow


NUMBERS = [
    pytest.param(k, marks=weight(words), id=f"{k}-{'-'.join(words[2:7:2])}") for k, words in enumerate(TRAIN)
]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_command_of_the_readme(number, tmp_path, monkeypatch, script):
    monkeypatch.chdir(TRAINER)
    words = TRAIN[number]
    assert script(TRAINER / words[0]).body(small(words, tmp_path)) == 0
    folders = [path.parent for path in tmp_path.glob("*/run.json")]
    assert len(folders) == 2
    probed = "ssd" in words and "pg" not in words
    for folder in folders:
        assert RunFolder.read(folder).finished
        assert json.loads((folder / "config.json").read_text())["config"]["alg"]["n_episodes"] == 3
        lines = (folder / "log.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in lines] == ["episode", "2", "3"]
        assert (folder / "measure_1.csv").exists() == probed
        agents, meta = storage.load_agents(storage.saved_agents(folder / "agents")[-1])
        assert meta["episode"] == 3 and ("mechanism" in agents) == ("pg" not in words)


@pytest.mark.parametrize("one", sorted(LONG), ids=lambda one: "-".join(one[:2]))
def test_a_long_command_of_the_readme_can_be_traced(one, tmp_path):
    words = next(words for words in TRAIN if kind(words) == one)
    trainer = training.Trainer(parse(small(words, tmp_path)).settings)
    state = jax.eval_shape(trainer.fresh, np.uint32(0))
    after, report = jax.eval_shape(trainer.advance, state, np.int32(1), False, True)
    assert jax.tree.map(np.shape, after) == jax.tree.map(np.shape, state)
    assert "reward_env_total" in report or "total_env_reward" in report


@pytest.mark.parametrize("words", TRAIN, ids=lambda words: "-".join(words[2:7:2]))
def test_a_command_of_the_readme_is_the_papers_when_nothing_is_turned_down(words):
    launch = parse(words[1:])
    assert launch.seeds == tuple(range(12340, 12345)) and launch.settings.schedule.n_envs == 1


def test_the_readme_has_a_command_for_every_configuration():
    configs = {path.stem for path in (HOME / "iqflow" / "config").glob("config_*.toml")}
    assert {option(words, "--config") for words in TRAIN} == configs and len(configs) == 11
    games = {option(words, "--exp") for words in TRAIN}
    assert games == {"ipd", "chicken", "stag_hunt", "er", "ssd"}
    assert {option(words, "--alg") for words in TRAIN} == set(ALGORITHMS)


def test_a_search_of_the_readme(tmp_path, monkeypatch, capsys, script):
    monkeypatch.chdir(TRAINER)
    (words,) = TUNE
    trained = []

    def run(launch, script, trainer):
        trained.append(launch)
        return {seed: {"score": 1.0} for seed in launch.seeds}

    monkeypatch.setattr(program, "run", run)
    flags = ["--n_trials", "2", "--run_root", str(tmp_path)]
    assert script(TRAINER / words[0]).body([*words[1:], *flags]) == 0
    assert [launch.settings.exp for launch in trained] == ["er", "er"]
    assert "best of 2" in capsys.readouterr().out


@pytest.mark.parametrize("failed, code", [((), 0), ((12341,), 1)])
def test_the_exit_code_says_whether_a_seed_failed(failed, code, monkeypatch, script):
    words = TRAIN[0]

    def run(launch, script, trainer):
        return {seed: None if seed in failed else {"score": 1.0} for seed in launch.seeds}

    monkeypatch.setattr(program, "run", run)
    assert script(TRAINER / words[0]).body(words[1:]) == code


@pytest.mark.parametrize(
    "words, told",
    [
        ("--alg qflow --exp er --config config_img_qflow", "config_er_qflow or config_er_qflow2"),
        ("--alg pg --exp ipd --config config_img_qflow", "not implemented for --exp ipd"),
        ("--alg qflow --exp er --config config_er_qflow --set qflow.lr_rewrd=1", "qflow.lr_reward?"),
    ],
)
def test_a_mismatch_is_one_line_and_code_2_in_a_process_of_its_own(words, told, tmp_path):
    done = subprocess.run(
        [sys.executable, TRAINER / "train_multiprocess.py", *words.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2 and told in done.stderr
    assert done.stderr.count("\n") == 1 and not list(tmp_path.iterdir())
