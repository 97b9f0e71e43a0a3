"""What an agent of the exact games descends: its loss after an anticipated step of the opponent (paper, sections 2, 3).

Everything is a function of (self, other), both seen from self's seat; the two agents are two lanes.
Shapes: parameters ``[P, L]``, one column for each lane; rates, weights ``[L]``; payoffs ``[4, L]``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pola.exact.divergence import summed_kl
from pola.exact.memory_one import discounted_value, truncated_value
from pola.exact.policies import Policy

Grad = Callable[[Callable[[Tensor], Tensor]], Callable[[Tensor], Tensor]]


class Lanes(NamedTuple):
    """The numbers of each lane: payoffs of DD, DC, CD, CC (self's move first) to self and to other, rates, weights."""

    own_payoff: Tensor
    other_payoff: Tensor
    lr_in: Tensor
    lr_out: Tensor
    beta_in: Tensor
    beta_out: Tensor


@dataclass(frozen=True)
class Problem:
    """The form of the game and of the update; the same for all lanes.

    Attributes:
        own: self's policy.
        other: the opponent's policy (or self's model of it) as seen from self's seat.
        gamma: discount.
        inner_steps: anticipated gradient steps of the opponent.
        inner_penalty: whether those steps carry a KL penalty.
        outer_penalty: whether the outer loss carries one.
        taylor: first-order LOLA instead of a real inner step.
        plain_outer: DEVIATION(Q21) off: evaluate the outer loss on plain logits, as the released code does.
        horizon: number of outcomes that count; None for the endless game.
    """

    own: Policy
    other: Policy
    gamma: float = 0.96
    inner_steps: int = 1
    inner_penalty: bool = False
    outer_penalty: bool = False
    taylor: bool = False
    plain_outer: bool = False
    horizon: int | None = None


def light_grad(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """``torch.func.grad`` for one tensor argument, without importing the compiler stack that it loads (2 s).

    Nests like the original; a test holds the two to the same bits.
    """

    def gradient(x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            return torch.autograd.grad(function(x), x, create_graph=True)[0]

    return gradient


def probabilities(logits: Tensor) -> Tensor:
    """Cooperation probabilities ``[5, L]``; with four states the start plays what CC plays."""
    p = torch.sigmoid(logits)
    return p if p.shape[0] == 5 else torch.cat([p, p[3:]])


def value(problem: Problem, own_logits: Tensor, other_logits: Tensor, payoff: Tensor) -> Tensor:
    """Discounted value ``[L]`` to whom `payoff` belongs."""
    x, y = probabilities(own_logits), probabilities(other_logits)
    if problem.horizon is not None:
        return truncated_value(x, y, payoff, problem.gamma, problem.horizon)
    return discounted_value(x, y, payoff, problem.gamma)


def inner_loss(
    problem: Problem, own_logits: Tensor, reference: Tensor, theta: Tensor, lanes: Lanes
) -> Tensor:
    """The opponent's loss ``[L]`` at its parameters theta: -V_j, plus the penalty to `reference` logits if any."""
    logits = problem.other.logits(theta)
    loss = -value(problem, own_logits, logits, lanes.other_payoff)
    return loss + lanes.beta_in * summed_kl(reference, logits) if problem.inner_penalty else loss


def anticipate(problem: Problem, own: Tensor, other: Tensor, lanes: Lanes, grad: Grad) -> Tensor:
    """The opponent's parameters after its inner gradient steps, as a differentiable function of self's."""
    own_logits, reference = problem.own.logits(own), problem.other.logits(other)
    theta = other
    for _ in range(problem.inner_steps):
        step = grad(lambda t: inner_loss(problem, own_logits, reference, t, lanes).sum())(theta)
        theta = theta - lanes.lr_in * step
    return theta


def outer_loss(problem: Problem, own: Tensor, start: Tensor, anticipated: Tensor, lanes: Lanes) -> Tensor:
    """Self's loss ``[L]`` against the anticipated opponent: -V_i + beta_out KL(start || own)."""
    read = (
        (lambda policy, theta: theta) if problem.plain_outer else (lambda policy, theta: policy.logits(theta))
    )
    logits = read(problem.own, own)
    loss = -value(problem, logits, read(problem.other, anticipated), lanes.own_payoff)
    if problem.outer_penalty:
        loss = loss + lanes.beta_out * summed_kl(read(problem.own, start), logits)
    return loss


def taylor_loss(problem: Problem, own: Tensor, other: Tensor, lanes: Lanes, grad: Grad) -> Tensor:
    """First-order LOLA: L_i - lr_in (dL_i/dtheta_j . dL_j/dtheta_j), at unmoved theta_j; ``[L]``.

    DEVIATION(Q12): nets work too; the original gave both agents the last agent's gradients.
    """
    logits = problem.own.logits(own)

    def loss(theta: Tensor, payoff: Tensor) -> Tensor:
        return -value(problem, logits, problem.other.logits(theta), payoff)

    toward_own = grad(lambda t: loss(t, lanes.own_payoff).sum())(other)
    toward_other = grad(lambda t: loss(t, lanes.other_payoff).sum())(other)
    return loss(other, lanes.own_payoff) - lanes.lr_in * (toward_own * toward_other).sum(0)


def shaping_gradient(
    problem: Problem, own: Tensor, start: Tensor, other: Tensor, lanes: Lanes, grad: Grad = light_grad
) -> Tensor:
    """Total derivative ``[P, L]`` of the outer loss with respect to `own`, second-order through the inner steps.

    Args:
        own: self's current parameters.
        start: self's parameters at the start of the epoch (the penalty's reference).
        other: the opponent's parameters at the start of the epoch, seen from self's seat.
    """

    def loss(theta: Tensor) -> Tensor:
        if problem.taylor:
            return taylor_loss(problem, theta, other, lanes, grad).sum()
        return outer_loss(problem, theta, start, anticipate(problem, theta, other, lanes, grad), lanes).sum()

    return grad(loss)(own)
