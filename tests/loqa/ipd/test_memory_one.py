"""Sums over five states give the numbers of the plain path: losses, gradients, iterations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from loqa.ipd import memory_one
from loqa.ipd.game import Episodes


def _episodes(steps, batch, seed=0):
    draws = np.random.default_rng(seed).random((2, steps, batch)) < [[[0.4]], [[0.6]]]
    return Episodes(*jnp.asarray(draws))


def _params(agent, seed):
    """Parameters with every leaf away from its initial value."""
    params = agent.init(jax.random.PRNGKey(seed))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: leaf + 0.3 * rng.standard_normal(leaf.shape, np.float32), params)


OBJECTIVES = (
    "",
    "hp.actor.train.stop_grad_advantage=true",
    "hp.actor.train.advantage=MC",
    "hp.differentiable_opponent.differentiable_current_reward=true hp.op_softmax_temp=0.5",
    "hp.reward_offset=1.5 hp.qvalue.time_input=scaled hp.differentiable_opponent.discount=1.0",
    "hp.game_length=1",
    "hp.actor.train.centre_advantage=true",
    "hp.actor.train.centre_advantage=true hp.actor.train.advantage=MC hp.actor.train.stop_grad_advantage=true",
)


@pytest.mark.parametrize("model", ["logits", "mlp"])
@pytest.mark.parametrize("words", OBJECTIVES)
def test_actor_losses_and_their_gradients(ipd, readme_hp, model, words):
    hp = readme_hp(f"hp={model} hp.batch_size=16 {words}")
    agent = ipd.make_agent(hp)
    episodes = _episodes(hp.game_length, hp.batch_size)
    opponent = ipd.Player(agent, _params(agent, 1))

    def both(module):
        def losses(params):
            return module.actor_losses(hp, agent, params, opponent, episodes)

        return jax.jit(lambda params: (losses(params), jax.jacrev(losses)(params)))(_params(agent, 0))

    (values, found), (plain, wanted) = both(memory_one), both(ipd)
    for value, other in zip(values, plain, strict=True):
        np.testing.assert_allclose(value, other, rtol=2e-5, atol=1e-6)
    for term in wanted._fields:
        jax.tree.map(
            lambda a, b, term=term: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5, err_msg=term),
            getattr(found, term),
            getattr(wanted, term),
        )


@pytest.mark.parametrize("loss", ["huber", "squared"])
@pytest.mark.parametrize("target", ["bootstrapped", "finite-horizon", "monte-carlo"])
@pytest.mark.parametrize("mode", ["mean", "argmax"])
def test_q_loss_and_its_gradient(ipd, readme_hp, mode, target, loss):
    hp = readme_hp(
        f"hp.batch_size=16 hp.qvalue.mode={mode} hp.qvalue.target={target} hp.qvalue.loss={loss} hp.reward_offset=0.5"
    )
    agent = ipd.make_agent(hp)
    params, average = _params(agent, 0), _params(agent, 1)
    episodes = _episodes(hp.game_length, hp.batch_size)
    (found, slope), (wanted, gradient) = (
        jax.jit(jax.value_and_grad(lambda p, m=module: m.q_loss(hp, agent, p, average, episodes)))(params)
        for module in (memory_one, ipd)
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), slope, gradient)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(slope["params"]["actor_head"]))


@pytest.mark.parametrize("model", ["logits", "mlp"])
def test_the_same_games_are_played(ipd, readme_hp, model):
    hp = readme_hp(f"hp={model} hp.batch_size=64")
    agent = ipd.make_agent(hp)
    learner, opponent = (ipd.Player(agent, _params(agent, seed)) for seed in (0, 1))
    (chance,) = ipd.Trainer(hp).chances(jax.random.PRNGKey(3), recorded=True)
    found, wanted = (module.play(learner, opponent, chance) for module in (memory_one, ipd))
    np.testing.assert_array_equal(found, wanted)
    assert 0.1 < np.mean(found.own) < 0.9


def test_a_pattern_that_never_occurs_has_no_gradient(ipd, readme_hp):
    """Adam would turn a rounding error into a whole step: states that nobody saw must stay as they are."""
    hp = readme_hp("hp.batch_size=32")
    agent = ipd.make_agent(hp)
    always = jnp.ones((hp.game_length, hp.batch_size), bool)
    opponent = ipd.Player(agent, _params(agent, 1))

    def losses(params):
        return memory_one.actor_losses(hp, agent, params, opponent, Episodes(always, always))

    gradients = jax.jit(jax.jacrev(losses))(_params(agent, 0))
    for term in gradients:
        head = term["params"]["actor_head"]
        assert not any(np.any(head[unseen]) for unseen in ("CC", "CD", "DC"))
    assert np.any(gradients.agent["params"]["actor_head"]["DD"])


@pytest.mark.parametrize(
    "words",
    [
        "",
        "hp.just_self_play=false hp.actor.train.separate_optimizers=enabled hp.actor.train.clip_grad.mode=norm",
        "hp.qvalue.replay_buffer.mode=enabled hp.qvalue.replay_buffer.capacity=7 hp.optimizer=sgd",
        "hp.rng_mode=fresh hp.actor.train.freeze=2 hp.qvalue.target=monte-carlo hp.qvalue.loss=squared",
    ],
)
def test_whole_iterations(ipd, readme_hp, original_streams, words):
    """Adam makes steps of full size out of gradients that cancel to rounding errors: a few such parameters may differ."""
    hp = readme_hp(f"hp.batch_size=32 {words}")
    assert ipd.quickest(hp).actor_losses is memory_one.actor_losses
    ends = []
    for numerics in (ipd.Numerics(), ipd.quickest(hp)):
        trainer = ipd.Trainer(hp, numerics)
        state, report = jax.jit(trainer.advance)(trainer.fresh(1), 4)
        ends.append((state, report))
    (plain, seen), (fused, found) = ends
    np.testing.assert_array_equal(found.training.episodes, seen.training.episodes)
    np.testing.assert_allclose(found.training.q_loss, seen.training.q_loss, rtol=1e-3)
    np.testing.assert_allclose(found.log_policy, seen.log_policy, atol=1e-4)
    params = [
        np.concatenate([np.ravel(leaf) for each in state.learners for leaf in jax.tree.leaves(each.params)])
        for state in (plain, fused)
    ]
    np.testing.assert_allclose(*params, atol=5e-3)
    assert np.mean(np.isclose(*params, rtol=1e-3, atol=2e-5)) > 0.97
