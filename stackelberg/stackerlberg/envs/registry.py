"""The environments by name, with the arguments of the published factories (spec 2.5).

`make_env` builds one from a name and an ``env_config``. Every factory also takes ``matrix_name``, ``matrix``
(explicit payoffs ``[A0, A1, 2]``, which win) and ``_is_eval_env``. Arguments that the published factories did
not have are marked *added*.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from common.cli import UserError, nearest

from ..games import LEADER, Game, resolve_game
from ..protocol import Protocol, memory_name
from .dynamics import LearningDynamics
from .machine import StateMachine
from .matrix import ActionDistribution, Constant, Hypernetwork, MatrixGame, SparseReward
from .queries import ObservedQueries
from .tabular_q import TabularQFollower

_OFFSET = Protocol.reward_offset


def _game(matrix_name: str, matrix: Sequence) -> Game:
    return resolve_game(matrix_name, matrix)


def matrix_game(
    *,
    episode_length: int = 1,
    matrix_name: str = "prisoners_dilemma",
    matrix: Sequence = (),
    _is_eval_env: bool = False,
) -> StateMachine:
    """The game without memory, `episode_length` steps, no reward offset."""
    return MatrixGame(_game(matrix_name, matrix), episode_length)


def _hyper(env: MatrixGame, hypernetwork: bool, discrete_hyper: bool) -> StateMachine:
    if discrete_hyper and not hypernetwork:
        raise UserError("discrete_hyper has no meaning without hypernetwork; set hypernetwork too")
    return Hypernetwork(env, discrete_hyper) if hypernetwork else env


def _ask(env: StateMachine, protocol: Protocol, actions: tuple[int, int], hypernetwork: bool) -> StateMachine:
    """Put the protocol's queries in front of a game; a hypernetwork is asked once, for its whole table."""
    asked = {f"q{k}": seen for k, seen in enumerate(protocol.query_observations(actions))}
    return ObservedQueries(
        env,
        {"none": 0} if hypernetwork else asked,
        n_samples=protocol.n_samples,
        samples_summarize=protocol.samples_summarize,
        tell_leader=protocol.tell_leader,
        tell_leader_mock=protocol.tell_leader_mock,
        hidden_queries=protocol.hidden_queries,
        consistent_commitment=protocol.consistent_commitment,
        discrete_obs=protocol.discrete_obs,
    )


def repeated_matrix_game(
    *,
    episode_length: int = 10,
    hypernetwork: bool = False,
    discrete_hyper: bool = False,
    queries: bool = False,
    discrete_obs: bool = False,
    small_memory: bool = False,
    memory: bool = True,
    reward_offset: float = _OFFSET,
    matrix_name: str = "prisoners_dilemma",
    matrix: Sequence = (),
    _is_eval_env: bool = False,
) -> StateMachine:
    """The repeated game; with `queries`, as the observed-queries factory builds it. *Added*: `reward_offset`."""
    game = _game(matrix_name, matrix)
    protocol = Protocol(
        _repeated_memory(memory, small_memory),
        episode_length,
        discrete_obs=discrete_obs,
        reward_offset=reward_offset,
    )
    if discrete_obs and not queries:
        raise UserError(
            "discrete_obs has no meaning without queries: the game's observations are whole numbers"
        )
    env = MatrixGame(game, episode_length, protocol.memory, reward_offset)
    env = _hyper(env, hypernetwork, discrete_hyper)
    return _ask(env, protocol, game.actions, hypernetwork) if queries else env


def _repeated_memory(memory: bool, small_memory: bool) -> str:
    """The memory of a repeated environment. The published `memory` switch did nothing; only its true value fits."""
    if memory is not True:
        raise UserError(f"memory must be true in a repeated game, not {memory!r}; matrix_game has no memory")
    return memory_name(True, small_memory)


def matrix_game_stackelberg_observed_queries(
    *,
    n_samples: int = 1,
    samples_summarize: str = "list",
    mixed_strategies: bool = False,
    reward_offset: float = 0.0,
    matrix_name: str = "prisoners_dilemma",
    matrix: Sequence = (),
    _is_eval_env: bool = False,
) -> StateMachine:
    """The one-shot game behind one query named ``none``; with `mixed_strategies` the leader gives probabilities."""
    game = _game(matrix_name, matrix)
    protocol = Protocol(
        "none", 1, n_samples=n_samples, samples_summarize=samples_summarize, reward_offset=reward_offset
    )
    env: StateMachine = MatrixGame(game, 1, "none", protocol.reward_offset)
    if mixed_strategies:
        env = ActionDistribution(env, LEADER)
    return ObservedQueries(
        env, {"none": 0}, n_samples=protocol.n_samples, samples_summarize=protocol.samples_summarize
    )


def repeated_matrix_game_stackelberg_observed_queries(
    *,
    episode_length: int = 10,
    n_samples: int = 1,
    samples_summarize: str = "list",
    hypernetwork: bool = False,
    discrete_obs: bool = False,
    small_memory: bool = False,
    memory: bool = True,
    tell_leader: bool = False,
    tell_leader_mock: bool = False,
    hidden_queries: bool = False,
    consistent_commitment: bool = False,
    query_observations: Sequence[int] | None = None,
    reward_offset: float = _OFFSET,
    matrix_name: str = "prisoners_dilemma",
    matrix: Sequence = (),
    _is_eval_env: bool = False,
) -> StateMachine:
    """The repeated game behind queries q0, q1, ... of every leader observation.

    *Added*: `consistent_commitment`, `query_observations` (which to ask), `reward_offset`.
    """
    game = _game(matrix_name, matrix)
    protocol = Protocol(
        memory=_repeated_memory(memory, small_memory),
        episode_length=episode_length,
        queries=None if query_observations is None else tuple(query_observations),
        n_samples=n_samples,
        samples_summarize=samples_summarize,
        hidden_queries=hidden_queries,
        tell_leader=tell_leader,
        tell_leader_mock=tell_leader_mock,
        consistent_commitment=consistent_commitment,
        reward_offset=reward_offset,
        discrete_obs=discrete_obs,
    )
    env = _hyper(MatrixGame(game, episode_length, protocol.memory, reward_offset), hypernetwork, False)
    return _ask(env, protocol, game.actions, hypernetwork)


def matrix_game_tabularq(
    *,
    n_q_episodes: int = 50,
    q_alpha: float = 0.1,
    reset_between_episodes: bool = True,
    tell_leader: bool = False,
    tell_leader_mock: bool = False,
    hidden_queries: bool = False,
    follower_sparse_reward_prob: float = 1,
    follower_sparse_reward_scale: float = 1,
    follower_sparse_reward_deterministic: bool = False,
    leader_reward_during_q: bool = False,
    param_noise: bool = False,
    q_init_zero: bool = False,
    matrix_name: str = "prisoners_dilemma",
    matrix: Sequence = (),
    _is_eval_env: bool = False,
) -> StateMachine:
    """The one-shot game with a Q-learning follower inside; epsilon .1, gamma 1, no reward offset."""
    env: StateMachine = MatrixGame(_game(matrix_name, matrix), 1)
    sparse = (follower_sparse_reward_prob, follower_sparse_reward_scale, follower_sparse_reward_deterministic)
    if sparse != (1, 1, False):
        env = SparseReward(env, *sparse)
    return TabularQFollower(
        env,
        n_q_episodes=n_q_episodes,
        alpha=q_alpha,
        gamma=1.0,
        epsilon=0.1,
        param_noise=param_noise,
        q_init_zero=q_init_zero,
        reset_between_episodes=reset_between_episodes,
        leader_reward_during_q=leader_reward_during_q and not _is_eval_env,
        tell_leader=tell_leader,
        tell_leader_mock=tell_leader_mock,
        hidden_queries=hidden_queries,
    )


def repeated_matrix_game_tabularq(
    *,
    episode_length: int = 10,
    n_q_episodes: int = 50,
    reset_between_episodes: bool = True,
    epsilon: float = 0.1,
    alpha: float = 0.1,
    gamma: float = 0.9,
    q_init_zero: bool = False,
    tell_leader: bool = False,
    tell_leader_mock: bool = False,
    hidden_queries: bool = False,
    discrete_obs: bool = False,
    small_memory: bool = False,
    memory: bool = True,
    reward_offset: float = _OFFSET,
    matrix_name: str = "prisoners_dilemma",
    matrix: Sequence = (),
    _is_eval_env: bool = False,
) -> StateMachine:
    """The repeated game with a Q-learning follower inside.

    DEVIATION(Q6): the learning rate is called `alpha`; the published experiment set `q_alpha` and got .1 without
    a word. Here an unknown argument is refused. *Added*: `reward_offset`.
    """
    env = MatrixGame(
        _game(matrix_name, matrix), episode_length, _repeated_memory(memory, small_memory), reward_offset
    )
    return TabularQFollower(
        env,
        n_q_episodes=n_q_episodes,
        alpha=alpha,
        gamma=gamma,
        epsilon=epsilon,
        q_init_zero=q_init_zero,
        reset_between_episodes=reset_between_episodes,
        tell_leader=tell_leader,
        tell_leader_mock=tell_leader_mock,
        hidden_queries=hidden_queries,
        discrete_obs=discrete_obs,
    )


def _dynamics(
    env, games: int, rewarded: int, mixed_strategies: bool, copies: bool, evaluation: bool
) -> StateMachine:
    if mixed_strategies:
        env = ActionDistribution(env, LEADER)
    return env if evaluation else LearningDynamics(env, games, rewarded, copies)


def matrix_game_stackelberg_learning_dynamics(
    *,
    n_follower_episodes: int = 32,
    n_reward_episodes: int = 4,
    mixed_strategies: bool = False,
    follower_copies: bool = False,
    matrix_name: str = "prisoners_dilemma",
    matrix: Sequence = (),
    _is_eval_env: bool = False,
) -> StateMachine:
    """One-shot games of a learning follower inside one leader episode. *Added*: `follower_copies`."""
    env = MatrixGame(_game(matrix_name, matrix), 1)
    return _dynamics(
        env, n_follower_episodes, n_reward_episodes, mixed_strategies, follower_copies, _is_eval_env
    )


def repeated_matrix_game_stackelberg_learning_dynamics(
    *,
    episode_length: int = 10,
    n_follower_episodes: int = 1,
    n_reward_episodes: int = 1,
    mixed_strategies: bool = False,
    follower_copies: bool = False,
    small_memory: bool = False,
    memory: bool = True,
    reward_offset: float = _OFFSET,
    matrix_name: str = "prisoners_dilemma",
    matrix: Sequence = (),
    _is_eval_env: bool = False,
) -> StateMachine:
    """Repeated games of a learning follower inside one leader episode.

    *Added*: `episode_length`, `small_memory`, `memory`, `reward_offset`, `follower_copies`.
    """
    env = MatrixGame(
        _game(matrix_name, matrix), episode_length, _repeated_memory(memory, small_memory), reward_offset
    )
    return _dynamics(
        env, n_follower_episodes, n_reward_episodes, mixed_strategies, follower_copies, _is_eval_env
    )


def constant_env(*, num_agents: int = 2, _is_eval_env: bool = False) -> StateMachine:
    """One step, reward = own action: to try a training set-up."""
    return Constant(num_agents)


FACTORIES: dict[str, Callable[..., StateMachine]] = {
    factory.__name__: factory
    for factory in (
        matrix_game,
        repeated_matrix_game,
        matrix_game_stackelberg_observed_queries,
        repeated_matrix_game_stackelberg_observed_queries,
        matrix_game_tabularq,
        repeated_matrix_game_tabularq,
        matrix_game_stackelberg_learning_dynamics,
        repeated_matrix_game_stackelberg_learning_dynamics,
    )
} | {"test_env": constant_env}


def check_env_config(name: str, env_config: Mapping[str, Any]) -> None:
    """Refuse an unknown environment or argument by name, without building anything.

    DEVIATION(Q7): the original swallows unknown arguments.

    Raises:
        UserError: it is.
    """
    if name not in FACTORIES:
        raise UserError(f"unknown environment {name!r}; {nearest(name, sorted(FACTORIES))}")
    known = inspect.signature(FACTORIES[name]).parameters
    for key in env_config:
        if key not in known:
            raise UserError(f"environment {name!r} has no argument {key!r}; {nearest(key, sorted(known))}")
    for key, parameter in known.items():
        value = env_config.get(key, parameter.default)
        if isinstance(parameter.default, bool) and not isinstance(value, bool):
            raise UserError(f"argument {key!r} of environment {name!r} must be true or false, not {value!r}")


def make_env(name: str, env_config: Mapping[str, Any] | None = None) -> StateMachine:
    """Build an environment by its published name.

    Raises:
        UserError: unknown name or argument, payoffs of wrong shape or with NaN, a combination that means nothing.
    """
    env_config = dict(env_config or {})
    check_env_config(name, env_config)
    return FACTORIES[name](**env_config)
