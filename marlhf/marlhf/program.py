"""What every program does around its algorithm: run folders, seeds, resume, logs, progress."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from common import tracking
from common.cli import UserError
from common.progress import Progress
from common.runs import RunFolder, RunSpec, source_digest
from marlhf import storage
from marlhf.settings import Launch, Logging

HOME = Path(__file__).resolve().parents[1]
REPOSITORY = HOME.parent
#: a run is also saved when so many seconds have passed since it last was (more where saving is slow)
CHECKPOINT_SECONDS = 60.0
#: a chunk of work is split when it would take longer than this, so that a killed run loses little
CHUNK_SECONDS = 60.0


class Trainer(Protocol):
    """An algorithm as this module runs it; `fresh` and `advance` are pure and are compiled here.

    Work is counted in units: gradient updates, epochs, files.
    """

    #: units of a whole run, and what one is called in the log: ``update``, ``epoch``, ...
    total: int
    unit: str
    #: a tree of arrays that `advance` reads; handed in, so that it is no constant of the compiled program
    data: Any

    def fresh(self, seed) -> Any:
        """The state before the first unit (`seed` uint32): a tree of arrays."""

    def advance(self, state, n, data) -> tuple[Any, Any]:
        """`n` units (int32, may be 0), then the report that belongs to the last of them."""

    def next_stop(self, done: int) -> int:
        """How many units are done when the next report is due, when `done` are."""

    def row(self, done: int, report: Any) -> dict[str, Any]:
        """One line of the log from a report (NumPy)."""

    def show(self, row: Mapping[str, Any]) -> str:
        """What a person sees of that line."""

    def begin(self, folder: Path) -> None:
        """Optional: called with the run's folder before the first unit, and before the first one after a resume."""

    def save(self, state: Any, folder: Path) -> dict[str, Any]:
        """Write what the run is for into its folder (a model); returns what its record says of it (JSON)."""


@dataclass(frozen=True)
class Work:
    """One run: what it computes, and how.

    Attributes:
        program: the script's path from the paper's folder, or a stage's name.
        identity: what is computed, JSON; with the code below `entry` it is the run's address.
        seed: of the run.
        entry: the file whose imports (and own text) are part of the address.
        make: gives the trainer; called only when there is something left to do.
    """

    program: str
    identity: Mapping[str, Any]
    seed: int
    entry: Path
    make: Callable[[], Trainer]

    @property
    def spec(self) -> RunSpec:
        return RunSpec(self.program, self.identity, digest(self.entry))


_DIGESTS: dict[Path, str] = {}


def digest(entry: Path) -> str:
    """`source_digest` of one of the paper's files, read once a process."""
    if entry not in _DIGESTS:
        _DIGESTS[entry] = source_digest(entry, [HOME, REPOSITORY])
    return _DIGESTS[entry]


def results_of(root: Path) -> Path:
    """Where what several runs share is put: the repository's results of this paper, or the folder beside the runs."""
    results = REPOSITORY / "results" / "marlhf"
    return results if results in root.resolve().parents else root.resolve().parent


def keep_compiled(root: Path) -> None:
    """Keep compiled programs on the disk for the next process, unless the person says where JAX shall (or not at all).

    A row of a table is some ten programs, which take longer to compile than the smaller ones of them run.
    """
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(results_of(root) / ".compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def choose_device(device: str, disable_jit: bool = False) -> str:
    """Settle JAX's platform for the process; returns ``cpu`` or the accelerator's name.

    On a CPU, XLA gets one thread unless NPROC says otherwise: with two, jaxlib 0.10.2 can deadlock in large scans.
    Several cores are for several processes (`make reproduce-...` starts one a core).

    Raises: UserError when it is not there.
    """
    os.environ.setdefault("NPROC", "1")
    # DEVIATION(Q19): any device will do; the original asks for a GPU by name
    if device != "auto":
        jax.config.update("jax_platforms", device)
    jax.config.update("jax_disable_jit", disable_jit)
    try:
        return jax.default_backend()
    except (RuntimeError, AssertionError):  # JAX raises either, depending on what is missing
        raise UserError(
            f"--device {device} can't be used: JAX finds no such device here; --device cpu always works"
        ) from None


def run_root(launch: Launch) -> Path:
    """The folder of the runs."""
    return Path(launch.run_root) if launch.run_root else REPOSITORY / "results" / "marlhf" / "runs"


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """One process at a time inside the block; another one waits, and says so once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process, which makes {what}", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _strong(state: Any) -> Any:
    """A state whose numbers all have types of their own: a Python number's weak type would make JAX compile twice."""

    def typed(leaf):
        return leaf if storage.is_key(leaf) else jax.lax.convert_element_type(leaf, leaf.dtype)

    return jax.tree.map(typed, state)


def _compiled(trainer: Trainer) -> tuple[Callable, Callable]:
    """`fresh` and `advance`, compiled."""

    def advance(state, n, data):
        state, report = trainer.advance(state, n, data)
        return _strong(state), report

    return jax.jit(lambda seed: _strong(trainer.fresh(seed))), jax.jit(advance, donate_argnums=0)


class _Pace:
    """Seconds per unit, from the quickest chunk so far: the first one compiles."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def seen(self, seconds: float, units: int) -> None:
        each = seconds / max(units, 1)
        self.seconds = min(self.seconds, each) if self.seconds else each

    def chunk(self, wanted: int) -> int:
        return min(wanted, max(1, int(CHUNK_SECONDS / self.seconds))) if self.seconds > 0 else wanted


@dataclass
class _Session:
    """What one process knows of a run it carries on."""

    run: RunFolder
    trainer: Trainer
    state: Any
    done: int = 0
    walltime: float = 0.0
    saved: float = 0.0  # when the last checkpoint was on the disk
    saving: float = 0.0  # how many seconds that took

    def restore(self) -> None:
        found = self.run.restore()
        if found:
            what = f"the checkpoint in {self.run.path}"
            self.state = storage.from_arrays(self.state, found.arrays, what)
            self.done, self.walltime = found.step, found.meta["walltime"]

    def record(self, report: Any, label: str) -> None:
        row = {self.trainer.unit: self.done} | self.trainer.row(self.done, report)
        self.run.log(row | {"walltime": round(self.walltime, 3)})
        print(f"{label}{self.trainer.show(row)}", flush=True)

    def checkpoint(self, last: bool = False) -> None:
        began = time.monotonic()
        if last or began - self.saved > max(CHECKPOINT_SECONDS, 20 * self.saving):
            self.run.checkpoint(self.done, storage.to_arrays(self.state), {"walltime": self.walltime})
            self.saved = time.monotonic()
            self.saving = self.saved - began


def _train(session: _Session, step: Callable, label: str, shown: Callable[[float], None]) -> None:
    trainer, pace = session.trainer, _Pace()
    while session.done < trainer.total:
        goal = min(trainer.next_stop(session.done), trainer.total)
        n, began = pace.chunk(goal - session.done), time.monotonic()
        session.state, report = jax.block_until_ready(step(session.state, np.int32(n), trainer.data))
        seconds = time.monotonic() - began
        pace.seen(seconds, n)
        session.walltime += seconds
        session.done += n
        if session.done == goal:
            session.record(jax.tree.map(np.asarray, report), label)
        session.checkpoint(last=session.done == trainer.total)
        session.run.progress(session.done, trainer.total)
        shown(session.done / trainer.total)


def carry_out(
    work: Work,
    root: Path,
    device: str,
    *,
    label: str = "",
    logging: Logging | None = None,
    command: list[str] | None = None,
    shown: Callable[[float], None] = lambda share: None,
) -> RunFolder:
    """Do a piece of work, go on with it where it was stopped, or find it done.

    Args: `label` begins every printed line, `shown` is told the finished share.
    """
    run = RunFolder.open(root, work.spec, command or [work.program, *sys.argv[1:]], device)
    if run.finished:
        print(f"{label}finished before, see {run.path}", flush=True)
        shown(1.0)
        return run
    mode = tracking.chosen_mode(logging.wandb_mode if logging else "disabled")
    wanted = logging or Logging()
    project = f"{wanted.project_prefix}{wanted.project}"
    with tracking.mirrored(run, mode, project=project, entity=wanted.entity or None):
        trainer = work.make()
        fresh, advance = _compiled(trainer)
        session = _Session(run, trainer, fresh(np.uint32(work.seed)), saved=time.monotonic())
        session.restore()
        if hasattr(trainer, "begin"):
            trainer.begin(run.path)
        if session.done:
            print(f"{label}going on after {trainer.unit} {session.done}", flush=True)
        _train(session, advance, label, shown)
        summary = trainer.save(session.state, run.path)
        rows = run.metrics()
        run.finish({trainer.unit: session.done, "last": rows[-1] if rows else {}} | summary)
    return run


def run(launch: Launch, works: list[Work], after: Callable[[Work, RunFolder], None] | None = None) -> int:
    """Carry out one piece of work per seed; `after` is called with each finished run.

    Returns the exit code 0.
    """
    device = choose_device(launch.device, launch.hp.disable_jit)
    keep_compiled(run_root(launch))
    bar = Progress(works[0].program, len(works))
    for number, work in enumerate(works):
        label = f"seed {work.seed}: " if len(works) > 1 else ""
        done = carry_out(
            work,
            run_root(launch),
            device,
            label=label,
            logging=launch.logging,
            shown=lambda share, number=number: bar.update(number + share),
        )
        if after:
            after(work, done)
    bar.close()
    return 0
