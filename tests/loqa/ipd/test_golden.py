"""Recorded values of the original's prisoner's dilemma: game, agents, whole iterations."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from loqa import storage
from loqa.ipd import memory_one
from loqa.ipd.agents import Agent
from loqa.ipd.game import OBSERVATIONS, Episodes


def _states(observations):
    """Rows [N, 4] of the observation table -> their indices [N]."""
    found = [int(np.flatnonzero((row == OBSERVATIONS).all(axis=1))[0]) for row in observations]
    return jnp.asarray(found, jnp.int32)


@pytest.mark.golden("ipd_step*.json")
def test_a_step_of_the_game(case):
    for step in json.loads(case.read_text())["steps"]:
        own, other = (jnp.full((1, 1), bool(action)) for action in step["actions"])
        first = Episodes(own, other)
        for player, seat in enumerate((first, first.swapped())):
            np.testing.assert_array_equal(OBSERVATIONS[seat.states()[:, 0]][0], np.zeros(4))
            np.testing.assert_array_equal(OBSERVATIONS[seat.states()[:, 0]][1], step["obs"][player])
            assert seat.rewards()[0, 0] == step["rewards"][player]


@pytest.mark.golden("ipd_agents_case*.npz")
@pytest.mark.parametrize("batch", [1, 6])
@pytest.mark.parametrize("model", ["logits", "mlp", "gru"])
def test_agents(recorded, model, batch):
    """Both as sequences (a batch smaller than the five states) and from tables."""
    states = _states(recorded["obs"])
    agent = Agent(model, "relu", len(states) - 1, False)
    params = recorded.tree(f"{model}.param")
    fresh = agent.init(jax.random.PRNGKey(0))
    assert jax.tree.map(jnp.shape, fresh) == jax.tree.map(jnp.shape, params)
    heads = jax.jit(agent.heads)(params, jnp.repeat(states[:, None], batch, axis=1))
    for column in range(batch):
        np.testing.assert_allclose(heads.log_probs[:, column], recorded[f"{model}.logp_seq"], atol=1e-5)
        np.testing.assert_allclose(heads.q[:, column], recorded[f"{model}.qvalue_seq"], atol=1e-5)
    memory, act = agent.start(batch), jax.jit(agent.policy(params))
    for t, state in enumerate(states):
        memory, log_probs = act(memory, jnp.full((batch,), state))
        np.testing.assert_allclose(log_probs[0], recorded[f"{model}.logp_seq"][t], atol=1e-5)


@pytest.fixture
def run(case):
    return json.loads(case.with_suffix(".json").read_text())


def _compare(tree, wanted, atol=2e-6):
    found, wanted = storage.to_arrays(tree), storage.to_arrays(wanted)
    assert found.keys() == wanted.keys()
    for name in found:
        np.testing.assert_allclose(found[name], wanted[name], atol=atol, err_msg=name)


def _numerics(ipd, kind):
    return {
        "plain": ipd.Numerics(),
        "memory-one": ipd.Numerics(memory_one.play, memory_one.actor_losses, memory_one.q_loss),
    }[kind]


@pytest.mark.golden("ipd_updates_case*.npz")
@pytest.mark.parametrize("kind", ["plain", "memory-one"])
def test_iterations_from_the_seed(ipd, recorded_hp, original_streams, original_rounding, recorded, run, kind):
    hp = recorded_hp(run["hp"])
    trainer = ipd.Trainer(hp, _numerics(ipd, kind))
    state, step = trainer.fresh(hp.seed), jax.jit(trainer.advance)
    np.testing.assert_array_equal(state.key, recorded["rng_key"])
    _compare(state.learners[0].params, recorded.tree("param0"))
    for it in range(run["iterations"]):
        state, report = step(state, 1)
        training = report.training
        moves = np.stack([training.episodes.own, training.episodes.other], -1)
        np.testing.assert_array_equal(moves.swapaxes(0, 1), recorded[f"it{it}.act"])
        _compare(state.learners[0].params, recorded.tree(f"it{it}.after_q"))
        _compare(state.learners[0].target, recorded.tree(f"it{it}.ema"))
        seen = {
            "grad_agent_norm": training.agent_norm,
            "grad_opponent_norm": training.opponent_norm,
            "qvalue_loss": training.q_loss,
            "entropy": training.entropy,
        }
        for name, (value,) in seen.items():
            np.testing.assert_allclose(
                value, recorded[f"it{it}.{name}"].mean(), rtol=1e-4, atol=1e-5, err_msg=name
            )


@pytest.mark.golden("ipd_updates_case*.npz")
@pytest.mark.parametrize("kind", ["plain", "memory-one"])
def test_iterations_from_the_recorded_episodes(ipd, recorded_hp, recorded, run, kind):
    """The same without the original's randomness: its episodes and its parameters at the start of each iteration."""
    hp, numerics = recorded_hp(run["hp"]), _numerics(ipd, kind)

    @jax.jit
    def improve(learner, episodes, it):
        opponent = ipd.Player(ipd.make_agent(hp), learner.params)
        actor, _ = ipd.improve_actor(hp, numerics, learner, opponent, episodes, it)
        return actor.params, ipd.improve_q(hp, numerics, actor, episodes)[0]

    learner = ipd.Trainer(hp).fresh(0).learners[0]
    start = recorded.tree("param0")
    learner = learner._replace(params=start, target=start)
    for it in range(run["iterations"]):
        acted = recorded[f"it{it}.act"]
        episodes = Episodes(*(jnp.asarray(acted[:, :, seat].T, bool) for seat in (0, 1)))
        for seat, seen in enumerate((episodes, episodes.swapped())):
            np.testing.assert_array_equal(seen.rewards(), recorded[f"it{it}.rew"][:, :, seat].T)
            np.testing.assert_array_equal(
                OBSERVATIONS[seen.states()], recorded[f"it{it}.obs"][:, :, seat].swapaxes(0, 1)
            )
        after_actor, learner = improve(learner, episodes, it)
        _compare(after_actor, recorded.tree(f"it{it}.after_actor"))
        _compare(learner.params, recorded.tree(f"it{it}.after_q"))
        _compare(learner.target, recorded.tree(f"it{it}.ema"))


@pytest.mark.golden("ipd_curves*.json")
def test_the_first_hundred_iterations_at_full_scale(
    ipd, readme_hp, original_streams, original_rounding, case
):
    """The README's command with the original's noise (acceptance A10)."""
    recorded_runs = json.loads(case.read_text())["groups"]["readme"]
    trainer = ipd.Trainer(readme_hp("hp.batch_size=2048 hp.game_length=50"))
    step = jax.jit(trainer.advance)
    for seed, rows in recorded_runs.items():
        iteration, *wanted = rows[0][:6]
        _, report = step(trainer.fresh(np.uint32(seed)), iteration)
        np.testing.assert_allclose(np.exp(report.log_policy[0, :, 0]), wanted, atol=1e-3)
