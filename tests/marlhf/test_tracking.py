"""The mirror to wandb is decided before a run and never touches it."""

from contextlib import ExitStack

import pytest

from common.cli import UserError
from common.runs import RunFolder
from marlhf import tracking
from marlhf.settings import Logging


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB__SERVICE_WAIT", "300")  # its process may start slowly on a busy machine
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)


def test_it_is_off_unless_asked_for():
    assert tracking.chosen_mode("disabled") == "disabled"


def test_online_without_an_account_falls_to_offline_with_one_line(capsys):
    assert tracking.chosen_mode("online") == "offline"
    assert capsys.readouterr().err.count("\n") == 1


def test_online_with_a_key_is_online(monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert tracking.chosen_mode("online") == "online"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_the_variable_has_the_last_word(monkeypatch, mode):
    monkeypatch.setenv("WANDB_MODE", mode)
    assert tracking.chosen_mode("online") == mode


def test_an_unknown_mode_is_refused(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(UserError, match="online, offline or disabled"):
        tracking.chosen_mode("disabled")


def test_an_outage_is_told_once_and_training_goes_on(capsys):
    def broken(row):
        raise ConnectionError("no network")

    mirror = tracking._guarded(broken)
    mirror({"update": 1})
    mirror({"update": 2})
    assert capsys.readouterr().err.count("ConnectionError") == 1


def test_a_wandb_that_cannot_start_is_told_and_training_goes_on(tmp_path, monkeypatch, capsys):
    import wandb

    def refuse(**options):
        raise RuntimeError("cannot start")

    monkeypatch.setattr(wandb, "init", refuse)
    run = RunFolder(tmp_path, {"config": {}})
    with tracking.mirrored(run, "offline", Logging()):
        assert run.mirror is None and "RuntimeError" in capsys.readouterr().err


def test_two_seeds_of_a_process_are_two_offline_runs(tmp_path, wandb_records, capfd):
    with ExitStack() as mirrors:
        for seed in (1, 2):
            folder = tmp_path / f"run{seed}"
            folder.mkdir()
            run = RunFolder(folder, {"config": {"seed": seed}})
            mirrors.enter_context(tracking.mirrored(run, "offline", Logging(wandb_mode="offline")))
            run.mirror({"update": 0, "loss": 1.0})
    for seed in (1, 2):
        (file,) = (tmp_path / f"run{seed}" / "wandb").glob("offline-run-*/run-*.wandb")
        records = wandb_records(file)
        assert sum(record.HasField("history") for record in records) == 1
        assert records[-1].HasField("exit") and records[-1].exit.exit_code == 0
    assert capfd.readouterr() == ("", "")
