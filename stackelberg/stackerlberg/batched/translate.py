"""From an experiment's configuration to what the batched engine compiles (`schedule.Spec`) and what stays data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from common.cli import UserError

from ..envs.registry import make_env
from ..experiments.configuration import Configuration, TrainerConfig
from ..games import Game, resolve_game
from ..protocol import Protocol, memory_name
from . import referee
from .learners import Settings
from .networks import Network
from .play import Game as Payoffs
from .schedule import Data, Spec
from .tabular_q import TabularQ

_CONTEXTUAL = {
    "matrix_game_stackelberg_observed_queries",
    "repeated_matrix_game_stackelberg_observed_queries",
}
_TABULAR = {"matrix_game_tabularq", "repeated_matrix_game_tabularq"}
#: arguments of those factories whose leader acts by real numbers, which no table does
_ELSEWHERE = ("hypernetwork", "mixed_strategies")
_SPARSE = {"prob": 1, "scale": 1, "deterministic": False}


def game_of(configuration: Configuration) -> Game:
    """The game that a configuration plays."""
    arguments = configuration.env_config
    return resolve_game(arguments.get("matrix_name", "prisoners_dilemma"), arguments.get("matrix", ()))


def protocol_of(configuration: Configuration) -> Protocol:
    """The protocol that a configuration's environment follows.

    Raises:
        UserError: an environment or an argument that this engine does not have.
    """
    name, arguments = configuration.env, configuration.env_config
    if name not in _CONTEXTUAL | _TABULAR:
        raise UserError(f"the batched engine has no environment {name}; use --engine rllib")
    for key in _ELSEWHERE:
        if arguments.get(key):
            raise UserError(f"the batched engine has no {key}; use --engine rllib")
    make_env(name, arguments)  # refuses what means nothing
    repeated = name.startswith("repeated")
    asked = arguments.get("query_observations")
    return Protocol(
        memory=memory_name(True, arguments.get("small_memory", False)) if repeated else "none",
        episode_length=arguments.get("episode_length", 10) if repeated else 1,
        queries=() if name in _TABULAR else None if asked is None else tuple(asked),
        n_samples=arguments.get("n_samples", 1),
        samples_summarize=arguments.get("samples_summarize", "list"),
        hidden_queries=arguments.get("hidden_queries", False),
        tell_leader=arguments.get("tell_leader", False),
        tell_leader_mock=arguments.get("tell_leader_mock", False),
        consistent_commitment=arguments.get("consistent_commitment", False),
        reward_offset=arguments.get("reward_offset", -2.5 if repeated else 0.0),
        discrete_obs=arguments.get("discrete_obs", False),
    )


def _tabular(configuration: Configuration, protocol: Protocol) -> TabularQ | None:
    if configuration.env not in _TABULAR:
        return None
    arguments, repeated = configuration.env_config, configuration.env.startswith("repeated")
    sparse = tuple(arguments.get(f"follower_sparse_reward_{key}", usual) for key, usual in _SPARSE.items())
    return TabularQ(
        memory=protocol.memory,
        episode_length=protocol.episode_length,
        n_q_episodes=arguments.get("n_q_episodes", 50),
        alpha=arguments.get("alpha" if repeated else "q_alpha", 0.1),
        epsilon=arguments.get("epsilon", 0.1),
        gamma=arguments.get("gamma", 0.9) if repeated else 1.0,
        reset=arguments.get("reset_between_episodes", True),
        param_noise=arguments.get("param_noise", False),
        init_zero=arguments.get("q_init_zero", False),
        reward_during_q=arguments.get("leader_reward_during_q", False),
        query_offset=protocol.leader_code(0, 1, game_of(configuration).actions),
        sparse=None if sparse == tuple(_SPARSE.values()) else sparse,
    )


def _settings(trainer: TrainerConfig, algorithm: str, steps: int, learned: int, kinds: int) -> Settings:
    """Episodes and training steps of an iteration: whole episodes until enough env steps are sampled."""
    wanted = trainer.rollout_fragment_length if algorithm == "SimpleQ" else trainer.train_batch_size
    episodes = trainer.episodes_per_batch if algorithm == "ES" else math.ceil(wanted / steps)
    trainings = max(1, math.ceil(trainer.min_sample_timesteps_per_iteration / (episodes * steps)))
    return Settings(
        algorithm=algorithm,
        episodes=episodes,
        trainings=1 if algorithm == "ES" else trainings,
        steps=steps,
        learned_steps=learned,
        minibatch=trainer.sgd_minibatch_size,
        epochs=trainer.num_sgd_iter,
        remainder=trainer.minibatch_remainder,
        clip=trainer.clip_param,
        value_clip=trainer.vf_clip_param,
        value_coefficient=trainer.vf_loss_coeff,
        entropy_coefficient=trainer.entropy_coeff,
        kl_coefficient=trainer.kl_coeff,
        kl_target=trainer.kl_target,
        batch=trainer.train_batch_size,
        capacity=trainer.buffer_size,
        kinds=kinds,
        learning_starts=trainer.learning_starts,
        target_every=trainer.target_network_update_freq,
        gradient_clip=trainer.grad_clip,
        parameter_noise=trainer.parameter_noise,
        epsilon=tuple(trainer.epsilon) or (0.0, 0.0, 1),
        schedule=tuple(trainer.lr_schedule) or None,
        noise=trainer.noise_stdev,
        decay=trainer.l2_coeff,
    )


def _network(trainer: TrainerConfig, outputs: int, observations: int, features) -> Network:
    if trainer.network == "stock":
        return Network(outputs, observations, features, bias=True)
    return Network(outputs, observations, features, hiddens=trainer.fcnet_hiddens)


def _answers_as_inputs(protocol: Protocol, actions: tuple[int, int]) -> tuple[tuple[float, ...], ...] | None:
    """What a follower's network sees of each code without discrete_obs: the dictionary's entries sorted by key, as RLlib
    sorts them (spec 3.3): its own observation and every answer one-hot, a mean of answers as the number that it is."""
    if protocol.discrete_obs or not protocol.query_steps(actions):
        return None
    own, contexts = protocol.observation_counts(actions)[1], protocol.contexts(actions)
    count, values = protocol.kept_answers(actions)
    observation, context = np.divmod(np.arange(own * contexts), contexts)
    rows = {"original_space": [observation == o for o in range(own)]}
    for k, name in enumerate(protocol.answer_names(actions)):
        answer = context // values ** (count - 1 - k) % values
        # DEVIATION(Q11): input a of a query is 1 for answer a; the original's check of this network had them swapped
        mean = np.float32(answer) / np.float32(protocol.n_samples)
        summed = protocol.samples_summarize == "mean"
        rows[name] = [mean] if summed else [answer == a for a in range(actions[0])]
    return tuple(tuple(float(x) for x in row) for name in sorted(rows) for row in rows[name])


def _phase_as_inputs(protocol: Protocol, actions: tuple[int, int]) -> tuple[tuple[float, ...], ...] | None:
    """What a told leader's network sees of each code without discrete_obs: the query bit, then its observation."""
    if protocol.discrete_obs or not protocol.tell_leader:
        return None
    own = protocol.observation_counts(actions)[0]
    bit, observation = np.divmod(np.arange(2 * own), own)
    rows = [bit == b for b in range(2)] + [observation == o for o in range(own)]
    return tuple(tuple(float(x) for x in row) for row in rows)


def spec_of(configuration: Configuration) -> Spec:
    """What has to be compiled for a configuration."""
    protocol, actions = protocol_of(configuration), game_of(configuration).actions
    if (
        configuration.leader_algorithm == "ES"
    ):  # it reads returns, no steps: hiding some of them changes nothing
        protocol = dataclasses.replace(protocol, hidden_queries=False)
    tabular = _tabular(configuration, protocol)
    queries = protocol.query_steps(actions)
    steps = tabular.steps if tabular else protocol.episode_steps(actions)
    seen, pairs = protocol.leader_codes(actions), actions[0] * actions[1]
    grid = protocol.observation_counts(actions)[0] * pairs
    parts = 5 if tabular and tabular.query_offset else 4
    kinds = parts * grid if tabular else queries * actions[0] + 2 * grid
    hidden = steps - protocol.episode_length if protocol.hidden_queries else 0
    codes = protocol.follower_codes(actions)
    own_kinds = 0 if tabular else 2 * codes * pairs
    for role, count in (("leader", kinds), ("follower", own_kinds)):
        if getattr(configuration, f"{role}_algorithm") == "SimpleQ" and count > 255:
            raise UserError(
                f"the batched engine's replay buffer knows at most 255 kinds of transitions, and a {role} of this game "
                f"has {count}; use --engine rllib"
            )
    leader = configuration.leader
    spec = Spec(
        protocol=protocol,
        actions=actions,
        leader=_settings(leader, configuration.leader_algorithm, steps, steps - hidden, kinds),
        leader_network=_network(leader, actions[0], seen, _phase_as_inputs(protocol, actions)),
        tabular=tabular,
        deterministic=(configuration.deterministic_leader, configuration.deterministic_follower),
        evaluation=leader.evaluation_duration,
    )
    if tabular:
        return spec
    follower = configuration.follower
    return dataclasses.replace(
        spec,
        follower=_settings(
            follower,
            configuration.follower_algorithm,
            steps,
            protocol.episode_length,
            own_kinds,
        ),
        follower_network=_network(follower, actions[1], codes, _answers_as_inputs(protocol, actions)),
        mock=bool(configuration.pre_training_env_config.get("tell_leader_mock", False)),
        randomize_leader=configuration.randomize_leader,
        stop_on_optimal=configuration.pre_training_stop_on_optimal,
        inner_follower=configuration.inner_iterations_follower,
    )


def data_of(configurations: Sequence[Configuration], spec: Spec, seeds: int) -> Data:
    """Everything that differs between lanes: each configuration's value for all its seeds, one after the other."""
    lanes = [game for game in map(game_of, configurations) for _ in range(seeds)]
    payoffs = np.stack([game.payoffs + spec.protocol.reward_offset for game in lanes], axis=-1)
    payoffs = jnp.asarray(payoffs.reshape(-1, 2, len(lanes)), jnp.float32)

    def rates(role: str):
        values = [getattr(configuration, role).lr for configuration in configurations]
        return jnp.repeat(jnp.asarray(values, jnp.float32), seeds)

    tables = None if spec.tabular else referee.tabulate(lanes, spec.protocol)
    return Data(Payoffs(payoffs[:, 0], payoffs[:, 1]), rates("leader"), rates("follower"), tables)


def counters(spec: Spec) -> Mapping[str, Any]:
    """Env steps of one iteration: the leader's, those of them that are play, and the follower's trainer's."""
    leader = spec.leader
    game = spec.protocol.episode_length
    counts = {
        "leader": leader.episodes * leader.trainings * leader.steps,
        "leader_game": leader.episodes * leader.trainings * game,
    }
    if spec.follower is not None:
        counts["follower"] = spec.follower.episodes * spec.follower.trainings * spec.follower.steps
    return counts
