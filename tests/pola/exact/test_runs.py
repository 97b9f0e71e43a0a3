"""Runs from the command line: what they write and print, killed and resumed, and the grid of step sizes."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from common.cli import run_main
from common.runs import RunFolder
from pola.exact import grid
from pola.exact.config import PROGRAM
from pola.exact.experiment import Experiment, State
from pola.exact.grid_config import GRID_PROGRAM
from pola.exact.grid_config import parse as parse_grid
from pola.exact.policies import draw_parameters, preconditioned
from pola.exact.program import main

HOME = Path(__file__).resolve().parents[3] / "pola"
COMMON = "--n_agents 2 --init_state_representation 2 --set_seed --actual_update"
KILLED = {
    "LOLA": "--num_epochs 6 --repeats 3 --lr_policies_inner 1 --lr_policies_outer 1",
    "outer POLA": "--num_epochs 4 --repeats 2 --lr_policies_inner 0.4 --lr_policies_outer 0.05 --outer_exact_prox --outer_beta 5 --prox_threshold 1e-5 --ill_condition",
    "opponent models": "--num_epochs 4 --repeats 2 --lr_policies_outer 1 --opp_model --om_exact --om_lr_p 0.2 --om_threshold 1e-2 --om_using_nn",
}


def start(words, root):
    """The program in a process of its own."""
    command = [sys.executable, *shlex.split(words), "--run_root", str(root)]
    return subprocess.Popen(command, cwd=HOME, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(words, root, body=main):
    """The program in this process, to its end."""
    assert body([*shlex.split(words), "--run_root", str(root)]) == 0
    return only(root)


def only(root):
    (path,) = (path for path in Path(root).iterdir() if path.is_dir())
    return RunFolder.read(path)


def same_log(one, two):
    return (one.path / "metrics.jsonl").read_bytes() == (two.path / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("name", KILLED)
def test_killed_and_run_again_gives_the_same_bits(name, tmp_path, killed):
    words = f"{COMMON} {KILLED[name]} --seed 3"
    saving = f"{words} --checkpoint_seconds 0"
    killed(HOME / PROGRAM, [*shlex.split(saving), "--run_root", tmp_path / "killed"], saves=2)
    assert only(tmp_path / "killed").status == "interrupted"
    resumed, whole = finish(saving, tmp_path / "killed"), finish(words, tmp_path / "whole")
    assert resumed.record["sessions"] == 2 and whole.record["sessions"] == 1
    assert resumed.path.name == whole.path.name and resumed.summary == whole.summary
    assert same_log(resumed, whole)


def test_a_damaged_checkpoint_is_passed_over_for_an_older_one(tmp_path, killed):
    words = f"{COMMON} {KILLED['LOLA']} --checkpoint_seconds 0"
    killed(HOME / PROGRAM, [*shlex.split(words), "--run_root", tmp_path / "killed"], saves=2)
    _, newest = sorted((tmp_path / "killed").glob("*/checkpoints/*.npz"))
    newest.write_bytes(newest.read_bytes()[:200])
    assert same_log(finish(words, tmp_path / "killed"), finish(words, tmp_path / "whole"))


def lola(root, more=""):
    words = f"{COMMON} --print_every 10 --repeats 3 --num_epochs 30 --seed 1 --lr_policies_inner 3 --lr_policies_outer 25"
    return main(shlex.split(f"{words} {more} --run_root {root}"))


def test_what_a_run_writes_and_prints(tmp_path, capsys):
    assert lola(tmp_path) == 0
    printed = capsys.readouterr().out
    for line in (
        "Number of agents: 2",
        "Contribution factor: 1.33",
        "Exact Gradients",
        "Max cooperative payout: 8.2500",
        "run 3: TFT Found",
        r"& 0.00 & 1.00 & 0.00 & 1.00 & 1.00 \\",
        "Num Runs Where TFT Found: 3",
        "Proportion of Runs Where TFT Found: 1.0",
    ):
        assert line in printed, line
    assert printed.count("Epoch: ") == 3
    folder = only(tmp_path)
    rows = folder.metrics()
    assert [row["epoch"] for row in rows] == list(range(1, 31)) and np.shape(rows[-1]["values"]) == (3, 2)
    assert rows[-1]["tft"] == 3 and rows[-1]["row"] == folder.summary["row"]
    assert folder.summary["n_tft"] == 3 and folder.summary["tft"] == [True] * 3
    assert np.shape(folder.summary["final_policies"]) == (3, 2, 5)
    np.testing.assert_allclose(
        np.mean(folder.summary["final_policies"], (0, 1)), folder.summary["row"], rtol=1e-6
    )
    np.testing.assert_allclose(folder.summary["values"], 8.25, atol=0.01)


def test_a_finished_run_is_reported_and_not_repeated(tmp_path, capsys):
    lola(tmp_path)
    first = capsys.readouterr().out
    before = (only(tmp_path).path / "run.json").read_bytes()
    assert lola(tmp_path) == 0
    again = capsys.readouterr().out
    assert "finished already" in again and again.splitlines()[-3:] == first.splitlines()[-3:]
    assert (only(tmp_path).path / "run.json").read_bytes() == before


def test_the_printed_row_is_that_of_the_true_policies(tmp_path, capsys):
    """The released program printed the sigmoid of the parameters of pre-conditioned policies."""
    words = f"{COMMON} --ill_condition --repeats 2 --num_epochs 1 --seed 1 --std 2 --lr_policies_outer 1e-9 --run_root {tmp_path}"
    main(shlex.split(words))
    theta = torch.tensor(draw_parameters(preconditioned("dd"), 2, 1, 2.0))
    true = torch.stack([torch.sigmoid(preconditioned("dd").logits(agent)) for agent in theta])
    expected = true.mean((0, 2)).tolist()
    np.testing.assert_allclose(only(tmp_path).summary["row"], expected, atol=1e-6)
    assert "& " + " & ".join(f"{p:.2f}" for p in expected) + r" \\" in capsys.readouterr().out
    assert abs(torch.sigmoid(theta).mean((0, 2)) - torch.tensor(expected)).max() > 0.05


def test_value_plots_are_drawn_when_asked_for_even_of_a_finished_run(tmp_path):
    lola(tmp_path)
    folder = only(tmp_path).path
    assert not list(folder.glob("*.png"))
    lola(tmp_path, "--value_plots")
    names = sorted(path.name for path in folder.glob("*.png"))
    assert [name.split("_date")[0] for name in names] == [
        f"2agents_outerlr25.0_innerlr3.0_run{k}_exact" for k in range(3)
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in folder.glob("*.png"))


def test_verbose_runs_print_more_and_compute_the_same(tmp_path, capsys):
    words = f"{COMMON} --repeats 2 --num_epochs 1 --seed 1 --lr_policies_inner 5 --lr_policies_outer 0.3 --outer_exact_prox --outer_beta 0.1"
    main(shlex.split(f"{words} --run_root {tmp_path / 'quiet'}"))
    capsys.readouterr()
    more = "--print_prox_loops_info --print_inner_rollouts"
    main(shlex.split(f"{words} {more} --run_root {tmp_path / 'loud'}"))
    printed = capsys.readouterr().out
    quiet, loud = only(tmp_path / "quiet"), only(tmp_path / "loud")
    assert loud.summary == quiet.summary
    largest = quiet.summary["iterations"]["largest"]
    assert f"outer iteration {largest} run 2:" in printed and "anticipated opponents" in printed
    counts = [count for pair in quiet.metrics()[0]["outer_iterations"] for count in pair]
    assert max(counts) == largest and f"Outer prox iters used: {counts[0]} (agent 1)" in printed


def test_a_folder_that_is_in_use_is_refused(tmp_path, capsys):
    words = f"{COMMON} {KILLED['LOLA']}"
    child = start(f"{PROGRAM} {words}", tmp_path)
    while not list(tmp_path.glob("*/run.json")) and child.poll() is None:
        time.sleep(0.002)
    os.kill(child.pid, signal.SIGSTOP)
    assert run_main(main, [*shlex.split(words), "--run_root", str(tmp_path)], program=PROGRAM) == 2
    message = capsys.readouterr().err
    assert "another process is writing" in message and message.count("\n") == 1
    os.kill(child.pid, signal.SIGCONT)
    assert child.wait(120) == 0


SMALL_GRID = "--base_cf_no_scale 1.33 --lr_policies_inner 0.3 1 --lr_policies_outer 0.3 1.5 --repeats 4 --num_epochs 12 --remeasured 2 --fresh_repeats 5"


def test_the_grid_counts_what_single_experiments_find(tmp_path):
    """Each point of the grid, matrix and form is the run of that command from the same initial parameters."""
    from pola.exact.config import parse

    assert grid.main(shlex.split(f"{SMALL_GRID} --num_epochs 40 --run_root {tmp_path}")) == 0
    rows = only(tmp_path).metrics()
    assert len(rows) == 4 * (4 + 2) and sum(row["n_tft"] for row in rows) > 0
    for row in rows:
        fresh = row["stage"] == "fresh"
        plain = "--outer_plain_logits" if row["plain"] else ""
        words = f"{COMMON} --ill_condition --precondition {row['matrix']} {plain} --lr_policies_inner {row['lr_in']} --lr_policies_outer {row['lr_out']}"
        experiment = Experiment(parse(shlex.split(words)))
        theta = draw_parameters(preconditioned("dd"), 5 if fresh else 4, 1, 0.1, stream=1 if fresh else 0)
        state: State = experiment.start(theta)
        for _ in range(40):
            state, _ = experiment.update(state)
        assert (int(state.tft.sum()), theta.shape[-1]) == (row["n_tft"], row["n"]), row


def test_the_grid_measures_its_best_points_again_and_reports_the_first(tmp_path):
    grid.main(shlex.split(f"{SMALL_GRID} --num_epochs 40 --run_root {tmp_path}"))
    folder = only(tmp_path)
    rows = folder.metrics()
    for best in folder.summary["best"]:
        mine = [row for row in rows if all(row[key] == best[key] for key in ("cf", "matrix", "plain"))]
        first = [row for row in mine if row["stage"] == "fresh"][0]
        top = max(row["n_tft"] for row in mine if row["stage"] == "grid")
        chosen = next(row for row in mine if (row["lr_in"], row["lr_out"]) == (best["lr_in"], best["lr_out"]))
        assert best == first and chosen["n_tft"] == top


def test_a_killed_grid_goes_on(tmp_path, killed):
    saving = f"{SMALL_GRID} --checkpoint_seconds 0"
    killed(HOME / GRID_PROGRAM, [*shlex.split(saving), "--run_root", tmp_path / "killed"], saves=3)
    assert only(tmp_path / "killed").status == "interrupted"
    resumed = finish(saving, tmp_path / "killed", grid.main)
    whole = finish(SMALL_GRID, tmp_path / "whole", grid.main)
    assert resumed.summary == whole.summary and same_log(resumed, whole)


def test_grid_covers_every_form_and_point_once():
    config = parse_grid([])
    batches = list(grid.work(config))
    seen = [(form, point) for stage, form, points in batches if stage == "grid" for point in points]
    assert len(seen) == len(set(seen)) == 8 * len(config.lrs_in) * len(config.lrs_out)
    assert [form for stage, form, _ in batches if stage == "fresh"] == grid.forms(config)


def test_grid_rows_are_json(tmp_path):
    grid.main(shlex.split(f"{SMALL_GRID} --num_epochs 1 --run_root {tmp_path}"))
    lines = (only(tmp_path).path / "metrics.jsonl").read_text().splitlines()
    assert {key for line in lines for key in json.loads(line)} == {
        "stage", "cf", "matrix", "plain", "lr_in", "lr_out", "n", "n_tft",
    }  # fmt: skip
