"""What a launcher does around the algorithm: run folders, seeds side by side, resume, logs, saved agents."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from common import tracking
from common.cli import UserError
from common.progress import Progress
from common.runs import RunFolder, RunSpec, source_digest
from iqflow.config.loading import Launch, Settings
from iqflow.trainer import storage
from iqflow.trainer.output import Output
from iqflow.utils import trees

#: a run is also saved when so many seconds have passed since it last was, and so many times the seconds that saving takes
CHECKPOINT_SECONDS, CHECKPOINT_TIMES = 60.0, 20.0
#: a chunk of episodes is split when it would take longer than this, so that a killed run loses little
CHUNK_SECONDS = 60.0
#: XLA compiles in half the time at level 0; what it makes is slower, which a run of fewer episodes does not notice
QUICKLY_COMPILED = {"xla_backend_optimization_level": 0}
SHORT_RUN = 30


class Trainer(Protocol):
    """An algorithm as this module runs it; `fresh`, `advance` and `probe` are pure and are compiled here."""

    settings: Settings

    def fresh(self, seed) -> Any:
        """The state before the first episode (`seed` uint32)."""

    def advance(self, state, n, reset, evaluate) -> tuple[Any, Any]:
        """New followers if `reset`; then `n` (int32) episodes; then an evaluation if `evaluate`, zeros otherwise."""

    def row(self, report: Any) -> dict[str, Any]:
        """The log's columns from one evaluation (NumPy); ValueError if the lane has failed."""

    def probe(self, state) -> Any:
        """[replaced follower, scripted agent, (mean, standard error)], or None where there are none."""

    def agents(self, state) -> dict[str, Any]:
        """``{"mechanism": tree, "followers": tree}`` for the file of agents."""

    def score(self, rows: Sequence[dict[str, Any]]) -> float:
        """What the tuner maximises, from all evaluations."""


@dataclass
class Lane:
    """One seed of a process; `done` counts episodes."""

    seed: int
    run: RunFolder
    output: Output
    state: Any = None
    done: int = 0
    walltime: float = 0.0
    failed: str = ""

    def fail(self, reason: str) -> None:
        """Give this seed up; the others go on."""
        self.failed = reason
        print(f"seed {self.seed} failed: {reason}", file=sys.stderr, flush=True)


def choose_device(device: str, gpus: str = "") -> str:
    """Settle JAX's platform for the process; returns ``cpu`` or the accelerator's name.

    On a CPU, XLA gets one thread unless NPROC says otherwise: with two, jaxlib 0.10.2 can deadlock in large scans.

    Raises:
        UserError: it is not there.
    """
    os.environ.setdefault("NPROC", "1")
    if device != "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus or os.environ.get("CUDA_VISIBLE_DEVICES", "0")
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if device != "auto":
        jax.config.update("jax_platforms", device)
    try:
        return jax.default_backend()
    except (RuntimeError, AssertionError):  # JAX raises either, depending on what is missing
        raise UserError(
            f"--device {device} can't be used: JAX finds no such device here; --device cpu always works"
        ) from None


def repository_of(script: Path) -> Path:
    """The repository that a script of this paper stands in."""
    return next(
        folder for folder in script.resolve().parents if (folder / "iqflow" / "pyproject.toml").exists()
    )


# --- opening and resuming ----------------------------------------------------------------------------------------


def _open_lane(launch: Launch, seed: int, script: Path, device: str, digest: str) -> Lane:
    repository = repository_of(script)
    root = Path(launch.run_root) if launch.run_root else repository / "results" / "iqflow" / "runs"
    name = str(script.resolve().relative_to(repository / "iqflow"))
    spec = RunSpec(name, launch.identity(seed), digest)
    output = Output(root / spec.address if launch.run_root else launch.output_folder(seed))
    output.check(spec.config)
    run = RunFolder.open(root, spec, [name, *sys.argv[1:]], device)
    if not run.finished:
        output.claim(spec.config)
    return Lane(seed, run, output)


def _common_step(lanes: Sequence[Lane]) -> None:
    """Seeds that were side by side go on from one episode, so that a resumed run computes what a whole one does.

    A kill between two seeds' checkpoints leaves some a checkpoint ahead; the newest one that all have is kept.
    """
    folders = [lane.run.path / "checkpoints" for lane in lanes]
    steps = [{path.name for path in folder.glob("*.npz")} for folder in folders]
    shared = set.intersection(*steps) if steps else set()
    if shared:
        for folder, names in zip(folders, steps, strict=True):
            for name in names:
                if name > max(shared):
                    (folder / name).unlink()


def _restore(lane: Lane, like: Any, fresh: Callable[[], Any]) -> None:
    saved = lane.run.restore()
    if saved is None:
        lane.state = fresh()
        return
    what = f"the checkpoint in {lane.run.path}"
    lane.state = trees.from_arrays(like, saved.arrays, what)
    lane.done, lane.walltime = saved.step, saved.meta["walltime"]
    print(f"seed {lane.seed}: going on after episode {lane.done}")


def open_lanes(launch: Launch, script: Path, device: str, trainer: Trainer) -> list[Lane]:
    """Every seed's lane but those that can't be opened, which are named on stderr."""
    home = repository_of(script)
    digest = source_digest(script, [home / "iqflow", home])
    opened = []
    for seed in launch.seeds:
        try:
            lane = _open_lane(launch, seed, script, device, digest)
        except UserError as error:
            if len(launch.seeds) == 1:
                raise
            print(f"seed {seed} failed: {error}", file=sys.stderr, flush=True)
            continue
        opened.append(lane)
        if lane.run.finished:
            print(f"seed {seed}: finished before, see {lane.run.path}")
    lanes = [lane for lane in opened if not lane.run.finished]
    _common_step(lanes)
    make = jax.jit(trainer.fresh, compiler_options=QUICKLY_COMPILED)
    like = jax.eval_shape(trainer.fresh, np.uint32(0))
    for lane in lanes:
        _restore(lane, like, lambda lane=lane: make(np.uint32(lane.seed)))
    return opened


# --- training ----------------------------------------------------------------------------------------------------


def next_stop(settings: Settings, done: int, limit: int) -> int:
    """The next episode at which something happens: an evaluation, a reset of the followers, or the end."""
    periods = (settings.schedule.period, settings.main.agent_reset_period)
    return min([limit, *(done // every * every + every for every in periods if every)])


class Batch:
    """Seeds at the same episode, advanced together in one compiled call."""

    def __init__(self, launch: Launch, trainer: Trainer, shown: Callable[[], None]):
        self.launch, self.trainer, self.settings, self.shown = launch, trainer, launch.settings, shown
        self.last = launch.settings.schedule.n_episodes
        options = QUICKLY_COMPILED if self.last < SHORT_RUN else None
        advance = jax.vmap(trainer.advance, in_axes=(0, None, None, None))
        self.step = jax.jit(advance, donate_argnums=0, compiler_options=options)
        self.measure = jax.jit(trainer.probe, compiler_options=options)
        self.pace = 0.0  # seconds per episode of the quickest chunk so far: the first one compiles
        self.saved, self.saving = time.monotonic(), 0.0

    def run(self, lanes: Sequence[Lane], limit: int) -> None:
        """Advance lanes at one episode up to episode `limit`; their states are handed back in the lanes."""
        state = jax.tree.map(lambda *leaves: np.stack(leaves), *(lane.state for lane in lanes))
        for lane in lanes:
            lane.state = None
        done = lanes[0].done
        if done == 0:
            self._probe_first(lanes, state)
        while done < limit:
            goal = next_stop(self.settings, done, limit)
            n = min(goal - done, max(1, int(CHUNK_SECONDS / self.pace)) if self.pace else goal)
            state, report = self._chunk(state, done, n)
            done += n
            for lane in lanes:
                lane.done, lane.walltime = done, lane.walltime + self.seconds
            if self._evaluates(done):
                self._record(lanes, state, jax.device_get(report))
            self._save(lanes, state, last=done == self.last)
            self.shown()
            if all(lane.failed for lane in lanes):
                break
        for number, lane in enumerate(lanes):
            if done < self.last:
                lane.state = _lane(state, number)
            elif not lane.failed:
                self._guard(lane, self._finish, lane)

    def _evaluates(self, done: int) -> bool:
        return done % self.settings.schedule.period == 0 or done == self.last

    def _chunk(self, state: Any, done: int, n: int) -> tuple[Any, Any]:
        began, every = time.monotonic(), self.settings.main.agent_reset_period
        reset = bool(every) and done > 0 and done % every == 0
        evaluate = self._evaluates(done + n)
        state, report = jax.block_until_ready(self.step(state, np.int32(n), reset, evaluate))
        self.seconds = time.monotonic() - began
        self.pace = min(self.pace, self.seconds / n) if self.pace else self.seconds / n
        return state, report

    def _guard(self, lane: Lane, work: Callable, *args: Any) -> None:
        """What goes wrong with one seed's files or numbers stays with that seed."""
        try:
            work(*args)
        except (OSError, UserError, ValueError) as error:
            lane.fail(str(error))

    def _probe_first(self, lanes: Sequence[Lane], state: Any) -> None:
        for number, lane in enumerate(lanes):
            found = self.measure(_lane(state, number))
            if found is not None:
                lane.run.log({"episode": 0, "probe": np.asarray(found)})

    def _record(self, lanes: Sequence[Lane], state: Any, reports: Any) -> None:
        shown = []
        for number, lane in enumerate(lanes):
            if not lane.failed:
                self._guard(lane, self._record_lane, lane, number, state, reports, shown)
        if shown:
            name = next(iter(shown[0]))
            numbers = " ".join(f"{row[name]:.2f}" for row in shown)
            print(f"episode {lanes[0].done}: {name} {numbers}", flush=True)

    def _record_lane(self, lane: Lane, number: int, state: Any, reports: Any, shown: list) -> None:
        main = self.settings.main
        report = jax.tree.map(lambda leaf: leaf[number], reports)
        row = {"episode": lane.done, "step_train": lane.done} | self.trainer.row(report)
        headline = next(name for name in ("reward_env_total", "total_env_reward") if name in row)
        if "time" in row:
            row["time"] = int(lane.walltime)
        if lane.done % main.save_period == 0:
            found = self.measure(_lane(state, number))
            if found is not None:
                row["probe"] = np.asarray(found)
        lane.run.log(row)
        shown.append({headline: row[headline]})
        if lane.done % main.save_period == 0 or lane.done == self.last:
            meta = self.launch.identity(lane.seed) | {"config": self.settings.tree()}
            agents = self.trainer.agents(_lane(state, number))
            storage.save_agents(lane.output.agents, lane.done, agents, meta, main.max_to_keep)

    def _save(self, lanes: Sequence[Lane], state: Any, last: bool) -> None:
        began = time.monotonic()
        due = last or began - self.saved > max(CHECKPOINT_SECONDS, CHECKPOINT_TIMES * self.saving)
        for number, lane in enumerate(lanes):
            if not lane.failed:
                if due:
                    self._guard(lane, self._checkpoint, lane, _lane(state, number))
                lane.run.progress(lane.done, self.last)
        if due:
            self.saved = time.monotonic()
            self.saving = self.saved - began

    def _checkpoint(self, lane: Lane, state: Any) -> None:
        lane.run.checkpoint(lane.done, trees.to_arrays(state), {"walltime": lane.walltime})
        lane.output.write(lane.run.metrics())

    def _finish(self, lane: Lane) -> None:
        rows = lane.run.metrics()
        lane.output.write(rows)
        evaluations = [row for row in rows if "step" in row]
        summary = {"episodes": self.last, "score": self.trainer.score(evaluations), "last": evaluations[-1]}
        lane.run.finish(summary)


def _lane(state: Any, number: int) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf[number]), state)


def train(launch: Launch, trainer: Trainer, lanes: Sequence[Lane]) -> None:
    """Train every lane to the end. Lanes that are behind catch up first; lanes at one episode run side by side."""
    last = launch.settings.schedule.n_episodes
    bar = Progress("train_multiprocess.py", last * len(launch.seeds))
    before = last * (len(launch.seeds) - len(lanes))

    def shown() -> None:
        bar.update(before + sum(lane.done for lane in lanes))

    batch = Batch(launch, trainer, shown)
    while waiting := [lane for lane in lanes if lane.state is not None and not lane.failed]:
        first = min(lane.done for lane in waiting)
        group = [lane for lane in waiting if lane.done == first]
        batch.run(group, min([lane.done for lane in waiting if lane.done > first], default=last))
    bar.close()


def run(launch: Launch, script: Path, make_trainer: Callable[[Settings], Trainer]) -> dict[int, dict | None]:
    """Train every seed of `launch`; resumes what was interrupted and repeats nothing that is finished.

    Args:
        script: the entry point, whose imports (and its own text) are part of a run's address.
    Returns:
        The summary of every seed's run, None for one that failed.
    """
    device = choose_device(launch.device, launch.gpus)
    trainer = make_trainer(launch.settings)
    lanes = open_lanes(launch, script, device, trainer)
    waiting = [lane for lane in lanes if not lane.run.finished]
    if waiting:
        mode = tracking.chosen_mode()
        with ExitStack() as mirrors:
            for lane in waiting:
                mirrors.enter_context(tracking.mirrored(lane.run, mode, project="iqflow"))
            train(launch, trainer, waiting)
    summaries = {lane.seed: lane.run.summary for lane in lanes if lane.run.finished}
    return {seed: summaries.get(seed) for seed in launch.seeds}
