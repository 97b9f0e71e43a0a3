"""POLA-OM: each agent learns a model of its opponent from play between the true agents (paper, section 4.3)."""

from typing import NamedTuple

import jax
import optax
from jax import lax

from pola.dice import estimators
from pola.dice.learner import Networks, code_table, descend, policy_logprobs
from pola.dice.networks import unroll
from pola.dice.rollout import Trajectory, sample


class ModelLosses(NamedTuple):
    """Before a step, one number each: cross-entropy of the opponent's actions and value loss."""

    cross_entropy: jax.Array
    value_loss: jax.Array


def model_optimisers(config) -> Networks:
    """Optimisers of the model's policy and value net.

    DEVIATION(Q4): the original ignored `om_lr_p` and `om_lr_v` and used `lr_out` and `lr_v`; here those are the
    defaults of flags that work.
    """
    make = optax.adam if config.optim == "adam" else optax.sgd
    return Networks(make(config.om_lr_p), make(config.om_lr_v))


def model_gradients(
    config, env, model: Networks, path: Trajectory
) -> tuple[Networks, ModelLosses, jax.Array]:
    """Gradients of the model's two losses on one rollout, seen by its owner (`other` is who is modelled).

    Returns: gradients, losses, and the model's values [B] of the final observation, the value loss's bootstrap.
    """

    def mistake(policy):
        logprobs = policy_logprobs(env, policy, path.codes[:-1])
        return estimators.cross_entropy(logprobs, path.other_actions)

    def squared(value_params):
        values = unroll(value_params, path.codes, code_table(env))[..., 0]
        return estimators.value_loss(path.other_rewards, values[:-1], values[-1], config.gamma), values[-1]

    surprise, policy_slope = jax.value_and_grad(mistake)(model.policy)
    (value_loss, end_value), value_slope = jax.value_and_grad(squared, has_aux=True)(model.value)
    return Networks(policy_slope, value_slope), ModelLosses(surprise, value_loss), end_value


def fit(config, env, model: Networks, optimiser: Networks, me: Networks, other: Networks, role, key):
    """One epoch's training of the model that `me` keeps of `other`.

    `config.opp_model_data_batches` fresh rollouts between the true agents, on each
    `config.opp_model_steps_per_batch` steps.
    Returns: model, optimiser states, cross-entropy and value loss before the last step.
    """
    rules = model_optimisers(config)

    def on_batch(carry, batch_key):
        shape = config.rollout_len, config.batch_size
        path = sample(env, me.policy, other.policy, role, batch_key, *shape)

        def step(carry, _):
            model, optimiser = carry
            gradients, losses, _ = model_gradients(config, env, model, path)
            return descend(rules, model, gradients, optimiser), losses

        carry, losses = lax.scan(step, carry, length=config.opp_model_steps_per_batch)
        return carry, jax.tree.map(lambda path: path[-1], losses)

    keys = jax.random.split(key, config.opp_model_data_batches)
    (model, optimiser), losses = lax.scan(on_batch, (model, optimiser), keys)
    return model, optimiser, jax.tree.map(lambda path: path[-1], losses)
