"""A killed row of a table goes on to the same bits, stages are shared, and the same seed gives the same numbers."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.runs import RunFolder
from marlhf import pipeline, program, programs
from marlhf.pipeline import Row, RowTrainer

HOME = Path(__file__).resolve().parents[2] / "marlhf"
SCRIPT = HOME / "train" / "pipeline.py"
SMALL = (
    "MIX='1|0|0|0|1+1|0|0' data.NUM_ENVS=4 rm.REWARD_MODEL_EPOCHS=2 rm.MINIBATCH_SIZE=8 rm.FF_LAYER_DIM=8 "
    "il.NUM_EPOCHS=2 il.BATCH_SIZE=4 il.NUM_TEST_ENVS=4 alg.EPOCHS=6 alg.TEST_INTERVAL=2 alg.BATCH_SIZE=4 "
    "alg.BUFFER_BATCH_SIZE=2 alg.NUM_TEST_EPISODES=4 alg.AGENT_HIDDEN_DIM=8"
)
#: the kinds of runs that a row of the table consists of
STAGES = {"reward model", "imitation", pipeline.PROGRAM}


def parse(root, *words):
    flags = ["--run_root", str(root), "--device", "cpu"]
    return programs.PROGRAMS["train/pipeline.py"]([*shlex.split(SMALL), *words, *flags])


def make(root, *words):
    """A row's runs by what they are."""
    assert pipeline.run(parse(root, *words), SCRIPT) == 0
    return runs(root)


def runs(root):
    found = [RunFolder.read(path.parent) for path in Path(root).glob("*/run.json")]
    assert len({run.record["program"] for run in found} - STAGES) == 0
    return {(run.record["program"], run.path.name): run for run in found}


def content(root):
    """What was logged and learned: every row but for the clock, and every model's bytes."""
    found = {}
    for key, run in runs(root).items():
        found[key] = [{k: v for k, v in row.items() if k != "walltime"} for row in run.metrics()]
        for path in sorted(run.path.rglob("*.safetensors")):
            found[key, path.name] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A row that nothing interrupted."""
    root = tmp_path_factory.mktemp("whole") / "runs"
    make(root, "SEED=1")
    return root


def test_a_row_is_three_runs_and_says_what_a_figure_needs(whole):
    found = runs(whole)
    assert {program for program, _ in found} == STAGES and all(run.finished for run in found.values())
    (row,) = [run for (program, _), run in found.items() if program == pipeline.PROGRAM]
    assert [point["update"] for point in row.metrics()] == [2, 4, 6]
    summary = row.summary
    assert {summary[name]["address"] for name in ("reward_model", "imitation")} < {name for _, name in found}
    assert summary["random_return"] < summary["expert_return"]
    assert len(summary["quality"]["per_policy"]["expert"]["by_step"]) == 26
    assert (row.path / summary["agent"]).is_file()


def test_the_same_seed_gives_the_same_bits_and_another_one_other_data_models_and_agents(whole, tmp_path):
    make(tmp_path / "again", "SEED=1")
    assert content(tmp_path / "again") == content(whole)
    make(tmp_path / "other", "SEED=2")
    same = set(content(whole)) & set(content(tmp_path / "other"))
    assert not {key for key in same if isinstance(key[0], tuple)}
    names = [{name for _, name in runs(root)} for root in (whole, tmp_path / "other")]
    assert not names[0] & names[1]
    assert len(list((tmp_path / "data").iterdir())) == 2


def stop_after(monkeypatch, stage, count, root, *words):
    """A row that is stopped when so many of a stage's reports are in its log, and the last one in no checkpoint."""
    record, reports = program._Session._record, []

    def broken(session, report):
        record(session, report)
        reports.append(type(session.trainer).__name__)
        if reports.count(stage) == count:
            session.run._sync_metrics()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(program._Session, "_record", broken)
        make(root, *words)
    assert reports.count(stage) == count


@pytest.mark.parametrize("stage", ["RewardTrainer", "ImitationTrainer", "RowTrainer"])
def test_stopped_in_any_stage_and_run_again_is_the_same_row(whole, tmp_path, monkeypatch, stage):
    """After a stage's second report was written, when its first one is in a checkpoint."""
    monkeypatch.setattr(program, "CHECKPOINT_SECONDS", 0.0)
    stop_after(monkeypatch, stage, 2, tmp_path / "runs", "SEED=1")
    make(tmp_path / "runs", "SEED=1")
    assert content(tmp_path / "runs") == content(whole)


def test_stages_are_shared_where_they_are_the_same(whole):
    row = Row(parse(whole, "SEED=1").hp, 1, whole, "cpu")
    shared = {
        "alg.REF_LOG_COEF=100": (True, True),
        "alg.ALGORITHM=maiql": (True, True),
        "rm.MSE_LOSS_COEF=10": (False, True),
        "LAYOUT=original": (False, True),
        "il.NUM_EPOCHS=1": (True, False),
        "ALIGNMENT=original": (False, False),
        "data.EPSILON=0.1": (False, False),
        "ZERO_FIRST_OBSERVATIONS=False": (False, False),
    }
    addresses = _addresses(row)
    for word, expected in shared.items():
        found = _addresses(Row(parse(whole, "SEED=1", word).hp, 1, whole, "cpu"))
        assert tuple(a == b for a, b in zip(found, addresses, strict=True)) == expected, word


def _addresses(row):
    """Those of the reward model and the imitation policy."""
    seen = []
    row._run = lambda work, what, told: seen.append(work.spec.address)
    row.reward_model()
    row.imitation()
    return seen


def test_seeds_drive_everything_or_the_learner_alone(whole):
    own, other = (Row(parse(whole).hp, seed, whole, "cpu") for seed in (1, 2))
    assert not set(_addresses(own)) & set(_addresses(other))
    fixed = [Row(parse(whole, "UPSTREAM_SEEDS=fixed").hp, seed, whole, "cpu") for seed in (1, 2)]
    assert _addresses(fixed[0]) == _addresses(fixed[1])
    assert [pipeline.stage_seed(fixed[0].hp, 1, stage) for stage in pipeline.FIXED] == [5, 12, 3]
    assert parse(whole, "UPSTREAM_SEEDS=fixed").identity(1) != parse(whole, "UPSTREAM_SEEDS=fixed").identity(
        2
    )


@pytest.mark.parametrize("algorithm", ["vdn", "none"])
def test_every_part_moves_the_bar(tmp_path, algorithm):
    trainer = RowTrainer(Row(parse(tmp_path, f"alg.ALGORITHM={algorithm}").hp, 1, tmp_path, "cpu"))
    heard = []
    parts = trainer._bars(heard.append)
    for part in parts[: 3 if algorithm == "vdn" else 2]:
        for share in (0.0, 0.5, 1.0):
            part(share)
    assert heard == sorted(heard) and heard[0] == 0.0 and len(set(heard)) > 4
    assert heard[-1] == pytest.approx(trainer.ahead or 1.0) and (trainer.ahead > 0) == (algorithm == "vdn")


def test_another_figures_run_is_found(whole, tmp_path):
    """As the figures lie: results/marlhf/FIGURE/PROFILE/runs."""
    home = tmp_path / "results" / "marlhf"
    first, second = (home / name / "quick" / "runs" for name in ("beta", "table"))
    first.parent.mkdir(parents=True)
    second.mkdir(parents=True)
    os.symlink(whole, first)
    row = Row(parse(second, "SEED=1").hp, 1, second, "cpu")
    assert row.reward_model().finished and not list(second.glob("*/run.json"))


def test_one_compilation_per_stage(tmp_path, monkeypatch):
    counted = {}
    compiled = program._compiled

    def counting(trainer):
        advance, name = trainer.advance, type(trainer).__name__

        def traced(*arguments):
            counted[name] = counted.get(name, 0) + 1
            return advance(*arguments)

        monkeypatch.setattr(trainer, "advance", traced)
        return compiled(trainer)

    monkeypatch.setattr(program, "_compiled", counting)
    make(tmp_path / "runs", "SEED=1")
    assert counted == {"RewardTrainer": 1, "ImitationTrainer": 1, "RowTrainer": 1}


def test_seeds_of_the_same_data_are_lanes_of_one_program(whole, tmp_path, monkeypatch):
    """Each lane is the run of its seed alone; stopped and run again, it is the same bits."""
    monkeypatch.setattr(program, "CHECKPOINT_SECONDS", 0.0)
    words = ("UPSTREAM_SEEDS=fixed", "--seeds", "1,2")
    make(tmp_path / "lanes" / "runs", *words, "--seed_axis", "vmap")
    make(tmp_path / "alone" / "runs", *words)
    together, alone = (content(tmp_path / name / "runs") for name in ("lanes", "alone"))
    learners = [key for key in alone if key[0] == pipeline.PROGRAM]
    assert len(learners) == 2 and alone[learners[0]] != alone[learners[1]]
    for key in learners:
        for row, single in zip(together[key], alone[key], strict=True):
            assert row == pytest.approx(single, rel=1e-4, abs=1e-4)
    stop_after(monkeypatch, "RowTrainer", 3, tmp_path / "broken" / "runs", *words, "--seed_axis", "vmap")
    make(tmp_path / "broken" / "runs", *words, "--seed_axis", "vmap")
    assert content(tmp_path / "broken" / "runs") == together


def lines(root):
    """How many reports are on the disk, of all runs."""
    return sum(len(run.metrics()) for run in runs(root).values())


@pytest.mark.slow
def test_killed_and_started_again_is_the_same_row(whole, tmp_path):
    """kill -9 of a real process as soon as each stage's reports are on the disk, then a last start."""
    root = tmp_path / "runs"
    words = [*shlex.split(SMALL), "SEED=1", "--run_root", str(root), "--device", "cpu"]
    for reports in (1, 3, 5):  # two of the reward model, two of the imitation policy, three of the learner
        child = subprocess.Popen([sys.executable, str(SCRIPT), *words], stdout=subprocess.DEVNULL)
        while child.poll() is None and lines(root) < reports:
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    subprocess.run([sys.executable, str(SCRIPT), *words], stdout=subprocess.DEVNULL, check=True)
    assert content(root) == content(whole)
