"""The program as a person runs it: logs, seeds, kills, checkpoints, bad input."""

import contextlib
import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common import checkpoints
from common.cli import run_main
from common.runs import RunFolder
from pola.dice import program

SCRIPT = Path(__file__).resolve().parents[3] / "pola" / "jax_files" / "POLA_dice_jax.py"
TINY = (
    "--env ipd --outer_steps 1 --eval_every 1 --batch_size 4 --rollout_len 3 --hidden_size 3 --lr_in 0.1 "
    "--layers_before_gru 1 --opp_model --opp_model_data_batches 1 --checkpoint_every 2 --device cpu"
)

WHOLE = "--n_update 5 --seed 2"


@pytest.fixture(scope="module")
def launcher(script):
    return script(SCRIPT)


@pytest.fixture(scope="module")
def start(launcher):
    """`start(words, run_root)`: run the program here; returns its exit code."""

    def run(words, root):
        argv = [*words.split(), "--run_root", str(root)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [str(SCRIPT), *argv])
            return run_main(launcher.body, argv, program="POLA_dice_jax.py")

    return run


@dataclasses.dataclass
class Whole:
    """A run that nothing interrupted: five epochs of seed 2, evaluated after each."""

    run: RunFolder
    saved: Path  # its `--save_dir`
    root: Path
    printed: str


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    root, saved, printed = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("saved"), io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert start(f"{TINY} {WHOLE} --print_every 2 --inspect_ipd --save_dir {saved}", root) == 0
    (run,) = _runs(root).values()
    return Whole(run, saved, root, printed.getvalue())


def _runs(root):
    """Finished runs below `root` by seed."""
    runs = [RunFolder.read(path.parent) for path in Path(root).glob("*/run.json")]
    assert all(run.finished for run in runs)
    return {run.config["seed"]: run for run in runs}


def _end(run):
    """The last checkpoint's arrays."""
    return checkpoints.load(sorted((run.path / "checkpoints").glob("*.npz"))[-1])[0]


def _same(one, two):
    (first, second), (a, b) = (
        map(_end, (one, two)),
        ((run.path / "metrics.jsonl").read_bytes() for run in (one, two)),
    )
    return (
        a == b and first.keys() == second.keys() and all(np.array_equal(first[k], second[k]) for k in first)
    )


def test_a_run_prints_logs_and_is_not_repeated(start, whole, capsys):
    printed = whole.printed
    assert printed.startswith(
        "start iterations with 1 inner steps and 1 outer steps:\n**********\nEpoch: 0\n"
    )
    assert [line for line in printed.splitlines() if line.startswith("Epoch")] == [
        f"Epoch: {n}" for n in (0, 2, 4)
    ]
    assert (
        printed.count("Score for Agent 1: ") == printed.count("Scores for Agent 2 vs ALLD, ALLC, TFT: [") == 3
    )
    assert printed.count("  after CC, DD ") == 3
    run = whole.run
    rows = run.metrics()
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3, 4, 5]
    assert [row["outer_steps"] for row in rows] == [0, 1, 2, 3, 4, 5]
    # two agents, two rollouts for the step and one for the model, 3 steps of 4 episodes
    assert rows[1]["env_steps"] == 2 * 3 * 12
    logs = ("kl", "value_loss", "grad_norm", "shaping_norm", "om_cross_entropy", "om_value_loss")
    for name in (*logs, "score", "vs_defect", "vs_cooperate", "vs_tft"):
        assert len(rows[-1][name]) == 2 and np.isfinite(rows[-1][name]).all()
    assert all(rows[0][name] is None for name in logs)
    assert run.summary["epochs"] == 5 and run.summary["last"] == rows[-1]
    assert start(f"{TINY} {WHOLE}", whole.root) == 0
    assert "finished before" in capsys.readouterr().out


def test_scores_follow_the_evaluations_not_their_spacing(start, whole, tmp_path):
    assert start(f"{TINY} {WHOLE} --eval_every 3", tmp_path) == 0
    (third,) = _runs(tmp_path).values()
    rows = {row["epoch"]: row for row in whole.run.metrics()}
    assert [row["epoch"] for row in third.metrics()] == [0, 3, 5]
    assert all(row == rows[row["epoch"]] for row in third.metrics())


@pytest.mark.parametrize("axis", ["loop", "vmap"])
def test_seeds_of_one_process_are_the_runs_of_each_seed(start, whole, tmp_path, axis):
    """In turn they have the same bits; side by side they agree to rounding (first update, before it can grow)."""
    words = f"{TINY} {WHOLE.replace('--seed 2', '--seeds 1,2')} --seed_axis {axis}"
    assert start(f"{words} --save_dir {tmp_path / 'saved'}", tmp_path / "both") == 0
    both = _runs(tmp_path / "both")
    assert set(both) == {1, 2} and both[2].path.name == whole.run.path.name
    if axis == "loop":
        assert _same(both[2], whole.run)
        return
    found, wanted = (
        checkpoints.load(next(saved.glob("checkpoint_*_seed2_epoch2")))[0]
        for saved in (tmp_path / "saved", whole.saved)
    )
    assert found.keys() == wanted.keys()
    for name in wanted:
        if "networks" in name:
            np.testing.assert_allclose(found[name], wanted[name], atol=1e-5)


def test_killed_and_run_again_is_the_uninterrupted_run(start, whole, killed, tmp_path):
    killed(SCRIPT, [*f"{TINY} {WHOLE}".split(), "--run_root", tmp_path], saves=1)
    (folder,) = tmp_path.iterdir()
    assert RunFolder.read(folder).status == "interrupted"
    with open(folder / "metrics.jsonl", "ab") as file:
        file.write(b'{"epoch": 399, "sc')  # a row that the kill cut short
    assert start(f"{TINY} {WHOLE}", tmp_path) == 0
    (resumed,) = _runs(tmp_path).values()
    assert resumed.record["sessions"] == 2 and _same(resumed, whole.run)


def test_a_saved_checkpoint_goes_on_like_the_run_it_came_from(start, whole, tmp_path, capsys):
    saved = tmp_path / "saved"
    saved.mkdir()
    (file,) = whole.saved.glob("checkpoint_*_seed2_epoch2")
    file = Path(shutil.copy(file, saved))
    load = f"{TINY} {WHOLE} --load_dir {saved} --load_prefix {file.name[:20]}"
    assert start(load, tmp_path / "second") == 0
    (second,) = _runs(tmp_path / "second").values()
    assert _same(second, whole.run)
    capsys.readouterr()
    wrong = {
        load.replace("--hidden_size 3", "--hidden_size 4"): "hidden_size 3, this command says hidden_size 4",
        load.replace("--seed 2", "--seed 3"): "add --seed 2",
        load.replace("--n_update 5", "--n_update 2"): "nothing to do",
    }
    content = file.read_bytes()
    for words, reason in wrong.items():
        assert start(words, tmp_path / "bad") == 2
        error = capsys.readouterr().err
        assert reason in error and error.count("\n") == 1
    for damaged in (content[: len(content) // 2], content[:-40] + b"x" + content[-39:]):
        file.write_bytes(damaged)
        assert start(load, tmp_path / "bad") == 2
        error = capsys.readouterr().err
        assert "damaged" in error and error.count("\n") == 1
    assert not (tmp_path / "bad").exists()


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(start, whole, tmp_path, monkeypatch):
    words = f"{TINY} {WHOLE}"
    original = program._record

    def stop_at_five(config, lane, report, state):
        if lane.epoch == 5:
            raise KeyboardInterrupt
        original(config, lane, report, state)

    monkeypatch.setattr(program, "_record", stop_at_five)
    assert start(words, tmp_path / "cut") == 130
    monkeypatch.setattr(program, "_record", original)
    *_, newest = sorted((tmp_path / "cut").glob("*/checkpoints/*.npz"))
    newest.write_bytes(newest.read_bytes()[:1000])
    assert start(words, tmp_path / "cut") == 0
    (resumed,) = _runs(tmp_path / "cut").values()
    assert _same(resumed, whole.run)


def test_a_run_root_that_cannot_be_a_folder_is_one_line(start, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert start(TINY, tmp_path / "file" / "runs") == 2
    error = capsys.readouterr().err
    assert "a file stands where a folder is needed" in error and error.count("\n") == 1


def test_a_wrong_device_is_one_line(tmp_path):
    words = [*TINY.split(), "--device", "cuda", "--run_root", str(tmp_path)]
    answer = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True)
    if answer.returncode == 0:
        pytest.skip("this machine has a GPU")
    lines = [line for line in answer.stderr.splitlines() if line.startswith("POLA_dice_jax.py:")]
    assert answer.returncode == 2 and len(lines) == 1 and "--device cpu always works" in lines[0]
    assert "Traceback" not in answer.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("epochs", "every", "printed"),
    [(1, 3, [0, 3, 6]), (2, 3, [0, 4, 6]), (3, 2, [0, 3, 6]), (4, 5, [0, 7])],
)
def test_what_is_due_at_an_evaluation(launcher, epochs, every, printed):
    config = launcher.parse(f"--n_update 7 --eval_every {epochs}".split())
    evaluated = [0]
    while evaluated[-1] < 7:
        evaluated.append(program.next_stop(config, evaluated[-1]))
    assert [epoch for epoch in evaluated if program.due(epoch, every, config)] == printed


def test_numbers_are_logged_as_short_as_they_are_exact():
    values = np.random.default_rng(0).normal(size=100).astype(np.float32)
    texts = [json.dumps(program._number(value)) for value in values]
    assert all(np.float32(json.loads(text)) == value for text, value in zip(texts, values, strict=True))
    assert max(map(len, texts)) <= 16


def test_a_large_evaluation_ends_on_several_cores(tmp_path):
    """With more than one thread XLA deadlocks here (jaxlib 0.10.2): the program must ask for one by itself."""
    words = "--env ipd --rollout_len 50 --hidden_size 64 --layers_before_gru 1 --batch_size 400 --n_update 1"
    environment = {name: value for name, value in os.environ.items() if name != "NPROC"}
    command = [sys.executable, str(SCRIPT), *words.split(), "--run_root", str(tmp_path), "--device", "cpu"]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert answer.returncode == 0, answer.stderr
    assert list(_runs(tmp_path)) == [1]
