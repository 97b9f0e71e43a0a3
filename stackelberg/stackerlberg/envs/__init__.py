"""Environments: state machines by published name, and the same for Gymnasium and RLlib (`envs.rllib`)."""

from .machine import StateMachine
from .registry import FACTORIES, check_env_config, make_env
from .single import LeaderEnv, register_gymnasium_envs, table_follower

__all__ = [
    "FACTORIES",
    "LeaderEnv",
    "StateMachine",
    "check_env_config",
    "make_env",
    "register_gymnasium_envs",
    "table_follower",
]
