import pytest

from common.cli import UserError
from common.runs import RunFolder, RunSpec
from pola import tracking


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    return RunFolder.open(tmp_path, RunSpec("x.py", {"seed": 1}, "s"), ["x.py"], "cpu")


def test_without_a_word_nothing_is_mirrored(run):
    tracking.attach(run)
    assert run.mirror is None


def test_another_word_is_refused(run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "on")
    with pytest.raises(UserError, match="online, offline or disabled"):
        tracking.attach(run)


def test_online_without_a_key_falls_to_offline_in_one_line(run, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "online")
    assert tracking.chosen_mode() == "offline"
    error = capsys.readouterr().err
    assert "no key found" in error and error.count("\n") == 1


def test_offline_writes_a_mirror_that_can_be_synchronised(run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracking.attach(run)
    run.log({"step": 1, "loss": 0.5})
    import wandb

    wandb.finish()
    files = list((run.path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert files and files[0].stat().st_size > 0


def test_an_outage_never_touches_the_run(run, monkeypatch, capsys):
    calls = []

    def send(row):
        calls.append(row)
        raise ConnectionError("gone")

    run.mirror = tracking._guarded(send)
    for step in range(3):
        run.log({"step": step})
    run.finish({})
    assert len(calls) == 1 and len(run.metrics()) == 3
    assert capsys.readouterr().err.count("\n") == 1
