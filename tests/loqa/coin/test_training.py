"""Whole iterations: recorded ones from the seed, the setting's switches, chunks, lanes, the compiled program."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from loqa import agent_buffer
from loqa.coin import training
from loqa.coin.game import CoinGame
from loqa.coin.rollout import against_agent, against_past, block_size, draw_noise, neural, play


def assert_trees_close(found, wanted, atol):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol, rtol=0), found, wanted)


def assert_trees_equal(found, wanted):
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


@functools.cache
def iterate(hp):
    """One iteration, compiled; also the first learner's episodes of that iteration."""
    game = training.make_game(hp)

    def one(state):
        state, trained = training.iterate(hp, game, state)
        return state, trained

    return jax.jit(one)


@functools.cache
def episodes_of(hp):
    game = training.make_game(hp)
    return jax.jit(lambda state, buffers: training.gather(hp, game, state, 0, buffers)[0])


@pytest.mark.golden("coin_updates_*.npz")
def test_recorded_iterations_from_the_seed(original_streams, original_rounding, recorded_hp, recorded, case):
    """Actions and rewards equal, parameters within 2e-6, for every iteration in the file."""
    hp = recorded_hp
    state = jax.jit(lambda seed: training.fresh(hp, seed))(np.uint32(hp.seed))
    assert_trees_close(state.learners[0].params, recorded.tree("param0")["params"], 2e-6)
    number = 0
    while f"it{number}.act" in recorded:
        before, (state, (trained, *_)) = state, iterate(hp)(state)
        played = episodes_of(hp)(before._replace(key=state.key, rollout_key=state.rollout_key), state.buffers)
        np.testing.assert_array_equal(state.rollout_key, recorded[f"it{number}.rollout_key"])
        for name, array in (("act", played.actions), ("rew", played.rewards)):
            np.testing.assert_array_equal(np.moveaxis(array, 0, 1), recorded[f"it{number}.{name}"])
        assert_trees_close(state.learners[0].params, recorded.tree(f"it{number}.after_q")["params"], 2e-6)
        assert_trees_close(state.learners[0].target, recorded.tree(f"it{number}.ema")["params"], 2e-6)
        wanted = {
            "q_loss": "qvalue_loss",
            "agent_norm": "grad_agent_norm",
            "opponent_norm": "grad_opponent_norm",
        }
        for name, key in wanted.items():
            np.testing.assert_allclose(
                getattr(trained, name), recorded[f"it{number}.{key}"], rtol=1e-4, atol=1e-6
            )
        np.testing.assert_allclose(trained.entropy, recorded[f"it{number}.entropy"].mean(), atol=1e-5)
        number += 1
    assert number > 0


@pytest.mark.parametrize("group", ["test", "loqa", "ios", "reproduce_juan", "loqa_iclr"])
def test_every_group_trains(small, group):
    hp = small(f"hp={group} hp.batch_size=4 hp.actor.layers_before_gru=1")
    state = training.fresh(hp, 1)
    first = state.learners[0].params
    for _ in range(3):
        state, (trained,) = iterate(hp)(state)
        assert np.isfinite(trained.q_loss)
    assert state.iteration == 3
    moved = [
        np.abs(a - b).max()
        for a, b in zip(*map(jax.tree.leaves, (first, state.learners[0].params)), strict=True)
    ]
    assert max(moved) > 0 and np.isfinite(moved).all()


@pytest.mark.parametrize(
    "words",
    [
        "hp.differentiable_opponent.method=n_step hp.differentiable_opponent.n_step=3 hp.qvalue.mode=argmax "
        "hp.game.height=2 hp.game.width=5 hp.actor.layers_before_gru=0 hp.qvalue.layers_before_gru=1 "
        "hp.agent_replay_buffer.cur_agent_frac=0.5",
        "hp.differentiable_opponent.method=loaded-aa hp.actor.train.separate=enabled hp.actor.train.advantage=MC "
        "hp.actor.train.optimizer=sgd hp.qvalue.train.optimizer=sgd hp.actor.train.clip_grad.mode=disabled",
        "hp.differentiable_opponent.stop_grad_normalizing_constant=enabled hp.actor.train.stop_grad_advantage=True",
    ],
)
def test_switches_train(small, words):
    hp = small(words)
    state, (trained,) = iterate(hp)(training.fresh(hp, 1))
    leaves = [*jax.tree.leaves(state.learners[0].params), *trained]
    assert all(np.isfinite(leaf).all() for leaf in leaves)


def test_two_learners(small):
    """Twins at the start, as published; apart after one iteration; the second's opponents are the first's past."""
    hp = small("hp.just_self_play=False hp.agent_1=naive")
    state = training.fresh(hp, 1)
    assert_trees_equal(state.learners[0].params, state.learners[1].params)
    state, trained = iterate(hp)(state)
    heads = [learner.params["actor_head"]["ScanPOLAGruCell_0"]["linear_end"] for learner in state.learners]
    assert len(trained) == 2 and np.abs(heads[0]["kernel"] - heads[1]["kernel"]).max() > 0
    apart = training.fresh(small("hp.just_self_play=False hp.independent_init=True"), 1)
    kernels = [
        learner.params["qvalue_head"]["ScanPOLAGruCell_0"]["linear1"]["kernel"] for learner in apart.learners
    ]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.1


def test_a_naive_learner_does_not_shape(small):
    """It moves as a learner does whose shaping has no weight."""
    two = "hp.just_self_play=False hp.agent_replay_buffer.mode=disabled"
    naive = small(f"{two} hp.agent_0=naive hp.agent_1=naive")
    weightless = small(f"{two} hp.opponent_differentiation_weight=0.0")
    found, wanted = (iterate(hp)(training.fresh(hp, 3))[0].learners for hp in (naive, weightless))
    assert_trees_equal(found[0].params, wanted[0].params)
    assert_trees_equal(found[1].params, wanted[1].params)


def test_reset_and_the_ring(small):
    """Parameters return to the first ones every third iteration, the target and the buffer stay."""
    hp = small(
        "hp.reset.mode=enabled hp.reset.every=3 hp.agent_replay_buffer.capacity=2 hp.agent_replay_buffer.update_freq=2"
    )
    state = training.fresh(hp, 1)
    first, seen = state.learners[0].params, []
    for _ in range(5):
        state, _ = iterate(hp)(state)
        params = state.learners[0].params
        seen.append(
            max(np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (params, first)), strict=True)) == 0
        )
    assert seen == [True, False, False, True, False]
    assert (
        max(
            np.abs(a - b).max()
            for a, b in zip(*map(jax.tree.leaves, (state.learners[0].target, first)), strict=True)
        )
        > 0
    )
    assert state.buffers[0].pushes == 3 and jax.tree.leaves(state.buffers[0].agents)[0].shape[0] == 2


def test_past_agents_that_are_the_current_one(small):
    """Against a ring of copies of itself, block by block, as against itself."""
    game, params = CoinGame(3, 3), training.fresh(small(), 1).learners[0].params
    noise = draw_noise(game, jax.random.split(jax.random.PRNGKey(0), 6), 4)
    buffer = agent_buffer.push(agent_buffer.empty(params, 3), params, jnp.bool_(True))
    past = against_past(game, params, params, buffer, jnp.zeros(4, jnp.int32), 2, noise)
    itself = against_agent(game, params, params, noise)
    np.testing.assert_array_equal(past[0].actions, itself[0].actions)
    assert_trees_close(past[0].traces[0], itself[0].traces[0], 1e-6)
    assert_trees_close(past[1], itself[1], 1e-5)


def test_blocks_join_in_order(small, monkeypatch):
    """The same episodes whether they are played in one block or in three."""
    from loqa.coin import rollout

    game = CoinGame(3, 3)
    agents = [training.fresh(small(), seed).learners[0].params for seed in (1, 2)]
    buffer = agent_buffer.empty(agents[0], 2)
    for agent in agents:
        buffer = agent_buffer.push(buffer, agent, jnp.bool_(True))
    noise = draw_noise(game, jax.random.split(jax.random.PRNGKey(0), 6), 4)
    drawn = jnp.array([0, 1, 1, 0, 1, 0])
    one = against_past(game, agents[0], agents[0], buffer, drawn, 0, noise)
    monkeypatch.setattr(rollout, "block_size", lambda batch, agent_bytes: 2)
    three = against_past(game, agents[0], agents[0], buffer, drawn, 0, noise)
    np.testing.assert_array_equal(one[0].actions, three[0].actions)
    assert_trees_close(one, three, 1e-6)


def test_block_sizes_divide_the_batch():
    for batch in (1, 6, 7, 128, 512):
        for size in (1, 10**5, 10**6, 10**9):
            assert batch % block_size(batch, size) == 0


def test_a_published_agent_against_itself(case_matches):
    """256 games of 50 steps, within 3 standard errors + 0.01 of the recorded returns."""
    params, match = case_matches
    game = CoinGame(3, 3)
    noise = jax.jit(lambda keys: draw_noise(game, keys, 50))(jax.random.split(jax.random.PRNGKey(1), 256))
    player = neural(params, 256)
    earned = jax.jit(lambda noise: play(game, (player, player), noise).rewards.mean((0, 1)))(noise)
    room = 3 * np.array(match["standard_error"]) + 0.01
    assert (np.abs(earned - np.array(match["mean_reward"])) < room).all()


# --- the compiled program ----------------------------------------------------------------------------------------


def test_chunks_lanes_and_traces(small):
    """However iterations are cut into calls, alone or as one of two lanes: the same bits and one trace."""
    trainer, traces = training.Trainer(small()), []

    def advance(state, n):
        traces.append(n)
        return trainer.advance(state, n)

    step, fresh = jax.jit(advance), jax.jit(trainer.fresh)
    whole, report = step(fresh(np.uint32(5)), np.int32(5))
    parts = fresh(np.uint32(5))
    for n in (2, 0, 3):
        parts, last = step(parts, np.int32(n))
    assert_trees_equal((whole, report), (parts, last))
    assert len(traces) == 1
    row = trainer.row(4, jax.tree.map(np.asarray, report))
    assert row["iteration"] == 4 and all(np.isfinite(value) for value in row.values())
    assert "always_defect" in trainer.show(row)

    lanes = jax.tree.map(lambda *leaves: jnp.stack(leaves), fresh(np.uint32(4)), fresh(np.uint32(5)))
    unseen = training.Trainer(
        small("hp.eval_scripted=false")
    )  # what is evaluated does not change what is learnt
    both, _ = jax.jit(jax.vmap(unseen.advance))(lanes, np.array([5, 5], np.int32))
    alone = jax.tree.map(lambda leaf: leaf[1], both)
    np.testing.assert_array_equal(alone.key, whole.key)
    assert_trees_close(alone.learners[0].params, whole.learners[0].params, 2e-5)
