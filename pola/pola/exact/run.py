"""Run one command of the exact games: epochs, log, checkpoints, prints and the summary of its run record.

``metrics.jsonl`` has one row per epoch: ``epoch``; ``values`` ``[R][2]``, both agents' discounted values; ``tft``, the
number of runs that have found tit-for-tat so far; ``row``, the mean policy in DD, DC, CD, CC, start with the own move
first; ``outer_iterations`` ``[R][2]`` in proximal mode; ``fit_steps`` ``[R][2]`` with opponent models.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.cli import UserError
from common.runs import RunFolder, RunSpec, source_digest
from common.tracking import chosen_mode, mirrored
from pola.exact import printing
from pola.exact.config import PROGRAM, Config
from pola.exact.experiment import Experiment, State

_HOME = Path(__file__).resolve().parents[2]


def run(config: Config, command: Sequence[str]) -> int:
    """Run a configuration to its end, from where an earlier process left it; a finished run is only reported.

    Args:
        command: the words that a person typed, for the run's record.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "--device cuda can't be used: PyTorch finds no such device here; --device cpu always works"
        )
    source = source_digest(_HOME / PROGRAM, [_HOME, _HOME.parent])
    folder = RunFolder.open(
        config.run_root, RunSpec(PROGRAM, config.identity(), source), command, config.device
    )
    if folder.finished:
        print(f"this run is finished already: {folder.path}")
    else:
        with mirrored(folder, chosen_mode(), project="pola"):
            folder.finish(_epochs(config, folder))
    printing.results(folder.summary)
    if config.value_plots:
        from pola.exact.value_plots import draw_runs

        draw_runs(config, folder)
    return 0


def _epochs(config: Config, folder: RunFolder) -> dict[str, Any]:
    """All epochs that are still to do; returns the run's summary."""
    experiment = Experiment(config)
    state, iterations, done = _restore(experiment, folder)
    began = saved = shown = time.monotonic()
    printing.header(config, experiment, state)
    for epoch in range(done + 1, config.epochs + 1):
        row: dict[str, Any] = {"epoch": epoch}
        if state.model is not None:
            state, steps = experiment.fit_models(state)
            row["fit_steps"] = _rows(steps)
        if config.print_inner:
            printing.anticipated(epoch, experiment.anticipated(state))
        watch = printing.ProxPrinter(experiment) if config.print_prox else None
        state, count = experiment.update(state, watch)
        outcome = experiment.outcome(state)
        row |= {"values": outcome.values.T.tolist(), "tft": int(state.tft.sum())}
        row["row"] = mean_policy(outcome.policies)
        if config.outer_prox:
            row["outer_iterations"] = _rows(count)
            iterations.append(count.to(torch.int64).cpu().numpy())
            printing.iterations(epoch, row["outer_iterations"])
        folder.log(row)
        if epoch % config.print_every == 0:
            printing.epoch(config, epoch, time.monotonic() - began, outcome)
        now = time.monotonic()
        if now - saved >= config.checkpoint_seconds and epoch < config.epochs:
            folder.checkpoint(epoch, _arrays(state, iterations))
            saved = time.monotonic()
        if now - shown >= 1.0:
            folder.progress(epoch, config.epochs)
            shown = now
    outcome = experiment.outcome(state)
    return {
        "proportion_tft": int(state.tft.sum()) / config.repeats,
        "n_tft": int(state.tft.sum()),
        "tft": state.tft.tolist(),
        "row": mean_policy(outcome.policies),
        "final_policies": outcome.policies.permute(2, 0, 1).tolist(),
        "values": outcome.values.T.tolist(),
        "iterations": _iteration_summary(iterations),
    }


def mean_policy(policies: torch.Tensor) -> list[float]:
    """The policy in own-move-first order, averaged over agents and runs, from ``[2, 5, R]``."""
    return policies.double().mean((0, 2)).tolist()


def _rows(pair: torch.Tensor) -> list[list[int]]:
    """Whole numbers ``[2, R]`` as a list over runs."""
    return pair.T.to(torch.int64).tolist()


def _arrays(state: State, iterations: list[np.ndarray]) -> dict[str, np.ndarray]:
    arrays = {"theta": state.theta.cpu().numpy(), "tft": state.tft.cpu().numpy()}
    if state.model is not None:
        arrays["model"] = state.model.cpu().numpy()
    return arrays | ({"iterations": np.stack(iterations)} if iterations else {})


def _restore(experiment: Experiment, folder: RunFolder) -> tuple[State, list[np.ndarray], int]:
    """The state of the newest checkpoint, or the start."""
    found = folder.restore()
    if found is None:
        return experiment.start(), [], 0
    state = experiment.start(found.arrays["theta"], found.arrays.get("model"))
    tft = torch.from_numpy(found.arrays["tft"]).to(state.tft.device)
    kept = list(found.arrays.get("iterations", ()))
    print(f"going on after epoch {found.step}")
    return State(state.theta, tft, state.model), kept, found.step


def _iteration_summary(iterations: list[np.ndarray]) -> dict[str, float] | None:
    """Outer iterations of one agent in one epoch: median and largest; and all of them together."""
    if not iterations:
        return None
    counts = np.stack(iterations)
    return {"median": float(np.median(counts)), "largest": int(counts.max()), "total": int(counts.sum())}
