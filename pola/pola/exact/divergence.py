"""Divergences between memory-one policies, computed from logits: finite however saturated the policies are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def summed_kl(reference: Tensor, logits: Tensor, weights: Tensor | None = None) -> Tensor:
    """KL(reference || policy) ``[L]``, summed over states and both actions, states unweighted (paper, eq. 6).

    DEVIATION(Q2): the original takes logarithms of probabilities, so that a cooperation probability that rounds to
    one gives NaN even where the penalty's weight is zero; with ``log pi = logsigmoid`` nothing overflows.

    Args:
        reference, logits: logits of cooperating ``[S, L]``; the reference is treated as a constant.
        weights: ``[S, L]`` weight of each state, for ``--visitation_weighted_kl``.
    """
    reference = reference.detach()
    terms = torch.sigmoid(reference) * (reference - logits) + (logsigmoid(-reference) - logsigmoid(-logits))
    return (terms if weights is None else weights * terms).sum(0)


def step_kl(before: Tensor, after: Tensor) -> Tensor:
    """KL(before || after) ``[L]`` of two nearby policies ``[S, L]``, summed, without cancellation.

    ``log(1 + p (exp(d) - 1)) - p d`` with p the probability before and d the change of the logit is the same KL with
    an error of 1e-7 of the *change*, where the difference of two logarithms has 1e-7 of its *value*: more than the
    1e-8 at which the released program's proximal loop stops (`rounded_step_kl`).
    """
    change = after - before
    probability = torch.sigmoid(before)
    return (torch.log1p(probability * torch.expm1(change)) - probability * change).sum(0)


def rounded_step_kl(before: Tensor, after: Tensor) -> Tensor:
    """The same from probabilities and their logarithms: in float32 the rounding errors are larger than small KLs.

    This is the released program's arithmetic, ``torch.nn.functional.kl_div`` of probabilities. With its threshold of 1e-8
    the loop stops when the errors of KL(before || after) and KL(after || before) happen to be negative enough, on
    average when the KL is about 2^-25.
    """
    p, q = torch.sigmoid(before), torch.sigmoid(after)
    return (_kl_term(p, q) + _kl_term(1 - p, 1 - q)).sum(0)


def _kl_term(p: Tensor, q: Tensor) -> Tensor:
    return torch.xlogy(p, p) - torch.where(p > 0, p * torch.log(q), torch.zeros_like(p))
