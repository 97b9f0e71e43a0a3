"""All runs of one command side by side: their state, one epoch of it, and what it amounts to (paper, section 4.1).

A lane is one agent of one run; the lanes are agent 1 of every run, then agent 2 of every run. Every agent's policy is in
its own view, own move first (see `pola.exact.policies`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pola.exact.config import Config
from pola.exact.objective import Lanes, Problem
from pola.exact.opponent_models import ModelFit
from pola.exact.policies import (
    CD,
    PUBLISHED_NETS,
    Net,
    Policy,
    Tabular,
    draw_parameters,
    preconditioned,
)
from pola.exact.updates import Schedule, Updater, Watch, play

DD = 0
SHARE_OF_COOPERATION = 0.8  # of mutual cooperation's value that both agents must get on average
MOST_FORGIVING = 0.65  # highest cooperation probability after the opponent's defection
_INITIAL, _MODEL = 0, 1  # random streams of a run


@dataclass(frozen=True)
class State:
    """Everything that an epoch reads and changes; R runs.

    Attributes:
        theta: ``[2, P, R]`` both agents' parameters.
        tft: ``[R]`` whether tit-for-tat was found at any epoch so far.
        model: ``[2, Q, R]`` each agent's model of the other, seen from its own seat; None without models.
    """

    theta: Tensor
    tft: Tensor
    model: Tensor | None = None


@dataclass(frozen=True)
class Outcome:
    """What a state amounts to.

    Attributes:
        policies: ``[2, 5, R]`` cooperation probabilities in DD, DC, CD, CC, start, own move first.
        values: ``[2, R]`` discounted values.
    """

    policies: Tensor
    values: Tensor


def own_policy(config: Config) -> Policy:
    """The parameterisation of the agents."""
    states = 5 if config.start_state else 4
    if config.policy == "net":
        return Net(config.hidden, config.extra_layers, config.nonlinearity, states, config.stretch)
    return preconditioned(config.precondition, states) if config.precondition else Tabular(states)


def model_policy(config: Config) -> Policy | None:
    """The parameterisation of an agent's model of the other, in the other's own view."""
    states = 5 if config.start_state else 4
    if config.om == "net":
        return Net(config.hidden, config.extra_layers, config.nonlinearity, states)
    if config.om is None:
        return None
    return preconditioned(config.om_matrix, states) if config.om_matrix else Tabular(states)


def payoffs(cf: Tensor) -> tuple[Tensor, Tensor]:
    """Payoffs ``[4, L]`` of DD, DC, CD, CC to oneself and to the other, for contribution factors ``[L]``."""
    own = torch.stack([torch.zeros_like(cf), cf / 2, cf / 2 - 1, cf - 1])
    return own, own[[0, 2, 1, 3]]


def is_tft(policies: Tensor, values: Tensor, cooperation: float | Tensor) -> Tensor:
    """Tit-for-tat by the paper's measure, ``[R]``: high values, and neither agent forgives a defection.

    Args:
        policies, values: as in `Outcome`.
        cooperation: value of mutual cooperation.
    """
    rewarded = values.mean(0) > SHARE_OF_COOPERATION * cooperation
    return rewarded & (policies[:, [DD, CD]] < MOST_FORGIVING).all(1).all(0)


def other_lanes(tensor: Tensor) -> Tensor:
    """The same lanes with the two agents exchanged, ``[..., 2 R]``."""
    return torch.roll(tensor, tensor.shape[-1] // 2, -1)


class Experiment:
    """The runs of one command, with the engine that it names."""

    def __init__(self, config: Config):
        self.config = config
        self.policy, self.model = own_policy(config), model_policy(config)
        self._dtype, self._device = getattr(torch, config.dtype), torch.device(config.device)
        self.problem = Problem(
            own=self.policy,
            other=(self.model or self.policy).seen_across(),
            gamma=config.gamma,
            inner_steps=config.inner_steps,
            inner_penalty=config.beta_in > 0 and not config.inner_prox,
            outer_penalty=config.beta_out > 0,
            taylor=config.taylor,
            plain_outer=config.plain_outer,
            horizon=config.horizon,
        )
        self._play = dataclasses.replace(self.problem, other=self.policy.seen_across(), plain_outer=False)
        schedule = Schedule(
            outer_steps=config.outer_max if config.outer_prox else config.outer_steps,
            threshold=config.threshold if config.outer_prox else None,
            adam=config.adam,
            inner_prox=config.inner_prox,
            inner_max=config.inner_max,
            inner_weighted=config.inner_weighted,
            inner_threshold=config.threshold,
            rounded=config.rounded_kl,
        )
        self.updater = make_updater(config.engine, self.problem, schedule)
        if self.model is not None:
            self._fit = ModelFit(
                self.problem.other, config.om_rate, config.om_threshold, rounded=config.rounded_kl
            )

    def tensor(self, array: np.ndarray) -> Tensor:
        """An array as a tensor of this experiment's precision and device."""
        return torch.tensor(array, dtype=self._dtype, device=self._device)

    def start(self, theta: np.ndarray | None = None, model: np.ndarray | None = None) -> State:
        """The state before the first epoch.

        Args:
            theta: ``[2, P, R]`` parameters to start from; by default drawn from the seed.
            model: ``[2, Q, R]`` opponent models to start from, where there are any.
        """
        c = self.config
        if theta is None:
            fixed = PUBLISHED_NETS[c.fixed_net] if c.fixed_net else None
            theta = draw_parameters(self.policy, c.repeats, c.seed, c.std, fixed, _INITIAL)
        runs = theta.shape[-1]
        if self.model is not None and model is None:
            model = draw_parameters(self.model, runs, c.seed, c.std, stream=_MODEL)
        return State(
            self.tensor(theta),
            torch.zeros(runs, dtype=torch.bool, device=self._device),
            None if self.model is None else self.tensor(model),
        )

    def lanes(self, runs: int) -> Lanes:
        """The numbers of all lanes of so many runs."""
        c = self.config

        def full(number: float) -> Tensor:
            return self.tensor(np.full(2 * runs, number))

        return Lanes(*payoffs(full(c.cf)), full(c.lr_in), full(c.lr_out), full(c.beta_in), full(c.beta_out))

    def _opponents(self, state: State) -> Tensor:
        """The true opponents' parameters as seen from each lane's seat, ``[P, 2 R]``."""
        return self.policy.swap_seats(other_lanes(flat(state.theta)))

    def fit_models(self, state: State) -> tuple[State, Tensor]:
        """Fit every agent's model to the true policy of the other; also gives the steps taken ``[2, R]``."""
        target = self._play.other.logits(self._opponents(state))
        fitted, steps = self._fit.fit(flat(state.model), target)
        return dataclasses.replace(state, model=paired(fitted)), paired(steps)

    def anticipated(self, state: State) -> Tensor:
        """Policies ``[2, 5, R]`` of the opponents that each agent expects after their inner steps, from its seat."""
        other = self._opponents(state) if state.model is None else flat(state.model)
        lanes = self.lanes(state.theta.shape[-1])
        return paired(self.updater.anticipated(flat(state.theta), other, lanes))

    def update(self, state: State, watch: Watch | None = None) -> tuple[State, Tensor]:
        """One update of both agents from the same epoch-start parameters.

        Returns:
            The new state, and the outer iterations taken ``[2, R]``.
        """
        own = flat(state.theta)
        other = self._opponents(state) if state.model is None else flat(state.model)
        new, count = self.updater.epoch(own, other, self.lanes(state.theta.shape[-1]), watch)
        state = dataclasses.replace(state, theta=paired(new))
        outcome = self.outcome(state)
        found = is_tft(outcome.policies, outcome.values, self.config.cooperation)
        return dataclasses.replace(state, tft=state.tft | found), paired(count)

    def outcome(self, state: State) -> Outcome:
        """Policies and values of a state."""
        own_payoff, _ = payoffs(self.tensor(np.full(2 * state.theta.shape[-1], self.config.cf)))
        policies, values = play(self._play, flat(state.theta), self._opponents(state), own_payoff)
        return Outcome(paired(policies), paired(values))


def make_updater(engine: str, problem: Problem, schedule: Schedule):
    """The engine of that name; `higher` is imported only when it is asked for."""
    if engine == "batched":
        return Updater(problem, schedule)
    from pola.exact.higher_engine import HigherUpdater

    return HigherUpdater(problem, schedule)


def flat(pair: Tensor) -> Tensor:
    """``[2, ..., R]`` as lanes ``[..., 2 R]``."""
    return torch.cat([pair[0], pair[1]], -1)


def paired(lanes: Tensor) -> Tensor:
    """The inverse of `flat`."""
    return torch.stack(torch.chunk(lanes, 2, -1))
