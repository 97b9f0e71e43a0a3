"""The hyper-parameter search: starting points first, repeats, and going on after a kill."""

import json
from types import SimpleNamespace

import pytest

from common.cli import UserError
from stackerlberg import launch, search

WORDS = ["--experiment", "smipd_leadernomemory_pg_pg", "--hyperopt"]


class Trainer:
    """Stands in for training: the score is best at a learning rate of .01; it can be killed at a sample."""

    def __init__(self, kill_at=None):
        self.seen, self.kill_at = [], kill_at

    def __call__(self, one):
        lr = one.experiment.conditions[0].configuration.leader.lr
        if len(self.seen) == self.kill_at:
            raise KeyboardInterrupt
        self.seen.append(lr)
        row = {search.METRIC: -abs(lr - 0.01)}
        return {seed: SimpleNamespace(summary={"conditions": {"": {"1": row}}}) for seed in one.seeds}


def asked(tmp_path, samples):
    return launch.parse([*WORDS, "--hyperopt_samples", str(samples), "--run_root", str(tmp_path)])


def test_starting_points_come_first_and_repeats_count(tmp_path, capsys):
    trainer = Trainer()
    assert search.search(asked(tmp_path, 60), trainer) == 0
    assert trainer.seen[:4] == [0.008, 0.015, 0.03, 0.004]
    assert len(trainer.seen) == 6  # 60 runs, ten seeds each
    assert all(1e-5 <= lr <= 1 for lr in trainer.seen)
    assert "best:" in capsys.readouterr().out


def test_a_killed_search_goes_on(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        search.search(asked(tmp_path, 60), Trainer(kill_at=2))
    trainer = Trainer()
    assert search.search(asked(tmp_path, 60), trainer) == 0
    assert trainer.seen[0] in (0.03, 0.004) and len(trainer.seen) == 4
    assert {0.03, 0.004} <= set(trainer.seen)
    assert "goes on after 2 samples" in capsys.readouterr().out


def test_a_search_trains_for_real(tmp_path):
    small = ["pre_training_iterations=1", "outer_iterations=1", "post_training_iterations=0"]
    words = [word for setting in small for word in ("--set", setting)]
    found = launch.parse([*WORDS, *words, "--hyperopt_samples", "10", "--run_root", str(tmp_path)])
    assert search.search(found) == 0
    runs = [
        json.loads((path / "run.json").read_text())
        for path in tmp_path.iterdir()
        if (path / "run.json").exists()
    ]
    assert len(runs) == 10 and {run["config"]["seed"] for run in runs} == set(range(10))
    rates = {condition["leader"]["lr"] for run in runs for condition in run["config"]["conditions"].values()}
    assert rates == {0.008}


def test_a_metric_that_no_result_has_is_refused():
    with pytest.raises(UserError, match="no result has the metric"):
        search.score([{"conditions": {"": {"1": {}}}}], "unknown")
