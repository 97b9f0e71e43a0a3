"""The environments of the paper, and the batched manager that plays them."""

from __future__ import annotations

from pathlib import Path

from common.cli import UserError, nearest

from .mpe import reference, spread
from .overcooked import overcooked
from .rollout import Episode, RolloutManager, View
from .tag import tag, tag_against, tag_with_learning_prey
from .task import IDS, Task

__all__ = ["Episode", "RolloutManager", "Task", "View", "default_prey", "make_task", "task_name"]


def task_name(name: str) -> str:
    """The short name of a task from its short name or its published id.

    Raises: UserError naming the nearest known one.
    """
    names = {**{key: key for key in IDS}, **{value: key for key, value in IDS.items()}}
    if name not in names:
        raise UserError(f"unknown environment {name!r}; {nearest(name, sorted(names))}")
    return names[name]


def default_prey() -> Path:
    """The committed prey of Tag."""
    return Path(__file__).resolve().parents[2] / "agents" / "tag" / "prey.safetensors"


def make_task(
    name: str,
    num_agents: int | None = None,
    num_landmarks: int | None = None,
    prey: str | Path = "default",
    layout: str = "cramped_room",
) -> Task:
    """An environment by name: spread, reference, tag or overcooked, or their published ids.

    Args: `num_agents`, `num_landmarks` Spread only (3 and as many as agents up to 3, else 5); `prey` Tag only:
    ``default`` (the committed one), ``random``, ``motionless``, ``learner`` (a fourth learning agent), or a file;
    `layout` Overcooked only.

    Raises: UserError on a name or a number that doesn't fit.
    """
    name = task_name(name)
    if name != "spread" and (num_agents, num_landmarks) != (None, None):
        raise UserError(f"num_agents and num_landmarks are Spread's; {name} has a fixed number of agents")
    if name != "tag" and prey != "default":
        raise UserError(f"prey {prey}: only Tag has a prey, the environment is {name}")
    if name != "overcooked" and layout != "cramped_room":
        raise UserError(f"layout {layout}: only Overcooked has layouts, the environment is {name}")
    if name == "spread":
        agents = 3 if num_agents is None else num_agents
        landmarks = num_landmarks if num_landmarks is not None else (3 if agents <= 3 else 5)
        for what, number in (("num_agents", agents), ("num_landmarks", landmarks)):
            if not 1 <= number <= 20:
                raise UserError(f"{what} {number}; it has to be 1 to 20")
        return spread(agents, landmarks)
    if name == "reference":
        return reference()
    if name == "overcooked":
        return overcooked(layout)
    if prey == "learner":
        return tag_with_learning_prey()
    if prey in ("random", "motionless"):
        return tag(str(prey))
    return tag_against(default_prey() if prey == "default" else Path(prey), str(prey))
