"""Runs: one folder per run, addressed by what it computes, that survives being killed at any moment.

``<run root>/<address>/`` holds ``run.json`` (what, how, when, on what), ``metrics.jsonl`` (one JSON object a line),
``progress.json`` (for bars) and ``checkpoints/`` (the two newest).
"""

from __future__ import annotations

import ast
import contextlib
import datetime
import fcntl
import functools
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common import checkpoints
from common.cli import UserError

_PACKAGES = (
    "numpy", "jax", "jaxlib", "flax", "optax", "torch", "higher", "tensorflow", "ray", "jaxmarl", "gymnasium", "axelrod",
)  # fmt: skip
# What these modules do can't change a computed number, so editing them does not make a finished run stale.
_NEUTRAL = {
    "cli", "checkpoints", "figures", "plotting", "progress", "report", "runs", "settings", "stats", "tracking",
    "verdicts",
}  # fmt: skip


def _canonical(node: Any) -> Any:
    """A Python syntax tree as nested lists: the same on every Python version, without positions and docstrings."""
    if isinstance(node, ast.AST):
        fields = [(name, _canonical(value)) for name, value in ast.iter_fields(node)]
        return [type(node).__name__, [pair for pair in fields if pair[1] not in (None, [])]]
    if isinstance(node, list):
        return [_canonical(item) for item in node if not _is_docstring(item)]
    return repr(node) if node is not None else None


def _is_docstring(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _imported_beside(tree: ast.AST, path: Path) -> Iterator[Path]:
    """The files that a file's relative imports can mean."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = node.module.split(".") if node.module else []
            base = path.parents[node.level - 1].joinpath(*parts)
            for stem in (base, *(base / alias.name for alias in node.names)):
                yield from (stem.with_suffix(".py"), stem / "__init__.py")


def source_files(entry: Path, roots: Sequence[Path]) -> list[Path]:
    """Every file below `roots` that `entry` imports, directly or not, and `entry` itself; sorted."""
    found, waiting = set(), [Path(entry).resolve()]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        waiting += [file for file in _imported_beside(tree, path) if file.is_file()]
        for module in _imported(tree):
            parts = module.split(".")
            if parts[0] == "common" and len(parts) > 1 and parts[1] in _NEUTRAL:
                continue
            for root in roots:
                stems = [Path(root).resolve().joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1)]
                files = [file for stem in stems for file in (stem.with_suffix(".py"), stem / "__init__.py")]
                waiting += [file for file in files if file.is_file()]
    return sorted(found)


def source_digest(entry: Path, roots: Sequence[Path]) -> str:
    """SHA-256 over the code that a script uses: comments, docstrings, layout and the Python version don't matter."""
    trees = sorted(
        json.dumps(_canonical(ast.parse(file.read_text("utf-8")))) for file in source_files(entry, roots)
    )
    return hashlib.sha256("\n".join(trees).encode()).hexdigest()


@dataclass(frozen=True)
class RunSpec:
    """What a run computes: the program, its resolved configuration (seed included) and the code it uses."""

    program: str
    config: Mapping[str, Any]
    source: str

    @property
    def address(self) -> str:
        """16 hexadecimal digits; equal specifications have equal addresses."""
        content = json.dumps([self.program, dict(self.config), self.source], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Checkpoint:
    step: int
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


@functools.cache
def _revision() -> tuple[str | None, bool | None]:
    def git(*words: str) -> str:
        command, home = ["git", *words], Path(__file__).resolve().parent
        return subprocess.run(command, cwd=home, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("SOURCE_REVISION"), None


@functools.cache
def _installed() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def provenance(device: str) -> dict[str, Any]:
    """Revision, Python, packages and machine, for a run record or a verdict."""
    revision, dirty = _revision()
    return {
        "revision": revision,
        "dirty": dirty,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "device": device,
        "packages": dict(_installed()),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """One process at a time inside the block, which makes `what`; another one waits, and says so once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process, which makes {what}", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _json(value: Any, **kwargs: Any) -> bytes:
    return json.dumps(_plain(value), allow_nan=False, **kwargs).encode() + b"\n"


@dataclass
class RunFolder:
    """One run on disk. Use `open` to write one and `read` to look at one.

    Attributes:
        record: the content of ``run.json``.
        mirror: called with every logged row, for example to send it to wandb.
    """

    path: Path
    record: dict[str, Any] = field(default_factory=dict)
    mirror: Callable[[Mapping[str, Any]], None] | None = None
    _file: Any = None
    _lock: Any = None
    _began: float = 0.0

    @classmethod
    def read(cls, path: Path) -> RunFolder:
        """The run at `path`, for reading; an absent or unreadable record reads as not started."""
        try:
            record = json.loads((Path(path) / "run.json").read_bytes())
        except (FileNotFoundError, json.JSONDecodeError):
            record = {}
        return cls(Path(path), record)

    @classmethod
    def open(cls, run_root: Path, spec: RunSpec, command: Sequence[str], device: str) -> RunFolder:
        """Create or reopen ``run_root/<address>`` for writing; a finished run is returned as it is.

        Raises:
            UserError: another process is writing the same run.
        """
        path = Path(run_root) / spec.address
        path.mkdir(parents=True, exist_ok=True)
        lock = open(path / ".lock", "a")  # noqa: SIM115 - held until the run ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise UserError(f"another process is writing {path}; wait for it or stop it") from None
        run = cls.read(path)
        if run.finished:
            lock.close()
            return run
        run._lock, run._began = lock, time.monotonic()
        run.record = {
            "status": "running",
            "program": spec.program,
            "config": dict(spec.config),
            "source": spec.source,
            "command": shlex.join(command),
            "device": device,
            "seconds": run.record.get("seconds", 0.0),
            "sessions": run.record.get("sessions", 0) + 1,
        }
        run._write_record()
        return run

    @property
    def finished(self) -> bool:
        return self.record.get("status") == "finished"

    @property
    def status(self) -> str:
        """``missing``, ``interrupted`` (it can go on) or ``finished``."""
        return "finished" if self.finished else "interrupted" if self.record else "missing"

    @property
    def config(self) -> dict[str, Any]:
        return self.record["config"]

    @property
    def summary(self) -> dict[str, Any]:
        return self.record["summary"]

    def metrics(self) -> list[dict[str, Any]]:
        """Every whole line of ``metrics.jsonl``; a last line that a kill cut short is left out."""
        path = self.path / "metrics.jsonl"
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith(b"\n")]

    def restore(self) -> Checkpoint | None:
        """The newest intact checkpoint, with ``metrics.jsonl`` cut back to the moment it was taken; None to start afresh."""
        for path in sorted((self.path / "checkpoints").glob("*.npz"), reverse=True):
            try:
                arrays, meta = checkpoints.load(path)
            except UserError:
                continue
            self._open_metrics(meta["metrics_bytes"])
            return Checkpoint(meta["step"], arrays, meta["meta"])
        self._open_metrics(0)
        return None

    def _open_metrics(self, length: int) -> None:
        if self._file:
            self._file.close()
        self._file = open(self.path / "metrics.jsonl", "ab")  # noqa: SIM115 - closed by finish
        self._file.truncate(length)
        self._file.seek(length)

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``; numbers that are not finite become null."""
        if self._file is None:
            self._open_metrics(0)
        self._file.write(_json(row))
        if self.mirror:
            self.mirror(_plain(row))

    def checkpoint(
        self, step: int, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any] | None = None
    ) -> None:
        """Save the whole state; on return it is on the disk together with every logged line. Keeps the two newest."""
        if self._file is None:
            self._open_metrics(0)
        self._sync_metrics()
        folder = self.path / "checkpoints"
        content = {"step": step, "metrics_bytes": self._file.tell(), "meta": _plain(meta or {})}
        checkpoints.save(folder / f"{step:010d}.npz", arrays, content)
        self._add_time()
        self._write_record()
        for stale in sorted(folder.glob("*.npz"))[:-2]:
            stale.unlink()

    def progress(self, done: float, total: float) -> None:
        """Say how far the run is; whoever watches reads it from ``progress.json``."""
        temporary = self.path / ".progress.part"
        temporary.write_bytes(_json({"done": done, "total": total}))
        os.replace(temporary, self.path / "progress.json")

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Mark the run finished with its summary (JSON); nothing can be logged after it."""
        if self._file is not None:
            self._sync_metrics()
            self._file.close()
        self._add_time()
        self.record |= {"status": "finished", "summary": _plain(summary)}
        self.record["provenance"] = provenance(self.record["device"])
        self._write_record()
        (self.path / "progress.json").unlink(missing_ok=True)
        if self._lock:
            self._lock.close()

    def _sync_metrics(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def _add_time(self) -> None:
        now = time.monotonic()
        self.record["seconds"] = round(self.record["seconds"] + now - self._began, 3)
        self._began = now

    def _write_record(self) -> None:
        checkpoints.write_atomically(self.path / "run.json", _json(self.record, indent=1))


def find(run_root: Path, address: str) -> RunFolder:
    """The run of that address; where it is not finished, a finished one of the paper's other figures and profiles.

    Figures keep their runs in ``results/PAPER/FIGURE/PROFILE/runs``.
    """
    root, others = Path(run_root).absolute(), []
    own = RunFolder.read(Path(run_root) / address)
    if not own.finished and root.parts[-5:-4] == ("results",) and root.name == "runs":
        others = sorted(root.parents[2].glob(f"*/*/runs/{address}"))
    return next((run for run in map(RunFolder.read, others) if run.finished), own)
