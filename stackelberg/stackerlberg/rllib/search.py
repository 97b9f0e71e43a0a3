"""``--hyperopt`` on this engine: Tune runs the samples side by side, on a cluster too, Optuna's TPE proposes them.

A sample is one trial: the experiment with some keys changed, trained with the seeds 0, 1, ... one after the other; its score
is the mean over them of a metric's last value. A search that was killed goes on: finished samples stay finished, the
others go on from their last checkpoints, and the sampler remembers all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune
from ray.tune import TuneConfig
from ray.tune.search.optuna import OptunaSearch

from common import checkpoints
from common.cli import UserError

from ..experiments import catalogue
from ..experiments.catalogue import STEPS
from ..launch import Launch
from ..program import run_root
from . import cluster, receiving
from .engine import CHECKPOINT_SECONDS, MAX_FAILURES
from .setting import Setting
from .trainable import Trial, session_of, task_of

METRIC = "leader_results/evaluation/policy_reward_mean/agent_0"
#: the original's sizes where an entry names none
REPEATS, TOTAL = 4, 1000
KINDS = {"loguniform": tune.loguniform, "uniform": tune.uniform}


def domains(space: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An entry's search space as Tune's domains.

    Raises:
        UserError: it is of another form.
    """
    found = {}
    for key, kind in space.items():
        if isinstance(kind, Mapping) and len(kind) == 1 and set(kind) <= {*KINDS, "choice"}:
            (form, values), *_ = kind.items()
            found[key] = tune.choice(values) if form == "choice" else KINDS[form](*values)
        else:
            raise UserError(f"{name}: the search space of {key} has to be loguniform, uniform or choice")
    return found


class Sample(Trial):
    """A sample: its repeats in turn. Results hold the finished repeats' `scores` and, at the end, their mean."""

    def setup(self, config: dict[str, Any]) -> None:
        experiment = catalogue.resolve(config["experiment"], [*config["settings"], *config["sample"].items()])
        self._tasks = [
            task_of(experiment.conditions[0], seed, **config["task"]) for seed in range(config["repeats"])
        ]
        self._metric, self.scores, self._last = config["metric"], [], float("nan")
        super().setup({"checkpoint_seconds": config["checkpoint_seconds"], "task": self._tasks[0]})

    def step(self) -> dict[str, Any]:
        found = super().step()
        row = json.loads(found["row"])
        if row.get(self._metric) is not None:
            self._last = row[self._metric]
        if found["done"]:
            self.scores.append(self._last)
            self.session.close()
            if len(self.scores) < len(self._tasks):
                self.session, self._last = session_of(self._tasks[len(self.scores)]), float("nan")
        done = len(self.scores) == len(self._tasks)
        known = self.scores or [self._last]
        return {"scores": json.dumps(self.scores), "score": float(np.mean(known)), "done": done} | {
            key: value for key, value in found.items() if key not in ("done", "row")
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        super().save_checkpoint(checkpoint_dir)
        kept = {"scores": self.scores, "last": self._last}
        Path(checkpoint_dir, "scores.json").write_text(json.dumps(kept), encoding="utf-8")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        kept = json.loads(Path(checkpoint_dir, "scores.json").read_text(encoding="utf-8"))
        self.scores, self._last = kept["scores"], kept["last"]
        if len(self.scores) < len(self._tasks):
            self.session.close()
            self.session = session_of(self._tasks[len(self.scores)])
        super().load_checkpoint(checkpoint_dir)


def search(launch: Launch) -> int:
    """Run the search; prints every sample and the best one.

    Raises:
        UserError: a search space that can't be, a metric that no result has, or a Ray that can't be had.
    """
    experiment, options = launch.experiment, launch.experiment.hyperopt
    metric, repeats = options.get("metric", METRIC), options.get("seeds", REPEATS)
    samples = max(1, (launch.hyperopt_samples or options.get("total_samples", TOTAL)) // repeats)
    space = domains(options["space"], experiment.name)
    Setting(experiment.conditions[0].configuration).check()
    folder = run_root(launch) / "ray_results"
    identity = [launch.identity(0), launch.settings, options, samples]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{launch.project}__{launch.group}-{experiment.name}-{digest}"
    journal = run_root(launch) / "searches" / f"{name}.json"
    finished = json.loads(journal.read_text("utf-8")) if journal.exists() else {}
    if finished:
        print(f"{experiment.name}: the search goes on after {len(finished)} samples")

    def received(result: Mapping[str, Any]) -> None:
        if not result["done"] or result["trial_id"] in finished:
            return
        values, scores = result["config"]["sample"], json.loads(result["scores"])
        finished[result["trial_id"]] = {"sample": values, "score": result["score"], "scores": scores}
        checkpoints.write_atomically(journal, json.dumps(finished, indent=1).encode())
        shown = ", ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in values.items()
        )
        receiving.said(f"sample {len(finished)} of {samples}: {shown}: {metric} {result['score']:.4f}")

    # DEVIATION(Q17): every trial resolves a tree of its own
    config = {
        "experiment": experiment.name,
        "settings": [list(pair) for pair in launch.settings],
        "sample": space,
        "repeats": repeats,
        "metric": metric,
        "checkpoint_seconds": CHECKPOINT_SECONDS,
        "task": {
            "log_every": launch.log_every,
            "max_env_steps": options.get("stop", {}).get(STEPS, experiment.max_env_steps),
        },
    }
    starts = [
        {f"sample/{key}": value for key, value in point.items()}
        for point in options.get("starting_points", [])
    ]
    proposer = OptunaSearch(metric="score", mode="max", points_to_evaluate=starts or None, seed=0)
    tuning = TuneConfig(search_alg=proposer, num_samples=samples, metric="score", mode="max")
    with cluster.started(launch.ray):
        errors = receiving.fit(Sample, config, folder, name, received, MAX_FAILURES, tuning)
    if errors:
        raise RuntimeError(f"{len(errors)} samples failed; the first: {errors[0]}")
    if len(finished) < samples:
        raise KeyboardInterrupt  # Tune was told to stop; the next start goes on
    best = max(finished.values(), key=lambda each: (np.isfinite(each["score"]), each["score"]))
    if not np.isfinite(best["score"]):
        raise UserError(f"no result has the metric {metric}")
    print(f"best: {json.dumps(best['sample'])}, {metric} {best['score']:.4f}")
    return 0
