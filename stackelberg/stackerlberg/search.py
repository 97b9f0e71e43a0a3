"""``--hyperopt``: a search over an experiment's search space with Optuna's TPE, resumable (spec 2.2).

Each sample is the experiment with some keys changed, repeated with the seeds 0, 1, ... side by side; its score is the
mean over them of a metric's last value. Starting points come first. The study is a journal file below the run root, and
each sample's runs are ordinary run folders: a search that was killed goes on with the next sample.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.cli import UserError

from .experiments import catalogue
from .launch import Launch
from .program import run_root, train

METRIC = "leader_results/evaluation/policy_reward_mean/agent_0"
#: the original's sizes where an entry names none
REPEATS, TOTAL = 4, 1000


def _check(space: Mapping[str, Any], name: str) -> None:
    for key, kind in space.items():
        if not isinstance(kind, Mapping) or set(kind) not in ({"loguniform"}, {"uniform"}, {"choice"}):
            raise UserError(f"{name}: the search space of {key} has to be loguniform, uniform or choice")


def _suggest(trial, space: Mapping[str, Any]) -> list[tuple[str, Any]]:
    values = []
    for key, kind in space.items():
        if "choice" in kind:
            values.append((key, trial.suggest_categorical(key, kind["choice"])))
        else:
            form, (low, high) = next(iter(kind.items()))
            values.append((key, trial.suggest_float(key, low, high, log=form == "loguniform")))
    return values


def score(summaries: list[Mapping[str, Any]], metric: str) -> float:
    """Mean over seeds of a metric's last value.

    Raises:
        UserError: no row has it.
    """
    found = []
    for summary in summaries:
        (phases,) = summary["conditions"].values()
        for phase in sorted(phases, reverse=True):
            if phases[phase].get(metric) is not None:
                found.append(phases[phase][metric])
                break
    if not found:
        raise UserError(f"no result has the metric {metric}")
    return float(np.mean(found))


def _study(launch: Launch, path: Path):
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path.parent.mkdir(parents=True, exist_ok=True)
    return optuna.create_study(
        study_name=launch.experiment.name,
        storage=JournalStorage(JournalFileBackend(str(path))),
        sampler=optuna.samplers.TPESampler(seed=0),
        direction="maximize",
        load_if_exists=True,
    )


def journal(launch: Launch) -> Path:
    """The study's file: one per experiment, engine, changed keys and log interval."""
    text = json.dumps(
        [launch.experiment.name, launch.engine, launch.log_every, launch.settings], sort_keys=True
    )
    return (
        run_root(launch)
        / "searches"
        / f"{launch.experiment.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.journal"
    )


def search(launch: Launch, evaluate: Callable[[Launch], Any] = train) -> int:
    """Run the search; prints the best sample.

    Args: `evaluate` trains a launch and gives its finished folders.
    """
    if launch.engine == "rllib":
        return importlib.import_module("stackerlberg.rllib.search").search(launch)
    from optuna.trial import TrialState

    options = launch.experiment.hyperopt
    space, metric = options["space"], options.get("metric", METRIC)
    _check(space, launch.experiment.name)
    repeats = options.get("seeds", REPEATS)
    samples = max(1, (launch.hyperopt_samples or options.get("total_samples", TOTAL)) // repeats)
    study = _study(launch, journal(launch))
    done = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    if not study.trials:
        for point in options.get("starting_points", []):
            study.enqueue_trial(point)
    else:
        for trial in study.trials:  # what a kill cut short is asked again
            if trial.state == TrialState.RUNNING:
                study.tell(trial.number, state=TrialState.FAIL)
                study.enqueue_trial(trial.params, skip_if_exists=False)
        print(f"{launch.experiment.name}: the search goes on after {len(done)} samples")
    for number in range(len(done), samples):
        trial = study.ask()
        values = _suggest(trial, space)
        experiment = catalogue.resolve(launch.experiment.name, [*launch.settings, *values])
        folders = evaluate(launch.with_experiment(experiment, range(repeats)))
        value = score([folder.summary for folder in folders.values()], metric)
        study.tell(trial, value)
        shown = ", ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in values
        )
        print(f"sample {number + 1} of {samples}: {shown}: {metric} {value:.4f}", flush=True)
    if not any(trial.state == TrialState.COMPLETE for trial in study.trials):
        print("nothing was sampled", file=sys.stderr)
        return 1
    print(f"best: {json.dumps(study.best_params)}, {metric} {study.best_value:.4f}")
    return 0
