"""The mirror to wandb is decided before a run and never touches it."""

import pytest

from common.cli import UserError
from common.runs import RunFolder
from stackerlberg import tracking


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)


def test_it_is_off_without_a_key():
    assert tracking.chosen_mode() == "disabled"


def test_a_key_asks_for_it_as_in_the_original(monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert tracking.chosen_mode() == "online" and capsys.readouterr().err == ""


def test_online_without_an_account_falls_to_offline_with_one_line(monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "online")
    assert tracking.chosen_mode() == "offline"
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_the_variable_has_the_last_word(monkeypatch, mode):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", mode)
    assert tracking.chosen_mode() == mode


def test_an_unknown_mode_is_refused(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(UserError, match="online, offline or disabled"):
        tracking.chosen_mode()


def test_an_outage_is_told_once_and_training_goes_on(capsys):
    def broken(row):
        raise ConnectionError("no network")

    mirror = tracking._guarded(broken)
    mirror({"iteration": 1})
    mirror({"iteration": 2})
    assert capsys.readouterr().err.count("ConnectionError") == 1


def test_conditions_are_told_apart():
    sent = []
    mirror = tracking._guarded(sent.append)
    mirror({"condition": "lr=0.1", "x": 1.0})
    mirror({"condition": "", "x": 2.0})
    assert sent == [{"lr=0.1/condition": "lr=0.1", "lr=0.1/x": 1.0}, {"condition": "", "x": 2.0}]


def test_two_seeds_of_a_process_are_two_offline_runs_that_end_with_it(tmp_path):
    import wandb

    for seed in (1, 2):
        folder = tmp_path / f"run{seed}"
        folder.mkdir()
        run = RunFolder(folder, {"config": {"seed": seed}})
        with tracking.mirrored(run, "offline", "project", "group"):
            run.mirror({"condition": "", "loss": 1.0})
        assert run.mirror is None
    for seed in (1, 2):
        files = list((tmp_path / f"run{seed}" / "wandb").glob("offline-run-*/run-*.wandb"))
        assert len(files) == 1 and files[0].stat().st_size > 0
    wandb.teardown()
