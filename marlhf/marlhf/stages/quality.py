"""How good a reward model is, on the play that it was trained from (spec 8.5): correlations, smoothness, time courses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from marlhf.data.files import Rows
from marlhf.reward_quality import correlation, pair_accuracy
from marlhf.rewards import Labels


def _finite(value: float) -> float | None:
    """None for what can't be had (JSON)."""
    return value if math.isfinite(value) else None


def episodes(part: np.ndarray, length: int) -> np.ndarray:
    """`[T, n, E]` as trajectories of single agents, `[K, n, E, L]`."""
    steps, agents, envs = part.shape
    return np.moveaxis(part.reshape(steps // length, length, agents, envs), 1, 3)


def roughness(standardised: np.ndarray) -> np.ndarray:
    """Sum over t of (r~_t - r~_{t-1})^2 of trajectories `[..., L]`: what the MSE regulariser is to make small."""
    return np.sum(np.diff(standardised, axis=-1) ** 2, axis=-1)


def _concentration(standardised: np.ndarray) -> np.ndarray:
    """Share of a trajectory's sum of |r~ - its mean| that falls on its three largest steps; 3 / L if spread evenly."""
    size = np.sort(np.abs(standardised - standardised.mean(axis=-1, keepdims=True)), axis=-1)
    return size[..., -3:].sum(axis=-1) / np.maximum(size.sum(axis=-1), 1e-12)


def quality(labels: Labels, rows: Rows, policies: np.ndarray, length: int) -> dict[str, Any]:
    """Predictions against true rewards, over all play and policy by policy.

    Args: `policies` `[E]`, who played a row; `length` steps of an episode.
    """
    predicted, true = episodes(labels.standardised, length), episodes(np.asarray(rows.rewards), length)
    returns = [part.sum(axis=-1, dtype=np.float64) for part in (predicted, true)]
    found: dict[str, Any] = {
        "corr_return_all": _finite(correlation(*returns)),
        "pair_accuracy_all": _finite(pair_accuracy(*(part.ravel() for part in returns))),
        "corr_step_all": _finite(correlation(predicted, true)),
        "roughness": float(roughness(predicted).mean()),
        "concentration": float(_concentration(predicted).mean()),
        "reward_mean": float(labels.standard.mean),
        "reward_std": float(labels.standard.std),
        "per_policy": {},
    }
    for policy in dict.fromkeys(policies):
        own = policies == policy
        seen, real = predicted[:, :, own], true[:, :, own]
        found["per_policy"][str(policy)] = {
            "corr_return": _finite(correlation(*(part[:, :, own] for part in returns))),
            "corr_step": _finite(correlation(seen, real)),
            "standardised_mean": float(seen.mean()),
            "by_step": [round(float(value), 5) for value in seen.mean(axis=(0, 1, 2))],
            "true_by_step": [round(float(value), 5) for value in real.mean(axis=(0, 1, 2))],
            # one trajectory of the policy as it is: the mean of many hides how even a single one is
            "one": [round(float(value), 5) for value in seen[0, 0, 0]],
            "true_one": [round(float(value), 5) for value in real[0, 0, 0]],
        }
    return found
