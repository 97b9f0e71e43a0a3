"""The three-player trainer: losses over two opponents, episodes against past agents, and whole small runs."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.cli import UserError, run_main
from loqa import agent_buffer, program, storage
from loqa.coin import rollout
from loqa.losses import Heads
from loqa.objective import METHODS
from loqa.three_player import config, training

ROOT = Path(__file__).resolve().parents[3]
SMALL = """
    hp=loqa_iclr hp.batch_size=6 hp.game.height=2 hp.game.width=3 hp.game.game_length=5 hp.actor.hidden_size=4
    hp.qvalue.hidden_size=4 hp.agent_replay_buffer.capacity=10 hp.agent_replay_buffer.update_freq=2
    hp.max_iterations=6 hp.eval_every=2 hp.save_every=6
"""


def settings(*words):
    return config.parse([*SMALL.split(), *words]).hp


@pytest.fixture(scope="module")
def hp():
    return settings()


def random_heads(seed, shape):
    keys = jax.random.split(jax.random.PRNGKey(seed))
    return Heads(jax.nn.log_softmax(jax.random.normal(keys[0], shape)), jax.random.normal(keys[1], shape))


@pytest.fixture(scope="module")
def played(hp):
    """The game, fresh parameters, noise, and the episodes of three such agents."""
    game = training.make_game(hp)

    @jax.jit
    def play(key):
        params = training.fresh(hp, 0).learners[0].params
        noise = rollout.draw_noise(game, rollout.episode_keys(key, hp.batch_size), hp.game.game_length)
        players = [rollout.neural(params, hp.batch_size, keep_activity=True) for _ in range(3)]
        return params, noise, rollout.play(game, players, noise)

    return game, *play(jax.random.PRNGKey(7))


@pytest.mark.parametrize("method", METHODS)
def test_the_opponents_are_interchangeable(method, hp, played):
    """Each is shaped by its own rewards and actions: swapping seats 1 and 2 changes nothing (Q19: n_step too)."""
    _, _, _, episodes = played
    steps, batch, _ = episodes.actions.shape
    episodes = episodes._replace(rewards=jax.random.normal(jax.random.PRNGKey(1), (steps, batch, 3)))
    learner, *others = (random_heads(seed, (steps + 1, batch, 4)) for seed in range(3))
    objective = dataclasses.replace(hp.objective, method=method)

    @jax.jit
    def of(own, opponents, seats):
        turned = episodes._replace(actions=episodes.actions[..., seats], rewards=episodes.rewards[..., seats])
        return training.actor_losses(objective, own, opponents, turned)

    one, two = of(learner, others, np.array([0, 1, 2])), of(learner, others[::-1], np.array([0, 2, 1]))
    np.testing.assert_allclose(jax.tree.leaves(one), jax.tree.leaves(two), rtol=1e-5, atol=1e-6)
    # The sum of what each opponent would give alone
    alone, again = (of(learner, [others[k]] * 2, np.array([0, k + 1, k + 1])) for k in (0, 1))
    np.testing.assert_allclose(one.opponent, (alone.opponent + again.opponent) / 2, rtol=1e-5, atol=1e-6)
    assert abs(float(alone.opponent - again.opponent)) > 1e-3 and one.agent == alone.agent
    slope = jax.grad(lambda own: of(own, others, np.array([0, 1, 2])).opponent)(learner)
    assert float(jnp.abs(slope.log_probs).max()) > 0 and np.isfinite(slope.log_probs).all()


def test_past_agents_that_are_the_current_one_play_like_it(hp, played):
    game, params, noise, episodes = played
    buffer = agent_buffer.push(agent_buffer.empty(params, 3), params, jnp.bool_(True))
    drawn = jnp.zeros((hp.batch_size, 2), jnp.int32)
    found, opponents = training.against_past(game, params, buffer, drawn, 0, noise)
    np.testing.assert_array_equal(found.actions, episodes.actions)
    np.testing.assert_array_equal(found.rewards, episodes.rewards)
    np.testing.assert_array_equal(found.states.players, episodes.states.players)
    for seat, heads in enumerate(opponents, 1):
        expected = training.heads_of(game, params, episodes, seat)
        np.testing.assert_allclose(heads.log_probs, expected.log_probs, atol=1e-6)
        np.testing.assert_allclose(heads.q, expected.q, atol=1e-6)


def test_every_opponent_is_the_agent_that_was_drawn(hp, played):
    game, params, noise, _ = played
    fleeing = jax.tree.map(jnp.copy, params)
    block = fleeing["actor_head"]["ScanPOLAGruCell_0"]["linear_end"]
    block["bias"] = jnp.array([100.0, 0.0, 0.0, 0.0])  # always goes left
    buffer = agent_buffer.empty(params, 2)
    for agent in (params, fleeing):
        buffer = agent_buffer.push(buffer, agent, jnp.bool_(True))
    drawn = jnp.array([[0, 1], [1, 0], [1, 1], [1, 1]], jnp.int32)
    found, _ = training.against_past(
        game, params, buffer, drawn, 2, noise
    )  # the last two meet the agent itself
    left = np.asarray((found.actions == 0).all(0))
    expected = [[False, False, True], [False, True, False], [False, True, True], [False, True, True]]
    np.testing.assert_array_equal(left, [*expected, [False] * 3, [False] * 3])


@pytest.fixture(scope="module")
def advance(hp):
    """`advance` compiled as `loqa.program` does it (which then finds it compiled), on a copy of the state."""
    step = jax.jit(training.Trainer(hp).advance, donate_argnums=0)
    return lambda state, n: step(jax.tree.map(jnp.copy, state), np.int32(n))


def equal(one, two):
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(left, right)


def test_how_iterations_are_chunked_does_not_matter(hp, advance):
    start = training.fresh(hp, 3)
    equal(advance(start, 0)[0], start)
    whole, report = advance(start, 5)
    parts, again = advance(advance(start, 2)[0], 3)
    equal((whole, report), (parts, again))
    assert int(whole.iteration) == 5
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(report))


def test_the_report_speaks_of_three_players(hp, advance):
    trainer = training.Trainer(hp)
    row = trainer.row(0, jax.tree.map(np.asarray, advance(training.fresh(hp, 3), 1)[1]))
    assert {f"mean_rewards_{seat}" for seat in range(3)} <= set(row)
    assert {f"always_defect_0_mean_rewards_{who}" for who in "ad"} <= set(row)
    assert "third player" in trainer.show(row)


def test_scripted_players_get_what_they_are_known_for():
    """Two defectors beside an untrained agent rob it; two co-operators never take what is not theirs."""
    hp = settings("hp.batch_size=200", "hp.game.game_length=20", "hp.game.height=3")
    state = training.fresh(hp, 0)
    _, cooperate, defect = training.evaluate(hp, training.make_game(hp), state)
    assert defect.mean_rewards[0] < -0.2 < 0.1 < defect.mean_rewards[1]
    assert cooperate.adversity[1] < 0.02 < 0.2 < defect.adversity[1]


@pytest.mark.parametrize(
    "words",
    [
        ["hp.agent_replay_buffer.mode=disabled", "hp.reset.mode=enabled", "hp.reset.every=2"],
        [
            "hp.actor.train.separate=enabled",
            "hp.differentiable_opponent.method=n_step",
            "hp.agent_replay_buffer.cur_agent_frac=0.5",
        ],
    ],
)
def test_other_settings_train_too(words):
    hp = settings(*words, "hp.eval_scripted=false")
    start = training.fresh(hp, 0)
    state, _ = jax.jit(training.Trainer(hp).advance)(start, 3)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
    same = [
        np.array_equal(a, b)
        for a, b in zip(
            *map(jax.tree.leaves, (state.learners[0].params, start.learners[0].params)), strict=True
        )
    ]
    assert all(same) if hp.reset.mode == "enabled" else not all(same)  # iteration 2 ends with a reset


@pytest.fixture(scope="module")
def run(script):
    module = script(ROOT / "loqa" / config.PROGRAM)
    return lambda *words: run_main(
        module.body, [*SMALL.split(), "--device", "cpu", *words], program=config.PROGRAM
    )


def result(folder):
    """Logged rows without the clock, and the arrays of the last agents."""
    (path,) = folder.glob("*/metrics.jsonl")
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    agents, meta = storage.load_agents(path.parent / "agents" / "minimal_state_6")
    assert list(agents) == ["agent0"] and meta["iteration"] == 6
    return [{k: v for k, v in row.items() if k != "walltime"} for row in rows], storage.to_arrays(agents)


def test_an_interrupted_run_goes_on_bit_for_bit(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(program, "CHECKPOINT_SECONDS", 0.0)
    assert run("--run_root", str(tmp_path / "whole")) == 0
    show = training.Trainer.show

    def pulled(self, row):
        if row["iteration"] == 4:
            raise KeyboardInterrupt
        return show(self, row)

    monkeypatch.setattr(training.Trainer, "show", pulled)
    assert run("--run_root", str(tmp_path / "parts")) == 130
    monkeypatch.setattr(training.Trainer, "show", show)
    assert run("--run_root", str(tmp_path / "parts")) == 0
    assert "going on after iteration" in capsys.readouterr().out
    rows, arrays = result(tmp_path / "whole")
    again, others = result(tmp_path / "parts")
    assert rows == again and [row["iteration"] for row in rows] == [0, 2, 4, 6]
    assert list(arrays) == list(others)
    for name in arrays:
        np.testing.assert_array_equal(arrays[name], others[name])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["hp.game.height=1"], "more than 3"),
        (["hp.just_self_play=False"], "one set of parameters plays every seat"),
        (["hp.agent_0=naive"], "naive"),
        (["hp.batch=3"], "hp.batch"),
    ],
)
def test_bad_input_is_answered_in_one_line(words, reason, run, capsys, tmp_path):
    assert run(*words, "--run_root", str(tmp_path / "runs")) == 2
    error = capsys.readouterr().err
    assert error.startswith(config.PROGRAM) and reason in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_the_boards_limit_is_that_of_three_players():
    with pytest.raises(UserError, match="hp.game.height=1 hp.game.width=3"):
        settings("hp.game.height=1")
    assert settings("hp.game.height=2", "hp.game.width=2").game.width == 2
