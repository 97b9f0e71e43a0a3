"""What a person can get wrong ends with one line on stderr and exit code 2, and nothing written or lost."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from common.cli import run_main
from marlhf import agents, networks, programs, storage, works
from marlhf.data.files import RowsFile, load_files, save_rows
from marlhf.data.mixes import Mix
from marlhf.settings import Kwargs
from marlhf.stages.tasks import save_agent, task_of

HOME = Path(__file__).resolve().parents[2] / "marlhf"
SPREAD = "MPE_simple_spread_v3"
BODIES = {
    "train/vdn_collect.py": works.record_play,
    "train/reward_model.py": works.train_reward_model,
    "train/offline_imitation_learning.py": works.imitate,
    "train/vdn_offline_rm.py": lambda launch: works.learn_offline(launch, "train/vdn_offline_rm.py", "vdn"),
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "agents").symlink_to(HOME / "agents")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def fails(capfd):
    """Runs a command line that has to fail and gives its one line."""

    def run(name, *words):
        def body(argv):
            return BODIES[name](programs.PROGRAMS[name](argv))

        flags = [*words, "--run_root", "runs", "--device", "cpu"]
        assert run_main(body, flags, program=name) == 2
        captured = capfd.readouterr()
        assert captured.err.count("\n") == 1, captured.err
        return captured.err

    return run


def collect(label, files=1, seed=5):
    words = [
        f"alg.EXPERT_PARAM_PATH={label}",
        f"alg.TRAJ_BATCH_PATH=data/{SPREAD}/vdn{label}",
        "alg.NUM_ENVS=2",
        f"alg.TOTAL_TIMESTEPS={files * 2 * 130}",
        f"SEED={seed}",
    ]
    launch = programs.PROGRAMS["train/vdn_collect.py"]([*words, "--run_root", "runs", "--device", "cpu"])
    assert works.record_play(launch) == 0


def test_missing_data_names_the_command_that_makes_it(home, fails):
    line = fails("train/reward_model.py", f"ENV_NAME={SPREAD}", "NUM_BATCH=[1,0,0,0,0]")
    assert "asks for 1 files of expert" in line and "ENVIRONMENTS=spread bash scripts/collect_vdn.sh" in line
    assert not (home / "runs").exists() and not (home / "results").exists()


def test_a_mix_that_asks_for_more_files_than_there_are(home, fails):
    collect("expert")
    line = fails("train/reward_model.py", f"ENV_NAME={SPREAD}", "NUM_BATCH=[2,0,0,0,0]")
    assert "asks for 2 files of expert" in line and "holds 1" in line


def test_a_damaged_file_of_play_is_named(home, fails):
    collect("expert")
    path = home / "data" / SPREAD / "vdnexpert" / "traj_batch_0.npz"
    path.write_bytes(path.read_bytes()[:2000])
    line = fails("train/offline_imitation_learning.py", f"ENV_NAME={SPREAD}", "NUM_BATCH=[1,0,0,0,0]")
    assert str(path.relative_to(home)) in line
    assert len(path.read_bytes()) == 2000


def test_observations_of_another_size_are_named(home, fails):
    collect("expert")
    path = home / "data" / SPREAD / "vdnexpert" / "traj_batch_0.npz"
    rows = load_files([path])
    with RowsFile(path) as file:
        made_by = file.made_by
    save_rows(path, rows._replace(obs=rows.obs[..., 1:]), made_by)
    line = fails("train/reward_model.py", f"ENV_NAME={SPREAD}", "NUM_BATCH=[1,0,0,0,0]", "MINIBATCH_SIZE=2")
    assert "observations of size 20" in line and "this task has 21" in line


def test_too_little_data_for_one_minibatch(home, fails):
    collect("expert")
    line = fails("train/reward_model.py", f"ENV_NAME={SPREAD}", "NUM_BATCH=[1,0,0,0,0]")
    assert "MINIBATCH_SIZE=256" in line


def test_missing_models_name_the_program_that_makes_them(home, fails):
    line = fails("train/vdn_offline_rm.py", "alg.NUM_BATCH=[1,0,0,0,0]")
    assert "no reward model at results/" in line and "python train/reward_model.py" in line
    mix, network = Mix((1, 0, 0, 0, 0)), Kwargs()
    path = works.reward_model_path("results", SPREAD, network, "FF", 64, 30.0, mix)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"something")
    line = fails("train/vdn_offline_rm.py", "alg.NUM_BATCH=[1,0,0,0,0]")
    assert "no imitation policy at results/IL/" in line
    collect("expert")
    policy = works.policy_path("results/IL/", SPREAD, network, mix)
    policy.parent.mkdir(parents=True)
    policy.write_bytes(b"something")
    line = fails("train/vdn_offline_rm.py", "alg.NUM_BATCH=[1,0,0,0,0]")
    assert "is damaged or no safetensors file" in line and path.read_bytes() == b"something"


def test_an_imitation_policy_of_another_task_is_refused(home):
    from marlhf.stages.imitating import load_policy

    reference, spread = (task_of(f"MPE_simple_{name}_v3", Kwargs()) for name in ("reference", "spread"))
    network = networks.RecurrentActor(reference.n_actions, 8)
    obs, resets = jnp.zeros((1, 1, reference.obs_size)), jnp.zeros((1, 1), bool)
    params = network.init(jax.random.key(0), network.initial_carry(1), obs, resets)
    measured = {"sampled": agents.Measured(0.0, 0.0, 1)}
    save_agent(home / "policy.safetensors", reference, "recurrent_actor", "imitation", params, measured, {})
    load_policy(home / "policy.safetensors", reference)
    with pytest.raises(Exception, match="is an agent of reference, and the environment is spread"):
        load_policy(home / "policy.safetensors", spread)


def test_an_agent_that_is_not_there(home, fails):
    assert "spread has no agent 'exprt'; did you mean 'expert'?" in fails(
        "train/vdn_collect.py", "alg.EXPERT_PARAM_PATH=exprt"
    )
    assert "no agent at agents/spread/nobody.safetensors" in fails(
        "train/vdn_collect.py", "alg.EXPERT_PARAM_PATH=agents/spread/nobody.safetensors"
    )


def test_a_folder_of_play_holds_one_seed(home, fails):
    assert "--seeds: a folder holds the play of one seed" in fails("train/vdn_collect.py", "--seeds", "1-2")


def test_preferences_about_other_files_are_refused(home, fails):
    collect("expert")
    line = fails(
        "train/reward_model.py", f"ENV_NAME={SPREAD}", "NUM_BATCH=[1,0,0,0,0]", "PREFERENCES=none.jsonl"
    )
    assert "no file at none.jsonl" in line


def test_a_model_file_that_is_something_else_is_refused(home):
    storage.save_model(home / "a.safetensors", "team of Q networks", {"w": jnp.ones(2)}, {})
    params, header = storage.load_model(home / "a.safetensors", "team of Q networks", "it")
    assert header["kind"] == "team of Q networks" and params["w"].tolist() == [1.0, 1.0]
    with pytest.raises(Exception, match="holds team of Q networks, not a reward model; it makes one"):
        storage.load_model(home / "a.safetensors", "reward model", "it")


def test_a_process_of_its_own_ends_with_code_2_and_no_traceback(home):
    words = ["alg.GAMA=1", "--run_root", "runs"]
    done = subprocess.run(
        [sys.executable, str(HOME / "train" / "vdn_offline_rm.py"), *words], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("train/vdn_offline_rm.py: Could not override 'alg.GAMA'")
    assert done.stderr.count("\n") == 1 and not (home / "runs").exists()


def test_wrong_kwargs_are_refused_before_anything_else(home, fails):
    line = fails("train/reward_model.py", "ENV_NAME=MPE_simple_tag_v3", "+ENV_KWARGS.num_agents=5")
    assert "num_agents and num_landmarks are Spread's" in line
