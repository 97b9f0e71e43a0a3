"""Every further experiment starts on the batched engine, at a tiny size, through the script's own entry (acceptance
item 21); the README's eight are run by `test_readme_commands`."""

import json
import os

import jax
import pytest

from common.cli import UserError
from common.runs import RunFolder
from stackerlberg.experiments import catalogue
from stackerlberg.train import run_experiment

LENGTHS = ("pre_training_iterations", "outer_iterations", "inner_iterations_leader")
FURTHER = (
    "ipd_allmatrices_ppo_tabularq",
    "ipd_allmatrices_es_tabularq",
    "smipd_es_pg_new",
    "ipd_ipd_ppo_pg_savecheckpoint",
    "bots_dqn_tabularq_out_of_eq",
    "matrix_bots",
    "matrix_bots_pretrainonly",
    "smipd_dqn_pg_pretrain",
    "smipd_dqn_ppo_pretrain",
    "smipd_dqn_pg_nondiscrete_pretrain",
    "smipd_dqn_dqn_pretrain",
    "test_save_load_checkpoint",
)


def tiny(name):
    """The experiment with every phase that it has at one or two iterations, and its first condition of each grid."""
    tree = catalogue.entry(name)["configuration"]
    words = ["--experiment", name, "--seed", "3", "--log_every", "2"]
    for key in LENGTHS:
        if tree.get(key, 0):
            words += ["--set", f"{key}={min(2, tree[key]) if key != 'outer_iterations' else 1}"]
    words += ["--set", "post_training_iterations=0"]
    if tree["leader_algorithm"] == "ES":
        words += ["--set", "leader_config.episodes_per_batch=4"]
    arguments = tree["common_config"]["env_config"]
    for key, value in arguments.items():
        if catalogue.is_grid(value):
            words += ["--set", f"common_config.env_config.{key}={json.dumps(value['grid'][0])}"]
    return words


@pytest.mark.parametrize("name", FURTHER)
def test_a_further_experiment_runs(name, tmp_path, capsys):
    assert run_experiment.body([*tiny(name), "--run_root", str(tmp_path)]) == 0
    (folder,) = [RunFolder.read(path) for path in tmp_path.iterdir() if (path / "run.json").exists()]
    assert folder.finished and folder.metrics()
    assert "Finished training." in capsys.readouterr().out


def test_the_device_is_settled_before_anything_runs(tmp_path, monkeypatch):
    words = [*tiny("bots_pg_tabularq"), "--run_root", str(tmp_path)]
    with pytest.raises(UserError, match="--device cuda can't be used"):
        run_experiment.body([*words, "--device", "cuda"])
    jax.config.update("jax_platforms", "cpu")
    assert not list(tmp_path.iterdir())
    monkeypatch.delenv("NPROC")
    assert run_experiment.body([*words, "--device", "auto"]) == 0
    assert os.environ["NPROC"] == "1"  # one XLA thread
    (folder,) = [RunFolder.read(path) for path in tmp_path.iterdir() if (path / "run.json").exists()]
    assert folder.record["device"] == "cpu"


def test_without_tune_every_result_is_printed(tmp_path, capsys):
    words = [*tiny("bots_pg_tabularq"), "--no-tune", "--run_root", str(tmp_path)]
    assert run_experiment.body(words) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert printed and printed[0]["seed"] == 3


def test_the_flags_of_ray_and_wandb_are_accepted(tmp_path):
    words = [*tiny("bots_pg_tabularq"), "--ray_num_cpus", "2", "--ray_local_mode", "--wandb_project", "auto"]
    assert run_experiment.body([*words, "--wandb_group=auto", "--run_root", str(tmp_path)]) == 0


def test_a_key_asks_for_wandb_and_conditions_are_curves_of_their_own(tmp_path, monkeypatch):
    import wandb

    rows, asked = [], []

    class Mirror:
        def log(self, row):
            rows.append(row)

        def finish(self, exit_code): ...

    monkeypatch.setattr(wandb, "init", lambda **options: asked.append(options) or Mirror())
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    words = [*tiny("matrix_bots"), "--grid", "leader_config.lr=[0.01,0.02]", "--run_root", str(tmp_path)]
    assert run_experiment.body([*words, "--seed", "1", "--wandb_project", "P"]) == 0
    assert [(options["mode"], options["project"]) for options in asked] == [("online", "P")]
    keys = {key.split("/")[0] for row in rows for key in row}
    assert keys == {"lr=0.01", "lr=0.02"}


def test_larger_and_asymmetric_games_run(tmp_path):
    matrix = [[[3, 1], [0, 0], [1, 2]], [[2, 2], [1, 3], [0, 1]]]
    words = tiny("smipd_nothiddenqueries_pg_pg")
    words += ["--set", f"common_config.env_config.matrix={json.dumps(matrix)}", "--run_root", str(tmp_path)]
    assert run_experiment.body(words) == 0
