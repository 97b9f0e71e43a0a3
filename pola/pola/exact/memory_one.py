"""Exact discounted values of memory-one policies in a two-player game, with first and second derivatives in closed form.

Arrays are lane-last: the last axis ``L`` holds independent games ("lanes"), so that every operation is elementwise
over lanes and a lane's result does not depend on its neighbours. States and outcomes are in the order DD, DC, CD, CC
(first letter: the acting agent's own move), followed by the start state.

With x and y the two agents' cooperation probabilities, p0 the outcome distribution from the start state and P the
4 x 4 transition matrix (paper, section 3; the first outcome is not discounted):

    m = (I - gamma P')^-1 p0        discounted number of visits to each outcome
    v = (I - gamma P)^-1 r          value of going on from each outcome, r the payoffs
    V = m . r

Rows of P sum to one, so subtracting the first leaves a 3 x 3 system I - gamma Q, Q_sk = P_sk - P_0k over DC, CD, CC,
which is written out with cofactors. It is also better conditioned: the eigenvalue 1 - gamma is gone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Chain(NamedTuple):
    """The Markov chain of two policies.

    Attributes:
        outcomes: ``[3, 5, L]`` probability of DC, CD, CC from each of the five states.
        inverse: ``[3, 3, L]`` (I - gamma Q)^-1.
        visits: ``[3, L]`` discounted number of visits to DC, CD, CC.
    """

    outcomes: Tensor
    inverse: Tensor
    visits: Tensor


def solve_chain(x: Tensor, y: Tensor, gamma: float) -> Chain:
    """Solve the chain of two policies ``[5, L]``."""
    both = x * y
    outcomes = torch.stack([y - both, x - both, both])
    from_first = outcomes[:, 0]
    change = (outcomes[:, 1:4] - outcomes[:, :1]) * -gamma
    inverse = _invert_transposed(change + torch.eye(3, dtype=x.dtype, device=x.device)[:, :, None])
    source = torch.add(outcomes[:, 4], from_first, alpha=gamma / (1 - gamma))
    return Chain(outcomes, inverse, (inverse * source[:, None]).sum(0))


def _invert_transposed(matrix: Tensor) -> Tensor:
    """Transposed inverse of 3 x 3 matrices ``[3, 3, L]``: its rows are cross products of the matrix' rows."""
    rows = torch.cat([matrix, matrix[:2]])
    cofactors = torch.linalg.cross(rows[1:4], rows[2:5], dim=1)
    return cofactors / (matrix[0] * cofactors[0]).sum(0)


def discounted_visits(x: Tensor, y: Tensor, gamma: float) -> Tensor:
    """Discounted number of visits ``[4, L]`` to DD, DC, CD, CC; they sum to 1 / (1 - gamma)."""
    visits = solve_chain(x, y, gamma).visits
    return torch.cat([(1 / (1 - gamma) - visits.sum(0))[None], visits])


def _state_weights(chain: Chain, gamma: float) -> Tensor:
    """Discounted number of times each of the five states is acted in, ``[5, L]``: gamma m, and 1 for the start."""
    later = chain.visits * gamma
    return torch.cat([gamma / (1 - gamma) - later.sum(0, keepdim=True), later, torch.ones_like(later[:1])])


def _action_gains(chain: Chain, x: Tensor, y: Tensor, payoff: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What it is worth, in each state, that x's (first) or y's (second) owner cooperates rather than defects.

    Returns:
        Both gains ``[5, L]`` and their common slope ``[L]`` in the other agent's probability.
    """
    value = (chain.inverse * (payoff[1:] - payoff[:1])).sum(1)  # v_s - v_DD for DC, CD, CC
    only_y, only_x, both = value[0], value[1], value[2]
    slope = both - only_x - only_y
    return torch.addcmul(only_x, y, slope), torch.addcmul(only_y, x, slope), slope


def value_gradients(x: Tensor, y: Tensor, payoff: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Closed form of dV/dx and dV/dy, ``[5, L]`` each: state weight times gain of cooperating there."""
    chain = solve_chain(x, y, gamma)
    weights = _state_weights(chain, gamma)
    gain_x, gain_y, _ = _action_gains(chain, x, y, payoff)
    return weights * gain_x, weights * gain_y


def value_hessian_product(
    x: Tensor, y: Tensor, along_x: Tensor | None, along_y: Tensor | None, payoff: Tensor, gamma: float
) -> tuple[Tensor, Tensor]:
    """Closed form of the Hessian of V times a direction: the derivative of `value_gradients` along it.

    Args:
        along_x, along_y: the direction ``[5, L]``; None stands for zero.

    Returns:
        Its two halves, for x and y.
    """
    chain = solve_chain(x, y, gamma)
    weights = _state_weights(chain, gamma)
    gain_x, gain_y, slope = _action_gains(chain, x, y, payoff)
    zero = torch.zeros_like(x)
    if along_x is None:
        both, worth, moved_x, moved_y = x * along_y, gain_y * along_y, zero, along_y
    elif along_y is None:
        both, worth, moved_x, moved_y = y * along_x, gain_x * along_x, along_x, zero
    else:
        both, worth = y * along_x + x * along_y, gain_x * along_x + gain_y * along_y
        moved_x, moved_y = along_x, along_y
    moved = torch.stack([moved_y - both, moved_x - both, both])  # of the outcomes DC, CD, CC
    visits = (chain.inverse * (moved * weights).sum(1)[:, None]).sum(0) * gamma
    d_weights = torch.cat([-visits.sum(0, keepdim=True), visits, torch.zeros_like(visits[:1])])
    value = (chain.inverse * ((worth[1:4] - worth[:1]) * gamma)).sum(1)
    d_slope = value[2] - value[1] - value[0]
    d_gain_x = torch.addcmul(value[1], y, d_slope) + moved_y * slope
    d_gain_y = torch.addcmul(value[0], x, d_slope) + moved_x * slope
    return d_weights * gain_x + weights * d_gain_x, d_weights * gain_y + weights * d_gain_y


class _Gradients(torch.autograd.Function):
    """`value_gradients` whose derivative is `value_hessian_product` (the Hessian is symmetric)."""

    @staticmethod
    def forward(x, y, payoff, gamma):
        return value_gradients(x, y, payoff, gamma)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, y, payoff, ctx.gamma = inputs
        ctx.save_for_backward(x, y, payoff)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, along_x, along_y):
        if along_x is None and along_y is None:
            return None, None, None, None
        x, y, payoff = ctx.saved_tensors
        return *value_hessian_product(x, y, along_x, along_y, payoff, ctx.gamma), None, None


class _Value(torch.autograd.Function):
    """V as a function whose derivative is `_Gradients`."""

    @staticmethod
    def forward(x, y, payoff, gamma):
        visits = solve_chain(x, y, gamma).visits
        return payoff[0] / (1 - gamma) + (visits * (payoff[1:] - payoff[:1])).sum(0)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, y, payoff, ctx.gamma = inputs
        ctx.save_for_backward(x, y, payoff)

    @staticmethod
    def backward(ctx, cotangent):
        x, y, payoff = ctx.saved_tensors
        by_x, by_y = _Gradients.apply(x, y, payoff, ctx.gamma)
        return cotangent * by_x, cotangent * by_y, None, None


def discounted_value(x: Tensor, y: Tensor, payoff: Tensor, gamma: float) -> Tensor:
    """Discounted value ``[L]`` of an endless game.

    Args:
        x, y: ``[5, L]`` cooperation probabilities in DD, DC, CD, CC, start, the first letter being x's owner's move.
        payoff: ``[4, L]`` (or ``[4, 1]``) payoffs of the four outcomes to the agent whose value is asked for; a
            constant for differentiation.
        gamma: discount below 1.
    """
    assert x.shape == y.shape and x.shape[0] == 5 and payoff.shape[0] == 4, (x.shape, y.shape, payoff.shape)
    return _Value.apply(x, y, payoff, gamma)


def truncated_value(x: Tensor, y: Tensor, payoff: Tensor, gamma: float, steps: int) -> Tensor:
    """Discounted value ``[L]`` of the first `steps` outcomes, by doubling the geometric sum.

    DEVIATION(Q13): the original kept only the last power of gamma P; this is the sum over t = 0 .. steps - 1.
    """
    both = x * y
    outcomes = torch.stack([1 - x - y + both, y - both, x - both, both])  # [4, 5, L]
    power = outcomes[:, :4] * gamma  # one step, as a matrix [to, from]
    total = outcomes[:, 4]  # the sum over the first `done` steps, first of one
    done = 1
    for bit in bin(steps)[3:]:
        total = total + _apply(power, total)
        power = (power[:, :, None] * power[None]).sum(1)
        done *= 2
        if bit == "1":
            total = outcomes[:, 4] + _apply(outcomes[:, :4] * gamma, total)
            power = (power[:, :, None] * (outcomes[:, :4] * gamma)[None]).sum(1)
            done += 1
    assert done == steps
    return (total * payoff).sum(0)


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix * vector[None]).sum(1)
