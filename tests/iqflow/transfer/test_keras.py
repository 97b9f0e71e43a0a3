"""The Keras learners: what they learn, their draws, and runs that are killed and go on to the bit."""

import gc
from pathlib import Path

import numpy as np
import pytest

from common.cli import UserError
from common.runs import RunFolder
from iqflow.trainer import transfer as script
from iqflow.transfer import keras_program
from iqflow.transfer.settings import parse

SETS = [
    "alg.n_episodes=5", "alg.period=2", "alg.n_eval=2", "pg.gamma=0.9", "pg.entropy_coeff=0", "pg.lr_actor=0.02",
    "pg.lr_v=0.02", "pg.tau=0.5", "nn.n_h1=8", "nn.n_h2=8", "nn.n_filters=2",
]  # fmt: skip


def transfer(root, seeds="3", *words):
    command = ["--reward", "selfish", "--followers", "keras", "--seeds", seeds, "--run_root", str(root)]
    return parse([*command, *(f"--set={word}" for word in (*SETS, *words))])


@pytest.fixture(scope="module")
def learners():
    """Two learners of 2 x 2 pictures and three actions, and how they start."""
    pytest.importorskip("tensorflow")

    class Sizes:
        n_agents, observation_shape, n_actions = 2, (2, 2, 1), 3

    made = keras_program._learners(transfer(""), Sizes, 4)
    return made, made.arrays()


@pytest.fixture
def fresh(learners):
    made, start = learners
    made.restore(start, "the start")
    return made


def episode(rng):
    seen = rng.random((6, 2, 2, 2, 2, 1), np.float32)  # T + 1, E, N, picture
    return seen, rng.integers(0, 3, (5, 2, 2))


def test_each_learner_finds_the_action_that_pays_it(fresh):
    rng = np.random.default_rng(0)
    for _ in range(150):
        seen, actions = episode(rng)
        fresh.learn(seen, actions, (actions == np.array([2, 0])).astype(float), 10**6)
    seen, _ = episode(rng)
    policies = np.asarray(fresh._policies(seen[:, 0]))
    assert policies[:, 0, 2].min() > 0.8 and policies[:, 1, 0].min() > 0.8


def test_the_critic_knows_what_follows(fresh):
    """One reward of 1 at the end of five steps: V is 0.9 to the power of the steps left."""
    seen = np.zeros((6, 1, 2, 2, 2, 1), np.float32)
    for step in range(6):
        seen[step, ..., step % 2, step // 2 % 2, 0] = 1 + step
    actions, rewards = np.zeros((5, 1, 2), int), np.zeros((5, 1, 2))
    rewards[-1] = 1.0
    for _ in range(600):
        fresh.learn(seen, actions, rewards, 0)
    for k, agent in enumerate(fresh.agents):
        values = agent.critic(seen[:5, 0, k]).numpy()[:, 0]
        np.testing.assert_allclose(values, 0.9 ** np.arange(4, -1, -1), atol=0.05)


def test_actions_are_drawn_from_the_mixed_policy(fresh):
    seen = np.zeros((20000, 2, 2, 2, 1), np.float32)
    policy = np.asarray(fresh._policies(seen[:1]))[0]
    epsilon = fresh.settings.epsilon(250)
    assert epsilon == pytest.approx(0.275) and fresh.settings.epsilon(10**6) == pytest.approx(0.05)
    drawn = fresh.act(seen, 250, fresh.draws(7, 1, len(seen))[0])
    for agent in (0, 1):
        shares = np.bincount(drawn[:, agent], minlength=3) / len(seen)
        np.testing.assert_allclose(shares, (1 - epsilon) * policy[agent] + epsilon / 3, atol=0.015)
    np.testing.assert_array_equal(fresh.draws(7, 3, 2), fresh.draws(7, 3, 2))
    assert not np.array_equal(fresh.draws(7, 3, 2), fresh.draws(8, 3, 2))


def test_agents_start_differently_and_other_learners_arrays_are_refused(fresh):
    arrays = fresh.arrays()
    assert not np.array_equal(arrays["agent_0/00"], arrays["agent_1/00"])
    with pytest.raises(UserError, match="the file does not fit"):
        fresh.restore({"agent_0/00": arrays["agent_0/00"]}, "the file")


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch, toy, learners):
    """Trains learners that start as `learners` did: what a run needs is in its arrays, so one compiled object serves all."""

    def start(transfer, env, seed):
        learners[0].restore(learners[1], "the start")
        return learners[0]

    monkeypatch.setattr(keras_program, "make_env", lambda settings: toy)
    monkeypatch.setattr(keras_program, "_learners", start)
    return lambda *args: keras_program.run(transfer(*args), Path(script.__file__), {})


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


def test_a_killed_run_goes_on_to_the_bit(monkeypatch, tmp_path, run):
    monkeypatch.setattr(keras_program, "CHECKPOINT_SECONDS", -1.0)
    run(tmp_path / "whole")
    iterate, count = keras_program.Seed.iterate, 0

    def dies(self, episode):
        nonlocal count
        count += 1
        if count == 4:
            raise Killed
        iterate(self, episode)

    with monkeypatch.context() as patch:
        patch.setattr(keras_program.Seed, "iterate", dies)
        with pytest.raises(Killed):
            run(tmp_path / "cut")
    gc.collect()  # the killed process's lock
    again = run(tmp_path / "cut")
    whole, cut = (
        RunFolder.read(next(tmp_path.glob(f"{name}/*/run.json")).parent) for name in ("whole", "cut")
    )
    assert [row["episode"] for row in cut.metrics()] == [2, 4, 5]
    assert [{**row, "time": 0} for row in cut.metrics()] == [{**row, "time": 0} for row in whole.metrics()]
    assert again[3]["episodes"] == 5 and cut.record["sessions"] == 2
    ends = [folder.restore().arrays for folder in (whole, cut)]
    assert ends[0].keys() == ends[1].keys()
    for name, values in ends[0].items():
        np.testing.assert_array_equal(values, ends[1][name])
    lines = (cut.path / "log.csv").read_text().splitlines()
    assert lines[0].startswith("episode,step_train,step,A1_reward_env,") and len(lines) == 4
    row = cut.metrics()[-1]
    assert row["step"] == 15 and row["reward_env_total"] == pytest.approx(
        row["A1_reward_env"] + row["A2_reward_env"]
    )


def test_a_seed_that_fails_does_not_stop_the_others(monkeypatch, tmp_path, run, capsys):
    evaluate = keras_program.Seed.evaluate

    def fails(self, episode):
        if self.seed == 1:
            raise ValueError("a number is not finite after episode 2")
        return evaluate(self, episode)

    monkeypatch.setattr(keras_program.Seed, "evaluate", fails)
    found = run(tmp_path, "1,2", "alg.n_episodes=2")
    assert found[1] is None and found[2]["episodes"] == 2
    assert "seed 1 failed: a number is not finite" in capsys.readouterr().err
