"""What the stages share: the task of a command line, and when a report is due."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from marlhf import agents
from marlhf.environments import Task, make_task
from marlhf.evaluation import Returns
from marlhf.settings import Kwargs

#: folded into a run's key for its tests, so that testing leaves the training's own random stream alone
TEST_STREAM = 0x7E57


@functools.cache
def task_of(name: str, kwargs: Kwargs) -> Task:
    """The environment that ENV_NAME and ENV_KWARGS name.

    Raises: UserError when they don't go together.
    """
    # DEVIATION(Q13): Tag's prey is a trained policy in every program, the training of agents included
    return make_task(
        name,
        num_agents=kwargs.num_agents or None,
        num_landmarks=kwargs.num_landmarks or None,
        prey=kwargs.prey,
        layout=kwargs.layout,
    )


def due(interval: int, total: int, done: int) -> int:
    """The next multiple of `interval` above `done`, `total` at most."""
    return min((done // interval + 1) * interval, total)


def test_key(key: jax.Array, done: jax.Array) -> jax.Array:
    """The key of a test: another one whenever more is done."""
    return jax.random.fold_in(jax.random.fold_in(key, TEST_STREAM), done)


def own_state(task: Task) -> bool:
    """In Overcooked the reward model's world state is the agent's own observation (spec 5.9)."""
    return task.name == "overcooked"


def measured_return(returns: Returns) -> agents.Measured:
    """Mean and standard error of the returns of a test's episodes, per agent (Overcooked: of the team)."""
    returns = np.asarray(returns.each, np.float64)
    error = returns.std() / len(returns) ** 0.5
    return agents.Measured(round(float(returns.mean()), 4), round(float(error), 4), len(returns))


def save_agent(
    path: Path,
    task: Task,
    kind: str,
    label: str,
    params: Any,
    returns: Mapping[str, agents.Measured],
    trained: Mapping[str, Any],
    own: bool = False,
) -> None:
    """A file that collection and films read as any other agent's.

    Args: `kind` as in `agents.AgentMeta`; `own`: every array has a leading axis of agents.
    """
    flat = traverse_util.flatten_dict(params, sep="/")
    hidden = next(leaf.shape[-1] for name, leaf in flat.items() if name.endswith("Dense_0/bias"))
    separate = next(len(leaf) for leaf in flat.values()) if own else 0
    meta = agents.AgentMeta(
        kind=kind,
        environment=task.name,
        kwargs=dict(task.kwargs),
        label=label,
        role="behaviour",
        n_actions=task.n_actions,
        hidden=hidden,
        inputs=task.obs_size + (task.n_agents if kind in ("q", "twin_q") else 0),
        returns=returns,
        random=None,
        skill=None,
        trained=trained,
        separate=separate,
    )
    agents.save_agent(path, params, meta)
