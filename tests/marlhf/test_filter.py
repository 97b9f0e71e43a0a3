"""FILTER_BY_REWARD_MODEL: imitation learns from the files that a reward model thinks better of (spec 2.7)."""

from pathlib import Path

import numpy as np
import pytest

from common.cli import UserError
from marlhf import programs, works
from marlhf.data.files import load_files
from marlhf.stages import imitating

HOME = Path(__file__).resolve().parents[2] / "marlhf"
SPREAD = "MPE_simple_spread_v3"
MIX = ("NUM_BATCH=[1,0,0,0,1]", "NUM_UNILATERAL_BATCH=[0,0,0]", f"ENV_NAME={SPREAD}")
MODEL = ("REWARD_MODEL_TYPE=FF", "FF_LAYER_DIM=4", "MSE_LOSS_COEF=1")
FILTER = ("FILTER_BY_REWARD_MODEL=True", "FILTER_RATIO=0.5")


def launch(body, program, *words):
    return body(programs.PROGRAMS[program]([*words, "--run_root", "runs", "--device", "cpu"]))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Two files each of the expert's and the trivial agents' play."""
    (tmp_path / "agents").symlink_to(HOME / "agents")
    monkeypatch.chdir(tmp_path)
    for label in ("expert", "trivial"):
        words = ("alg.NUM_ENVS=4", "alg.TOTAL_TIMESTEPS=1040", f"alg.EXPERT_PARAM_PATH={label}")
        folder = f"alg.TRAJ_BATCH_PATH=data/{SPREAD}/vdn{label}"
        assert launch(works.record_play, "train/vdn_collect.py", *words, folder) == 0
    return tmp_path


def imitate(*words):
    words = (*MIX, *MODEL, "NUM_EPOCHS=1", "BATCH_SIZE=2", "NUM_TEST_ENVS=2", *words)
    return launch(works.imitate, "train/offline_imitation_learning.py", *words)


def test_the_better_half_of_twice_as_many_files_is_kept(home, monkeypatch):
    with pytest.raises(UserError, match="no reward model at results/.*python train/reward_model.py"):
        imitate(*FILTER)
    small = ("REWARD_MODEL_EPOCHS=40", "MINIBATCH_SIZE=20", "STEEPNESS=5")
    assert launch(works.train_reward_model, "train/reward_model.py", *MIX, *MODEL, *small) == 0
    seen, trainer = [], imitating.ImitationTrainer

    def watched(task, hp, alignment, rows):
        seen.append(rows)
        return trainer(task, hp, alignment, rows)

    monkeypatch.setattr(imitating, "ImitationTrainer", watched)
    assert imitate(*FILTER) == imitate() == 0
    kept, whole = seen
    best = load_files([home / "data" / SPREAD / "vdnexpert" / f"traj_batch_{n}.npz" for n in (0, 1)])
    # trivial agents play far worse than random ones, so both of the expert's files are the better half
    assert np.array_equal(kept.actions, best.actions)
    # without the filter: the mix's own two files, one of each
    assert np.array_equal(whole.actions[:, :, :4], best.actions[:, :, :4])
    assert not np.array_equal(whole.actions[:, :, 4:], best.actions[:, :, 4:])


def test_twice_as_many_files_have_to_be_there(home):
    with pytest.raises(UserError, match="asks for 4 files of expert, .* holds 2"):
        imitate(*FILTER, "NUM_BATCH=[2,0,0,0,2]")
