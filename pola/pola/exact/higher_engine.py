"""The same epoch one lane at a time, through the `higher` library and PyTorch's generic derivatives.

This is how the paper's experiments were published: `higher` unrolls the opponent's gradient steps, autograd does the
rest, and the value comes from a dense linear solve. It shares no formula with `pola.exact.memory_one`,
`pola.exact.objective` and the policies' lane-last arithmetic, so it serves as their oracle, at a hundredth of the speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import higher
import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, linear, logsigmoid

from pola.exact.objective import Lanes, Problem
from pola.exact.policies import Policy, Tabular
from pola.exact.updates import Schedule, Watch, descend, unsettled


class Lane(NamedTuple):
    """The numbers of one lane, as in `pola.exact.objective.Lanes`, payoffs ``[4]``."""

    own_payoff: Tensor
    other_payoff: Tensor
    lr_in: Tensor
    lr_out: Tensor
    beta_in: Tensor
    beta_out: Tensor


def policy_logits(policy: Policy, theta: Tensor) -> Tensor:
    """Logits ``[S]`` of flat parameters ``[P]``, through PyTorch's own layers."""
    if isinstance(policy, Tabular):
        return theta if policy.matrix is None else theta.new_tensor(policy.matrix) @ theta
    h = policy.hidden
    moves = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)][: policy.n_states]
    inputs = theta.new_zeros(len(moves), 6)
    for row, (own, other) in enumerate(moves):
        inputs[row, own] = inputs[row, 3 + other] = 1.0
    activate = torch.tanh if policy.nonlinearity == "tanh" else lambda x: leaky_relu(x, 0.01)
    shapes = [(6, h), (h,), *[(h, h), (h,)] * policy.extra_layers, (1, h), (1,)]
    parts = torch.split(theta, [torch.Size(shape).numel() for shape in shapes])
    first, *layers = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
    layers = [first.T, *layers]
    hidden = inputs
    for weights, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
        hidden = activate(linear(hidden, weights, bias))
    logits = linear(hidden, layers[-2], layers[-1])[:, 0]
    if policy.stretch is None:
        return logits
    on_dd, everywhere = policy.stretch
    return logits * everywhere * theta.new_tensor([on_dd] + [1.0] * (len(moves) - 1))


def dense_value(
    own_logits: Tensor, other_logits: Tensor, payoff: Tensor, gamma: float, horizon: int | None
) -> Tensor:
    """Discounted value of two policies' logits ``[S]``: ``r . (I - gamma P')^-1 p0``, or the sum of its first terms."""
    x, y = torch.sigmoid(own_logits), torch.sigmoid(other_logits)
    outcomes = torch.stack([(1 - x) * (1 - y), (1 - x) * y, x * (1 - y), x * y])  # [4, S]
    start, transition = outcomes[:, -1], outcomes[:, :4]  # with four states CC is the start
    if horizon is None:
        identity = torch.eye(4, dtype=x.dtype)
        return payoff @ torch.linalg.solve(identity - gamma * transition, start)
    total, now = start, start
    for _ in range(horizon - 1):
        now = gamma * (transition @ now)
        total = total + now
    return payoff @ total


def dense_kl(reference: Tensor, logits: Tensor) -> Tensor:
    """KL(reference || policy) summed over states and actions, from log-probabilities ``[S]``."""
    reference = reference.detach()
    p = torch.sigmoid(reference)
    cooperate = p * (logsigmoid(reference) - logsigmoid(logits))
    return (cooperate + (1 - p) * (logsigmoid(-reference) - logsigmoid(-logits))).sum()


class _Opponent(nn.Module):
    """An opponent's policy as a module, so that `higher` can follow its parameters."""

    def __init__(self, policy: Policy, theta: Tensor):
        super().__init__()
        self.policy, self.theta = policy, nn.Parameter(theta.clone())

    def forward(self) -> Tensor:
        return policy_logits(self.policy, self.theta)


class HigherUpdater:
    """Updates all lanes one after the other; called like `pola.exact.updates.Updater`."""

    def __init__(self, problem: Problem, schedule: Schedule):
        self.problem, self.schedule = problem, schedule

    def _value(self, own_logits: Tensor, other_logits: Tensor, payoff: Tensor) -> Tensor:
        return dense_value(own_logits, other_logits, payoff, self.problem.gamma, self.problem.horizon)

    def _unroll(self, own_logits: Tensor, other: Tensor, lane: Lane) -> Tensor:
        """The opponent's parameters ``[Q]`` after its inner steps, differentiable in self's logits."""
        module = _Opponent(self.problem.other, other)
        reference = module().detach()
        optimiser = torch.optim.SGD(module.parameters(), lr=float(lane.lr_in))
        with higher.innerloop_ctx(module, optimiser) as (anticipated, differentiable):
            for _ in range(self.problem.inner_steps):
                logits = anticipated()
                loss = -self._value(own_logits, logits, lane.other_payoff)
                if self.problem.inner_penalty:
                    loss = loss + lane.beta_in * dense_kl(reference, logits)
                differentiable.step(loss)
            return anticipated.theta

    def _loss(self, own: Tensor, start: Tensor, other: Tensor, lane: Lane) -> Tensor:
        problem = self.problem
        own_logits = policy_logits(problem.own, own)
        if problem.taylor:
            theta = other.clone().requires_grad_()
            logits = policy_logits(problem.other, theta)
            loss, theirs = (
                -self._value(own_logits, logits, payoff) for payoff in (lane.own_payoff, lane.other_payoff)
            )
            toward_own, toward_other = (
                torch.autograd.grad(value, theta, create_graph=True)[0] for value in (loss, theirs)
            )
            return loss - lane.lr_in * toward_own @ toward_other
        anticipated = self._unroll(own_logits, other, lane)
        if problem.plain_outer:
            loss = -self._value(own, anticipated, lane.own_payoff)
            return loss + lane.beta_out * dense_kl(start, own) if problem.outer_penalty else loss
        loss = -self._value(own_logits, policy_logits(problem.other, anticipated), lane.own_payoff)
        if problem.outer_penalty:
            loss = loss + lane.beta_out * dense_kl(policy_logits(problem.own, start), own_logits)
        return loss

    def gradient(self, own: Tensor, start: Tensor, other: Tensor, lane: Lane) -> Tensor:
        """Total derivative ``[P]`` of self's outer loss, for one lane; arguments as in `shaping_gradient`."""
        own = own.detach().clone().requires_grad_()
        return torch.autograd.grad(self._loss(own, start, other, lane), own)[0]

    def epoch(
        self, own: Tensor, other: Tensor, lanes: Lanes, watch: Watch | None = None
    ) -> tuple[Tensor, Tensor]:
        """Self's new parameters ``[P, N]`` and the number of outer iterations ``[N]``."""
        results = [
            self._one(own[:, n], other[:, n], Lane(*[number[..., n] for number in lanes]))
            for n in range(own.shape[-1])
        ]
        if watch is not None:
            self._replay(watch, results)
        return (
            torch.stack([trace[-1] for trace in results], -1),
            own.new_tensor([len(trace) - 1 for trace in results]),
        )

    @staticmethod
    def _replay(watch: Watch, traces: Sequence[Sequence[Tensor]]) -> None:
        """Show all lanes' iterations side by side; a lane that has come to rest stays where it is."""
        for k in range(1, max(map(len, traces))):
            watch([torch.stack([trace[min(k, len(trace) - 1)] for trace in traces], -1)])

    def _one(self, start: Tensor, other: Tensor, lane: Lane) -> list[Tensor]:
        """One lane's parameters before and after every outer iteration."""
        theta, trace = start, [start]
        moments = [torch.zeros_like(start)] if self.schedule.adam else []
        for count in range(self.schedule.outer_steps):
            gradient = self.gradient(theta, start, other, lane)
            new, moments = descend(theta, gradient, lane.lr_out, moments, theta.new_tensor(float(count)))
            trace.append(new)
            if self.schedule.threshold is not None:
                pair = theta[:, None], new[:, None]
                if not unsettled(self.problem.own, *pair, self.schedule.threshold, self.schedule.rounded):
                    break
            theta = new
        return trace

    def anticipated(self, own: Tensor, other: Tensor, lanes: Lanes) -> Tensor:
        """Policies ``[5, N]`` that self expects of its opponents after their inner steps, from self's seat."""
        policies = []
        for n in range(own.shape[-1]):
            lane = Lane(*[number[..., n] for number in lanes])
            own_logits = policy_logits(self.problem.own, own[:, n])
            theta = self._unroll(own_logits, other[:, n], lane)
            p = torch.sigmoid(policy_logits(self.problem.other, theta.detach()))
            policies.append(torch.cat([p, p[3:]]) if len(p) == 4 else p)
        return torch.stack(policies, -1)
