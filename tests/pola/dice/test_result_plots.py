"""The plot script: it finds runs by their records and refuses to average what is not alike."""

import json
from pathlib import Path

import pytest

from pola.dice.config import parse

SCRIPT = Path(__file__).resolve().parents[3] / "pola" / "jax_files" / "result_plots.py"


@pytest.fixture(scope="module")
def plots(script):
    return script(SCRIPT)


def write_run(folder, words, evaluations=3, program="jax_files/POLA_dice_jax.py"):
    """A run record as the sampled program leaves it, interrupted after so many evaluations."""
    folder.mkdir(parents=True)
    record = {"status": "running", "program": program, "config": parse(words.split()).identity()}
    (folder / "run.json").write_text(json.dumps(record))
    pair = [0.1, 0.3]
    row = {"score": pair, "vs_defect": pair, "vs_cooperate": pair, "vs_tft": pair, "same": 3.0, "diff": 1.0}
    rows = [row | {"outer_steps": 10 * number} for number in range(evaluations)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_curves_of_unfinished_runs_are_drawn(plots, tmp_path):
    for seed in (1, 2):
        write_run(tmp_path / "deep" / f"run{seed}", f"--env coin --seed {seed}")
    write_run(tmp_path / "other", "--env ipd")
    write_run(tmp_path / "empty", "--env coin --seed 3", evaluations=0)
    write_run(tmp_path / "exact", "--env coin --seed 4", program="LOLA_exact.py")
    assert (
        plots.main(["--run_root", str(tmp_path), "--save_dir", str(tmp_path / "out"), "--every_panel"]) == 0
    )
    lines = (tmp_path / "out" / "fig.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 3
    assert (tmp_path / "out" / "fig.png").stat().st_size > 10_000
    assert (tmp_path / "out" / "fig.svg").is_file()


def test_later_steps_can_be_left_out(plots, tmp_path):
    write_run(tmp_path / "run", "--env ipd")
    plots.main(
        ["--env", "ipd", "--run_root", str(tmp_path), "--save_dir", str(tmp_path), "--last_step", "10"]
    )
    assert len((tmp_path / "fig.csv").read_text().splitlines()) == 1 + 2


def test_runs_that_are_not_alike_are_not_averaged(plots, tmp_path, capsys):
    write_run(tmp_path / "a", "--env ipd --seed 1")
    write_run(tmp_path / "b", "--env ipd --seed 2 --lr_in 0.5 --gamma 0.9")
    code = plots.main(["--env", "ipd", "--run_root", str(tmp_path), "--save_dir", str(tmp_path)])
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1
    assert "the LOLA-DiCE runs differ in lr_in, gamma" in error
    assert not (tmp_path / "fig.png").exists()


def test_no_run_is_one_line(plots, tmp_path, capsys):
    assert plots.main(["--run_root", str(tmp_path)]) == 2
    assert "no coin run with an evaluation below" in capsys.readouterr().err


def test_the_same_run_in_two_places_counts_once(plots, tmp_path):
    for place in ("fig4", "fig5"):
        write_run(tmp_path / place / "0123456789abcdef", "--env coin")
    assert len(plots.find_runs([tmp_path], "coin")) == 1
