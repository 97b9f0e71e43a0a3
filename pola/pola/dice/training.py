"""Training of a pair of agents: the whole state, one epoch, and the one jitted function that a run calls.

`advance(state, n)` runs n epochs and evaluates the agents; n is data, so the evaluation before the first epoch, every
chunk and a shorter last chunk are the same compiled program. A run needs nothing else from the device.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from pola.dice import opponent_model
from pola.dice.coin_game import CoinGame
from pola.dice.contribution_game import ContributionGame
from pola.dice.evaluation import Scores, evaluate
from pola.dice.learner import Diagnostics, Networks, improve, optimisers
from pola.dice.networks import Params, init_params

#: random streams of a run, folded into its key; the original used one key for several purposes
#: DEVIATION(Q6): evaluation, initialisation and training have streams of their own
INIT_STREAM, MODEL_STREAM, TRAIN_STREAM, FIT_STREAM, EVALUATION_STREAM = range(5)


class Pair(NamedTuple):
    """Networks and their optimiser states; every leaf has a leading axis of 2, one entry per agent."""

    networks: Networks
    optimisers: Networks


class State(NamedTuple):
    """Everything that a run is made of between two epochs."""

    key: jax.Array  # uint32 [2], from the seed; never changes
    epoch: jax.Array  # int32, epochs done
    agents: Pair
    models: Pair | None  # entry i: what agent i believes of the other one


class Report(NamedTuple):
    """What a run logs after a chunk of epochs; of training only the chunk's last epoch is seen."""

    scores: Scores
    training: Diagnostics  # [2] each, averaged over the outer steps
    modelling: opponent_model.ModelLosses | None  # [2] each, before the last step


def make_game(config) -> ContributionGame | CoinGame:
    """The game of a configuration."""
    if config.env == "ipd":
        return ContributionGame(config.contrib_factor, config.init_state_coop)
    return CoinGame(config.same_coin_reward, config.diff_coin_reward, config.diff_coin_cost)


def _stream(key: jax.Array, number: int, epoch=0) -> jax.Array:
    return jax.random.fold_in(jax.random.fold_in(key, number), epoch)


def _fresh_networks(config, env, key: jax.Array) -> Networks:
    shape = env.observation_size, config.hidden_size, config.layers_before_gru
    policy_key, value_key = jax.random.split(key)
    return Networks(init_params(policy_key, *shape, env.n_actions), init_params(value_key, *shape, 1))


def _fresh_optimisers(rules: Networks, networks: Networks) -> Networks:
    return Networks(*(rule.init(params) for rule, params in zip(rules, networks, strict=True)))


def _fresh_pair(config, env, rules: Networks, key: jax.Array) -> Pair:
    networks = jax.vmap(lambda one: _fresh_networks(config, env, one))(jax.random.split(key))
    return Pair(networks, jax.vmap(lambda one: _fresh_optimisers(rules, one))(networks))


def initial_state(config, env, seed) -> State:
    """The state of a run of one seed (int, or an array under `vmap`) before its first epoch."""
    key = jax.random.PRNGKey(seed)
    agents = _fresh_pair(config, env, optimisers(config), _stream(key, INIT_STREAM))
    models = None
    if config.opp_model:
        rules = opponent_model.model_optimisers(config)
        models = _fresh_pair(config, env, rules, _stream(key, MODEL_STREAM))
    return State(key, jnp.zeros((), jnp.int32), agents, models)


def _over_agents(config, one, inputs):
    """`one` for both agents: one after the other (faster on a CPU) or side by side."""
    return jax.vmap(one)(inputs) if config.agent_axis == "vmap" else lax.map(one, inputs)


def run_epoch(config, env, state: State) -> tuple[State, Diagnostics, opponent_model.ModelLosses | None]:
    """One epoch: both agents learn from the same pair of old agents, then both are replaced.

    DEVIATION(Q1): with `config.persistent_adam` the optimisers keep their moments; without it they are made new
    every epoch, as in the original.
    """

    def other(tree):
        return jax.tree.map(lambda leaf: jnp.flip(leaf, 0), tree)

    def one(inputs):
        role, (me, optimiser), you, model, train_key, fit_key = inputs
        if not config.persistent_adam:
            optimiser = _fresh_optimisers(optimisers(config), me)
        losses, opponent = None, you
        if config.opp_model:
            believed, believing = model
            if not config.persistent_adam:
                believing = _fresh_optimisers(opponent_model.model_optimisers(config), believed)
            opponent, believing, losses = opponent_model.fit(
                config, env, believed, believing, me, you, role, fit_key
            )
            model = Pair(opponent, believing)
        me, optimiser, diagnostics = improve(config, env, me, optimiser, opponent, role, train_key)
        return Pair(me, optimiser), model, diagnostics, losses

    keys = (jax.random.split(_stream(state.key, name, state.epoch)) for name in (TRAIN_STREAM, FIT_STREAM))
    networks = state.agents.networks
    inputs = jnp.arange(2), state.agents, other(networks), state.models, *keys
    agents, models, diagnostics, losses = _over_agents(config, one, inputs)
    return State(state.key, state.epoch + 1, agents, models), diagnostics, losses


def _like(shapes):
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def advance(config, env, state: State, epochs) -> tuple[State, Report]:
    """Run `epochs` (int32, may be 0) epochs, then evaluate.

    The evaluation's randomness depends on the seed and the number of epochs done, not on how they were chunked.
    """
    nothing = _like(jax.eval_shape(lambda now: run_epoch(config, env, now)[1:], state))

    def body(_, carry):
        return (lambda now, *logs: (now, logs))(*run_epoch(config, env, carry[0]))

    state, (training, modelling) = lax.fori_loop(0, epochs, body, (state, tuple(nothing)))
    key = _stream(state.key, EVALUATION_STREAM, state.epoch)
    scores = evaluate(config, env, state.agents.networks.policy, key)
    return state, Report(scores, training, modelling)


def make_advance(config, env, lanes: int = 0):
    """The jitted `advance`; with `lanes` > 0 over a leading axis of so many seeds, each with its own `epochs`."""

    def step(state, epochs):
        return advance(config, env, state, epochs)

    return jax.jit(jax.vmap(step) if lanes else step, donate_argnums=0)


def resolve_axes(config, platform: str):
    """`config` with "auto" axes settled: loops on a CPU, batches elsewhere."""
    best = "loop" if platform == "cpu" else "vmap"
    chosen = {
        name: best if getattr(config, name) == "auto" else getattr(config, name)
        for name in ("seed_axis", "agent_axis")
    }
    return dataclasses.replace(config, **chosen)


def policies_of(state: State) -> Params:
    """Policies of both agents, leading axis 2."""
    return state.agents.networks.policy
