"""Runs of `ipd.py` inside one process: options, seeds, randomness, and that everything is compiled once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from loqa.ipd import episode_buffer, noise
from loqa.ipd.config import parse
from loqa.ipd.game import Episodes

TINY = "hp.batch_size=4 hp.game_length=3 hp.eval_every=1"
EVERYTHING = (
    "hp=logits hp.rng_mode=fresh hp.just_self_play=false hp.agent_replay_buffer.update_freq=2 "
    "hp.agent_replay_buffer.capacity=2 hp.agent_replay_buffer.cur_agent_frac=0.5 hp.qvalue.replay_buffer.capacity=6"
)


@functools.cache
def _compiled(ipd, words):
    trainer = ipd.Trainer(parse(f"{words} {TINY}".split()).hp)
    return trainer, jax.jit(trainer.advance)


def _start(ipd, words, seed=1):
    """The trainer of a setting, its state at the start and its compiled `advance`."""
    trainer, step = _compiled(ipd, words)
    return trainer, trainer.fresh(np.uint32(seed)), step


def _equal(one, two):
    return all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (one, two)), strict=True))


@pytest.mark.parametrize("words", ["hp=logits", "hp=gru", "hp=mlp", "hp=coin", EVERYTHING])
def test_every_group_trains(ipd, words):
    """Three iterations; everything finite, everything moves, and the rows hold the metrics of the README."""
    trainer, state, step = _start(ipd, words)
    first = state
    for _ in range(3):
        state, report = step(state, 1)
    assert int(state.iteration) == 3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state) if leaf.dtype.kind == "f")
    for old, new in zip(first.learners, state.learners, strict=True):
        for head in ("actor_head", "qvalue_head"):
            assert not _equal(old.params["params"][head], new.params["params"][head])
    row = trainer.row(2, jax.tree.map(np.asarray, report))
    assert row["iteration"] == row["step"] == 2 and len(row["first_episode"].split()) == 3
    assert ("p_0_START_C" in row) == trainer.agent.memory_one
    assert "iteration: 2" in trainer.show(row)
    assert set(trainer.agents(state)) == {"agent0", "agent1"}


@pytest.mark.parametrize("words", ["hp=logits", EVERYTHING])
def test_chunks_do_not_matter_and_zero_iterations_change_nothing(ipd, words):
    _, state, step = _start(ipd, words)
    together, _ = step(state, 5)
    apart = state
    for n in (0, 2, 1, 0, 2):
        apart, _ = step(apart, n)
    assert _equal(together, apart)
    assert step._cache_size() == 1


def test_a_seed_of_a_batch_is_the_run_of_that_seed(ipd):
    trainer, _, step = _start(
        ipd, "hp=logits hp.agent_replay_buffer.mode=disabled hp.qvalue.replay_buffer.mode=disabled"
    )
    states = [trainer.fresh(np.uint32(seed)) for seed in (3, 4)]
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    both, _ = jax.jit(jax.vmap(trainer.advance))(both, np.array([2, 2], np.int32))
    for lane, state in enumerate(states):
        alone, _ = step(state, 2)
        jax.tree.map(lambda a, b, lane=lane: np.testing.assert_allclose(a[lane], b, atol=1e-5), both, alone)


def test_fixed_noise_is_replayed_and_fresh_noise_is_not(ipd):
    words = "hp=logits hp.agent_replay_buffer.mode=disabled hp.actor.train.freeze=9"
    for mode, repeats in (("fixed", True), ("fresh", False)):
        _, state, step = _start(ipd, f"{words} hp.rng_mode={mode}")
        seen = []
        for _ in range(2):
            state, report = step(state, 1)
            seen.append(report.training.episodes)
        assert _equal(*seen) == repeats  # the policy is frozen, so equal noise is equal play


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
@pytest.mark.parametrize("kind", ["recorded", "fresh"])
def test_noise_plays_the_policy_with_exploration(kind, epsilon):
    key, shape = jax.random.PRNGKey(0), (20, 2000)
    if kind == "recorded":
        chance = noise.recorded(key, *shape, epsilon, True)
    else:
        chance = noise.fresh(key, *shape, epsilon)
    assert chance.shape == (20, 2, 2000)
    p = 0.8
    cooperated = np.mean(np.log((1 - p) / p) <= np.asarray(chance), axis=(0, 2))
    np.testing.assert_allclose(cooperated, (1 - epsilon) * p + epsilon / 2, atol=0.01)


def test_a_frozen_actor_waits(ipd):
    _, state, step = _start(ipd, "hp=logits hp.agent_replay_buffer.mode=disabled hp.actor.train.freeze=2")
    heads = []
    for _ in range(3):
        state, _ = step(state, 1)
        heads.append(state.learners[0].params["params"]["actor_head"])
    assert _equal(heads[0], heads[1]) and not np.any(heads[1]["CC"])
    assert np.any(heads[2]["CC"])


def test_resets_return_the_parameters_and_nothing_else(ipd):
    _, first, step = _start(ipd, "hp=logits hp.reset.mode=enabled hp.reset.every=2")
    state = first
    for i in range(3):
        state, _ = step(state, 1)
        back = _equal(state.learners[0].params, first.learners[0].params)
        assert back == (i % 2 == 0)
        assert not _equal(state.learners[0].q_optimiser, first.learners[0].q_optimiser)
        assert not _equal(state.learners[0].target, first.learners[0].target)


def test_without_shaping_the_opponents_gain_plays_no_part(ipd):
    """The learner's step is the agent's loss alone: the same as with a shaping weight of 0."""
    words = "hp=logits hp.agent_replay_buffer.mode=disabled hp.optimizer=sgd"
    ends = []
    for weight in (0, 1):
        _, state, step = _start(ipd, f"{words} hp.opponent_differentiation_weight={weight}")
        state, report = step(state, 1)
        assert report.training.opponent_norm[0] > 0
        ends.append(state.learners[0].params["params"]["actor_head"])
    assert not _equal(*ends)


def test_the_second_learner_learns_from_its_own_seat(ipd, readme_hp):
    """DEVIATION(Q7): two learners that start alike and get each other's noise learn the same."""
    hp = readme_hp("hp.just_self_play=false")
    trainer = ipd.Trainer(hp)
    state = trainer.fresh(1)
    twin = state.learners[0]
    (chance,) = trainer.chances(jax.random.PRNGKey(5), True)[:1]
    mirrored = [chance, jnp.flip(chance, 1)]
    state = ipd.State(state.key, state.iteration, (twin, twin))
    after, _ = jax.jit(lambda now: ipd.iteration(hp, trainer.numerics, now, mirrored, now.key))(state)
    first, second = after.learners
    # the first learner met the second as it was, the second met the first one after its step: the agent's part agrees
    np.testing.assert_allclose(
        first.params["params"]["qvalue_head"]["dense_2"]["bias"],
        second.params["params"]["qvalue_head"]["dense_2"]["bias"],
        atol=5e-3,
    )
    played = [
        trainer.numerics.play(
            ipd.Player(trainer.agent, twin.params), ipd.Player(trainer.agent, twin.params), each
        )
        for each in (mirrored[0], jnp.flip(mirrored[1], 1))
    ]
    assert _equal(*played)


def test_the_episode_buffer_keeps_the_newest():
    buffer = episode_buffer.empty(1, 3)
    for start in (0, 2, 4):
        moves = jnp.asarray([[start % 4 == 0, True]])
        buffer = episode_buffer.push(buffer, Episodes(moves, ~moves))
    # episodes 0..5 with C first moves at 2 only; slots hold episodes 3, 4, 5
    assert int(buffer.seen) == 6
    np.testing.assert_array_equal(buffer.episodes.own, [[True, True, True]])
    np.testing.assert_array_equal(buffer.episodes.other, [[False, False, False]])
    one = episode_buffer.push(
        episode_buffer.empty(1, 5), Episodes(jnp.ones((1, 1), bool), jnp.zeros((1, 1), bool))
    )
    drawn = episode_buffer.draw(one, jax.random.PRNGKey(0), 50)
    assert np.all(drawn.own) and not np.any(drawn.other)  # empty slots are never drawn
    many = episode_buffer.push(
        episode_buffer.empty(1, 2), Episodes(jnp.eye(1, 4, dtype=bool), jnp.eye(1, 4, dtype=bool))
    )
    assert not np.any(many.episodes.own) and int(many.seen) == 4
