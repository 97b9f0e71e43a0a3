"""What the script does around an engine: run folders, resume, logs, the success test.

An engine is a module with ``choose_device(device)`` and ``train(launch, folders, shown, root)``: it logs rows into each
seed's `RunFolder`, saves what it needs to go on, and finishes the folders. Its rows have ``phase``, ``iteration``,
``condition`` and the metrics of spec 6.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

from common import tracking
from common.cli import UserError
from common.progress import Progress
from common.runs import RunFolder, RunSpec, source_digest

from .experiments.catalogue import Experiment
from .launch import SCRIPT, Launch

#: seconds between two notes of how far a run is
PROGRESS_SECONDS = 1.0


def repository() -> Path:
    """The repository's root."""
    return Path(__file__).resolve().parents[2]


def run_root(launch: Launch) -> Path:
    """Where this launch's run folders are."""
    return Path(launch.run_root) if launch.run_root else repository() / "results" / "stackelberg" / "runs"


def _engine(launch: Launch) -> tuple[ModuleType, str]:
    """The engine, a module with `choose_device` and `train`, and what its source adds to a run's address.

    The RLlib engine is found by name, so that its code is no part of the batched runs' addresses.
    """
    home = repository() / "stackelberg"
    if launch.engine == "batched":
        from .batched import engine

        return engine, ""
    found = importlib.util.find_spec("stackerlberg.rllib.engine")
    if found is None:
        raise UserError("--engine rllib is not installed here; --engine batched is")
    module = importlib.import_module("stackerlberg.rllib.engine")
    return module, source_digest(Path(found.origin), [home, repository()])


def _open(launch: Launch, digest: str, device: str) -> dict[int, RunFolder]:
    root, folders = run_root(launch), {}
    for seed in launch.seeds:
        spec = RunSpec(SCRIPT, launch.identity(seed), digest)
        run = RunFolder.open(root, spec, [SCRIPT, *sys.argv[1:]], device)
        if run.finished:
            print(f"seed {seed}: finished before, see {run.path}")
        else:
            if run.record["sessions"] > 1:
                print(f"seed {seed}: going on where it was, in {run.path}")
            folders[seed] = run
    return folders


def address(launch: Launch, seed: int) -> Path:
    """The run folder of a seed, whether it is there or not."""
    _, extra = _engine(launch)
    home = repository() / "stackelberg"
    digest = source_digest(home / SCRIPT, [home, repository()]) + extra
    return run_root(launch) / RunSpec(SCRIPT, launch.identity(seed), digest).address


def run(launch: Launch) -> int:
    """Train every seed of a launch; repeats nothing that is finished."""
    if launch.hyperopt:
        from .search import search

        return search(launch)
    folders = train(launch)
    print("Finished training.")
    for seed in launch.seeds:
        _tell(launch.experiment, seed, folders[seed])
    print("Done!")
    return 0


def _log(mirror: Any, row: Mapping[str, Any]) -> None:
    """Conditions share a run folder; under wandb each is a group of curves."""
    label = row.get("condition")
    mirror.log({f"{label}/{key}" if label else key: value for key, value in row.items()})


def train(launch: Launch) -> dict[int, RunFolder]:
    """The launch's run folders, finished."""
    engine, extra = _engine(launch)
    device = engine.choose_device(launch.device)
    home = repository() / "stackelberg"
    digest = source_digest(home / SCRIPT, [home, repository()]) + extra
    mode = tracking.chosen_mode("online" if os.environ.get("WANDB_API_KEY") else "disabled")
    if launch.experiment.reconstruction:
        print(f"{launch.experiment.name}: a reconstruction ({launch.experiment.reconstruction})")
    folders = _open(launch, digest, device)
    if folders:
        bar = Progress(f"{launch.experiment.name} ({launch.engine})", 1.0)

        told = time.monotonic()

        def shown(share: float) -> None:
            nonlocal told
            bar.update(share)
            # a file per seed: written at every block, they take longer than the blocks do
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                for each in folders.values():
                    each.progress(share, 1.0)

        with ExitStack() as mirrors:
            for each in folders.values():
                mirror = tracking.mirrored(each, mode, _log, project=launch.project, group=launch.group)
                mirrors.enter_context(mirror)
            engine.train(launch, folders, shown, run_root(launch))
        bar.close()
    root = run_root(launch)
    return {
        seed: RunFolder.read(root / RunSpec(SCRIPT, launch.identity(seed), digest).address)
        for seed in launch.seeds
    }


def succeeded(experiment: Experiment, row: Mapping[str, Any]) -> bool | None:
    """The experiment's success test on a last row; None without one."""
    if not experiment.success:
        return None
    value = row.get(experiment.success["metric"])
    if value is None:
        return False
    if "equals" in experiment.success:
        return value == experiment.success["equals"]
    return value >= experiment.success["at_least"]


def _tell(experiment: Experiment, seed: int, folder: RunFolder) -> None:
    """One line per condition: where it ended, and the success test."""
    for label, phases in folder.summary["conditions"].items():
        row = phases.get("1") or next(iter(phases.values()))
        parts = [f"seed {seed}", *([label] if label else [])]
        for name, key in (
            ("leader", "leader_results/policy_reward_mean/agent_0"),
            ("evaluation", "leader_results/evaluation/policy_reward_mean/agent_0"),
            ("exact Stackelberg value", "exact/stackelberg_value"),
            ("follower's regret", "follower_best_responds/sum"),
        ):
            if row.get(key) is not None:
                parts.append(f"{name} {row[key]:.2f}")
        verdict = succeeded(experiment, row)
        if verdict is not None:
            parts.append("success" if verdict else "warning: the success condition does not hold")
        print(", ".join(parts))
