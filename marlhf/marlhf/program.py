"""What every program does around its algorithm: run folders, seeds, resume, logs, progress."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
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

    def prepare(self, told: Callable[[float], None]) -> None:
        """Optional: make what lacks before the first unit; `told` hears the share of the whole run that is done."""

    #: optional: the share of the whole run that `prepare` is (0), for bars
    ahead: float

    def begin(self, folder: Path) -> None:
        """Optional: called with the run's folder before the first unit, and before the first one after a resume."""

    def lanes(self, states, n, data) -> tuple[Any, Any]:
        """Optional: `advance` for seeds side by side, every leaf with a leading axis; all have done the same number of
        units. Without it `advance` is mapped as it is."""

    def save(self, state: Any, report: Any, folder: Path) -> dict[str, Any]:
        """Write what the run is for into its folder (a model); returns what its record says of it (JSON).

        Args: `report` that of the last unit (NumPy); None for a run of no units.
        """


@dataclass(frozen=True)
class Work:
    """One run: what it computes, and how.

    Attributes:
        program: the script's path from the paper's folder, or a stage's name.
        identity: what is computed, JSON; with the code below `entry` it is the run's address.
        seed: of the run.
        entry: the file whose imports (and own text) are part of the address.
        make: gives the trainer; called only when there is something left to do.
        shared: the trainer serves every seed of the command: same data, nothing of a run kept in it.
    """

    program: str
    identity: Mapping[str, Any]
    seed: int
    entry: Path
    make: Callable[[], Trainer]
    shared: bool = False

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


def _compiled_lanes(trainer: Trainer) -> Callable:
    """`lanes`, compiled."""
    mapped = getattr(trainer, "lanes", None) or jax.vmap(trainer.advance, in_axes=(0, None, None))

    def lanes(states, n, data):
        states, reports = mapped(states, n, data)
        return _strong(states), reports

    return jax.jit(lanes, donate_argnums=0)


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
    """What one process knows of a run it carries on; `shown` hears its finished share, `label` begins its lines."""

    run: RunFolder
    trainer: Trainer
    state: Any
    label: str
    shown: Callable[[float], None]
    done: int = 0
    report: Any = None  # the last one
    walltime: float = 0.0
    saved: float = 0.0  # when the last checkpoint was on the disk
    saving: float = 0.0  # how many seconds that took

    def restore(self) -> None:
        found = self.run.restore()
        if found:
            what = f"the checkpoint in {self.run.path}"
            self.state = storage.from_arrays(self.state, found.arrays, what)
            self.done, self.walltime = found.step, found.meta["walltime"]

    def take(self, state: Any, report: Any, units: int, seconds: float, goal: int) -> None:
        """Note what a chunk gave; its report is a line of the log if it ends at `goal`."""
        self.state, self.done, self.walltime = state, self.done + units, self.walltime + seconds
        if self.done == goal:
            self.report = jax.tree.map(np.asarray, report)
            self._record(self.report)
        self.checkpoint(last=self.done == self.trainer.total)
        ahead = getattr(self.trainer, "ahead", 0.0)
        share = ahead + (1.0 - ahead) * self.done / self.trainer.total
        self.run.progress(share, 1.0)
        self.shown(share)

    def _record(self, report: Any) -> None:
        row = {self.trainer.unit: self.done} | self.trainer.row(self.done, report)
        self.run.log(row | {"walltime": round(self.walltime, 3)})
        print(f"{self.label}{self.trainer.show(row)}", flush=True)

    def checkpoint(self, last: bool = False) -> None:
        began = time.monotonic()
        if last or began - self.saved > max(CHECKPOINT_SECONDS, 20 * self.saving):
            self.run.checkpoint(self.done, storage.to_arrays(self.state), {"walltime": self.walltime})
            self.saved = time.monotonic()
            self.saving = self.saved - began

    def finish(self) -> None:
        summary, rows = self.trainer.save(self.state, self.report, self.run.path), self.run.metrics()
        self.run.finish({self.trainer.unit: self.done, "last": rows[-1] if rows else {}} | summary)
        self.shown(1.0)


def _timed(step: Callable, *arguments: Any) -> tuple[Any, Any, float]:
    began = time.monotonic()
    state, report = jax.block_until_ready(step(*arguments))
    return state, report, time.monotonic() - began


def _one_after_another(sessions: Sequence[_Session], step: Callable) -> None:
    pace = _Pace()
    for session in sessions:
        trainer, session.saved = session.trainer, time.monotonic()
        while session.done < trainer.total:
            goal = min(trainer.next_stop(session.done), trainer.total)
            n = pace.chunk(goal - session.done)
            state, report, seconds = _timed(step, session.state, np.int32(n), trainer.data)
            pace.seen(seconds, n)
            session.take(state, report, n, seconds, goal)
        if session.report is None and trainer.total:  # stopped when all was done and nothing saved
            session.state, session.report, _ = _timed(step, session.state, np.int32(0), trainer.data)
        session.finish()


def _side_by_side(sessions: Sequence[_Session], step: Callable) -> None:
    """All seeds in one program, always of as many lanes. One that is ahead after a resume waits: in its lane goes a copy
    of one that is behind, whose result nobody takes."""
    trainer, pace = sessions[0].trainer, _Pace()
    for session in sessions:
        session.saved = time.monotonic()
    while (done := min(session.done for session in sessions)) < trainer.total:
        behind = [session for session in sessions if session.done == done]
        goal = min(trainer.next_stop(done), trainer.total)
        stop = min([goal, *(session.done for session in sessions if session.done > done)])
        n = pace.chunk(stop - done)
        states = [(session if session.done == done else behind[0]).state for session in sessions]
        found, seconds = _lanes(step, states, n, trainer.data)
        pace.seen(seconds, n)
        for session, (state, report) in zip(sessions, found, strict=True):
            if session.done == done:
                session.take(state, report, n, seconds, goal)
    if any(session.report is None for session in sessions):  # stopped when all was done and nothing saved
        found, _ = _lanes(step, [session.state for session in sessions], 0, trainer.data)
        for session, (_, report) in zip(sessions, found, strict=True):
            session.report = report if session.report is None else session.report
    for session in sessions:
        session.finish()


def _lanes(step: Callable, states: Sequence[Any], n: int, data: Any) -> tuple[list[tuple[Any, Any]], float]:
    """States and reports of all lanes after n units, and the seconds that they took."""
    together = jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *states)
    state, report, seconds = _timed(step, together, np.int32(n), data)
    found = (state, jax.tree.map(np.asarray, report))
    return [jax.tree.map(lambda leaf, lane=lane: leaf[lane], found) for lane in range(len(states))], seconds


def carry_out(
    works: Sequence[Work],
    root: Path,
    device: str,
    *,
    labels: Sequence[str],
    shown: Sequence[Callable[[float], None]],
    side_by_side: bool = False,
    logging: Logging | None = None,
    command: list[str] | None = None,
) -> list[RunFolder]:
    """Do pieces of work that share a trainer, go on with them where they were stopped, or find them done.

    Args:
        labels, shown: of each: what begins every printed line, and who is told its finished share.
        side_by_side: as lanes of one program, or one after another.
    """
    runs, left = [], []
    for work, label, told in zip(works, labels, shown, strict=True):
        run = RunFolder.open(root, work.spec, command or [work.program, *sys.argv[1:]], device)
        runs.append(run)
        if run.finished:
            print(f"{label}finished before, see {run.path}", flush=True)
            told(1.0)
        else:
            left.append((work, run, label, told))
    if not left:
        return runs
    mode = tracking.chosen_mode(logging.wandb_mode if logging else "disabled")
    wanted = logging or Logging()
    project = f"{wanted.project_prefix}{wanted.project}"
    with ExitStack() as mirrors:
        for _, run, _, _ in left:
            mirrors.enter_context(tracking.mirrored(run, mode, project=project, entity=wanted.entity or None))
        sessions, step = _begin(left)
        if side_by_side and len(sessions) > 1:
            _side_by_side(sessions, _compiled_lanes(sessions[0].trainer))
        else:
            _one_after_another(sessions, step)
    return runs


def _begin(left: Sequence[tuple[Work, RunFolder, str, Callable]]) -> tuple[list[_Session], Callable]:
    """The runs' states as they were left, and the compiled step."""
    trainer = left[0][0].make()

    def prepared(share: float) -> None:
        for _, run, _, told in left:
            run.progress(share, 1.0)
            told(share)

    if hasattr(trainer, "prepare"):
        trainer.prepare(prepared)
    fresh, step = _compiled(trainer)
    sessions = []
    for work, run, label, told in left:
        session = _Session(run, trainer, fresh(np.uint32(work.seed)), label, told)
        session.restore()
        if hasattr(trainer, "begin"):
            trainer.begin(run.path)
        if session.done:
            print(f"{label}going on after {trainer.unit} {session.done}", flush=True)
        sessions.append(session)
    return sessions, step


def run(launch: Launch, works: list[Work], after: Callable[[Work, RunFolder], None] | None = None) -> int:
    """Carry out one piece of work per seed; `after` is called with each finished run.

    Returns the exit code 0.
    """
    root, device = run_root(launch), choose_device(launch.device, launch.hp.disable_jit)
    keep_compiled(root)
    bar, shares = Progress(works[0].program, len(works)), [0.0] * len(works)

    def shown(number: int, share: float) -> None:
        shares[number] = share
        bar.update(sum(shares))

    numbered = list(enumerate(works))
    shared = all(work.shared for work in works)
    if len(works) > 1 and not shared:
        print("the seeds run one after another: each makes data of its own", flush=True)
    for group in [numbered] if shared else [[pair] for pair in numbered]:
        own = [work for _, work in group]
        done = carry_out(
            own,
            root,
            device,
            labels=[f"seed {work.seed}: " if len(works) > 1 else "" for work in own],
            shown=[functools.partial(shown, number) for number, _ in group],
            side_by_side=launch.seed_axis == "vmap" or (launch.seed_axis == "auto" and device != "cpu"),
            logging=launch.logging,
        )
        for work, finished in zip(own, done, strict=True) if after else ():
            after(work, finished)
    bar.close()
    return 0
