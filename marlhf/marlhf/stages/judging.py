"""Every step of the data as the two learned models see it (spec 5.5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from marlhf import imitation, reward_model, rewards
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
    judge = _judge(task, reward[0], reference[0])
    params = rewards.JudgeParams(reward[1], reference[1])
    return Judged(judge, params, rewards.label(judge, params, rows, task.episode_length, hp))


def _judge(task: Task, reward: Any, reference: Any) -> rewards.Judge:
    sizes = (task.n_agents, task.n_actions, task.obs_size, task.state_size)
    return rewards.Judge(reward, reference, *sizes, own_state=own_state(task))


def better_files(task: Task, rows: Rows, files: int, model: Path, ratio: float, alignment: str) -> Rows:
    """The rows of those of `files` files whose mean predicted reward lies above the quantile `ratio` (spec 2.7).

    Raises: UserError when the reward model is of another task, or no file lies above the quantile.
    """
    architecture, params, _ = reward_model.load(model, task)
    judge = _judge(task, architecture.network(), None)
    settings = rewards.RewardSettings(add_log_prob=False, alignment=alignment)
    found = rewards.JudgeParams(params)
    return imitation.filtered(rows, files, judge, found, task.episode_length, settings, ratio)
