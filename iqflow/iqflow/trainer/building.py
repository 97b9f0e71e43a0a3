"""A configuration's environment, network sizes and followers."""

from __future__ import annotations

import dataclasses
from typing import Any

from iqflow.alg import followers
from iqflow.config.loading import Settings, map_rows
from iqflow.env.cleanup.environment import CentralisedCleanup, from_config
from iqflow.env.escape_room import EscapeRoom
from iqflow.env.matrix_games import MatrixGame
from iqflow.networks.layers import Sizes

#: name of the mapped axis of the episodes that one iteration plays
EPISODES_AXIS = "episodes"


def make_env(settings: Settings) -> Any:
    """The environment of a configuration (for ``pg.centralized`` the one of the controller)."""
    env = settings.env
    if settings.kind == "matrix":
        return MatrixGame(settings.exp, env.max_steps)
    if settings.kind == "er":
        return EscapeRoom(env.n_agents, env.min_at_lever, env.max_steps, env.randomize)
    section = {"obs_cleaned_1hot": False} | dataclasses.asdict(env)
    section["global_ref_point"] = section["global_ref_point"] or None
    game = from_config(section, map_rows(env.map_name))
    return CentralisedCleanup(game) if getattr(settings.method, "centralized", False) else game


def make_sizes(settings: Settings, env: Any) -> Sizes:
    """What the networks need to know."""
    nn = settings.nn
    hidden = (nn.n_h1, nn.n_h2)
    if settings.kind == "ssd":
        return Sizes(
            env.n_agents,
            env.n_actions,
            env.observation_shape,
            hidden,
            n_filters=nn.n_filters,
            kernel=nn.kernel,
            stride=nn.stride,
        )
    incentive_hidden = (nn.n_hr1, nn.n_hr2) if settings.alg != "pg" else None
    return Sizes(env.n_agents, env.n_actions, env.observation_shape, hidden, incentive_hidden)


def make_learner(settings: Settings, env: Any) -> followers.Learner:
    """One follower's learning rule."""
    method, sizes = settings.method, make_sizes(settings, env)
    common = (sizes, method.gamma, method.entropy_coeff, method.lr_actor)
    axis = EPISODES_AXIS if settings.schedule.n_envs > 1 else None
    if method.use_actor_critic:
        return followers.ActorCritic(*common, lr_v=method.lr_v, tau=method.tau, axis=axis)
    return followers.Reinforce(*common, method.optimizer, method.reward_to_go, axis=axis)
