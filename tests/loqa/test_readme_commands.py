"""Every command of the README runs as it stands there, at a small size."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common.cli import UserError
from common.runs import RunFolder

HOME = Path(__file__).resolve().parents[2] / "loqa"
COIN = (
    "hp.max_iterations=1 hp.batch_size=4 hp.game.game_length=3 hp.actor.hidden_size=4 hp.qvalue.hidden_size=4"
)
SMALL = {
    "ipd.py": "hp.max_iterations=1 hp.batch_size=4 hp.game_length=3",
    "coin_train.py": COIN,
    "three_player_coin_train.py": COIN,
}
#: commands that other tests run: they need agents, and have tests of their own
ELSEWHERE = {"league/run_league.py", "film.py", "shaping_probe.py"}


def commands():
    """The lines of the README's blocks that call Python, without continuation marks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", (HOME / "README.md").read_text("utf-8"), re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = [shlex.split(line)[1:] for line in lines if line.startswith("python ")]
    return [words for words in found if words[0] not in ELSEWHERE]


COMMANDS = commands()


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB__SERVICE_WAIT", "300")  # its process may start slowly on a busy machine
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)


def small(words, run_root):
    """The command with the size turned down and the runs in a folder of their own."""
    return [*words, *shlex.split(SMALL[words[0]]), "--run_root", str(run_root)]


@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=lambda n: f"{n}-{COMMANDS[n][0]}")
def test_a_command_of_the_readme(number, tmp_path, monkeypatch, script):
    monkeypatch.chdir(HOME)
    if COMMANDS[number][0] in [words[0] for words in COMMANDS[:number]]:
        monkeypatch.setenv(
            "WANDB_MODE", "disabled"
        )  # the first command of each script has shown that it is offline
    name, *flags = small(COMMANDS[number], tmp_path / "runs")
    assert script(HOME / name).body(flags) == 0
    (run,) = map(RunFolder.read, (tmp_path / "runs").iterdir())
    assert run.finished and run.metrics()[-1]["iteration"] == 1
    assert (run.path / "agents" / "minimal_state_1").is_file()


def test_the_probe_prints_both_parts_of_the_gradient(monkeypatch, capsys, script):
    monkeypatch.syspath_prepend(str(HOME))
    probe = script(HOME / "shaping_probe.py")
    monkeypatch.setattr(probe, "VERSIONS", dict(list(probe.VERSIONS.items())[:2]))
    assert probe.body(["--updates", "1", "--batches", "1", "--batch_size", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 2 * 2
    assert all(np.isfinite([float(word) for word in line.split()[-5:]]).all() for line in lines[1:])


def test_the_probe_refuses_a_size_of_zero(monkeypatch, script):
    monkeypatch.syspath_prepend(str(HOME))
    with pytest.raises(UserError, match="--batches 0"):
        script(HOME / "shaping_probe.py").body(["--batches", "0"])


def test_the_readme_has_every_published_command():
    names = [words[0] for words in COMMANDS]
    assert names.count("ipd.py") >= 1 and names.count("coin_train.py") >= 5


def test_a_command_in_a_process_of_its_own_falls_to_offline_with_one_line(tmp_path, monkeypatch):
    # where this process's wandb listens; the child starts its own
    monkeypatch.delenv("WANDB_SERVICE", raising=False)
    words = small(next(words for words in COMMANDS if words[0] == "ipd.py"), tmp_path)
    done = subprocess.run([sys.executable, *words], cwd=HOME, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "wandb: no key found, so this run is logged offline" in done.stderr
    assert list(tmp_path.glob("*/wandb/offline-run-*/run-*.wandb"))
