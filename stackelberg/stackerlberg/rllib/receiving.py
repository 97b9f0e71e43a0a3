"""Tune, asked to run trials and to hand every result over at once; a run of trials that was killed goes on."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner

Received = Callable[[Mapping[str, Any]], None]

#: who gets the results of a run of trials that this process fits, by its name: a callback is pickled with the run
_receivers: dict[str, Received] = {}


def _folder_of(trial: Any) -> str:
    """A trial's folder; Tune's own name for it spells out the whole task."""
    return trial.trial_id


def said(text: str) -> None:
    """Print a line past the silence in which Tune runs."""
    print(text, file=sys.__stdout__, flush=True)


class HandOver(Callback):
    """Gives each result to the receiver of its run before Tune notes that the trial is that far."""

    def __init__(self, name: str):
        self.name = name

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        _receivers[self.name](result)


def fit(
    trainable: type,
    space: Mapping[str, Any],
    folder: Path,
    name: str,
    received: Received,
    max_failures: int,
    tuning: TuneConfig | None = None,
    cpus: int = 1,
) -> list[Exception]:
    """Run all trials to their end; returns the errors of those that failed for good.

    Args:
        folder: every node must see it (a shared file system); the run's own folder is `name` in it. If that holds an
            interrupted run, its finished trials stay finished and the others go on from their last checkpoints.
        max_failures: how often a trial whose node or process is lost starts again from its last checkpoint.
        tuning: a search; None runs the grid of `space`.
    """
    resources = tune.with_resources(trainable, {"cpu": cpus})
    path = Path(folder).resolve() / name
    _receivers[name] = received
    try:
        if Tuner.can_restore(str(path)):
            tuner = Tuner.restore(
                str(path), resources, resume_unfinished=True, resume_errored=True, param_space=dict(space)
            )
        else:
            tuner = Tuner(
                resources,
                param_space=dict(space),
                tune_config=tuning or TuneConfig(reuse_actors=True, trial_dirname_creator=_folder_of),
                run_config=RunConfig(
                    name=name,
                    storage_path=str(Path(folder).resolve()),
                    verbose=0,
                    callbacks=[HandOver(name)],
                    failure_config=FailureConfig(max_failures=max_failures),
                    checkpoint_config=CheckpointConfig(num_to_keep=2),
                ),
            )
        with contextlib.redirect_stdout(io.StringIO()):  # Tune prints tables of its own
            found = tuner.fit()
    finally:
        del _receivers[name]
    return list(found.errors)
