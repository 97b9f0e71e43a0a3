"""The environments for RLlib's multi-agent interface; the only module here that needs Ray."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.tune.registry import register_env

from .machine import StateMachine
from .registry import FACTORIES, make_env


class RllibEnv(MultiAgentEnv):
    """Any environment of the registry as a `MultiAgentEnv`.

    Args:
        config: ``{"factory": name, **env_config}``, or a `StateMachine`.

    An agent is in `agents` from its first observation until it is done. Episodes end by termination only.
    """

    def __init__(self, config: Mapping[str, Any] | StateMachine):
        super().__init__()
        if isinstance(config, StateMachine):
            self.machine = config
        else:
            config = dict(config)
            self.machine = make_env(config.pop("factory"), config)
        self.possible_agents = list(self.machine.possible_agents)
        self.agents = list(self.possible_agents)
        self.observation_spaces = dict(self.machine.observation_spaces)
        self.action_spaces = dict(self.machine.action_spaces)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        self._over: set[str] = set()
        observations, infos = self.machine.reset(seed=seed)
        return self._converted(observations), infos

    def step(self, action_dict: Mapping[str, Any]):
        live = {agent: action for agent, action in action_dict.items() if agent not in self._over}
        observations, rewards, dones, infos = self.machine.step(live)
        self._over |= {agent for agent, done in dones.items() if done and agent != "__all__"}
        rewards = {agent: float(reward) for agent, reward in rewards.items()}
        over = {agent: bool(done) for agent, done in dones.items()}
        return self._converted(observations), rewards, over, dict.fromkeys(over, False), infos

    @staticmethod
    def _converted(observations: Mapping[str, Any]) -> dict[str, Any]:
        return {agent: _as_numpy(observation) for agent, observation in observations.items()}


def _as_numpy(observation: Any) -> Any:
    """Whole numbers as int64, as RLlib's batching expects; arrays and dictionaries of either stay."""
    if isinstance(observation, Mapping):
        return {key: _as_numpy(value) for key, value in observation.items()}
    return np.int64(observation) if isinstance(observation, int) else observation


def register_rllib_envs() -> None:
    """Make every factory known to RLlib under its published name; the env_config is the factory's."""
    for name in FACTORIES:
        register_env(name, lambda config, factory=name: RllibEnv({"factory": factory, **config}))
