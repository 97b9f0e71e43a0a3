"""One epoch of LOLA or outer POLA for many lanes (paper, sections 3 and 4.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pola.exact.divergence import rounded_step_kl, step_kl, summed_kl
from pola.exact.fixed_point import Loop, pad
from pola.exact.memory_one import discounted_visits
from pola.exact.objective import (
    Lanes,
    Problem,
    anticipate,
    inner_loss,
    light_grad,
    outer_loss,
    probabilities,
    shaping_gradient,
    value,
)
from pola.exact.policies import Policy

Watch = Callable[[Sequence[Tensor]], None]


@dataclass(frozen=True)
class Schedule:
    """How the outer (and inner) problem is iterated.

    Attributes:
        outer_steps: gradient steps of an epoch, or the most iterations in proximal mode.
        threshold: proximal mode: stop where both KLs between consecutive policies are below it; None: never stop.
        adam: descend with Adam, betas (0, 0.99), started afresh every epoch, instead of plain gradient descent.
        inner_prox: solve the inner problem to its fixed point and differentiate it implicitly.
        inner_max: the most iterations of that.
        inner_weighted: weight its KL by how often the states are visited.
        inner_threshold: stop it where both KLs between consecutive policies are below it.
        rounded: work out those KLs with the released program's float32 rounding errors.
    """

    outer_steps: int = 1
    threshold: float | None = None
    adam: bool = False
    inner_prox: bool = False
    inner_max: int = 10000
    inner_weighted: bool = False
    inner_threshold: float = 2**-25
    rounded: bool = False


def descend(theta: Tensor, gradient: Tensor, rate: Tensor, moments: Sequence[Tensor], count: Tensor):
    """One step against `gradient` ``[P, L]``: gradient descent, or Adam where `moments` holds its second moment.

    With a first beta of zero Adam's first moment is the gradient itself.
    """
    if not moments:
        return theta - rate * gradient, []
    second = 0.99 * moments[0] + 0.01 * gradient.square()
    unbiased = second / (1 - torch.exp((count + 1) * -0.01005033585350145))  # 0.99 ** (count + 1)
    return theta - rate * (gradient / (unbiased.sqrt() + 1e-8)), [second]


def unsettled(
    policy: Policy, before: Tensor, after: Tensor, threshold: float, rounded: bool = False
) -> Tensor:
    """1.0 where one of the KLs between two consecutive policies is still at or above the threshold, else 0.0."""
    old, new = policy.logits(before), policy.logits(after)
    kl = rounded_step_kl if rounded else step_kl
    return torch.ge(torch.maximum(kl(old, new), kl(new, old)), threshold).to(before.dtype)


class Updater:
    """Updates all agents of all lanes from the same epoch-start parameters.

    Args:
        problem: the form of the game; `schedule`: of the iteration.
    """

    def __init__(self, problem: Problem, schedule: Schedule):
        self.problem, self.schedule = problem, schedule
        self._outer = Loop(self._outer_step)
        self._inner = Loop(self._inner_step)

    def _unsettled(self, policy: Policy, before: Tensor, after: Tensor, threshold: float) -> Tensor:
        return unsettled(policy, before, after, threshold, self.schedule.rounded)

    def _outer_step(self, varying: Sequence[Tensor], fixed: Sequence[Tensor]) -> list[Tensor]:
        active, count, theta, *moments = varying
        start, other, *numbers = fixed
        lanes = Lanes(*numbers)
        gradient = shaping_gradient(self.problem, theta, start, other, lanes)
        new, moments = descend(theta, gradient, lanes.lr_out * active, moments, count)
        counted = count + active
        if self.schedule.threshold is not None:
            active = active * self._unsettled(self.problem.own, theta, new, self.schedule.threshold)
        return [active, counted, new, *moments]

    def epoch(
        self,
        own: Tensor,
        other: Tensor,
        lanes: Lanes,
        watch: Watch | None = None,
        active: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Self's new parameters ``[P, N]`` and the number of outer iterations ``[N]``.

        Args:
            own, other: parameters at the start of the epoch, ``[P, N]``; `other` seen from self's seat.
            watch: called with the padded ``[parameters, ...]`` after every iteration.
            active: ``[N]`` 0.0 for lanes to leave alone.
        """
        if self.schedule.inner_prox:
            return self._implicit_epoch(own, other, lanes, watch)
        state = [own, torch.zeros_like(own)] if self.schedule.adam else [own]
        fixed = [own, other, *lanes]
        (new, *_), count = self._outer.run(
            state, fixed, self.schedule.outer_steps, watch=watch, active=active
        )
        return new, count

    def anticipated(self, own: Tensor, other: Tensor, lanes: Lanes) -> Tensor:
        """Policies ``[5, N]`` that self expects of its opponents after their inner steps, from self's seat."""
        if self.schedule.inner_prox:
            weights = self._inner_weights(own, other)
            (theta,), _ = self._inner.run([other], [own, other, weights, *lanes], self.schedule.inner_max)
        else:
            theta = anticipate(self.problem, own, other, lanes, light_grad)
        return probabilities(self.problem.other.logits(theta)).detach()

    # Inner problem solved to its fixed point (`--inner_exact_prox`).

    def _inner_weights(self, own: Tensor, other: Tensor) -> Tensor:
        """Weights ``[S, N]`` of the states in the inner KL."""
        if self.schedule.inner_weighted:
            return self._weights(own, other)
        return torch.ones_like(own[:1]).expand(self.problem.own.n_states, -1)

    def _weights(self, own: Tensor, other: Tensor) -> Tensor:
        """How often each state is acted in from self's seat, discounted, scaled to sum to the number of states."""
        x, y = probabilities(self.problem.own.logits(own)), probabilities(self.problem.other.logits(other))
        visits = discounted_visits(x, y, self.problem.gamma) * self.problem.gamma
        acted = torch.cat([visits, torch.ones_like(visits[:1])])
        if self.problem.own.n_states == 4:
            acted = torch.cat([acted[:3], acted[3:4] + acted[4:5]])
        return acted * (len(acted) * (1 - self.problem.gamma))

    def _inner_objective(self, own_logits, reference, theta, lanes, weights):
        free = dataclasses.replace(self.problem, inner_penalty=False)
        loss = inner_loss(free, own_logits, reference, theta, lanes)
        return loss + lanes.beta_in * summed_kl(reference, self.problem.other.logits(theta), weights)

    def _inner_step(self, varying: Sequence[Tensor], fixed: Sequence[Tensor]) -> list[Tensor]:
        active, count, theta = varying
        own, other, weights, *numbers = fixed
        lanes = Lanes(*numbers)
        own_logits, reference = self.problem.own.logits(own), self.problem.other.logits(other)
        gradient = light_grad(
            lambda t: self._inner_objective(own_logits, reference, t, lanes, weights).sum()
        )(theta)
        new = theta - lanes.lr_in * active * gradient
        moving = self._unsettled(self.problem.other, theta, new, self.schedule.inner_threshold)
        return [active * moving, count + active, new]

    def _respond(self, own: Tensor, solution: Tensor, other: Tensor, weights: Tensor, lanes: Lanes) -> Tensor:
        """The solved inner problem as a differentiable function of `own` (implicit function theorem).

        DEVIATION(Q15): the original stops with an error here. At the solution g(own, theta) = dL/dtheta = 0, so
        dtheta/down = -H^-1 dg/down with H = dg/dtheta. One Newton step from the solution, its H held constant, has
        just this derivative. H^-1 is a pseudo-inverse (least squares of least norm), since H is nearly singular where
        a policy saturates or a state is never visited.
        """
        policy = self.problem.other
        own_logits, reference = self.problem.own.logits(own), policy.logits(other)

        def slope(logits: Tensor, theta: Tensor) -> Tensor:
            return light_grad(lambda t: self._inner_objective(logits, reference, t, lanes, weights).sum())(
                theta
            )

        theta = solution.detach().requires_grad_()
        rows = slope(own_logits.detach(), theta)
        hessian = torch.stack([torch.autograd.grad(row.sum(), theta, retain_graph=True)[0] for row in rows])
        dense = hessian.permute(2, 0, 1).double()
        inverse = (
            torch.linalg.pinv((dense + dense.mT) / 2, rtol=1e-5, hermitian=True)
            .permute(1, 2, 0)
            .to(own.dtype)
        )
        return solution - (inverse * slope(own_logits, solution)).sum(1)

    def _implicit_epoch(self, own: Tensor, other: Tensor, lanes: Lanes, watch: Watch | None):
        """As `epoch`, with the inner problem solved anew in every outer iteration."""
        lanes_given = own.shape[-1]
        start, other, lanes = pad(own), pad(other), Lanes(*[pad(t) for t in lanes])
        theta, moments = start, [torch.zeros_like(start)] if self.schedule.adam else []
        active = torch.zeros_like(start[0])
        active[:lanes_given] = 1.0
        count = torch.zeros_like(active)
        for _ in range(self.schedule.outer_steps):
            weights = self._inner_weights(theta, other)
            (solution,), _ = self._inner.run(
                [other], [theta, other, weights, *lanes], self.schedule.inner_max, active=active
            )

            def loss(own_now: Tensor, solution=solution, weights=weights) -> Tensor:
                response = self._respond(own_now, solution, other, weights, lanes)
                return outer_loss(self.problem, own_now, start, response, lanes).sum()

            gradient = light_grad(loss)(theta).detach()
            new, moments = descend(theta, gradient, lanes.lr_out * active, moments, count)
            count = count + active
            if self.schedule.threshold is not None:
                active = active * self._unsettled(self.problem.own, theta, new, self.schedule.threshold)
            theta = new
            if watch is not None:
                watch([theta])
            if not active.any():
                break
        return theta[..., :lanes_given].clone(), count[:lanes_given].clone()


def play(problem: Problem, own: Tensor, other: Tensor, payoff: Tensor) -> tuple[Tensor, Tensor]:
    """Policies ``[5, N]`` (owner's view) and values ``[N]`` of self against `other` as seen from self's seat."""
    with torch.no_grad():
        lanes = own.shape[-1]
        own_logits, other_logits = problem.own.logits(pad(own)), problem.other.logits(pad(other))
        values = value(problem, own_logits, other_logits, pad(payoff))
        return probabilities(own_logits)[..., :lanes], values[:lanes]
