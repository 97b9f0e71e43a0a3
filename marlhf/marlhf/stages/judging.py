"""Every step of the data as the two learned models see it (spec 5.5)."""

from __future__ import annotations

from typing import Any, NamedTuple

from marlhf import rewards
from marlhf.data.files import Rows
from marlhf.environments import Task
from marlhf.stages.tasks import own_state


class Judged(NamedTuple):
    """The two learned models of a task, with what they say of its data."""

    judge: rewards.Judge
    params: rewards.JudgeParams
    labels: rewards.Labels


def judge_rows(
    task: Task,
    rows: Rows,
    reward: tuple[Any, Any],
    reference: tuple[Any, Any] | None,
    hp: rewards.RewardSettings,
) -> Judged:
    """Every step of the data judged by the reward model and, if there is one, the imitation policy.

    Args: `reward`, `reference` a network and its parameters each.
    """
    reference = reference or (None, None)
    judge = rewards.Judge(
        reward[0],
        reference[0],
        task.n_agents,
        task.n_actions,
        task.obs_size,
        task.state_size,
        own_state=own_state(task),
    )
    params = rewards.JudgeParams(reward[1], reference[1])
    return Judged(judge, params, rewards.label(judge, params, rows, task.episode_length, hp))
