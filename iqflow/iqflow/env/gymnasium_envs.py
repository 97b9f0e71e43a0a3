"""The environments with Gymnasium's interface.

Gymnasium's interface is for one decision maker, so an environment of N agents is offered as one **joint** decision:

* action: `MultiDiscrete` with one entry per agent (`Discrete` for the centralised variant of Cleanup);
* observation: `Box` [N, ...], every agent's observation in turn, float32 in [0, 1];
* reward: the sum over the agents (what IQ-Flow's mechanism wants to be large); ``info["rewards"]`` has each agent's own,
  float32 [N], without incentives;
* terminated: Escape Room's agents left by the door; truncated: the time limit. The learning algorithms of this repository
  take both for an end (spec 7.18);
* info: also ``n_cleaned`` [N] in Cleanup and ``escaped`` in Escape Room.

`iqflow.env.registration.register` puts them under ``iqflow/...-v0``.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from iqflow.env import frames
from iqflow.env.cleanup import maps
from iqflow.env.cleanup.environment import CentralisedCleanup, Cleanup
from iqflow.env.escape_room import EscapeRoom
from iqflow.env.matrix_games import MatrixGame


class JointEnv(gymnasium.Env):
    """One of this package's pure environments as a stateful one (module docstring).

    Args: `env` the pure environment, `render_mode` None or ``rgb_array``.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}

    def __init__(self, env: Any, render_mode: str | None = None):
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise gymnasium.error.Error(f"render_mode is {render_mode!r}; it has to be rgb_array or None")
        self.env, self.render_mode = env, render_mode
        if env.n_agents == 1 and isinstance(env, CentralisedCleanup):
            self.action_space = gymnasium.spaces.Discrete(env.n_actions)
        else:
            self.action_space = gymnasium.spaces.MultiDiscrete([env.n_actions] * env.n_agents)
        shape = (env.n_agents, *env.observation_shape)
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, shape, np.float32)
        self._reset, self._step = jax.jit(env.reset), jax.jit(env.step)
        self._state: Any = None

    def _key(self) -> jax.Array:
        return jax.random.PRNGKey(self.np_random.integers(2**32, dtype=np.uint32))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Start an episode: observations [N, ...] and an empty info. There are no options."""
        super().reset(seed=seed)
        self._state, seen = self._reset(self._key())
        return np.asarray(seen), {}

    def step(self, action: Any):
        """One step: observations, summed reward, terminated, truncated, info.

        Raises:
            gymnasium.error.InvalidAction: the action is not in the action space.
            gymnasium.error.ResetNeeded: nothing was reset yet.
        """
        if self._state is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        if not self.action_space.contains(action):
            raise gymnasium.error.InvalidAction(f"{action!r} is not in {self.action_space}")
        actions = jnp.atleast_1d(jnp.asarray(action, jnp.int32))
        self._state, seen, rewards, done, info = self._step(self._key(), self._state, actions)
        told = {name: np.asarray(value) for name, value in info._asdict().items()}
        terminated = bool(told.get("escaped", False))
        told["rewards"] = np.asarray(rewards)
        return np.asarray(seen), float(rewards.sum()), terminated, bool(done) and not terminated, told

    def render(self) -> np.ndarray | None:
        """An RGB frame, uint8 [height, width, 3]; None without a render mode.

        Raises:
            gymnasium.error.ResetNeeded: nothing was reset yet.
        """
        if self.render_mode is None:
            return None
        if self._state is None:
            raise gymnasium.error.ResetNeeded("call reset before render")
        return frames.frame(self.env, self._state)


class MatrixGameEnv(JointEnv):
    """Iterated 2 x 2 game; arguments as `MatrixGame`."""

    def __init__(self, name: str = "ipd", max_steps: int = 5, render_mode: str | None = None):
        super().__init__(MatrixGame(name, max_steps), render_mode)


class EscapeRoomEnv(JointEnv):
    """Escape Room; arguments as `EscapeRoom`."""

    def __init__(self, render_mode: str | None = None, **settings: Any):
        super().__init__(EscapeRoom(**settings), render_mode)


class CleanupEnv(JointEnv):
    """Cleanup; arguments as `Cleanup`, and the map by name.

    Args: `map_name` one of `maps.MAPS`, `centralised` one controller for all agents.
    """

    def __init__(
        self,
        map_name: str = "cleanup_small_sym",
        centralised: bool = False,
        render_mode: str | None = None,
        **settings: Any,
    ):
        game = Cleanup(**{"rows": maps.named(map_name), **settings})
        super().__init__(CentralisedCleanup(game) if centralised else game, render_mode)
