"""Runs an experiment on RLlib: a trial per condition and seed, side by side with Tune, or one after the other.

The rows are those of the batched engine. This process alone writes run folders; trials, wherever they run, send rows. A row
that comes twice, because a trial went on from before it, is logged once: it is the same to the last bit.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common import checkpoints
from common.cli import UserError
from common.runs import RunFolder

from ..experiments.catalogue import Condition
from ..launch import Launch
from . import cluster

#: seconds after which a session is saved again
CHECKPOINT_SECONDS = 30.0
#: how often a trial is taken up again whose node or process was lost
MAX_FAILURES = 10

Shown = Callable[[float], None]


class Ledger:
    """The run folders of a launch, filled with rows in any order."""

    def __init__(self, folders: Mapping[int, RunFolder], total: int, shown: Shown, print_rows: bool):
        self.folders, self.total, self.shown, self.print_rows = folders, total, shown, print_rows
        self.saved = {seed: run.restore() for seed, run in folders.items()}
        self._rows = {seed: {_about(row): row for row in run.metrics()} for seed, run in folders.items()}

    def add(self, seed: int, row: Mapping[str, Any]) -> None:
        """Log a row that is new; on return it is on the disk."""
        if seed not in self.folders or _about(row) in self._rows[seed]:
            return
        self._rows[seed][_about(row)] = dict(row)
        self.folders[seed].log(row)
        if self.print_rows:
            print(json.dumps({"seed": seed, **row}), flush=True)
        done = sum(map(len, self._rows.values()))
        self.shown(min(done / max(self.total, 1), 1.0))

    def keep(self, seed: int, arrays: Mapping[str, np.ndarray] | None = None, label: str = "") -> None:
        """Make what is logged of a seed lasting, with a session's arrays where it is this process that runs it."""
        meta = {"condition": label, "session": arrays is not None}
        self.folders[seed].checkpoint(len(self._rows[seed]), arrays or {}, meta)

    def has(self, seed: int, about: tuple[str, int, int]) -> bool:
        return about in self._rows[seed]

    def rows_of(self, seed: int) -> list[dict[str, Any]]:
        return list(self._rows[seed].values())

    def finish(self, conditions: Sequence[Condition]) -> None:
        """Close every folder, its rows in the order of conditions, phases and iterations."""
        place = {condition.label: k for k, condition in enumerate(conditions)}
        for seed, run in self.folders.items():
            self.keep(seed)
            lines = (run.path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
            ordered = sorted(lines, key=lambda line: _order(json.loads(line), place))
            # the length stays the same, so a kill here leaves the checkpoint's mark right
            checkpoints.write_atomically(run.path / "metrics.jsonl", b"".join(ordered))
            run.finish(_summary([json.loads(line) for line in ordered]))


def _about(row: Mapping[str, Any]) -> tuple[str, int, int]:
    return row["condition"], row["phase"], row["iteration"]


def _order(row: Mapping[str, Any], place: Mapping[str, int]) -> tuple[int, int, int]:
    label, phase, iteration = _about(row)
    return place[label], phase, iteration


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    last: dict[str, dict[str, Any]] = {}
    for each in rows:
        last.setdefault(each["condition"], {})[str(each["phase"])] = dict(each)
    return {"conditions": last}


@dataclass(frozen=True)
class Files:
    """Followers' files, which this process reads and writes for the trials."""

    launch: Launch
    root: Path

    def _path(self, key: str, condition: Condition, seed: int) -> Path | None:
        from ..batched import followers

        name = getattr(condition.configuration, key)
        alone = len(self.launch.seeds) * len(self.launch.experiment.conditions) == 1
        return followers.path_of(name, self.root, condition, seed, alone) if name else None

    @staticmethod
    def _spec(condition: Condition):
        from ..batched import translate

        try:
            return translate.spec_of(condition.configuration)
        except UserError:
            raise UserError(
                f"follower files hold policies of the query protocol; env {condition.configuration.env} with these "
                "arguments does not follow it: leave out pretrain_load_checkpoint and pretrain_save_checkpoint"
            ) from None

    def load(self, condition: Condition, seed: int) -> dict[str, list] | None:
        """A follower's parameters under this engine's names, as lists."""
        from ..batched import followers
        from .setting import Setting

        path = self._path("pretrain_load_checkpoint", condition, seed)
        if path is None:
            return None
        fresh = Setting(condition.configuration).fresh("agent_1", np.random.default_rng(0))
        shapes = {
            _name(key): value.shape[1:] if key == "value.weight" else value.shape
            for key, value in fresh.items()
        }
        found = followers.load(path, self._spec(condition), condition, shapes)
        return {key: np.reshape(found[_name(key)], value.shape).tolist() for key, value in fresh.items()}

    def save(self, condition: Condition, seed: int, weights: Mapping[str, Any]) -> None:
        """Write a pre-trained follower where the configuration says."""
        from ..batched import followers

        path = self._path("pretrain_save_checkpoint", condition, seed)
        if path is not None:
            arrays = {_name(key): np.asarray(value, np.float32) for key, value in weights.items()}
            if "value" in arrays:
                arrays["value"] = arrays["value"][0]
            followers.save(path, self._spec(condition), condition, arrays)


def _name(key: str) -> str:
    """The batched engine's name of a parameter: ``layer0`` for ``layers.0.weight``."""
    if key == "value.weight":
        return "value"
    _, number, kind = key.split(".")
    return f"{'layer' if kind == 'weight' else 'bias'}{number}"


def choose_device(device: str) -> str:
    """Where this engine computes: on the CPU, which for its small tables is faster than a transfer.

    Raises:
        UserError: another device is asked for.
    """
    if device == "cuda":
        raise UserError(
            "--device cuda: engine rllib trains its tables on the CPU; use --engine batched on a GPU"
        )
    return "cpu"


def train(launch: Launch, folders: Mapping[int, RunFolder], shown: Shown, root: Path) -> None:
    """Train every seed and condition; takes up what was interrupted.

    Args:
        folders: an open run folder for each seed.
        shown: told the share of the rows that are done.
        root: the run root; Tune's own files are in its folder ``ray_results``.

    Raises:
        UserError: what this engine can't do, or a Ray that can't be had.
    """
    cluster.quiet()
    from .session import blocks_of
    from .setting import Setting

    conditions = launch.experiment.conditions
    blocks = {}
    for condition in conditions:
        setting = Setting(condition.configuration)
        setting.check()
        blocks[condition.label] = blocks_of(setting, launch.log_every, launch.experiment.max_env_steps)
    total = len(folders) * sum(map(len, blocks.values()))
    ledger = Ledger(folders, total, shown, launch.print_rows)
    files = Files(launch, Path(root))
    pending = [
        (condition, seed)
        for seed in folders
        for condition in conditions
        if blocks[condition.label] and not _complete(ledger, seed, condition, blocks[condition.label])
    ]
    with cluster.started(launch.ray):
        if launch.print_rows or launch.ray.local_mode:
            _one_by_one(launch, pending, ledger, files)
        else:
            _with_tune(launch, pending, ledger, files, Path(root))
    _certify(launch, ledger, folders)
    missing = [
        (condition.label, seed)
        for seed in folders
        for condition in conditions
        if blocks[condition.label] and not _complete(ledger, seed, condition, blocks[condition.label])
    ]
    if missing:
        raise KeyboardInterrupt  # Tune was told to stop; the next start goes on where each trial was
    ledger.finish(conditions)


def _complete(ledger: Ledger, seed: int, condition: Condition, blocks: Sequence[Any]) -> bool:
    last = blocks[-1]
    return ledger.has(seed, (condition.label, last.phase, last.first + last.count))


def _keywords(launch: Launch, files: Files, condition: Condition, seed: int) -> dict[str, Any]:
    return {
        "log_every": launch.log_every,
        "max_env_steps": launch.experiment.max_env_steps,
        "follower": files.load(condition, seed),
        "refuse": launch.certify == "refuse",
    }


def _one_by_one(launch: Launch, pending: Sequence[tuple], ledger: Ledger, files: Files) -> None:
    """Every session in this process."""
    from .session import Session

    for condition, seed in pending:
        session = Session(condition, seed, **_keywords(launch, files, condition, seed))
        saved = ledger.saved[seed]
        if saved is not None and saved.meta["session"] and saved.meta["condition"] == condition.label:
            session.restore(saved.arrays)
        since = time.monotonic()
        while not session.done:
            row = session.run()
            ledger.add(seed, row)
            turned = session.done or session.blocks[session.number].phase != row["phase"]
            if row["phase"] == 0 and turned:
                files.save(condition, seed, session.weights["agent_1"])
            if turned or time.monotonic() - since > CHECKPOINT_SECONDS:
                ledger.keep(seed, session.arrays(), condition.label)
                since = time.monotonic()
        session.close()
        if session.refused:
            return


# --- Tune ---------------------------------------------------------------------------------------------------------


def _with_tune(launch: Launch, pending: Sequence[tuple], ledger: Ledger, files: Files, root: Path) -> None:
    """Every session as a Tune trial on whatever cores Ray has."""
    from ray import tune

    from . import receiving
    from .trainable import Trial, task_of

    if not pending:
        return
    by_label = {condition.label: condition for condition in launch.experiment.conditions}
    addresses = sorted(run.path.name for run in ledger.folders.values())
    name = hashlib.sha256(" ".join(addresses).encode()).hexdigest()[:16]

    def received(result: Mapping[str, Any]) -> None:
        row, seed = json.loads(result["row"]), result["seed"]
        if seed not in ledger.folders:
            return
        ledger.add(seed, row)
        ledger.keep(seed)
        if "follower" in result:
            files.save(by_label[row["condition"]], seed, json.loads(result["follower"]))

    tasks = [
        task_of(condition, seed, **_keywords(launch, files, condition, seed)) for condition, seed in pending
    ]
    space = {"task": tune.grid_search(tasks), "checkpoint_seconds": CHECKPOINT_SECONDS}
    errors = receiving.fit(Trial, space, root / "ray_results", name, received, MAX_FAILURES)
    if errors:
        raise RuntimeError(f"{len(errors)} of {len(tasks)} trials failed; the first: {errors[0]}")


def _certify(launch: Launch, ledger: Ledger, folders: Mapping[int, RunFolder]) -> None:
    """Say, or refuse, that a pre-trained follower does not best-respond to every leader table.

    Raises:
        UserError: with ``refuse``, naming the first such follower.
    """
    if launch.certify == "report":
        return
    last = {c.label: c.configuration.pre_training_iterations for c in launch.experiment.conditions}
    ended = [
        (seed, row)
        for seed in folders
        for row in ledger.rows_of(seed)
        if row["phase"] == 0
        and row["iteration"] == last[row["condition"]]
        and "follower_best_responds/sum" in row
    ]
    key = "follower_best_responds"
    wanting = [each for each in ended if each[1][f"{key}/optimal"] < each[1][f"{key}/tables"]]
    if not wanting:
        return
    seed, row = wanting[0]
    text = (
        f"{len(wanting)} of {len(ended)} followers do not best-respond to every leader table; the first: "
        f"{row['condition'] or 'the follower'}, seed {seed}, {row[f'{key}/optimal']} of {row[f'{key}/tables']}, "
        f"regret {-row[f'{key}/sum']:.3g}"
    )
    if launch.certify == "refuse":
        raise UserError(f"{text}; pre-train longer or leave out --certify refuse")
    print(f"warning: {text}", file=sys.stderr)
