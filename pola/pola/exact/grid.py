"""Does LOLA with pre-conditioned policies ever find tit-for-tat? A grid of step sizes, best points measured afresh.

The paper says that it never does (section 4.1, Figure 3). The released program evaluates the outer loss of this one
setting without the pre-conditioning matrix, and two matrices are in use, so there are four forms of the question:
(matrix, outer loss on plain logits or not), each asked at several contribution factors.

``metrics.jsonl`` has one row per point: ``stage`` (``grid``, or ``fresh`` for the best points on initialisations that did
not choose them), ``cf``, ``matrix``, ``plain``, ``lr_in``, ``lr_out``, ``n`` runs and ``n_tft`` of them with tit-for-tat.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.runs import RunFolder, RunSpec, source_digest
from common.tracking import chosen_mode, mirrored
from pola.exact.experiment import is_tft, other_lanes, paired, payoffs
from pola.exact.grid_config import GRID_PROGRAM, GridConfig, parse
from pola.exact.objective import Lanes, Problem
from pola.exact.policies import draw_parameters, preconditioned
from pola.exact.updates import Schedule, Updater, play

_HOME = Path(__file__).resolve().parents[2]
# Lanes of one batch: enough to hide the cost of a call, few enough to stay in the cache.
_LANES = 12800
_GRID, _FRESH = 0, 1  # random streams


@dataclass(frozen=True)
class Form:
    """One form of the question."""

    matrix: str
    plain: bool
    cf: float


@dataclass(frozen=True)
class Point:
    """One pair of step sizes."""

    lr_in: float
    lr_out: float


def forms(config: GridConfig) -> list[Form]:
    """All forms, in the order in which they are worked on."""
    choices = itertools.product(("dd", "opponent-defects"), (True, False), config.cfs)
    return [Form(*choice) for choice in choices]


def points(config: GridConfig) -> list[Point]:
    """All pairs of step sizes."""
    return [Point(*pair) for pair in itertools.product(config.lrs_in, config.lrs_out)]


class Measurer:
    """Counts, for a form and some points, how many of the initialisations find tit-for-tat.

    Args:
        config: the whole grid's; its epochs, discount and precision are used.
    """

    def __init__(self, config: GridConfig):
        self.config = config
        self._updaters: dict[tuple[str, bool], Updater] = {}

    def _updater(self, form: Form) -> Updater:
        key = (form.matrix, form.plain)
        if key not in self._updaters:
            policy = preconditioned(form.matrix)
            problem = Problem(policy, policy.seen_across(), self.config.gamma, plain_outer=form.plain)
            self._updaters[key] = Updater(problem, Schedule())
        return self._updaters[key]

    def initial(self, runs: int, stream: int) -> Tensor:
        """Parameters ``[2, 5, R]``; the same for every point of a stage."""
        drawn = draw_parameters(preconditioned("dd"), runs, self.config.seed, self.config.std, stream=stream)
        return torch.tensor(drawn, dtype=torch.float32, device=self.config.device)

    def count(self, form: Form, chosen: Sequence[Point], theta: Tensor) -> list[int]:
        """Runs with tit-for-tat at each of the chosen points.

        Args:
            theta: ``[2, 5, R]`` where every point starts from.
        """
        updater = self._updater(form)
        problem = dataclasses.replace(updater.problem, plain_outer=False)
        runs, repeats = theta.shape[-1] * len(chosen), theta.shape[-1]

        def lane(values: Sequence[float]) -> Tensor:
            return theta.new_tensor(values).repeat_interleave(repeats).repeat(2)

        zero = theta.new_zeros(2 * runs)
        own_payoff, other_payoff = payoffs(torch.full_like(zero, form.cf))
        lanes = Lanes(
            own_payoff, other_payoff, lane([p.lr_in for p in chosen]), lane([p.lr_out for p in chosen]), zero, zero
        )  # fmt: skip
        own = torch.cat([agent.repeat(1, len(chosen)) for agent in theta], -1)
        found = torch.zeros(runs, dtype=torch.bool, device=theta.device)
        cooperation = (form.cf - 1) / (1 - self.config.gamma)
        for _ in range(self.config.epochs):
            other = problem.own.swap_seats(other_lanes(own))
            own, _ = updater.epoch(own, other, lanes)
            policies, values = play(problem, own, problem.own.swap_seats(other_lanes(own)), own_payoff)
            found |= is_tft(paired(policies), paired(values), cooperation)
        return found.view(len(chosen), repeats).sum(1).tolist()


def work(config: GridConfig) -> Iterator[tuple[str, Form, list[Point] | None]]:
    """The batches of the grid, then per form the best points measured afresh (chosen once the grid is known)."""
    size = max(1, _LANES // (2 * config.repeats))
    everything = points(config)
    for form in forms(config):
        for first in range(0, len(everything), size):
            yield "grid", form, everything[first : first + size]
    for form in forms(config):
        yield "fresh", form, None


def best(rows: Sequence[dict[str, Any]], form: Form, number: int) -> list[Point]:
    """The points of a form's grid with the most successful runs; ties go to the smaller steps."""
    mine = [row for row in rows if row["stage"] == "grid" and _form(row) == form]
    ranked = sorted(mine, key=lambda row: (-row["n_tft"], row["lr_in"], row["lr_out"]))
    return [Point(row["lr_in"], row["lr_out"]) for row in ranked[:number]]


def _form(row: dict[str, Any]) -> Form:
    return Form(row["matrix"], row["plain"], row["cf"])


def main(argv: Sequence[str] | None = None) -> int:
    """Parse a command line and measure the grid; a finished one is only reported."""
    config = parse(argv)
    source = source_digest(_HOME / GRID_PROGRAM, [_HOME, _HOME.parent])
    spec = RunSpec(GRID_PROGRAM, config.identity(), source)
    command = [GRID_PROGRAM, *(sys.argv[1:] if argv is None else argv)]
    folder = RunFolder.open(config.run_root, spec, command, config.device)
    if folder.finished:
        print(f"this run is finished already: {folder.path}")
    else:
        with mirrored(folder, chosen_mode(), project="pola"):
            folder.finish({"best": measure(config, folder)})
    for row in folder.summary["best"]:
        outer = "outer loss on plain logits" if row["plain"] else "consistent"
        steps = f"inner {row['lr_in']:g}, outer {row['lr_out']:g}"
        share = f"{row['n_tft']} of {row['n']} fresh runs ({row['n_tft'] / row['n']:.3f})"
        print(f"CF {row['cf']:g}, matrix {row['matrix']}, {outer}: {share} at {steps}")
    return 0


def measure(config: GridConfig, folder: RunFolder) -> list[dict[str, Any]]:
    """Work through all batches, from where an earlier process left off; returns each form's fresh row."""
    saved = folder.restore()
    rows: list[dict[str, Any]] = saved.meta["rows"] if saved else []
    done = saved.step if saved else 0
    batches = list(work(config))
    measurer, checked = Measurer(config), time.monotonic()
    for number, (stage, form, chosen) in enumerate(batches):
        if number < done:
            continue
        fresh = stage == "fresh"
        chosen = best(rows, form, config.remeasured) if chosen is None else chosen
        theta = measurer.initial(
            config.fresh_repeats if fresh else config.repeats, _FRESH if fresh else _GRID
        )
        for point, n_tft in zip(chosen, measurer.count(form, chosen, theta), strict=True):
            row = {"stage": stage, **dataclasses.asdict(form), **dataclasses.asdict(point)}
            rows.append(row | {"n": theta.shape[-1], "n_tft": n_tft})
            folder.log(rows[-1])
        folder.progress(number + 1, len(batches))
        if time.monotonic() - checked >= config.checkpoint_seconds:
            folder.checkpoint(number + 1, {"batch": np.array(number + 1)}, {"rows": rows})
            checked = time.monotonic()
    # The first of a form's fresh rows is the point that the grid ranked first: it was not chosen by what it is judged by.
    return [
        next(row for row in rows if row["stage"] == "fresh" and _form(row) == form) for form in forms(config)
    ]
