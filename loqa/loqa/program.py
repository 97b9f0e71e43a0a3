"""What every training script does around its algorithm: run folders, seeds, resume, logs, saved agents."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Mapping, Sequence
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
from loqa import storage
from loqa.settings import Launch

#: a run is also saved when so many seconds have passed since it last was (more where saving is slow)
CHECKPOINT_SECONDS = 60.0
#: a chunk of iterations is split when it would take longer than this, so that a killed run loses little
CHUNK_SECONDS = 60.0


class Trainer(Protocol):
    """An algorithm as this module runs it; `fresh` and `advance` are pure and are compiled here."""

    #: the script's path from the paper's folder
    name: str

    def fresh(self, seed) -> Any:
        """The state before the first iteration (`seed` uint32); its leaf `iteration` counts updates done."""

    def advance(self, state, n) -> tuple[Any, Any]:
        """`n` (int32, may be 0) iterations, then the evaluation that belongs to the last of them."""

    def row(self, iteration: int, report: Any) -> dict[str, Any]:
        """One line of the log from an evaluation (NumPy)."""

    def show(self, row: dict[str, Any]) -> str:
        """What a person sees of that line."""

    def agents(self, state: Any) -> dict[str, Any]:
        """``{"agent0": {"params": tree}, ...}`` for the file of agents."""


@dataclass
class Lane:
    """One seed of a process. `done` counts updates; iteration i is the update number i + 1."""

    seed: int
    run: RunFolder
    state: Any
    done: int
    walltime: float = 0.0
    saved: float = 0.0  # when the last checkpoint was on the disk
    saving: float = 0.0  # how many seconds that took


def choose_device(device: str, **settings: bool) -> str:
    """Settle JAX's platform and other `settings` of JAX for the process; returns ``cpu`` or the accelerator's name.

    On a CPU, XLA gets one thread unless NPROC says otherwise: with two, jaxlib 0.10.2 can deadlock in large scans.
    Several cores are for several processes (`make reproduce-...` starts one a core).

    Raises: UserError when it is not there.
    """
    os.environ.setdefault("NPROC", "1")
    if device != "auto":
        jax.config.update("jax_platforms", device)
    for name, value in settings.items():
        jax.config.update(name, value)
    try:
        return jax.default_backend()
    except (RuntimeError, AssertionError):  # JAX raises either, depending on what is missing
        raise UserError(
            f"--device {device} can't be used: JAX finds no such device here; --device cpu always works"
        ) from None


# DEVIATION(Q21): a run ends by itself (hp.max_iterations) and goes on after a kill; the original did neither
def next_stop(hp: Any, done: int) -> int:
    """The next iteration, counted from 0, that is evaluated or whose agents are saved, when `done` are done."""

    def following(every: int) -> int:
        return -(-done // every) * every

    return min(following(hp.eval_every), following(hp.save_every), hp.max_iterations)


def _wandb_options(launch: Launch, name: str, run: RunFolder) -> dict[str, Any]:
    """The configuration's block `wandb` as options of ``wandb.init``."""
    wanted = launch.wandb
    return {
        "project": wanted.project or ("loqa-ipd" if name == "ipd.py" else "loqa-coin"),
        "group": wanted.group or None,
        "name": wanted.name or None,
        "tags": list(wanted.tags),
        "dir": wanted.wandb_dir or run.path,
        "config": run.config["hp"],
    }


def _log(mirror: Any, row: Mapping[str, Any]) -> None:
    mirror.log(dict(row), step=row["iteration"])


def _open_lanes(
    launch: Launch, script: Path, device: str, name: str, fresh, mirrors: ExitStack
) -> list[Lane]:
    repository = next(
        folder for folder in script.resolve().parents if (folder / "loqa" / "pyproject.toml").exists()
    )
    root = Path(launch.run_root) if launch.run_root else repository / "results" / "loqa" / "runs"
    digest = source_digest(script, [repository / "loqa", repository])
    mode = tracking.chosen_mode("online" if launch.wandb.state == "enabled" else "disabled")
    lanes = []
    for seed in launch.seeds:
        spec = RunSpec(name, launch.identity(seed), digest)
        run = RunFolder.open(root, spec, [name, *sys.argv[1:]], device)
        if run.finished:
            print(f"seed {seed}: finished before, see {run.path}")
            continue
        mirrors.enter_context(tracking.mirrored(run, mode, _log, **_wandb_options(launch, name, run)))
        saved = run.restore()
        lane = Lane(seed, run, fresh(seed), 0)
        if saved:
            lane.state = storage.from_arrays(lane.state, saved.arrays, f"the checkpoint in {run.path}")
            lane.done, lane.walltime = saved.step, saved.meta["walltime"]
            print(f"seed {seed}: going on after iteration {lane.done - 1}")
        lanes.append(lane)
    return lanes


def _save_agents(launch: Launch, lane: Lane, trainer: Trainer, iteration: int) -> None:
    folder = Path(launch.hp.save_dir) / lane.run.path.name if launch.hp.save_dir else lane.run.path / "agents"
    path = folder / f"minimal_state_{iteration}"
    storage.save_agents(path, trainer.agents(lane.state), iteration, lane.run.config["hp"])


def _record(launch: Launch, lane: Lane, trainer: Trainer, report: Any) -> None:
    """Log, print and save one lane after its iteration `done - 1`; `report` holds NumPy arrays."""
    hp, iteration = launch.hp, lane.done - 1
    last = iteration == hp.max_iterations
    if iteration % hp.eval_every == 0 or last:
        row = trainer.row(iteration, report) | {"walltime": round(lane.walltime, 3)}
        lane.run.log(row)
        prefix = f"seed {lane.seed}\n" if len(launch.seeds) > 1 else ""
        print(prefix + trainer.show(row), flush=True)
    if iteration % hp.save_every == 0 or last:
        _save_agents(launch, lane, trainer, iteration)
    _checkpoint(lane, last)
    lane.run.progress(lane.done, hp.max_iterations + 1)


def _checkpoint(lane: Lane, last: bool) -> None:
    began = time.monotonic()
    if last or began - lane.saved > max(CHECKPOINT_SECONDS, 20 * lane.saving):
        lane.run.checkpoint(lane.done, storage.to_arrays(lane.state), {"walltime": lane.walltime})
        lane.saved = time.monotonic()
        lane.saving = lane.saved - began


def _chunk(goal: int, done: int, pace: float) -> int:
    """Iterations to run next: up to `goal` (included), or fewer when they would take too long at `pace` seconds each."""
    wanted = goal + 1 - done
    return min(wanted, max(1, int(CHUNK_SECONDS / pace))) if pace > 0 else wanted


class _Pace:
    """Seconds per iteration, from the quickest chunk so far: the first one compiles."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def seen(self, seconds: float, iterations: int) -> None:
        each = seconds / max(iterations, 1)
        self.seconds = min(self.seconds, each) if self.seconds else each


def _loop(launch: Launch, trainer: Trainer, lanes: Sequence[Lane], shown) -> None:
    """One lane after the other, one compiled program for all."""
    step, pace, last = jax.jit(trainer.advance, donate_argnums=0), _Pace(), launch.hp.max_iterations
    for lane in lanes:
        lane.saved = time.monotonic()
        while lane.done <= last:
            goal = next_stop(launch.hp, lane.done)
            n, began = _chunk(goal, lane.done, pace.seconds), time.monotonic()
            lane.state, report = jax.block_until_ready(step(lane.state, np.int32(n)))
            seconds = time.monotonic() - began
            pace.seen(seconds, n)
            lane.walltime += seconds
            lane.done += n
            if lane.done == goal + 1:
                _record(launch, lane, trainer, jax.tree.map(np.asarray, report))
            else:
                _checkpoint(lane, last=False)
                lane.run.progress(lane.done, last + 1)
            shown()
        _finish(launch, lane)


def _batch(launch: Launch, trainer: Trainer, lanes: Sequence[Lane], shown) -> None:
    """All lanes side by side; one that is ahead after a resume waits for the others (it is given 0 iterations)."""
    step = jax.jit(jax.vmap(trainer.advance), donate_argnums=0)
    state = jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *(lane.state for lane in lanes))
    for lane in lanes:
        lane.saved = time.monotonic()
    while waiting := [lane for lane in lanes if lane.done <= launch.hp.max_iterations]:
        goal = min(next_stop(launch.hp, lane.done) for lane in waiting)
        counts = [max(goal + 1 - lane.done, 0) if lane in waiting else 0 for lane in lanes]
        began = time.monotonic()
        state, report = step(state, np.array(counts, np.int32))
        whole, reports = jax.device_get((state, report))
        seconds = time.monotonic() - began
        for number, (lane, count) in enumerate(zip(lanes, counts, strict=True)):
            if count:
                lane.done, lane.walltime = goal + 1, lane.walltime + seconds
                lane.state, seen = jax.tree.map(lambda leaf, number=number: leaf[number], (whole, reports))
                _record(launch, lane, trainer, seen)
        shown()
    for lane in lanes:
        _finish(launch, lane)


def _finish(launch: Launch, lane: Lane) -> None:
    rows = lane.run.metrics()
    lane.run.finish({"iterations": launch.hp.max_iterations, "last": rows[-1]})


def run(launch: Launch, script: Path, trainer: Trainer) -> int:
    """Train every seed of `launch`; resumes what was interrupted and repeats nothing that is finished.

    Args: `script` the entry point, whose imports (and its own text) are part of a run's address.
    """
    with ExitStack() as mirrors:
        return _train(launch, script, trainer, mirrors)


def _train(launch: Launch, script: Path, trainer: Trainer, mirrors: ExitStack) -> int:
    device = choose_device(launch.device, **dataclasses.asdict(launch.jax))
    if not launch.wandb.state == "enabled" and launch.wandb.wandb_dir:
        raise UserError("wandb.wandb_dir needs wandb.state=enabled; nothing else reads it")
    make_state = jax.jit(trainer.fresh)
    lanes = _open_lanes(
        launch, script, device, trainer.name, lambda seed: make_state(np.uint32(seed)), mirrors
    )
    if not lanes:
        return 0
    from omegaconf import OmegaConf

    print(OmegaConf.to_yaml(OmegaConf.create({"hp": lanes[0].run.config["hp"]})), flush=True)
    bar = Progress(trainer.name, (launch.hp.max_iterations + 1) * len(launch.seeds))

    def shown() -> None:
        finished = len(launch.seeds) - len(lanes)
        bar.update(finished * (launch.hp.max_iterations + 1) + sum(lane.done for lane in lanes))

    axis = launch.seed_axis if launch.seed_axis != "auto" else ("loop" if device == "cpu" else "vmap")
    (_batch if axis == "vmap" and len(lanes) > 1 else _loop)(launch, trainer, lanes, shown)
    bar.close()
    return 0
