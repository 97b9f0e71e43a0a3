"""Opponent models of the exact games: fitted to the opponent's true policy by gradient descent (paper, App. B.1.6)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pola.exact.divergence import rounded_step_kl, step_kl, summed_kl
from pola.exact.fixed_point import Loop
from pola.exact.objective import light_grad
from pola.exact.policies import Policy


class ModelFit:
    """Gradient descent on KL(true policy || model), summed over states, until it is at most `threshold`.

    Args:
        policy: the model's parameterisation, as seen from the modelling agent's seat.
        rate: step size.
        threshold: KL at which a lane's fit is good enough.
        max_steps: the most steps of one fit.
        rounded: compare the KL to the threshold with the released program's rounding errors.
    """

    def __init__(
        self, policy: Policy, rate: float, threshold: float, max_steps: int = 10000, rounded: bool = False
    ):
        self.policy, self.rate, self.threshold, self.max_steps = policy, rate, threshold, max_steps
        self._kl = rounded_step_kl if rounded else step_kl
        self._loop = Loop(self._step)

    def _step(self, varying: Sequence[Tensor], fixed: Sequence[Tensor]) -> list[Tensor]:
        active, count, model = varying
        (target,) = fixed
        active = active * torch.gt(self._kl(target, self.policy.logits(model)), self.threshold).to(
            model.dtype
        )
        gradient = light_grad(lambda theta: summed_kl(target, self.policy.logits(theta)).sum())(model)
        return [active, count + active, model - (self.rate * active) * gradient]

    def fit(self, model: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Fit every lane.

        Args:
            model: ``[P, N]`` where to start from.
            target: ``[S, N]`` logits of the true policy, from the same seat.

        Returns:
            The models and the number of steps of each lane.
        """
        (fitted,), steps = self._loop.run([model], [target], self.max_steps)
        return fitted, steps
