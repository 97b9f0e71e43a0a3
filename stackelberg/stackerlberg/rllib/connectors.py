"""From whole episodes to a training batch, as learner connectors: steps, reward-to-go, hidden queries, advantages.

They stand in place of RLlib's own pieces, which append a bootstrap row to every episode (spec 12). A piece works on
``batch[module] = {column: [an array per episode]}``; the last one joins the episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.evaluation.postprocessing import Postprocessing

HIDDEN = "hidden"
Batch = dict[str, dict[str, Any]]


def module_of(agent: str, *args: Any, **kwargs: Any) -> str:
    """The policy of an agent; renamed copies of a follower (``agent_1__COPY__k``) share one."""
    return agent.partition("__COPY__")[0]


def steps_of(episode: SingleAgentEpisode) -> dict[str, np.ndarray]:
    """One agent's steps: observation, action, reward, next observation, whether it was the last, hidden or not; [T, ...].

    The actions are those that were executed: an environment that changes one says so in the next info (Q13).
    """
    length = len(episode)
    observations, infos = np.asarray(episode.get_observations()), episode.get_infos()
    actions = np.array(episode.get_actions()[:length])
    for t in range(length):
        executed = (infos[t + 1] or {}).get("executed_action")
        if executed is not None:
            actions[t] = executed
    last = np.zeros(length, bool)
    last[-1] = episode.is_terminated
    return {
        Columns.OBS: observations[:length],
        Columns.ACTIONS: actions,
        Columns.REWARDS: np.asarray(episode.get_rewards()[:length], np.float32),
        Columns.NEXT_OBS: observations[1 : length + 1],
        Columns.TERMINATEDS: last,
        HIDDEN: np.array([bool((info or {}).get("hidden")) for info in infos[:length]]),
    }


class CollectSteps(ConnectorV2):
    """The trained agent's own steps of every episode."""

    def __init__(self, trained: str):
        super().__init__()
        self.trained = trained

    def __call__(self, *, batch: Batch, episodes: Sequence[MultiAgentEpisode], **kwargs: Any) -> Batch:
        found = [
            steps_of(own)
            for episode in episodes
            for agent, own in episode.agent_episodes.items()
            if module_of(agent) == self.trained and len(own)
        ]
        return {self.trained: {column: [steps[column] for steps in found] for column in found[0]}}


class RewardToGo(ConnectorV2):
    """Adds R_t, the sum of the own rewards from step t on; query steps count with reward 0 (spec 5.3)."""

    def __call__(self, *, batch: Batch, **kwargs: Any) -> Batch:
        for columns in batch.values():
            columns[Columns.RETURNS_TO_GO] = [
                np.cumsum(rewards[::-1], dtype=np.float32)[::-1] for rewards in columns[Columns.REWARDS]
            ]
        return batch


class DropHidden(ConnectorV2):
    """Deletes the steps that are hidden from the learner, after their part in the returns is counted (spec 5.6)."""

    def __call__(self, *, batch: Batch, **kwargs: Any) -> Batch:
        for columns in batch.values():
            kept = [~hidden for hidden in columns[HIDDEN]]
            for column, arrays in columns.items():
                columns[column] = [array[keep] for array, keep in zip(arrays, kept, strict=True)]
        return batch


class Join(ConnectorV2):
    """One tensor per column, episode after episode."""

    def __init__(self, columns: Sequence[str]):
        super().__init__()
        self.columns = tuple(columns)

    def __call__(self, *, batch: Batch, **kwargs: Any) -> Batch:
        return {
            module: {
                column: torch.from_numpy(np.ascontiguousarray(np.concatenate(columns[column])))
                for column in self.columns
            }
            for module, columns in batch.items()
        }


class Advantages(ConnectorV2):
    """What PPO needs beside the steps (spec 5.4), for lambda = gamma = 1 and episodes that end.

    A_t = R_t - v(o_t), target A_t + v(o_t); advantages standardised by max(1e-4, population sd) over the batch; the
    sampling policy's logits and log-probabilities, which are those of the learner's module before the update.
    """

    def __call__(self, *, batch: Batch, rl_module: Any, **kwargs: Any) -> Batch:
        for module_id, columns in batch.items():
            module = rl_module[module_id].unwrapped()
            with torch.no_grad():
                values = module.compute_values(columns)
                logits = module.outputs_of(columns[Columns.OBS])
            advantages = columns.pop(Columns.RETURNS_TO_GO) - values
            columns[Postprocessing.VALUE_TARGETS] = advantages + values
            columns[Postprocessing.ADVANTAGES] = (advantages - advantages.mean()) / torch.clamp(
                advantages.std(correction=0), min=1e-4
            )
            columns[Columns.ACTION_DIST_INPUTS] = logits
            distribution = module.get_train_action_dist_cls().from_logits(logits)
            columns[Columns.ACTION_LOGP] = distribution.logp(columns[Columns.ACTIONS])
        return batch


def pipeline(trained: str, advantages: bool) -> list[ConnectorV2]:
    """The pieces for PG, or with `advantages` for PPO."""
    columns = (Columns.OBS, Columns.ACTIONS, Columns.RETURNS_TO_GO)
    pieces = [CollectSteps(trained), RewardToGo(), DropHidden(), Join(columns)]
    return [*pieces, Advantages()] if advantages else pieces
