"""The shell scripts: every command of theirs is understood, and they loop over what the released ones loop over."""

import functools
import os
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from marlhf import programs

HOME = Path(__file__).resolve().parents[2] / "marlhf"
SCRIPTS = sorted(path.name for path in (HOME / "scripts").glob("*.sh") if path.name != "common.sh")
COLLECT, REWARD, IMITATE = (
    "train/vdn_collect.py",
    "train/reward_model.py",
    "train/offline_imitation_learning.py",
)
VDN, MAIQL, MABCQ = (f"train/{name}_offline_rm.py" for name in ("vdn", "iql", "bcq"))


def folder(path):
    """A folder that looks like the paper's, whose data and results are its own."""
    for name in ("agents", "scripts", "train"):
        (path / name).symlink_to(HOME / name)
    return path


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """Runs a script with a Python that only writes its arguments down; gives (program, launch) of every command."""
    here = folder(tmp_path_factory.mktemp("home"))
    noted, python = here / "noted", here / "python"
    python.write_text(f'#!/bin/bash\nprintf "%s\\0" "$@" "" >> {noted}\n')
    python.chmod(0o755)

    @functools.cache
    def found(script, arguments, variables):
        noted.unlink(missing_ok=True)
        done = subprocess.run(
            ["bash", f"scripts/{script}", *arguments],
            cwd=here,
            env={"PATH": os.environ["PATH"], "PYTHON": str(python), **dict(variables)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        commands = [text.split("\0") for text in noted.read_text().removesuffix("\0\0").split("\0\0")]
        return [(words[0], programs.PROGRAMS[words[0]](words[1:])) for words in commands]

    return lambda script, *arguments, **variables: found(script, arguments, tuple(variables.items()))


def counted(found):
    return Counter(program for program, _ in found)


def test_every_released_script_is_there():
    trained = [
        f"train_all_{name}.sh" for name in ("overcooked", "reference", "spread", "spread_scale", "tag")
    ]
    others = ["collect_overcooked.sh", "collect_vdn.sh", "collect_vdn_unilateral.sh", "expert_vdn.sh"]
    assert sorted([*trained, *others, "mabcq_all_overcooked.sh", "maiql_all_overcooked.sh"]) == SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_command_of_a_script_is_understood(commands, script):
    assert commands(script)


def test_arguments_reach_every_program(commands):
    found = commands("train_all_spread.sh", "--device", "cpu")
    assert len(found) == 3 and all(launch.device == "cpu" for _, launch in found)


def test_collecting_makes_180_files_of_every_label(commands):
    found = commands("collect_vdn.sh")
    assert counted(found) == {COLLECT: 15}
    for _, launch in found:
        alg = launch.hp.alg
        assert alg.total_timesteps // alg.num_steps // alg.num_envs == 180 and not alg.idiotic_agent
        label = Path(alg.expert_param_path).stem
        assert alg.traj_batch_path == f"data/{launch.hp.env.env_name}/vdn{label}"


def test_unilateral_collecting_names_expert_and_deviator(commands):
    found = commands("collect_vdn_unilateral.sh")
    assert counted(found) == {COLLECT: 2 + 2 + 3}
    for _, launch in found:
        alg = launch.hp.alg
        assert alg.idiotic_agent and alg.traj_batch_path.endswith(
            f"vdnexpert|{Path(alg.idiotic_agent_path).stem}"
        )


def test_more_agents_are_collected_in_folders_of_their_own(commands):
    (_, launch), *others = commands("collect_vdn.sh", ENVIRONMENTS="spread", AGENTS="5")
    assert len(others) == 4 and launch.hp.env.env_kwargs.num_agents == 5
    assert launch.hp.alg.expert_param_path == "agents/spread_na5/expert.safetensors"
    assert launch.hp.alg.traj_batch_path == "data/MPE_simple_spread_v3/na5/vdnexpert"


def _offline(found):
    return [launch.hp for program, launch in found if program in (VDN, MAIQL, MABCQ)]


#: spec 2.3: script -> (offline program, rows of the table), (type, width, alpha, beta, epochs) of them
RELEASED = {
    "train_all_spread.sh": (VDN, 1, {("FF", 128, 1.0, 1.0, 10_000)}),
    "train_all_reference.sh": (VDN, 4, {("FF", 64, 1.0, 1.0, 10_000)}),
    "train_all_tag.sh": (VDN, 4, {("RNN", 64, 1.0, 10.0, 50_000)}),
    "train_all_spread_scale.sh": (VDN, 1, {("FF", 128, 1.0, 10.0, 10_000)}),
    "train_all_overcooked.sh": (VDN, 5, {("RNN", 64, 0.0, 10.0, 10_000)}),
    "maiql_all_overcooked.sh": (MAIQL, 20, {("RNN", 64, 0.001, 0.0, 10_000)}),
    "mabcq_all_overcooked.sh": (
        MABCQ, 24, {("RNN", 64, 0.1, 10.0, 10_000), ("RNN", 64, 1.0, 10.0, 10_000)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("script", RELEASED)
def test_a_script_loops_over_the_released_values(commands, script):
    program, rows, expected = RELEASED[script]
    found = commands(script)
    assert counted(found) == {REWARD: rows, IMITATE: rows, program: rows}
    offline = _offline(found)
    keys = ("reward_model_type", "ff_layer_dim", "mse_loss_coef", "ref_log_coef", "epochs")
    assert {tuple(getattr(hp.alg, key) for key in keys) for hp in offline} == expected
    steepness = {launch.hp.steepness for name, launch in found if name == REWARD}
    assert steepness == {5.0} and all(hp.alg.use_unilateral for hp in offline)


def test_a_row_reads_what_it_wrote(commands):
    found = commands("train_all_spread.sh", MIXES="diversified/3", SEEDS="3")
    reward, imitation, offline = (launch.hp for _, launch in found)
    assert {reward.seed, imitation.seed, offline.seed} == {3}
    assert offline.alg.reward_network_param_path == reward.save_dir == "results/seed3"
    assert offline.alg.reference_network_param_path == imitation.student_network_save_path
    for block in (reward, imitation, offline.alg):
        assert (block.num_batch, block.unilateral) == ((5, 2, 2, 1, 5), (5, 0, 0))


def test_a_grid_is_every_combination(commands):
    found = commands("train_all_spread.sh", ALPHAS="0 1", BETAS="1 10", SEEDS="0 1", WIDTHS="64")
    assert len(found) == 3 * 2 * 2 * 2


def test_further_words_reach_their_program(commands):
    found = commands("train_all_spread.sh", REWARD_MODEL="REWARD_MODEL_EPOCHS=7", OFFLINE="alg.EPOCHS=8")
    assert found[0][1].hp.reward_model_epochs == 7 and found[2][1].hp.alg.epochs == 8


def test_an_unknown_mix_stops_the_script(tmp_path):
    done = subprocess.run(
        ["bash", "scripts/train_all_spread.sh"],
        cwd=folder(tmp_path),
        env={"PATH": os.environ["PATH"], "PYTHON": "true", "MIXES": "pure"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stderr.startswith("no mix pure; there are diversified")


@pytest.mark.slow
def test_the_papers_commands_run_from_play_to_agent(tmp_path):
    """With real processes, at a small size."""
    folder(tmp_path)
    small = {
        "ENVIRONMENTS": "spread",
        "LABELS": "expert trivial",
        "DEVIATORS": "rookie1",
        "STEPS": str(2 * 4 * 130),
        "COLLECT": "alg.NUM_ENVS=4",
        "REWARD_MODEL": "NUM_BATCH=[2,0,0,0,2] NUM_UNILATERAL_BATCH=[2,0,0] MINIBATCH_SIZE=16 REWARD_MODEL_EPOCHS=1",
        "IMITATION": "NUM_BATCH=[2,0,0,0,2] NUM_UNILATERAL_BATCH=[2,0,0] BATCH_SIZE=8 NUM_EPOCHS=1 NUM_TEST_ENVS=4",
        "OFFLINE": "alg.NUM_BATCH=[2,0,0,0,2] alg.NUM_UNILATERAL_BATCH=[2,0,0] alg.BATCH_SIZE=4 alg.EPOCHS=2 "
        "alg.BUFFER_BATCH_SIZE=2 alg.NUM_TEST_EPISODES=4",
    }
    for script in ("collect_vdn.sh", "collect_vdn_unilateral.sh", "train_all_spread.sh"):
        done = subprocess.run(
            ["bash", f"scripts/{script}", "--run_root", str(tmp_path / "runs"), "--device", "cpu"],
            cwd=tmp_path,
            env=os.environ | small | {"PYTHON": sys.executable},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, shlex.join(done.args) + done.stderr
    assert list((tmp_path / "results").rglob("vdn_model_*.safetensors"))
