"""What the exact program prints, in the released program's words where it had any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pola.exact.config import Config
from pola.exact.experiment import Experiment, Outcome, State, paired
from pola.exact.objective import probabilities

_SHOWN = 20  # runs that are printed one by one; the log and the summary hold all


def _five(policy: Sequence[float]) -> str:
    return " ".join(f"{p:.4f}" for p in policy)


def _shown(runs: int) -> range:
    return range(min(runs, _SHOWN))


def _kind(config: Config) -> str:
    if config.taylor:
        return "LOLA, first order (Taylor)"
    inner = "inner problem to its fixed point" if config.inner_prox else f"{config.inner_steps} inner step(s)"
    if config.outer_prox:
        return f"outer POLA: outer problem to its fixed point, {inner}"
    penalised = "POLA" if config.beta_in or config.beta_out else "LOLA"
    return f"{penalised}: {config.outer_steps} outer step(s), {inner}"


def header(config: Config, experiment: Experiment, state: State) -> None:
    """What is run, and the policies it starts from."""
    print("Number of agents: 2")
    print(f"Contribution factor: {config.cf:g} (not scaled by the number of agents)")
    print("Exact Gradients")
    print(_kind(config))
    print(
        f"Step sizes: inner {config.lr_in:g}, outer {config.lr_out:g}; KL weights: inner {config.beta_in:g}, outer {config.beta_out:g}"
    )
    print(
        f"{config.repeats} run(s), {config.epochs} epochs, seed {config.seed}, {config.engine} engine, {config.dtype}"
    )
    print("Policies: P(cooperate) in DD DC CD CC start, own move first")
    policies = experiment.outcome(state).policies
    for run in _shown(config.repeats):
        print(f"run {run + 1} starts: {_pair(policies[..., run])}")
    if config.repeats > _SHOWN:
        print(f"... and {config.repeats - _SHOWN} more runs")


def _pair(policies: Tensor) -> str:
    """Two policies ``[2, 5]``."""
    return " | ".join(_five(policy) for policy in policies.tolist())


def epoch(config: Config, number: int, seconds: float, outcome: Outcome) -> None:
    """The epoch's values and policies, run by run."""
    print(f"Epoch: {number}  Time elapsed: {seconds:.2f} s  Max cooperative payout: {config.cooperation:.4f}")
    for run in _shown(config.repeats):
        first, second = outcome.values[:, run].tolist()
        print(
            f"run {run + 1}: Discounted rewards: {first:.4f} {second:.4f}  Policies: {_pair(outcome.policies[..., run])}"
        )


def iterations(number: int, counts: Sequence[Sequence[int]]) -> None:
    """Outer iterations of an epoch ``[R][2]``."""
    for run in _shown(len(counts)):
        print(
            f"epoch {number} run {run + 1}: Outer prox iters used: {counts[run][0]} (agent 1), {counts[run][1]} (agent 2)"
        )


def anticipated(number: int, policies: Tensor) -> None:
    """What each agent expects its opponent to play after the inner steps, ``[2, 5, R]``, from its own seat."""
    for run in _shown(policies.shape[-1]):
        print(f"epoch {number} run {run + 1}: anticipated opponents: {_pair(policies[..., run])}")


class ProxPrinter:
    """Prints the policies of every outer iteration; called with the padded state after each."""

    def __init__(self, experiment: Experiment):
        self._policy, self._runs = experiment.policy, experiment.config.repeats
        self._iteration = 0

    def __call__(self, state: Sequence[Tensor]) -> None:
        self._iteration += 1
        lanes = state[0][..., : 2 * self._runs]
        with torch.no_grad():
            policies = paired(probabilities(self._policy.logits(lanes)))
        for run in _shown(self._runs):
            print(f"outer iteration {self._iteration} run {run + 1}: {_pair(policies[..., run])}")


def results(summary: Mapping[str, Any]) -> None:
    """The closing lines: what each run found, one row of the paper's table, and the share of successful runs.

    DEVIATION(section 6.1): the row is that of the true policies; the released program printed the sigmoid of the parameters
    even where these are pre-conditioned.
    """
    for run in _shown(len(summary["tft"])):
        print(f"run {run + 1}: TFT {'Found' if summary['tft'][run] else 'Not Found'}")
    row = ["nan" if p is None else f"{p:.2f}" for p in summary["row"]]
    print("& " + " & ".join(row) + r" \\")
    print(f"Num Runs Where TFT Found: {summary['n_tft']}")
    print(f"Proportion of Runs Where TFT Found: {summary['proportion_tft']}")
