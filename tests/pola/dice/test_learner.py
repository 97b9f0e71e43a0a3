"""The outer step against a plain re-derivation by nested automatic gradients, and what follows from its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pola.dice import estimators, learner, networks, training
from pola.dice.learner import Networks
from pola.dice.rollout import sample

SETTINGS = {
    "lola": "--env ipd --inner_steps 1 --outer_steps 1 --inner_beta 0 --outer_beta 0",
    "pola": "--env ipd",
    "three steps": "--env ipd --inner_steps 3",
    "reverse": "--env ipd --rev_kl --layers_before_gru 1",
    "plain dice": "--env ipd --inner_steps 1 --no_baseline",
    "zero values, short traces": "--env ipd --inner_steps 1 --zero_vals --gae_lambda 0.7",
}


def _two(state):
    """Networks of both agents; biases and read-outs large enough to matter."""
    random = np.random.default_rng(9)
    stacked = jax.tree.map(
        lambda leaf: leaf + 0.3 * random.normal(size=leaf.shape).astype(np.float32), state.agents.networks
    )
    return [jax.tree.map(lambda leaf, agent=agent: leaf[agent], stacked) for agent in (0, 1)]


def _play(config, env, role=0):
    def play(number, mine, theirs):
        key = jax.random.fold_in(jax.random.PRNGKey(1), number)
        return sample(env, mine, theirs, role, key, config.rollout_len, config.batch_size)

    return play


def _plain_outputs(env, params, codes):
    """The network step by step, in the order in which the paper's figure draws it."""
    inputs = codes @ env.distinct_observations() if env.codes_are_one_hot else codes
    net = networks.RecurrentNet(5, 1, params["linear_end"]["bias"].shape[0])

    def step(state, observation):
        return net.apply({"params": params}, observation, state)

    return jax.lax.scan(step, jnp.zeros((codes.shape[1], 5)), inputs)[1]


def _plain_loss(config, env, beta, me: Networks, other_policy, path, reference):
    """-objective + value loss + beta KL of the player that `path` belongs to, all by plain unrolls."""
    codes = path.codes
    logits, theirs = (_plain_outputs(env, policy, codes[:-1]) for policy in (me.policy, other_policy))
    logprobs = jax.nn.log_softmax(logits)
    own = jnp.take_along_axis(logprobs, path.self_actions[..., None], -1)[..., 0]
    other = jnp.take_along_axis(jax.nn.log_softmax(theirs), path.other_actions[..., None], -1)[..., 0]
    weights, value_loss, rewards = path.self_rewards, 0.0, path.self_rewards
    if not config.no_baseline:
        values = _plain_outputs(env, me.value, codes)[..., 0]
        value_loss = estimators.value_loss(rewards, values[:-1], values[-1], config.gamma)
        seen = jnp.zeros_like(values) if config.zero_vals else values
        weights = estimators.advantages(rewards, seen[:-1], seen[-1], config.gamma, config.gae_lambda)
    objective = estimators.dice_objective(own, other, weights, config.gamma, not config.no_baseline)
    held = jax.nn.log_softmax(_plain_outputs(env, reference, codes[:-1]))
    divergence = estimators.policy_divergence(jax.lax.stop_gradient(held), logprobs, config.rev_kl)
    return value_loss - objective + beta * divergence


def _plain_outer(config, env, me: Networks, other: Networks, reference, play):
    """Outer loss of `me` with the inner chain inside, by automatic differentiation alone."""
    now = other
    for number in range(config.inner_steps):
        path = play(number, me.policy, now.policy).swapped()
        slope = jax.grad(_plain_loss, argnums=3)(
            config, env, config.inner_beta, now, me.policy, path, other.policy
        )
        now = Networks(
            jax.tree.map(lambda theta, part: theta - config.lr_in * part, now.policy, slope.policy),
            jax.tree.map(lambda theta, part: theta - config.lr_v * part, now.value, slope.value),
        )
    path = play(config.inner_steps, me.policy, now.policy)
    return _plain_loss(config, env, config.outer_beta, me, now.policy, path, reference)


@pytest.mark.parametrize("extra", SETTINGS.values(), ids=SETTINGS)
def test_outer_gradient_is_that_of_the_plain_nested_program(small, fresh, distance, extra):
    config = small(extra)
    env = training.make_game(config)
    me, other = _two(fresh(config, 5))
    reference, play = jax.tree.map(lambda leaf: 0.9 * leaf, me.policy), _play(config, env)
    plain = jax.jit(jax.value_and_grad(lambda me: _plain_outer(config, env, me, other, reference, play)))
    loss, wanted = plain(me)
    found, value, logs = jax.jit(lambda me: learner.outer_gradient(config, env, me, other, reference, play))(
        me
    )
    assert float(value) == pytest.approx(float(loss), rel=1e-5, abs=1e-5) or config.no_baseline
    assert distance(found.policy, wanted.policy) < 2e-5
    if not config.no_baseline:
        assert distance(found.value, wanted.value) < 2e-5
    assert logs.shaping_norm > 1e-4 * logs.policy_gradient_norm


def test_without_anticipated_steps_there_is_no_shaping(small, fresh):
    config = small(f"{SETTINGS['lola']} --lr_in 0")
    env = training.make_game(config)
    me, other = _two(fresh(config, 5))
    play = _play(config, env)
    logs = jax.jit(lambda: learner.outer_gradient(config, env, me, other, me.policy, play))()[2]
    assert float(logs.shaping_norm) == 0 and float(logs.inner_shift) == 0


def test_seats_are_data(small, fresh, distance):
    """In a symmetric game whose observation is mirrored, agent 2 learns what agent 1 would."""
    config = small(SETTINGS["lola"])
    env = training.make_game(config)
    me, other = _two(fresh(config, 5))

    def mirror(params):
        kernel = params["linear1"]["kernel"]
        return params | {"linear1": params["linear1"] | {"kernel": jnp.roll(kernel, 3, axis=0)}}

    def gradient(role, me, other):
        play = _play(config, env, role)
        return learner.outer_gradient(config, env, me, other, me.policy, play)[0]

    first = jax.jit(lambda: gradient(0, me, other))()
    mirrored = [Networks(*map(mirror, agent)) for agent in (me, other)]
    second = jax.jit(lambda: gradient(1, *mirrored))()
    assert distance(Networks(*map(mirror, second)), first) < 2e-5


def test_saturated_policies_stay_finite(small, fresh):
    config = small("--env ipd --inner_steps 1 --rev_kl --opp_model --opp_model_data_batches 1")
    env = training.make_game(config)
    state = fresh(config, 1)

    def sharpen(policy):
        end = jax.tree.map(lambda leaf: 1e4 * (leaf + 0.1), policy["linear_end"])
        return policy | {"linear_end": end}

    def saturated(pair):
        return pair._replace(networks=pair.networks._replace(policy=sharpen(pair.networks.policy)))

    state = state._replace(agents=saturated(state.agents), models=saturated(state.models))
    after, report = training.make_advance(config, env)(state, np.int32(2))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((after, report)))
