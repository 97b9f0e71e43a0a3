"""Every command of the README runs as it stands there, at a small size."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[2] / "pola"
SMALL = {
    "LOLA_exact.py": "--repeats 2 --num_epochs 1 --prox_outer_max_iters 3",
    "jax_files/POLA_dice_jax.py": "--batch_size 4 --rollout_len 3 --hidden_size 4 --n_update 1 --outer_steps 1",
    "jax_files/result_plots.py": "",
    "lola_preconditioned_grid.py": "--repeats 2 --num_epochs 1 --fresh_repeats 2 --lr_policies_inner 0.3 1 --lr_policies_outer 0.3",
}


def commands():
    """The lines of the blocks that call this paper's scripts, here and on the front page, without continuation marks."""
    pages = [(page / "README.md").read_text("utf-8") for page in (HOME, HOME.parent)]
    blocks = re.findall(r"^```\w*\n(.*?)^```", "\n".join(pages), re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    lines = [line.replace("cd pola && ../.venv/pola/bin/python ", "python ") for line in lines]
    return [shlex.split(line)[1:] for line in lines if line.startswith("python ")]


COMMANDS = commands()


def small(words, run_root):
    """The command with the size turned down and the runs in a folder of their own."""
    words = [*words, *shlex.split(SMALL[words[0]])]
    if "--opp_model_data_batches" in words:
        words += ["--opp_model_data_batches", "1"]
    if "--om_exact" in words:
        words += ["--om_threshold", "1e-3"]
    if "--inner_steps" in words:  # they are unrolled: the time of the others goes into each of these
        steps = int(words[words.index("--inner_steps") + 1])
        words += ["--inner_steps", str(min(steps, 20 if words[0] == "LOLA_exact.py" else 2))]
    return [*words, "--run_root", str(run_root)]


@pytest.fixture(scope="module")
def run_root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=lambda n: f"{n}-{COMMANDS[n][0]}")
def test_a_command_of_the_readme(number, run_root, tmp_path, monkeypatch, script):
    monkeypatch.chdir(HOME)
    name, *flags = small(COMMANDS[number], run_root)
    if name.endswith("result_plots.py"):
        flags += ["--save_dir", str(tmp_path)]
    before = set(run_root.iterdir())
    module = script(HOME / name)
    assert (getattr(module, "main", None) or module.body)(flags) == 0
    if not name.endswith("result_plots.py"):
        assert len(set(run_root.iterdir()) - before) >= 1


def test_the_readme_has_every_published_command():
    names = [words[0] for words in COMMANDS]
    assert names.count("LOLA_exact.py") >= 33 and names.count("jax_files/POLA_dice_jax.py") >= 6


@pytest.mark.parametrize("name", ["LOLA_exact.py", "jax_files/POLA_dice_jax.py"])
def test_a_command_in_a_process_of_its_own(name, tmp_path):
    words = small(next(words for words in COMMANDS if words[0] == name), tmp_path)
    done = subprocess.run([sys.executable, *words], cwd=HOME, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("*/run.json"))
