import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common import figures

_spec = importlib.util.spec_from_file_location("toy_paper", Path(__file__).with_name("toy.py"))
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)


def _output(root, profile="quick"):
    return root / "results" / "toy" / "line" / profile


def _records(root, profile="quick"):
    return {
        path.parent.name: json.loads(path.read_text())
        for path in _output(root, profile).glob("runs/*/run.json")
    }


def _state(root):
    """Everything that must be the same bits after a kill and a resume."""
    folders = _output(root).glob("runs/*/")
    logs = {folder.name: (folder / "metrics.jsonl").read_bytes() for folder in folders}
    return logs, (_output(root) / "data.csv").read_bytes(), (_output(root) / "figure.png").read_bytes()


def test_one_command_runs_draws_and_judges_and_the_second_time_nothing_runs(tmp_path):
    toy.make(tmp_path)
    first = toy.call(tmp_path, "reproduce", "toy", "line")
    assert first.returncode == 0, first.stderr
    names = {file.name for file in _output(tmp_path).iterdir()}
    assert {"figure.png", "figure.svg", "data.csv", "verdict.json", "runs"} <= names
    verdict = json.loads((_output(tmp_path) / "verdict.json").read_text())
    assert verdict["status"] == "reproduced"
    assert [claim["status"] for claim in verdict["claims"]] == ["reproduced"]
    assert [run["seed"] for run in verdict["runs"]] == [1, 2]
    assert "reproduced" in first.stdout and "PROFILE=paper" in first.stdout
    before = _records(tmp_path)
    second = toy.call(tmp_path, "reproduce", "toy", "line")
    assert second.returncode == 0 and "all 2 runs are cached" in second.stdout
    assert _records(tmp_path) == before


@pytest.mark.parametrize(
    ("expect", "code", "status"),
    [("at_least = 1000", 1, "not reproduced"), ("between = [-100, 100]", 0, "reproduced")],
)
def test_exit_code_follows_the_verdict(tmp_path, expect, code, status):
    toy.make(tmp_path, expect=expect)
    answer = toy.call(tmp_path, "reproduce", "toy", "line")
    assert answer.returncode == code
    assert json.loads((_output(tmp_path) / "verdict.json").read_text())["status"] == status


def test_a_run_that_fails_leaves_the_figure_incomplete_with_one_line(tmp_path):
    toy.make(tmp_path)
    manifest = tmp_path / "toy/figures/line.toml"
    manifest.write_text(manifest.read_text().replace('quick = "--drift 0.5', 'quick = "--drift -0.5'))
    answer = toy.call(tmp_path, "reproduce", "toy", "line", "--jobs", "1")
    assert answer.returncode == 2
    assert "run up failed: RuntimeError: a drift below zero breaks the toy" in answer.stderr
    assert json.loads((_output(tmp_path) / "verdict.json").read_text())["status"] == "incomplete"


def test_smoke_judges_nothing_but_that_all_is_finite(tmp_path):
    toy.make(tmp_path, expect="at_least = 1000")
    answer = toy.call(tmp_path, "reproduce", "toy", "line", "--profile", "smoke")
    assert answer.returncode == 0, answer.stderr
    assert json.loads((_output(tmp_path, "smoke") / "verdict.json").read_text())["status"] == "not judged"


def test_the_plan_shows_what_is_cached_and_runs_nothing(tmp_path):
    toy.make(tmp_path)
    plan = toy.call(tmp_path, "plan", "toy", "line")
    assert plan.returncode == 0 and plan.stdout.count("missing") == 2 and "2 runs, 0 cached" in plan.stdout
    assert "python walk.py --drift 0.5 --steps 20 --pause 0.0 --seed 2" in plan.stdout
    assert not (tmp_path / "results").exists()
    toy.call(tmp_path, "reproduce", "toy", "line", "--seeds", "2")
    assert "2 runs, 1 cached" in toy.call(tmp_path, "plan", "toy", "line").stdout


def test_more_seeds_add_runs_and_a_changed_program_makes_them_stale(tmp_path):
    toy.make(tmp_path)
    toy.call(tmp_path, "reproduce", "toy", "line", "--seeds", "1-2")
    toy.call(tmp_path, "reproduce", "toy", "line", "--seeds", "1-3")
    assert len(_records(tmp_path)) == 3
    script = tmp_path / "toy/walk.py"
    script.write_text(script.read_text().replace("config.drift\n", "2 * config.drift\n"))
    assert "2 runs, 0 cached" in toy.call(tmp_path, "plan", "toy", "line").stdout


def test_a_verdict_says_which_seeds_were_asked_for_instead(tmp_path):
    toy.make(tmp_path)
    told = []
    for words in ([], ["--seeds", "2"]):
        toy.call(tmp_path, "reproduce", "toy", "line", *words)
        verdict = json.loads((tmp_path / "results/toy/line/quick/verdict.json").read_text())
        told.append([verdict[key] for key in ("command", "about", "deeper")])
    (command, about, _), (asked, said, deeper) = told
    assert asked == f"{command} SEEDS=2" and said == f"{about}; here seeds 2 instead" and deeper == command


def test_a_finished_run_serves_every_profile_of_the_paper(tmp_path):
    toy.make(tmp_path)
    manifest = tmp_path / "toy/figures/line.toml"
    manifest.write_text(manifest.read_text().replace("[profile.paper]", "[profile.paper]\nsame = 'quick'"))
    toy.call(tmp_path, "reproduce", "toy", "line", "--seeds", "1-3")
    answer = toy.call(tmp_path, "reproduce", "toy", "line", "--profile", "paper")
    assert answer.returncode == 0 and "all 3 runs are cached" in answer.stdout
    assert toy.call(tmp_path, "publish", "toy", "line", "--profile", "paper").returncode == 0
    records = json.loads((tmp_path / "published/toy/line/run.json").read_text())
    assert [record["status"] for record in records] == ["finished"] * 3


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM])
def test_killed_at_any_moment_and_run_again_gives_the_same_bits(tmp_path, sig):
    whole, broken = toy.make(tmp_path / "whole", steps=40), toy.make(tmp_path / "broken", steps=40)
    for root in (whole, broken):
        script = root / "toy/walk.py"
        script.write_text(script.read_text().replace("config.pause)", "0.02)"))
    toy.call(whole, "reproduce", "toy", "line")
    argv, environment = toy.command(broken, "reproduce", "toy", "line")
    for wait in (0.3, 0.55):
        child = subprocess.Popen(argv, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not any(_output(broken).glob("runs/*/metrics.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(wait)
        if sig == signal.SIGKILL:
            os.killpg(child.pid, sig)
        else:
            child.send_signal(sig)
        child.wait()
    records = _records(broken).values()
    assert any(record["status"] == "running" for record in records), "the kill came after the end"
    last = toy.call(broken, "reproduce", "toy", "line")
    assert last.returncode == 0, last.stderr
    assert _state(broken) == _state(whole)
    assert max(record["sessions"] for record in _records(broken).values()) > 1


def test_redrawing_what_was_published_gives_the_same_bytes_without_a_run(tmp_path):
    toy.make(tmp_path)
    toy.call(tmp_path, "reproduce", "toy", "line")
    assert toy.call(tmp_path, "publish", "toy", "line").returncode == 0
    published = tmp_path / "published/toy/line"
    assert {file.name for file in published.iterdir()} == {
        "data.csv",
        "figure.png",
        "figure.svg",
        "run.json",
        "verdict.json",
    }
    before = {name: (published / name).read_bytes() for name in ("figure.png", "figure.svg")}
    for name in before:
        (published / name).unlink()
    subprocess.run(["rm", "-r", str(tmp_path / "results")], check=True)
    assert toy.call(tmp_path, "figure", "toy", "line").returncode == 0
    assert {name: (published / name).read_bytes() for name in before} == before
    table = toy.call(tmp_path, "verdict", "--published")
    assert table.returncode == 0 and "toy line (quick)" in table.stdout


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    toy.make(tmp_path)
    assert toy.call(tmp_path, "reproduce", "toy", "line").returncode == 0
    command = [sys.executable, "-u", "-m", "common.figures", "verdict", "--root", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == "" and process.wait() == 141


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["reproduce", "toy", "circle"], "toy has no figure 'circle'; it has line"),
        (["reproduce", "nobody", "line"], "no paper 'nobody'"),
        (["reproduce", "toy", "line", "--seeds", "4-1"], "seeds '4-1' can't be read"),
        (["reproduce", "toy", "line", "--profil", "paper"], "did you mean --profile?"),
        (["reproduce", "toy", "line", "--profile", "huge"], "invalid choice: 'huge'"),
        (["reproduce", "toy", "line", "--jobs", "0"], "JOBS must be at least 1"),
        (["verdict"], "nothing has been run yet"),
        (["publish", "toy", "line"], "nothing to publish"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, words, says):
    toy.make(tmp_path)
    answer = toy.call(tmp_path, *words)
    assert answer.returncode == 2
    assert says in answer.stderr and answer.stderr.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_a_manifest_key_that_nobody_reads_is_refused(tmp_path):
    toy.make(tmp_path)
    manifest = tmp_path / "toy/figures/line.toml"
    manifest.write_text(manifest.read_text().replace('script = "walk.py"', 'script = "walk.py"\nretries = 3'))
    answer = toy.call(tmp_path, "plan", "toy", "line")
    assert answer.returncode == 2 and "unknown keys: retries" in answer.stderr


def test_a_results_folder_that_cannot_be_written_is_one_line_and_harms_nothing(tmp_path):
    toy.make(tmp_path)
    (tmp_path / "results").write_text("a file of the user's")
    answer = toy.call(tmp_path, "reproduce", "toy", "line")
    assert answer.returncode == 2 and answer.stderr.count("\n") == 1
    assert "a file stands where a folder is needed" in answer.stderr
    assert (tmp_path / "results").read_text() == "a file of the user's"


def test_a_full_disk_stops_with_one_line_and_the_finished_run_stays(tmp_path):
    toy.make(tmp_path)
    toy.call(tmp_path, "reproduce", "toy", "line", "--seeds", "1")
    before = _records(tmp_path)
    script = tmp_path / "toy/walk.py"
    text = script.read_text()
    full = "import os\ndef full(descriptor):\n    raise OSError(28, 'No space left on device', 'run.json')\nos.fsync = full\n"
    script.write_text(text.replace("def body(argv):", full + "def body(argv):"))
    answer = toy.call(tmp_path, "reproduce", "toy", "line", "--seeds", "2")
    assert answer.returncode == 2
    assert "no space left on the disk" in answer.stderr
    script.write_text(text)
    assert {key: value for key, value in _records(tmp_path).items() if key in before} == before
    assert toy.call(tmp_path, "reproduce", "toy", "line", "--seeds", "1-2").returncode == 0


def test_logs_without_a_terminal_are_plain_lines(tmp_path):
    toy.make(tmp_path)
    answer = toy.call(tmp_path, "reproduce", "toy", "line")
    assert "\r" not in answer.stderr and "\033" not in answer.stdout + answer.stderr


def _planned(name, seed, together):
    spec = figures.RunSpec("walk.py", {"name": name, "seed": seed}, "source")
    return figures.PlannedRun(name, "walk.py", (name,), seed, spec, 1.0, together)


@pytest.mark.parametrize(
    ("device", "wanted"),
    [("cpu", [["a1"], ["a2"], ["b1", "b2"], ["cNone"]]), ("cuda", [["a1", "a2"], ["b1", "b2"], ["cNone"]])],
)
def test_seeds_share_a_process_on_a_gpu_and_where_the_manifest_says_together(device, wanted):
    runs = [_planned(name, seed, name == "b") for name in "ab" for seed in (1, 2)]
    runs.append(_planned("c", None, False))
    batches = figures._batches(runs, device)
    assert [[f"{run.name}{run.seed}" for run in batch] for batch in batches] == wanted


@pytest.mark.parametrize("profile", ["smoke", "quick"])
def test_only_smoke_runs_are_compiled_quickly(tmp_path, monkeypatch, profile):
    toy.make(tmp_path)
    (tmp_path / "toy/walk.py").write_text("import os\nprint(os.environ.get('TOLD'))\n")
    monkeypatch.setattr(figures, "quick_settings", lambda: {"TOLD": "quickly"})
    figure, run = figures.load(tmp_path, "toy", "line", profile), _planned("a", 1, together=False)
    (figure.output / "runs").mkdir(parents=True)
    assert figures._start(figure, [run], 1, "cpu").wait(60) == 0
    told = (figure.output / "runs" / f"{run.spec.address}.log").read_text()
    assert told == ("quickly\n" if profile == "smoke" else "None\n")
