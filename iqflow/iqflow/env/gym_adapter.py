"""The environments for programs that still use gym 0.26.2 (the extra ``gym``; it is no longer maintained).

    from iqflow.env import gym_adapter
    gym_adapter.register()
    env = gym.make("iqflow/Cleanup7x7-v0", disable_env_checker=True)

gym's own checker of `gym.make` uses a NumPy name that NumPy 2 removed, therefore ``disable_env_checker``.
"""

from __future__ import annotations

from typing import Any

import gym
import gymnasium

from iqflow.env import registration


def _space(space: gymnasium.Space) -> gym.Space:
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        return gym.spaces.MultiDiscrete(space.nvec)
    if isinstance(space, gymnasium.spaces.Discrete):
        return gym.spaces.Discrete(int(space.n))
    return gym.spaces.Box(space.low, space.high, space.shape, space.dtype)


class GymEnv(gym.Env):
    """A Gymnasium environment of this package with gym 0.26's classes; the interface is the same.

    Args: `name` one of `registration.ENVIRONMENTS`; the rest as for `gymnasium.make`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}

    def __init__(self, name: str, **settings: Any):
        registration.register()
        self.inner = gymnasium.make(name, **settings)
        self.render_mode = self.inner.render_mode
        self.action_space = _space(self.inner.action_space)
        self.observation_space = _space(self.inner.observation_space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """As `gymnasium_envs.JointEnv.reset`."""
        super().reset(seed=seed)
        return self.inner.reset(seed=seed, options=options)

    def step(self, action: Any):
        """As `gymnasium_envs.JointEnv.step`."""
        return self.inner.step(action)

    def render(self):
        """As `gymnasium_envs.JointEnv.render`."""
        return self.inner.render()

    def close(self) -> None:
        """Close the environment inside."""
        self.inner.close()


def register() -> None:
    """Make the environments known to `gym.make` under the names that Gymnasium has; calling it again changes nothing."""
    for name in registration.ENVIRONMENTS:
        if name not in gym.envs.registry:
            gym.register(name, entry_point="iqflow.env.gym_adapter:GymEnv", kwargs={"name": name})
