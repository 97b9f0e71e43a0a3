"""The mirror to wandb is decided before a run and never touches it."""

import pytest

from common import tracking
from common.cli import UserError
from common.runs import RunFolder, RunSpec


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    return RunFolder.open(tmp_path, RunSpec("x.py", {"seed": 1}, "s"), ["x.py"], "cpu")


def test_without_a_word_nothing_is_mirrored(run):
    with tracking.mirrored(run, tracking.chosen_mode()):
        assert run.mirror is None


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_the_variable_has_the_last_word(run, monkeypatch, mode):
    monkeypatch.setenv("WANDB_MODE", mode)
    assert tracking.chosen_mode("online") == mode


def test_a_key_makes_online_possible(run, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert tracking.chosen_mode("online") == "online" and capsys.readouterr().err == ""


def test_another_word_is_refused(run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "on")
    with pytest.raises(UserError, match="online, offline or disabled"):
        tracking.chosen_mode()


def test_online_without_a_key_falls_to_offline_in_one_line(run, monkeypatch, capsys):
    assert tracking.chosen_mode("online") == "offline"
    error = capsys.readouterr().err
    assert "no key found" in error and error.count("\n") == 1


def test_offline_writes_a_mirror_that_ends_with_the_run(run, tmp_path, monkeypatch, wandb_records, capfd):
    """So that the same run can go on, or be made again elsewhere, in the same process."""
    monkeypatch.setenv("WANDB__SERVICE_WAIT", "300")  # its process may start slowly on a busy machine
    with pytest.raises(KeyboardInterrupt), tracking.mirrored(run, "offline"):
        run.log({"step": 1, "loss": 0.5})
        raise KeyboardInterrupt
    again = RunFolder.open(tmp_path / "again", RunSpec("x.py", {"seed": 1}, "s"), ["x.py"], "cpu")
    with tracking.mirrored(again, "offline"):
        again.log({"step": 1, "loss": 0.5})
        again.log({"step": 2, "loss": 0.5})
    for folder, steps, exit_code in ((run.path, 1, 1), (again.path, 2, 0)):
        (file,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
        records = wandb_records(file)
        assert sum(record.HasField("history") for record in records) == steps
        assert records[-1].HasField("exit") and records[-1].exit.exit_code == exit_code
    assert capfd.readouterr() == ("", "")


def test_two_seeds_of_a_process_are_two_mirrors(run, tmp_path, monkeypatch, wandb_records):
    monkeypatch.setenv("WANDB__SERVICE_WAIT", "300")
    other = RunFolder.open(tmp_path, RunSpec("x.py", {"seed": 2}, "s"), ["x.py"], "cpu")
    with tracking.mirrored(run, "offline"), tracking.mirrored(other, "offline"):
        run.log({"step": 1})
        other.log({"step": 1})
        other.log({"step": 2})
    for folder, steps in ((run.path, 1), (other.path, 2)):
        (file,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
        assert sum(record.HasField("history") for record in wandb_records(file)) == steps


def test_a_wandb_that_cannot_start_is_told_and_the_run_goes_on(run, monkeypatch, capsys):
    import wandb

    def refuse(**options):
        raise RuntimeError("cannot start")

    monkeypatch.setattr(wandb, "init", refuse)
    with tracking.mirrored(run, "offline"):
        assert run.mirror is None and capsys.readouterr().err.count("RuntimeError") == 1


def test_options_and_rows_are_the_callers(run, monkeypatch):
    import wandb

    class Seen(list):
        def finish(self, exit_code): ...

    seen, asked = Seen(), {}
    monkeypatch.setattr(wandb, "init", lambda **options: asked.update(options) or seen)
    with tracking.mirrored(
        run, "offline", lambda mirror, row: mirror.append(row["step"]), project="p", tags=["t"]
    ):
        run.log({"step": 7})
    assert seen == [7] and (asked["project"], asked["tags"], asked["id"]) == ("p", ["t"], run.path.name)


def test_a_wandb_that_cannot_finish_is_told_and_the_run_is_done(run, monkeypatch, capsys):
    import wandb

    class Broken:
        def log(self, row): ...

        def finish(self, exit_code):
            raise ConnectionError("gone")

    monkeypatch.setattr(wandb, "init", lambda **options: Broken())
    with tracking.mirrored(run, "offline"):
        run.log({"step": 1})
    assert run.mirror is None and capsys.readouterr().err.count("ConnectionError") == 1


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
