"""Runs of the batched engine: repeatable, independent of their neighbours, resumable bit for bit (acceptance item 19)."""

import json

import numpy as np
import pytest

from common.cli import UserError
from common.runs import RunFolder
from stackerlberg import launch, program
from stackerlberg.batched import engine

SMALL = (
    "--log_every 3 --set pre_training_iterations=6 --set outer_iterations=6 --set post_training_iterations=3"
)
PG = f"--experiment smipd_hiddenqueries_pg_pg_new {SMALL}"


def run(text, root):
    """Train; the run folders by seed."""
    return program.train(launch.parse([*text.split(), "--run_root", str(root)]))


def rows(folder):
    return [json.dumps(row) for row in folder.metrics()]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return run(f"{PG} --seeds 0-9", tmp_path_factory.mktemp("alone"))


def test_the_same_seed_gives_the_same_rows_and_another_one_does_not(alone, tmp_path):
    again = run(f"{PG} --seeds 0-9", tmp_path)
    for seed in range(10):
        assert rows(alone[seed]) == rows(again[seed])
    assert rows(alone[1]) != rows(alone[2])


def test_a_seed_does_not_feel_its_neighbours(alone, tmp_path):
    single = run(f"{PG} --seed 2", tmp_path)
    for a, b in zip(alone[2].metrics(), single[2].metrics(), strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            if isinstance(value, float):
                assert value == pytest.approx(b[key], abs=1e-4), key


def test_rows_have_the_originals_names(alone):
    kinds = {row["phase"]: row for row in alone[1].metrics()}
    assert {"pretraining_results/timesteps_total", "follower_best_responds/sum"} <= kinds[0].keys()
    assert "follower_best_responds/leader_001" in kinds[0]
    found = kinds[1]
    assert found["leader_results/timesteps_total"] == 6 * 104
    assert found["leader_results/game_timesteps_total"] == 6 * 65
    assert found["exact/stackelberg_value"] == 7.5
    assert {"leader_results/evaluation/policy_reward_mean/agent_0", "leader_action_2"} <= found.keys()
    assert "leader_results/info/learner/agent_0/learner_stats/policy_loss" in found
    assert "posttraining_results/evaluation/policy_reward_mean/agent_0" in kinds[2]


class Killed(BaseException):
    """A kill, as far as a run can notice."""


@pytest.mark.parametrize("calls_before", [15, 20])
def test_a_killed_run_goes_on_bit_for_bit(alone, tmp_path, monkeypatch, calls_before):
    monkeypatch.setattr(engine, "CHECKPOINT_SECONDS", -1.0)
    true, calls = RunFolder.checkpoint, []

    def checkpoint(self, step, arrays, meta=None):
        calls.append(step)
        if (
            len(calls) > calls_before
        ):  # between two seeds' checkpoints of a block (15), or between two blocks (20)
            raise Killed
        true(self, step, arrays, meta)

    monkeypatch.setattr(RunFolder, "checkpoint", checkpoint)
    with pytest.raises(Killed):
        run(f"{PG} --seeds 0-9", tmp_path)
    monkeypatch.setattr(RunFolder, "checkpoint", true)
    resumed = run(f"{PG} --seeds 0-9", tmp_path)
    for seed in range(10):
        assert resumed[seed].record["sessions"] == 2
        assert rows(resumed[seed]) == rows(alone[seed])


def test_a_finished_run_is_not_repeated(alone, capsys):
    run(f"{PG} --seeds 0-9", alone[0].path.parent)
    assert capsys.readouterr().out.count("finished before") == 10


SAVING = "--experiment ipd_ipd_ppo_pg_savecheckpoint --log_every 5 --set outer_iterations=0 --set post_training_iterations=0"


def test_a_follower_is_saved_and_loaded(tmp_path):
    run(f"{SAVING} --seed 1 --set pre_training_iterations=5", tmp_path)
    path = tmp_path / "followers" / "pretrain_checkpoint_prisoners_dilemma_1.npz"
    assert path.is_file()
    text = f"--experiment smipd_es_pg_new --seed 1 --log_every 1 --set outer_iterations=1 --set pre_training_iterations=0 --set leader_config.episodes_per_batch=10 --set common_config.env_config.hidden_queries=false --set pretrain_load_checkpoint={path}"
    row = run(text, tmp_path)[1].metrics()[-1]
    assert row["leader_results/timesteps_total"] == 80


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing.npz", "no checkpoint at"), ("old.pkl", "pickle"), ("foreign.npz", "not a checkpoint")],
)
def test_a_missing_or_foreign_follower_is_refused(tmp_path, name, message):
    (tmp_path / "foreign.npz").write_bytes(b"something else")
    text = (
        f"--experiment smipd_nothiddenqueries_pg_pg --seed 1 --set pretrain_load_checkpoint={tmp_path / name}"
    )
    with pytest.raises(UserError, match=message):
        run(text, tmp_path / "runs")


def test_an_unready_follower_can_be_refused(tmp_path, capsys):
    text = f"{PG} --seeds 0-9 --certify"
    with pytest.raises(UserError, match="of 8, regret"):
        run(f"{text} refuse", tmp_path)
    run(f"{text} warn --set outer_iterations=0", tmp_path)
    assert "do not best-respond to every leader table" in capsys.readouterr().err


def test_pre_training_stops_when_the_follower_is_optimal(tmp_path):
    text = "--experiment ipd_ipd_ppo_pg_savecheckpoint --seeds 1-3 --log_every 100 --set pre_training_iterations=300 --set outer_iterations=0 --set post_training_iterations=0 --set pretrain_save_checkpoint="
    for folder in run(text, tmp_path).values():
        last = folder.metrics()[-1]
        assert last["pre_training_stopped_at"] < 300
        if last["pre_training_stopped_at"] >= 0:
            assert last["follower_best_responds/sum"] == pytest.approx(0, abs=1e-3)


def test_the_leader_learns_against_a_trained_follower(tmp_path):
    """Acceptance item 9 in short: 300 updates with observed queries bring every seed far above the hidden ones."""
    text = "--experiment smipd_hiddenqueries_pg_pg_new --seeds 0-9 --log_every 50 --set pre_training_iterations=300 --set outer_iterations=300 --set post_training_iterations=0"
    folders = run(text, tmp_path)
    ends = {}
    for folder in folders.values():
        for label, phases in folder.summary["conditions"].items():
            ends.setdefault(label, []).append(phases["1"]["leader_results/policy_reward_mean/agent_0"])
    observed, hidden = (np.array(ends[f"hidden_queries={word}"]) for word in ("false", "true"))
    assert abs(observed.mean() - 6.0) < 0.7 and hidden.mean() < -1.0
