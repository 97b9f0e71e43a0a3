"""The plain step interface: environments as state machines, one dictionary per quantity and agent.

``reset`` gives ``(observations, infos)``; ``step(actions)`` gives ``(observations, rewards, dones, infos)``.
Only agents that must act next appear in the observations; ``dones["__all__"]`` ends the episode, whose last
observations are emitted all the same. DEVIATION(Q18): no threads, so nothing is left alive at the end; a state
machine can be copied, pickled and stepped by hand.
`envs.rllib` and `envs.single` give the same environments the interfaces of RLlib and Gymnasium.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from common.cli import UserError

from ..games import LEADER

Step = tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, dict]]


class StateMachine:
    """A multi-agent environment; subclasses implement `reset` and `step` and set the three attributes.

    Attributes:
        possible_agents: names of all agents.
        observation_spaces, action_spaces: Gymnasium spaces per agent.
    """

    possible_agents: tuple[str, ...]
    observation_spaces: dict[str, spaces.Space]
    action_spaces: dict[str, spaces.Space]

    def reset(self, *, seed: int | None = None) -> tuple[dict[str, Any], dict[str, dict]]:
        """Start an episode; `seed` restarts the environment's own random numbers."""
        raise NotImplementedError

    def step(self, actions: Mapping[str, Any]) -> Step:
        """Play one step with the actions of the agents that were last observed."""
        raise NotImplementedError


def action_of(actions: Mapping[str, Any], agent: str, space: spaces.Space) -> Any:
    """`agent`'s action, checked.

    Raises:
        ValueError: it is missing or not in the agent's action space.
    """
    if agent not in actions:
        raise ValueError(f"{agent} must act in this step; got actions of {sorted(actions) or 'nobody'}")
    action = actions[agent]
    if isinstance(space, spaces.Discrete):
        number = int(action)
        if number != action or not space.start <= number < space.start + space.n:
            raise ValueError(f"{agent}'s action must be in {space}, not {action!r}")
        return number
    action = np.asarray(action, dtype=space.dtype)
    if not space.contains(action):
        raise ValueError(f"{agent}'s action must be in {space}, not {action!r}")
    return action


class LeaderView:
    """What the leader sees of an observation when it may be told whether the step is a query (spec 3.2, 3.3).

    Args:
        space: its own observation space.
        tell: add the bit ``is_query``.
        mock: the bit is always 0, the space the same.
        discrete: one integer ``is_query * n + original`` in place of the dictionary.

    Raises:
        UserError: `mock` without `tell`, or a space that has no integer code.
    """

    def __init__(self, space: spaces.Space, tell: bool, mock: bool, discrete: bool):
        if mock and not tell:
            raise UserError("tell_leader_mock has no meaning without tell_leader; set tell_leader too")
        if tell and discrete and not isinstance(space, spaces.Discrete):
            raise UserError("discrete_obs needs a leader with whole-number observations")
        self._tell, self._mock, self._discrete, self._original = tell, mock, discrete, space
        if not tell:
            self.space = space
        elif discrete:
            self.space = spaces.Discrete(2 * int(space.n))
        else:
            self.space = spaces.Dict({"is_query": spaces.Discrete(2), "original_space": space})

    def __call__(self, observation: Any, is_query: bool) -> Any:
        if not self._tell:
            return observation
        bit = int(is_query and not self._mock)
        if self._discrete:
            return bit * int(self._original.n) + observation
        return {"is_query": bit, "original_space": observation}


def hidden_infos(hidden: bool, agents=(LEADER,)) -> dict[str, dict]:
    """Infos of a step whose leader sample may be hidden from its learner (spec 5.6)."""
    return {agent: ({"hidden": True} if hidden and agent == LEADER else {}) for agent in agents}
