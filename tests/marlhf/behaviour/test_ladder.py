"""The ladder of skill: which snapshots are kept, the files, stopping and going on."""

import dataclasses

import jax
import numpy as np
import pytest

from common.cli import UserError
from marlhf import agents
from marlhf.behaviour import ladder, recipes, vdn
from marlhf.environments import make_task

SETTINGS = vdn.ExpertSettings(
    num_envs=4,
    buffer_size=8,
    buffer_batch_size=2,
    agent_hidden_dim=4,
    num_test_episodes=2,
    test_interval=208,
    total_timesteps=4 * 26 * 4,
)


@pytest.fixture(scope="module")
def spread():
    return make_task("spread")


@pytest.fixture
def few_episodes(monkeypatch):
    monkeypatch.setattr(ladder, "WHILE_TRAINING", 8)
    monkeypatch.setattr(ladder, "FINAL", 8)
    monkeypatch.setattr(ladder, "EARLY", 0)


def test_skill_is_the_published_one():
    spread = ladder.SCALES["spread"]
    assert [round(spread.skill(value), 2) for value in spread.returns.values()] == [
        1.0,
        0.79,
        0.41,
        0.26,
        -0.78,
    ]
    tag = ladder.SCALES["tag"]
    skills = {label: round(tag.skill(value), 2) for label, value in tag.returns.items()}
    assert skills == {
        "expert": 1.0,
        "rookie1": 0.78,
        "rookie2": 0.61,
        "rookie3": 0.33,
        "trivial": 0.17,
        "deviator1": 0.74,
    }
    for scale in ladder.SCALES.values():
        levels = [scale.returns[label] for label in agents.LABELS]
        assert all(better > worse for better, worse in zip(levels, levels[1:], strict=False))
    assert set(recipes.VDN) == set(ladder.SCALES)


def considered(task, monkeypatch, values):
    """A ladder that was given snapshots of these returns, one an update."""
    rungs = ladder.Ladder(task, SETTINGS)
    monkeypatch.setattr(rungs, "_measure", lambda params, key: np.array([values[params["params"]["step"]]]))
    for step in range(len(values)):
        rungs.consider({"params": {"step": step}}, step)
    return {label: rung.updates for label, rung in rungs.chosen().items()}


def test_the_nearest_snapshot_is_kept(spread, monkeypatch):
    kept = considered(spread, monkeypatch, [-50.0, -41.0, -25.0, -14.0, -12.0, -14.5, -9.0])
    assert kept == {"expert": 6, "rookie1": 3, "rookie2": 2, "rookie3": 2, "trivial": 1}


def test_a_weak_training_still_gives_five_agents(spread, monkeypatch):
    # Its best has skill (27.67 - 19) / 17.48 = 0.5, so the labels above uniform play are at half their height:
    # -19.0, -20.7, -24.1, -25.4.
    kept = considered(spread, monkeypatch, [-42.0, -30.0, -25.5, -24.0, -20.8, -19.0])
    assert kept == {"expert": 5, "rookie1": 4, "rookie2": 3, "rookie3": 2, "trivial": 0}


def test_a_ladder_is_written_and_goes_on_where_it_was(spread, few_episodes, tmp_path):
    lines = []
    whole = ladder.train_ladder(spread, SETTINGS, 0, tmp_path / "a", say=lines.append)
    files = sorted(path.stem for path in (tmp_path / "a" / "spread").iterdir())
    assert files == sorted(agents.LABELS) and len(whole) == 5
    expert = agents.load_for(spread, tmp_path / "a" / "spread" / "expert.safetensors")
    assert expert.meta.trained["seed"] == 0 and expert.meta.returns["greedy"].episodes == 8
    assert -35 < expert.meta.random < -20  # uniform play gives about -27.7 (section 8.2), here eight episodes
    assert any(line.startswith("expert: greedy") for line in lines)
    work = tmp_path / "work.ckpt"
    ladder.train_ladder(spread, SETTINGS, 0, tmp_path / "b", work=work, say=lines.append, seconds=0.0)
    ladder.train_ladder(spread, SETTINGS, 0, tmp_path / "b", work=work, say=lines.append)
    for label in agents.LABELS:
        first, second = (
            (tmp_path / where / "spread" / f"{label}.safetensors").read_bytes() for where in "ab"
        )
        assert first == second, label


def test_order_is_judged():
    def meta(label, mean):
        return agents.AgentMeta(
            "q",
            "spread",
            {},
            label,
            "behaviour",
            5,
            4,
            21,
            {"greedy": agents.Measured(mean, 0.1, 8)},
            0.0,
            0.0,
            {},
        )

    good = [meta(label, -place) for place, label in enumerate(agents.LABELS)]
    assert ladder.ordered(good)
    assert not ladder.ordered([*good[:2], dataclasses.replace(good[2], returns=good[0].returns), *good[3:]])


def test_a_task_without_published_skill_has_no_ladder():
    with pytest.raises(UserError, match="overcooked has no targets"):
        ladder.Ladder(make_task("overcooked"), SETTINGS)


def test_uniform_play_of_spread(spread):
    values = ladder.uniform_returns(spread, jax.random.PRNGKey(0), 256)
    assert np.mean(values) == pytest.approx(-27.67, abs=2.0)  # section 8.2; standard error about 0.5
