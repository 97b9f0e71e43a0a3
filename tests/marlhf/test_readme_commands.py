"""Every command of the README runs as it stands there, at a small size, in the order in which it stands there."""

import re
import shlex
from pathlib import Path

import pytest

from common.runs import RunFolder
from marlhf import programs
from marlhf.data import people
from marlhf.data.files import file_hash

HOME = Path(__file__).resolve().parents[2] / "marlhf"
OFFLINE = (
    "alg.NUM_BATCH=[2,0,0,0,2] alg.NUM_UNILATERAL_BATCH=[2,0,0] alg.FF_LAYER_DIM=8 alg.EPOCHS=2 alg.BATCH_SIZE=4 "
    "alg.BUFFER_BATCH_SIZE=2 alg.NUM_TEST_EPISODES=4 alg.AGENT_HIDDEN_DIM=8"
)
SMALL = {
    "train/vdn_collect.py": "alg.NUM_ENVS=4 alg.TOTAL_TIMESTEPS=1040",
    "train/reward_model.py": "NUM_BATCH=[2,0,0,0,2] NUM_UNILATERAL_BATCH=[2,0,0] FF_LAYER_DIM=8 MINIBATCH_SIZE=16 "
    "REWARD_MODEL_EPOCHS=1",
    "train/offline_imitation_learning.py": "NUM_BATCH=[2,0,0,0,2] NUM_UNILATERAL_BATCH=[2,0,0] BATCH_SIZE=8 NUM_EPOCHS=1 "
    "NUM_TEST_ENVS=4 VIS_SAVE_PATH=films",
    "train/vdn_offline_rm.py": OFFLINE,
    "train/iql_offline_rm.py": OFFLINE,
    "train/bcq_offline_rm.py": OFFLINE,
    "train/pipeline.py": "MIX='1|0|0|0|1+1|0|0' data.NUM_ENVS=4 rm.REWARD_MODEL_EPOCHS=1 rm.MINIBATCH_SIZE=8 "
    "rm.FF_LAYER_DIM=8 il.NUM_EPOCHS=1 il.BATCH_SIZE=4 il.NUM_TEST_ENVS=4 alg.EPOCHS=2 alg.BATCH_SIZE=4 "
    "alg.BUFFER_BATCH_SIZE=2 alg.NUM_TEST_EPISODES=4 alg.AGENT_HIDDEN_DIM=8",
    "train/expert_vdn.py": "alg.NUM_ENVS=4 alg.TOTAL_TIMESTEPS=208 alg.AGENT_HIDDEN_DIM=8 alg.BUFFER_SIZE=8 "
    "alg.BUFFER_BATCH_SIZE=2 alg.NUM_TEST_EPISODES=4",
    "train/ippo_ff_overcooked.py": "NUM_ENVS=2 NUM_STEPS=4 NUM_MINIBATCHES=2 UPDATE_EPOCHS=1 TOTAL_TIMESTEPS=16",
    "train/overcooked_collect.py": "NUM_ENVS=2 COLLECT_EPOCHS=1",
    "film.py": "--steps 2",
}
#: the page waits for a person: tests/marlhf/labelling runs it
ELSEWHERE = {"train/label_preferences.py"}


def commands():
    """The lines of the README's blocks that call Python."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", (HOME / "README.md").read_text("utf-8"), re.M | re.S)
    return [shlex.split(line)[1:] for line in "\n".join(blocks).splitlines() if line.startswith("python ")]


COMMANDS = commands()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder that looks like the paper's, in which the commands find what the ones before them made."""
    folder = tmp_path_factory.mktemp("home")
    for name in ("agents", "train"):
        (folder / name).symlink_to(HOME / name)
    return folder


@pytest.fixture
def few_episodes(monkeypatch):
    """Agents are graded on a handful of episodes."""
    from marlhf.behaviour import ippo, ladder

    for module, name in ((ladder, "FINAL"), (ladder, "WHILE_TRAINING"), (ippo, "FINAL")):
        monkeypatch.setattr(module, name, 4)


def a_choice(home):
    """What the page would have written."""
    folder = home / "data" / "MPE_simple_spread_v3"
    names = [file_hash(folder / name / "traj_batch_0.npz") for name in ("vdnexpert", "vdntrivial")]
    journal = people.Journal(home / "preferences.jsonl", "MPE_simple_spread_v3")
    for row in range(4):
        sides = [people.Side(name, row, 0) for name in names]
        journal.add(people.Comparison(*sides, "left"))
    journal.close()


@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=lambda n: f"{n}-{COMMANDS[n][0]}")
def test_a_command_of_the_readme(number, home, monkeypatch, few_episodes, script):
    name, *words = COMMANDS[number]
    if name in ELSEWHERE:
        assert programs.PROGRAMS[name](words).hp.output == "preferences.jsonl"
        return
    monkeypatch.chdir(home)
    if any(word.startswith("PREFERENCES=") for word in words):
        a_choice(home)
    words += shlex.split(SMALL[name])
    if name != "film.py":
        words += ["--run_root", str(home / "runs"), "--device", "cpu"]
    before = set(home.glob("runs/*"))
    assert script(HOME / name).body(words) == 0
    made = [RunFolder.read(path) for path in set(home.glob("runs/*")) - before if path.is_dir()]
    assert all(run.finished for run in made)
    if name != "film.py":
        assert made and any(run.metrics() for run in made)


def test_the_commands_left_what_the_original_leaves(home):
    """Needs the commands above."""
    found = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    mix = "2|0|0|0|2_2|0|0"
    assert (
        f"results/MPE_simple_spread_v3/unilateral/rm_FF_8_mse_1_vdn_{mix}/reward_model_best.safetensors"
        in found
    )
    assert f"results/IL/MPE_simple_spread_v3/{mix}final.safetensors" in found
    for learner in ("vdn", "iql", "bcq"):
        assert any(
            re.fullmatch(
                rf"results/{learner}/MPE_simple_spread_v3/na3/vdn_rm_.*/vdn_model_-[\d.]+\.safetensors", name
            )
            for name in found
        ), learner
    assert "data/MPE_simple_spread_v3/vdnexpert|rookie1unilateral/traj_batch_1.npz" in found
    assert {"spread.gif", f"films/{mix}final_seed_3.gif"} <= found
    assert "data/overcooked/ippotrivial/traj_batch_0.npz" in found
    assert any(name.startswith("model/agents/seed_0/spread/") for name in found)


def test_every_script_of_the_readme_is_there_and_every_one_is_in_the_readme():
    named = set(re.findall(r"scripts/(\w+\.sh)", (HOME / "README.md").read_text("utf-8")))
    assert named == {path.name for path in (HOME / "scripts").glob("*.sh")} - {"common.sh"}
