"""The names under which Gymnasium, and gym 0.26.2, know the environments."""

from __future__ import annotations

from types import MappingProxyType

import gymnasium

_MODULE = "iqflow.env.gymnasium_envs"
_LARGE = {"view_size": 7, "apple_respawn_probability": 0.3, "threshold_depletion": 0.4}

#: name -> class and arguments; the 10 x 10 map has the rates of the paper's configuration
ENVIRONMENTS = MappingProxyType(
    {
        "iqflow/PrisonersDilemma-v0": ("MatrixGameEnv", {"name": "ipd"}),
        "iqflow/Chicken-v0": ("MatrixGameEnv", {"name": "chicken"}),
        "iqflow/StagHunt-v0": ("MatrixGameEnv", {"name": "stag_hunt"}),
        "iqflow/EscapeRoom-v0": ("EscapeRoomEnv", {"n_agents": 5, "min_at_lever": 2}),
        "iqflow/Cleanup7x7-v0": ("CleanupEnv", {"map_name": "cleanup_small_sym"}),
        "iqflow/Cleanup10x10-v0": ("CleanupEnv", {"map_name": "cleanup_10x10_sym", **_LARGE}),
        "iqflow/CleanupOther-v0": ("CleanupEnv", {"map_name": "cleanup_other"}),
    }
)


def register() -> None:
    """Make the environments known to `gymnasium.make`; calling it again changes nothing.

    Arguments go to `gymnasium.make`: ``gymnasium.make("iqflow/EscapeRoom-v0", n_agents=10, min_at_lever=5)``.
    """
    for name, (kind, settings) in ENVIRONMENTS.items():
        if name not in gymnasium.registry:
            gymnasium.register(name, f"{_MODULE}:{kind}", kwargs=dict(settings))
