"""Every command of the README runs as it stands there, at a small size, and the eight of the paper are among them."""

import json
import re
import shlex
from pathlib import Path

import pytest

from common.runs import RunFolder
from stackerlberg.experiments import catalogue
from stackerlberg.train import run_experiment

HOME = Path(__file__).resolve().parents[2] / "stackelberg"
SCRIPT = "stackerlberg/train/run_experiment.py"
PAPER = (
    "ipd_allmatrices_ppo_pg",
    "ipd_allmatrices_pg_pg",
    "smipd_hiddenqueries_pg_pg",
    "smipd_nothiddenqueries_pg_pg",
    "smipd_hiddenqueries_dqn_pg",
    "smipd_nothiddenqueries_dqn_pg",
    "smipd_leadermemory_pg_pg",
    "smipd_leadernomemory_pg_pg",
)


def commands():
    """The lines of the README's blocks that call Python, without continuation marks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", (HOME / "README.md").read_text("utf-8"), re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = [shlex.split(line)[1:] for line in lines if line.startswith("python ")]
    return [words for words in found if words[0] == SCRIPT and "rllib" not in words]


COMMANDS = commands()


def name_of(words):
    """The experiment of a command line."""
    return next(word.removeprefix("--experiment=") for word in words if word.startswith("--experiment="))


def small(words):
    """The command with each phase cut to one or two iterations, one seed and one condition where it leaves that open."""
    name, extra = name_of(words), ["--log_every", "2"]
    tree = catalogue.entry(name)["configuration"]
    if "--hyperopt" not in words and "--seed" not in words and "--seeds" not in words:
        extra += ["--seed", "1"]
    for key in ("pre_training_iterations", "outer_iterations", "inner_iterations_leader"):
        if tree.get(key, 0):
            extra += ["--set", f"{key}={1 if key == 'outer_iterations' else min(2, tree[key])}"]
    extra += ["--set", "post_training_iterations=0"]
    given = " ".join(words)
    for key, value in tree["common_config"]["env_config"].items():
        if catalogue.is_grid(value) and key not in given:
            extra += ["--set", f"common_config.env_config.{key}={json.dumps(value['grid'][0])}"]
    if "--hyperopt_samples" in words:
        words = [word if word != "40" else "10" for word in words]
    return [*words[1:], *extra]


@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=lambda n: f"{n}-{name_of(COMMANDS[n])}")
def test_a_command_of_the_readme(number, tmp_path, monkeypatch):
    monkeypatch.chdir(HOME)
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    assert run_experiment.body([*small(COMMANDS[number]), "--run_root", str(tmp_path)]) == 0
    runs = [RunFolder.read(path) for path in tmp_path.iterdir() if (path / "run.json").exists()]
    assert runs and all(run.finished and run.metrics() for run in runs)


def test_the_readme_has_every_published_command():
    assert [name_of(words) for words in COMMANDS[:8]] == list(PAPER)
