"""How good a reward model is, measured against the true reward of play it was not asked about (spec section 8.5).

All measures are taken on correctly cut trajectories, whatever layout the model was trained with.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from marlhf.data.trajectories import Trajectories
from marlhf.reward_model import Architecture, trajectory_rewards


@partial(jax.jit, static_argnums=0)
def _predict(architecture: Architecture, params, obs, actions, world_state, resets):
    return trajectory_rewards(architecture, params, obs, actions, world_state, resets)


def predict(architecture: Architecture, params, trajectories: Trajectories, chunk: int = 4096) -> np.ndarray:
    """Predicted rewards of all trajectories [N, L], in chunks that bound the memory."""
    count = len(trajectories.actions)
    size = min(chunk, count)
    found = []
    for first in range(0, count, size):
        index = np.minimum(np.arange(first, first + size), count - 1)
        state = trajectories.world_state[trajectories.world_index[index]]
        parts = [np.asarray(getattr(trajectories, name))[index] for name in ("obs", "actions")]
        rewards = _predict(architecture, params, *parts, state, trajectories.resets[index])
        found.append(np.asarray(rewards)[: count - first])
    return np.concatenate(found)


def correlation(x, y) -> float:
    """Pearson's, over all elements; nan where one of them does not vary."""
    x, y = (np.asarray(part, np.float64).reshape(-1) for part in (x, y))
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x * x).sum() * (y * y).sum())
    return float((x * y).sum() / scale) if scale > 0 else float("nan")


def pair_accuracy(predicted, true, pairs: int = 100_000, seed: int = 0) -> float:
    """Share of random pairs of trajectories that the predicted returns [N] order like the true ones; true ties are left out."""
    draw = np.random.default_rng(seed)
    first, second = draw.integers(0, len(true), (2, pairs))
    true, predicted = np.asarray(true), np.asarray(predicted)
    differ = true[first] != true[second]
    agree = (predicted[first] > predicted[second]) == (true[first] > true[second])
    return float(agree[differ].mean()) if differ.any() else float("nan")


def quality(rewards: np.ndarray, trajectories: Trajectories, policies: Sequence[str]) -> dict[str, Any]:
    """The measures of spec section 8.5.

    Args:
        rewards: predicted [N, L].
        trajectories: correctly cut, with the true rewards.
        policies: who played each trajectory [N].

    Returns:
        ``corr_return_all``, ``pair_accuracy_all``, ``reward_mean`` and ``reward_std`` (over all steps), ``roughness``
        (mean over trajectories of the sum of squared steps of the standardised reward), and by policy ``corr_return``,
        ``corr_step`` and ``standardised_mean``. The first trajectory's policy, the expert, sets the standard.
    """
    assert rewards.shape == trajectories.rewards.shape
    names = np.asarray(policies)
    predicted, true = rewards.sum(axis=1), np.asarray(trajectories.returns)
    expert = rewards[names == names[0]]
    standardised = (rewards - expert.mean()) / max(float(expert.std()), 1e-12) + 1.0
    per_policy = {}
    for name in dict.fromkeys(names.tolist()):
        own = names == name
        per_policy[name] = {
            "corr_return": correlation(predicted[own], true[own]),
            "corr_step": correlation(rewards[own], trajectories.rewards[own]),
            "standardised_mean": float(standardised[own].mean()),
        }
    return {
        "corr_return_all": correlation(predicted, true),
        "pair_accuracy_all": pair_accuracy(predicted, true),
        "reward_mean": float(expert.mean()),
        "reward_std": float(expert.std()),
        "roughness": float((np.diff(standardised, axis=1) ** 2).sum(axis=1).mean()),
        "per_policy": per_policy,
    }
