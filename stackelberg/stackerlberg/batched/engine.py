"""Runs an experiment on the batched engine: conditions that share a program in one batch, block after block.

A run folder belongs to a seed and holds every condition. Lanes are ``condition * S + seed``; all seeds of a process
go block by block together, and so do their checkpoints.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from common.cli import UserError
from common.runs import RunFolder

from ..experiments.catalogue import Condition
from ..launch import Launch
from . import followers, report, schedule, translate
from .schedule import LEADER, POST, PRE, Spec

#: seconds after which a run is saved again
CHECKPOINT_SECONDS = 30.0
#: programs this small compile longer than they run; one optimisation level less halves that and costs no speed
COMPILER = {"xla_backend_optimization_level": 1}
_PHASES = {PRE: schedule.pretrain, LEADER: schedule.train_leader, POST: schedule.post_train}


@dataclass(frozen=True)
class Block:
    """Some iterations of a phase, logged as one row."""

    phase: int
    first: int
    count: int


@dataclass(frozen=True)
class Group:
    """Conditions that share a program."""

    spec: Spec
    conditions: tuple[Condition, ...]
    blocks: tuple[Block, ...]


def choose_device(device: str) -> str:
    """Settle JAX's platform for the process; returns ``cpu`` or the accelerator's name.

    On a CPU, XLA gets one thread unless NPROC says otherwise: with two, jaxlib 0.10.2 can deadlock.

    Raises:
        UserError: it is not there.
    """
    os.environ.setdefault("NPROC", "1")
    if device != "auto":
        jax.config.update("jax_platforms", device)
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        found = jax.default_backend()
    except (RuntimeError, AssertionError):
        found = None
    if found is None or (device == "cuda" and found == "cpu"):  # JAX keeps the platform of an earlier run
        raise UserError(
            f"--device {device} can't be used: JAX finds no such device here; --device cpu always works"
        )
    return found


def leader_iterations(condition: Condition, spec: Spec, max_env_steps: int | None) -> int:
    """How many iterations the leader gets."""
    configuration = condition.configuration
    wanted = configuration.outer_iterations * configuration.inner_iterations_leader
    if max_env_steps is not None:
        wanted = min(wanted, math.ceil(max_env_steps / translate.counters(spec)["leader"]))
    return wanted


def _blocks(condition: Condition, spec: Spec, launch: Launch) -> tuple[Block, ...]:
    configuration = condition.configuration
    lengths = {
        PRE: configuration.pre_training_iterations,
        LEADER: leader_iterations(condition, spec, launch.experiment.max_env_steps),
        POST: configuration.post_training_iterations,
    }
    every = launch.log_every
    return tuple(
        Block(phase, first, min(every, length - first))
        for phase, length in lengths.items()
        for first in range(0, length, every)
    )


def plan(launch: Launch) -> list[Group]:
    """The experiment's conditions, grouped by what has to be compiled."""
    groups: dict[tuple, list[Condition]] = {}
    for condition in launch.experiment.conditions:
        spec = translate.spec_of(condition.configuration)
        files = (
            condition.configuration.pretrain_load_checkpoint,
            condition.configuration.pretrain_save_checkpoint,
        )
        groups.setdefault((spec, _blocks(condition, spec, launch), files), []).append(condition)
    return [Group(spec, tuple(found), blocks) for (spec, blocks, _), found in groups.items()]


@functools.lru_cache(maxsize=64)
def _compiled(spec: Spec, phase: int):
    return jax.jit(functools.partial(_PHASES[phase], spec), donate_argnums=1, compiler_options=COMPILER)


def _program(spec: Spec, phase: int):
    """A phase's program; pre-training against random leaders is the same whatever the leader's own settings."""
    if phase == PRE and spec.randomize_leader:
        protocol = dataclasses.replace(spec.protocol, hidden_queries=False)
        leader = dataclasses.replace(spec.leader, learned_steps=spec.leader.steps)
        spec = dataclasses.replace(spec, protocol=protocol, leader=leader)
    return _compiled(spec, phase)


# --- state on the disk -------------------------------------------------------------------------------------------


def _is_lane(leaf: Any, lanes: int) -> bool:
    return np.ndim(leaf) > 0 and np.shape(leaf)[-1] == lanes


def to_arrays(state: Mapping[str, Any], seeds: int, lanes: int) -> list[dict[str, np.ndarray]]:
    """One dictionary of named arrays for each seed; what all lanes share is in every one."""
    kept = {name: value for name, value in state.items() if name != "keys"}
    leaves, _ = jax.tree_util.tree_flatten_with_path(jax.device_get(kept))
    found: list[dict[str, np.ndarray]] = [{} for _ in range(seeds)]
    for path, leaf in leaves:
        for seed in range(seeds):
            value = np.asarray(leaf)
            if _is_lane(value, lanes):
                value = value.reshape(*value.shape[:-1], lanes // seeds, seeds)[..., seed]
            found[seed][jax.tree_util.keystr(path)] = value
    return found


def from_arrays(
    like: Mapping[str, Any], arrays: Sequence[Mapping[str, np.ndarray]], lanes: int
) -> dict[str, Any]:
    """The state that `to_arrays` took apart, for the same seeds in the same order.

    Raises:
        UserError: the arrays belong to another program.
    """
    kept = {name: value for name, value in like.items() if name != "keys"}
    leaves, structure = jax.tree_util.tree_flatten_with_path(kept)
    values = []
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path)
        if any(name not in each for each in arrays):
            raise UserError(f"the checkpoint lacks {name}; delete the run's folder to start afresh")
        value = np.asarray(arrays[0][name])
        if _is_lane(leaf, lanes):
            value = np.stack([each[name] for each in arrays], axis=-1).reshape(*value.shape[:-1], lanes)
        values.append(jnp.asarray(value))
    return dict(jax.tree_util.tree_unflatten(structure, values)) | {"keys": like["keys"]}


def _resume(folders: Mapping[int, RunFolder]) -> tuple[int, list[dict[str, np.ndarray]]]:
    """The last moment that all seeds have on the disk: blocks done and each seed's arrays.

    A kill can fall between two seeds' checkpoints; then the newer ones are dropped (two are kept of each).
    """
    newest = {}
    for seed, run in folders.items():
        steps = [int(path.stem) for path in (run.path / "checkpoints").glob("*.npz")]
        newest[seed] = max(steps, default=0)
    common = min(newest.values())
    for run in folders.values():
        for path in (run.path / "checkpoints").glob("*.npz"):
            if int(path.stem) > common:
                path.unlink()
    saved = {seed: run.restore() for seed, run in folders.items()}
    if any(each is None or each.step != common for each in saved.values()):
        for run in folders.values():  # nothing in common that is whole: all start afresh
            for path in (run.path / "checkpoints").glob("*.npz"):
                path.unlink()
            run.restore()
        return 0, []
    return common, [each.arrays for each in saved.values()]


# --- running --------------------------------------------------------------------------------------------------


class _Batch:
    """One group's lanes on the device."""

    def __init__(self, launch: Launch, group: Group, folders: Mapping[int, RunFolder], root: Path):
        self.launch, self.group, self.folders, self.root = launch, group, folders, root
        self.spec, self.seeds = group.spec, list(folders)
        self.lanes = len(group.conditions) * len(self.seeds)
        configurations = [condition.configuration for condition in group.conditions]
        self.data = translate.data_of(configurations, self.spec, len(self.seeds))
        # DEVIATION(Q3): purposes are folded into the key; the original added offsets to the seed, which could overflow
        keys = jnp.stack([jax.random.PRNGKey(seed) for seed in self.seeds])
        make = jax.jit(lambda keys: schedule.fresh(self.spec, keys, self.lanes), compiler_options=COMPILER)
        self.state = make(keys)
        self._load_followers()

    def lane(self, c: int, s: int) -> int:
        return c * len(self.seeds) + s

    def _files(self, key: str):
        for c, condition in enumerate(self.group.conditions):
            name = getattr(condition.configuration, key)
            if name:
                for s, seed in enumerate(self.seeds):
                    alone = self.lanes == 1
                    yield (
                        self.lane(c, s),
                        condition,
                        followers.path_of(name, self.root, condition, seed, alone),
                    )

    def _load_followers(self) -> None:
        files = list(self._files("pretrain_load_checkpoint"))
        if not files:
            return
        params = {name: np.array(value) for name, value in self.state["follower"].params.items()}
        for lane, condition, path in files:
            shapes = {name: value.shape[:-1] for name, value in params.items()}
            for name, value in followers.load(path, self.spec, condition, shapes).items():
                params[name][..., lane] = value
        self.state["follower"] = self.state["follower"]._replace(params=jax.tree.map(jnp.asarray, params))

    def _save_followers(self) -> None:
        params = jax.device_get(self.state["follower"].params)
        for lane, condition, path in self._files("pretrain_save_checkpoint"):
            values = {name: np.asarray(value)[..., lane] for name, value in params.items()}
            followers.save(path, self.spec, condition, values)

    def run(self, number: int) -> None:
        """One block: compute, log a row for every lane."""
        block = self.group.blocks[number]
        begins = number == 0 or self.group.blocks[number - 1].phase != block.phase
        if block.phase == POST and begins:
            self.state = schedule.restart_follower(self.spec, self.state)
        program = _program(self.spec, block.phase)
        self.state, found = program(self.data, self.state, np.int32(block.first), np.int32(block.count))
        found = jax.device_get(found)
        tables = None if self.data.tables is None else np.asarray(self.data.tables.stackelberg)
        ends = number + 1 == len(self.group.blocks) or self.group.blocks[number + 1].phase != block.phase
        for s, seed in enumerate(self.seeds):
            for c, condition in enumerate(self.group.conditions):
                lane = self.lane(c, s)
                value = None if tables is None else float(tables[lane])
                row = report.row(
                    self.spec, block.phase, block.first + block.count, condition, found, lane, value, ends
                )
                self.folders[seed].log(row)
                if self.launch.print_rows:
                    print(report.printed(seed, row), flush=True)
        if block.phase == PRE and ends:
            report.certify(self.launch.certify, self.group.conditions, self.seeds, found)
            self._save_followers()


def train(
    launch: Launch, folders: Mapping[int, RunFolder], shown: Callable[[float], None], root: Path
) -> None:
    """Train every seed and condition; resumes what was interrupted.

    Args:
        folders: an open run folder for each seed.
        shown: told the share of the work that is done.
        root: the run root (followers' files are below it).
    """
    groups = plan(launch)
    work = [max(1, sum(block.count for block in group.blocks)) for group in groups]
    done, arrays = _resume(folders)
    before, saved_at, finished_work = 0, time.monotonic(), 0
    for group, size in zip(groups, work, strict=True):
        last = before + len(group.blocks)
        if done < last:
            batch = _Batch(launch, group, folders, root)
            if done > before:
                batch.state = from_arrays(batch.state, arrays, batch.lanes)
            for number in range(done - before, len(group.blocks)):
                batch.run(number)
                done += 1
                if done == last or time.monotonic() - saved_at > CHECKPOINT_SECONDS:
                    _checkpoint(folders, done, batch)
                    saved_at = time.monotonic()
                part = sum(each.count for each in group.blocks[: number + 1])
                shown((finished_work + part) / sum(work))
        before, finished_work = last, finished_work + size
    for run in folders.values():
        run.finish(report.summary(run.metrics()))


def _checkpoint(folders: Mapping[int, RunFolder], done: int, batch: _Batch) -> None:
    arrays = to_arrays(batch.state, len(folders), batch.lanes)
    for run, each in zip(folders.values(), arrays, strict=True):
        run.checkpoint(done, each)
