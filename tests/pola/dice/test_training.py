"""Epochs and runs of epochs: optimisers, randomness, batching, compilation, untrained scores."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pola.dice import training

LOLA = "--inner_steps 1 --outer_steps 1 --inner_beta 0 --outer_beta 0"


@functools.cache
def _step(config):
    """The compiled program of a configuration, the same one for every test."""
    return training.make_advance(config, training.make_game(config))


def _advance(config, state, *chunks, step=None):
    """State and reports of one seed after chunks of epochs."""
    step, reports = step or _step(config), []
    for epochs in chunks:
        state, report = step(state, np.int32(epochs))
        reports.append(jax.device_get(report))
    return jax.device_get(state), reports


def _equal(one, two):
    return all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(two)))


def test_default_lola_moves_every_coordinate_by_its_step_and_persistent_adam_does_not(small, fresh):
    for flag, constant in (("", True), ("--persistent_adam", False)):
        config = small(f"--env ipd {LOLA} {flag}")
        step, state = _step(config), fresh(config, 1)
        sizes = []
        for _ in range(3):
            before = jax.device_get(training.policies_of(state))
            state, _ = step(state, np.int32(1))
            after = jax.device_get(training.policies_of(state))
            moved = np.concatenate(
                [np.abs(a - b).ravel() for a, b in zip(*map(jax.tree.leaves, (after, before)), strict=True)]
            )
            sizes.append(moved[moved > 0.1 * config.lr_out])
        np.testing.assert_allclose(sizes[0], config.lr_out, rtol=0.01)
        assert all(np.allclose(size, config.lr_out, rtol=0.01) for size in sizes) == constant


def test_one_step_without_penalties_is_lola_whatever_the_references(small, fresh):
    """POLA-DiCE with K = M = 1 and both weights 0 computes the bits of LOLA-DiCE; the direction flag is idle."""
    config = small(f"--env ipd {LOLA}")
    lola = _advance(config, fresh(config, 1), 2)
    config = small("--env ipd --rev_kl --inner_steps 1 --outer_steps 1 --inner_beta 0 --outer_beta 0")
    assert _equal(lola, _advance(config, fresh(config, 1), 2))


def test_chunks_do_not_matter_and_the_same_seed_gives_the_same_bits(small, fresh, monkeypatch):
    config = small("--env ipd --inner_steps 1 --opp_model --opp_model_data_batches 2")
    traces, original = [], training.advance

    def counted(*inputs):
        traces.append(1)
        return original(*inputs)

    monkeypatch.setattr(training, "advance", counted)
    step = training.make_advance(config, training.make_game(config))
    state, reports = _advance(config, fresh(config, 3), 0, 1, 2, step=step)
    assert len(traces) == 1, "the step was traced again"
    again, later = _advance(config, fresh(config, 3), 3)
    assert _equal(state, again) and _equal(reports[-1].scores, later[0].scores)
    assert int(state.epoch) == 3
    other, _ = _advance(config, fresh(config, 4), 3)
    assert not _equal(training.policies_of(state), training.policies_of(other))


def test_a_lane_is_the_run_of_its_seed_alone(small, fresh, distance):
    """Looped lanes are the same program; batched lanes agree to rounding, and each goes its own number of epochs."""
    config = small("--env ipd --inner_steps 1 --opp_model --opp_model_data_batches 2")
    env = training.make_game(config)
    single = [_advance(config, fresh(config, seed), epochs)[0] for seed, epochs in ((1, 2), (2, 1), (7, 0))]
    states = jax.tree.map(lambda *lanes: jnp.stack(lanes), *(fresh(config, seed) for seed in (1, 2, 7)))
    batched, _ = training.make_advance(config, env, 3)(states, np.array([2, 1, 0], np.int32))
    for lane, alone in enumerate(single):
        own = jax.tree.map(lambda leaf, lane=lane: leaf[lane], batched)
        assert int(own.epoch) == int(alone.epoch)
        assert distance(own.agents.networks, alone.agents.networks) < 1e-4
        assert distance(own.models.networks, alone.models.networks) < 1e-4


def test_agents_side_by_side_learn_what_they_learn_in_turn(small, fresh, distance):
    config = small("--env ipd --inner_steps 1 --opp_model --opp_model_data_batches 2")
    in_turn, _ = _advance(config, fresh(config, 1), 1)
    together, _ = _advance(dataclasses.replace(config, agent_axis="vmap"), fresh(config, 1), 1)
    assert distance(together.agents.networks, in_turn.agents.networks) < 1e-4


@pytest.mark.parametrize("env_name", ["ipd", "coin"])
def test_scores_of_untrained_agents(small, env_name):
    """Acceptance list of the paper's reproduction, item 12: means over five seeds."""
    base = "--batch_size 400 --rollout_len 50 --hidden_size 64 --layers_before_gru 1"
    config = small(f"--env {env_name}", base)
    env = training.make_game(config)

    def untrained(seed):
        state = training.initial_state(config, env, seed)
        return training.evaluate(config, env, training.policies_of(state), state.key)

    scores = jax.device_get(jax.jit(lambda seeds: jax.lax.map(untrained, seeds))(jnp.arange(1, 6)))
    each_other, defect = scores.score.mean(), scores.scripted[:, :, 0].mean()
    if env_name == "ipd":
        assert 0.10 <= each_other <= 0.23 and -0.24 <= defect <= -0.10
    else:
        rr, rb, br, bb = scores.picked
        assert each_other == pytest.approx(0, abs=0.03) and defect == pytest.approx(-0.53, abs=0.06)
        same = (rr + bb) / (rr + rb + br + bb)
        assert same.mean() == pytest.approx(0.5, abs=0.03)
