"""Oracles: given a way to query the leader, return a follower. The theorem's conditions are switches."""

from .contextual import ContextualOracle
from .exact import ExactOracle
from .interface import Conditions, Episode, LeaderAccess, Oracle, Play, Trajectory, run_episode
from .learners import EvolutionOracle, PolicyGradientOracle, TabularQOracle

__all__ = [
    "Conditions",
    "ContextualOracle",
    "Episode",
    "EvolutionOracle",
    "ExactOracle",
    "LeaderAccess",
    "Oracle",
    "Play",
    "PolicyGradientOracle",
    "TabularQOracle",
    "Trajectory",
    "run_episode",
]
