"""A trained mechanism from a file, for use in Python:

from iqflow.eval.mechanism import load
mechanism = load("results/img_results/iqflow/ipd/ipd_iqflow_0/agents/agents_10000")
incentives = mechanism(observations, actions)      # [..., N, *observation_shape], int [..., N] -> [..., N]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from common.cli import UserError
from iqflow.config.loading import Settings, resolve
from iqflow.networks import incentives as incentive_nets
from iqflow.trainer import storage
from iqflow.trainer.training import Trainer
from iqflow.utils import trees


@dataclass(frozen=True)
class SavedMechanism:
    """A trained mechanism and the followers that it was trained with.

    Attributes:
        settings: the configuration that it was trained with; env: its environment; episode: how long.
        rewarder: parameters of the incentive net; followers: the followers' actors, leaves [N, ...].
    """

    settings: Settings
    episode: int
    env: Any
    net: incentive_nets.IncentiveNet
    rewarder: Any
    followers: Any

    def __call__(self, observations: Any, actions: Any) -> jax.Array:
        """What every agent is given: observations [..., N, *observation_shape], actions [..., N] -> [..., N].

        Raises:
            UserError: the shapes are not those of the environment that it was trained in.
        """
        observations, actions = jnp.asarray(observations, jnp.float32), jnp.asarray(actions, jnp.int32)
        wanted = (self.env.n_agents, *self.env.observation_shape)
        if (
            observations.shape[-len(wanted) :] != wanted
            or actions.shape != observations.shape[: 1 - len(wanted)]
        ):
            raise UserError(
                f"this mechanism takes observations [..., {', '.join(map(str, wanted))}] and actions "
                f"[..., {self.env.n_agents}], not {list(observations.shape)} and {list(actions.shape)}"
            )
        return incentive_nets.incentives(self.net, self.rewarder, observations, actions)


def load_agents(path: str | Path) -> SavedMechanism:
    """As `load`, but of any run; one of ``--alg pg`` has no `net` and no `rewarder` (None), only followers."""
    agents, meta = storage.load_agents(Path(path))
    settings = resolve(str(path), meta["config"], meta["alg"], meta["exp"])
    trainer = Trainer(settings)
    like = jax.eval_shape(trainer.agents, jax.eval_shape(trainer.fresh, np.uint32(0)))
    fitted = trees.from_arrays(like, trees.to_arrays(agents), str(path))
    net = trainer.mechanism.rule.incentive_net if trainer.paid else None
    rewarder = fitted.get("mechanism")
    return SavedMechanism(settings, meta["episode"], trainer.env, net, rewarder, fitted["followers"])


def load(path: str | Path) -> SavedMechanism:
    """A mechanism from a file ``agents/agents_<episode>`` of a run.

    Raises:
        UserError: it is absent, damaged, of another kind, or of a run without a mechanism.
    """
    saved = load_agents(path)
    if saved.rewarder is None:
        raise UserError(f"{path} has no mechanism: it was trained with --alg {saved.settings.alg}")
    return saved
