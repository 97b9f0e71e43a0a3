"""A figure from one command: its manifest, its runs (planned, cached, resumed), its picture and its verdict."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.util
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from common import checkpoints, plotting, report, verdicts
from common.cli import StrictParser, UserError, parse_seeds, run_main
from common.compilation import quick_settings
from common.progress import Progress, duration
from common.runs import RunFolder, RunSpec, find, provenance, source_digest
from common.verdicts import Claim

PROFILES = ("smoke", "quick", "paper")
_RUN_KEYS = {
    "name", "script", "args", "smoke", "quick", "paper", "profiles", "seeds", "seconds", "together",
}  # fmt: skip
_PROFILE_KEYS = {"about", "extra", "seeds", "same"}
_FIGURE_KEYS = {"title", "paper", "profile", "run", "claim", "note"}


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One command of a figure, with its address in the cache and the seconds it is expected to take on one core."""

    name: str
    script: str
    args: tuple[str, ...]
    seed: int | None
    spec: RunSpec
    seconds: float
    together: bool = False  # its seeds share a process on a CPU too

    @property
    def command(self) -> list[str]:
        """The script and its arguments, as a person would type them after ``python``."""
        seed = [] if self.seed is None else ["--seed", str(self.seed)]
        return [self.script, *self.args, *seed]


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure's manifest (``figures/<id>.toml``), resolved for one profile."""

    root: Path
    paper: str
    id: str
    profile: str
    manifest: Mapping[str, Any]

    @property
    def title(self) -> str:
        return self.manifest["title"]

    @property
    def about(self) -> str:
        return self.manifest["profile"][self.profile]["about"]

    @property
    def source(self) -> str:
        """The manifest's profile whose runs and claims are used (``same`` points to another one)."""
        return self.manifest["profile"][self.profile].get("same", self.profile)

    @property
    def claims(self) -> list[Claim]:
        """The claims that this profile is judged by; none at smoke size."""
        claims = [Claim(**claim) for claim in self.manifest.get("claim", [])]
        return [claim for claim in claims if self.profile in claim.profiles]

    @property
    def output(self) -> Path:
        return self.root / "results" / self.paper / self.id / self.profile

    def command(self, profile: str) -> str:
        """The make command that reproduces this figure with a profile."""
        suffix = "" if profile == "quick" else f" PROFILE={profile}"
        return f"make reproduce-{self.paper}-{self.id}{suffix}"

    def module(self) -> ModuleType:
        """``figures/<id>.py``: tabulate(runs) -> rows, draw(rows) -> Figure, measure(rows) -> {claim: Measurement}."""
        path = self.root / self.paper / "figures" / f"{self.id}.py"
        spec = importlib.util.spec_from_file_location(
            f"{self.paper}_figure_{self.id.replace('-', '_')}", path
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


def figure_ids(root: Path, paper: str) -> list[str]:
    return sorted(path.stem for path in (root / paper / "figures").glob("*.toml"))


def load(root: Path, paper: str, figure: str, profile: str) -> Figure:
    """Read and check a figure's manifest.

    Raises:
        UserError: no such figure or profile, or a manifest with a key that nobody reads.
    """
    path = root / paper / "figures" / f"{figure}.toml"
    if not path.is_file():
        raise UserError(
            f"{paper} has no figure {figure!r}; it has {', '.join(figure_ids(root, paper)) or 'none yet'}"
        )
    manifest = tomllib.loads(path.read_text("utf-8"))
    parts = [(manifest, _FIGURE_KEYS)]
    parts += [(part, _PROFILE_KEYS) for part in manifest["profile"].values()]
    parts += [(run, _RUN_KEYS) for run in manifest["run"]]
    unknown = [key for part, known in parts for key in part if key not in known]
    if unknown:
        raise UserError(f"{path.name} has unknown keys: {', '.join(unknown)}")
    if profile not in PROFILES or profile not in manifest["profile"]:
        raise UserError(f"no profile {profile!r} for {figure}; it has {', '.join(manifest['profile'])}")
    return Figure(root, paper, figure, profile, manifest)


def plan(figure: Figure, seeds: tuple[int, ...] | None = None) -> list[PlannedRun]:
    """Every run that the figure needs at its profile, resolved by the paper's own command-line parsers."""
    settings, source = figure.manifest["profile"][figure.profile], figure.source
    home, digests, runs = figure.root / figure.paper, {}, []
    # the package does not always bear the name of the paper's folder
    (package,) = (path.parent.name for path in home.glob("*/programs.py"))
    programs = importlib.import_module(f"{package}.programs").PROGRAMS
    for entry in figure.manifest["run"]:
        if source not in entry.get("profiles", PROFILES):
            continue
        script = entry["script"]
        if script not in digests:
            digests[script] = source_digest(home / script, [home, figure.root])
        args = shlex.split(entry.get(source, entry["args"])) + shlex.split(settings.get("extra", ""))
        own = (
            entry.get("seeds", {}).get(source)
            or settings.get("seeds")
            or figure.manifest["profile"][source].get("seeds")
        )
        chosen = (seeds or parse_seeds(own)) if own else (None,)
        for seed in chosen:
            full = args if seed is None else [*args, "--seed", str(seed)]
            spec = RunSpec(script, programs[script](full).identity(), digests[script])
            seconds = float(entry.get("seconds", {}).get(source, 10.0 if figure.profile == "smoke" else 60.0))
            together = entry.get("together", False)
            runs.append(PlannedRun(entry["name"], script, tuple(args), seed, spec, seconds, together))
    return runs


def _folder(figure: Figure, run: PlannedRun) -> RunFolder:
    """A finished run serves every figure and profile of its paper."""
    return find(figure.output / "runs", run.spec.address)


def _share(figure: Figure, run: PlannedRun) -> float:
    folder = _folder(figure, run)
    return 1.0 if folder.finished else _progress(folder.path)


def _progress(folder: Path) -> float:
    """How far the run in `folder` says it is; a finished one says nothing any more."""
    try:
        state = json.loads((folder / "progress.json").read_bytes())
        return min(state["done"] / state["total"], 1.0)
    except (FileNotFoundError, json.JSONDecodeError, ZeroDivisionError):
        return float(RunFolder.read(folder).finished)


def _unique(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    return list({run.spec.address: run for run in runs}.values())


def show_plan(figure: Figure, runs: Sequence[PlannedRun], jobs: int) -> None:
    """Print the runs, what is there already and the time the rest is expected to take. Runs nothing."""
    print(f"{figure.title}\nprofile {figure.profile}: {figure.about}\n")
    left = 0.0
    for run in runs:
        folder = _folder(figure, run)
        share = _share(figure, run)
        left += run.seconds * (1 - share)
        state = {"finished": "cached", "interrupted": f"{share:.0%} done", "missing": "missing"}[
            folder.status
        ]
        seed = "" if run.seed is None else f" seed {run.seed}"
        print(f"  {state:10} {duration(run.seconds):>8}  {run.spec.address}  {run.name}{seed}")
        print(f"  {'':10} {'':>8}  python {shlex.join(run.command)}")
    cached = sum(_folder(figure, run).finished for run in runs)
    print(f"\n{len(runs)} runs, {cached} cached; about {duration(left / jobs)} left with {jobs} at a time")


def _batches(runs: Sequence[PlannedRun], device: str) -> list[list[PlannedRun]]:
    """What goes into one process: every seed of a command on a GPU (a batch axis there) and where the manifest says
    `together` (one compilation for all), a single run otherwise."""
    groups: dict[tuple, list[PlannedRun]] = {}
    for run in runs:
        alone = run.seed is None or (device == "cpu" and not run.together)
        groups.setdefault((run.script, run.args, run.spec.address if alone else ""), []).append(run)
    return list(groups.values())


def _start(figure: Figure, batch: Sequence[PlannedRun], jobs: int, device: str) -> subprocess.Popen:
    root, first = figure.output / "runs", batch[0]
    command = first.command
    if len(batch) > 1:
        command = [first.script, *first.args, "--seeds", ",".join(str(run.seed) for run in batch)]
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MPLBACKEND": "Agg"}
    if figure.profile == "smoke":
        # It takes longer to compile than to run: quickly, then, and a paper's processes share what they compile.
        environment = quick_settings() | environment
        environment |= {
            "OMP_NUM_THREADS": "1",
            "JAX_COMPILATION_CACHE_DIR": str(figure.root / "results" / figure.paper / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
    with open(root / f"{first.spec.address}.log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, *command, "--run_root", str(root), "--device", device],
            cwd=figure.root / figure.paper,
            env=environment,
            stdout=log,
            stderr=log,
        )


def execute(figure: Figure, runs: Sequence[PlannedRun], jobs: int, device: str) -> list[PlannedRun]:
    """Run what is not there yet, `jobs` processes at a time; returns the first runs of the processes that failed."""
    runs = _unique(runs)
    waiting = _batches([run for run in runs if not _folder(figure, run).finished], device)
    if not waiting:
        print(f"{figure.paper} {figure.id}: all {len(runs)} runs are cached", flush=True)
        return []
    (figure.output / "runs").mkdir(parents=True, exist_ok=True)
    bar = Progress(f"{figure.paper} {figure.id} ({figure.profile})", sum(run.seconds for run in runs))
    active: dict[subprocess.Popen, list[PlannedRun]] = {}
    failed: list[PlannedRun] = []
    total, looked = len(waiting), time.monotonic()
    shares = {run.spec.address: _share(figure, run) for run in runs}
    try:
        while (waiting and not failed) or active:
            while waiting and len(active) < jobs and not failed:
                batch = waiting.pop(0)
                active[_start(figure, batch, jobs, device)] = batch
            time.sleep(0.2)
            # reading every run's progress costs more than asking its process
            if time.monotonic() - looked > 1.0:
                for run in [run for batch in active.values() for run in batch]:
                    if shares[run.spec.address] < 1:
                        shares[run.spec.address] = _progress(figure.output / "runs" / run.spec.address)
                looked = time.monotonic()
            for child in [child for child in active if child.poll() is not None]:
                batch = active.pop(child)
                shares |= {run.spec.address: _share(figure, run) for run in batch}
                if child.returncode or not all(_folder(figure, run).finished for run in batch):
                    failed.append(batch[0])
            names = ", ".join(batch[0].name for batch in active.values())
            done = sum(run.seconds * shares[run.spec.address] for run in runs)
            bar.update(done, f"process {total - len(waiting)} of {total}: {names}")
    finally:
        for child in active:
            child.terminate()
        for child in active:
            child.wait()
        bar.close()
    return failed


def _explain_failures(figure: Figure, failed: Sequence[PlannedRun]) -> None:
    for run in failed:
        log = figure.output / "runs" / f"{run.spec.address}.log"
        tail = log.read_text("utf-8", "replace").strip().splitlines()[-1:] or ["no output"]
        print(
            f"{figure.paper} {figure.id}: run {run.name} failed: {tail[0]} (whole log: {log})",
            file=sys.stderr,
        )


def _finite(rows: Sequence[Mapping[str, Any]]) -> bool:
    return bool(rows) and all(math.isfinite(v) for row in rows for v in row.values() if isinstance(v, float))


def _seconds(figure: Figure, runs: Sequence[PlannedRun], device: str) -> float:
    """Wall seconds of all processes: runs that share one overlap, so the longest of them counts."""
    batches = _batches(_unique(runs), device)
    return sum(max(_folder(figure, run).record.get("seconds", 0.0) for run in batch) for batch in batches)


def finish(figure: Figure, runs: Sequence[PlannedRun], device: str, seeds: str = "") -> str:
    """Draw and judge what is there: data.csv, figure.png, figure.svg, verdict.json. Returns the verdict.

    `seeds` are those that were asked for instead of the profile's; the record says so.
    """
    module, folders = figure.module(), {}
    for run in runs:
        folder = _folder(figure, run)
        if folder.finished:
            folders.setdefault(run.name, []).append(folder)
    rows = module.tabulate(folders)
    plotting.write_csv(rows, figure.output / "data.csv")
    measured = draw(figure, figure.output)
    rows = [claim.judge(measured.get(claim.id)) for claim in figure.claims]
    status = verdicts.overall([row["status"] for row in rows])
    if figure.profile == "smoke":
        data = plotting.read_csv(figure.output / "data.csv")
        status = verdicts.NOT_JUDGED if _finite(data) else verdicts.INCOMPLETE
    finished = [folder for group in folders.values() for folder in group]
    if len(finished) < len(runs):
        status = verdicts.INCOMPLETE
    deeper = figure.command("paper" if figure.profile == "quick" and figure.source != "paper" else "quick")
    if figure.source == "paper":
        deeper = f"make reproduce-{figure.paper}"
    if seeds:
        deeper = figure.command(figure.profile)
    verdict = {
        "paper": figure.paper,
        "figure": figure.id,
        "title": figure.title,
        "profile": figure.profile,
        "about": figure.about + (f"; here seeds {seeds} instead" if seeds else ""),
        "note": figure.manifest.get("note", ""),
        "command": figure.command(figure.profile) + (f" SEEDS={seeds}" if seeds else ""),
        "deeper": deeper,
        "status": status,
        "claims": rows,
        "seconds": round(_seconds(figure, runs, device), 1),
        "provenance": provenance(device),
        "runs": [
            {
                "name": run.name,
                "seed": run.seed,
                "address": run.spec.address,
                "status": _folder(figure, run).status,
                "seconds": _folder(figure, run).record.get("seconds", 0.0),
                "command": shlex.join(["python", *run.command]),
            }
            for run in runs
        ],
    }
    content = json.dumps(verdict, indent=1, allow_nan=False).encode() + b"\n"
    checkpoints.write_atomically(figure.output / "verdict.json", content)
    print(report.markdown([verdict]))
    print(f"picture: {figure.output / 'figure.png'}\nto go deeper: {deeper}")
    return status


def draw(figure: Figure, folder: Path) -> dict[str, verdicts.Measurement]:
    """Draw the figure from ``data.csv`` in `folder`, and nothing else; returns what it measures."""
    module = figure.module()
    rows = plotting.read_csv(folder / "data.csv")
    with plotting.house_style():
        picture = module.draw(rows)
        plotting.save(picture, folder, "figure")
    return module.measure(rows)


def publish(figure: Figure) -> None:
    """Copy the small results of a finished figure to ``published/``, with the run records as one file."""
    verdict_path = figure.output / "verdict.json"
    if not verdict_path.exists():
        raise UserError(f"nothing to publish: run {figure.command(figure.profile)} first")
    target = figure.root / "published" / figure.paper / figure.id
    target.mkdir(parents=True, exist_ok=True)
    for name in ("data.csv", "figure.png", "figure.svg", "verdict.json"):
        shutil.copyfile(figure.output / name, target / name)
    verdict = json.loads(verdict_path.read_bytes())
    addresses = dict.fromkeys(run["address"] for run in verdict["runs"])
    records = [find(figure.output / "runs", address).record for address in addresses]
    kept = [{k: v for k, v in record.items() if k not in ("summary", "config")} for record in records]
    # The recorded commands carry the folders of this machine.
    text = json.dumps(kept, indent=1).replace(f"{figure.root}/", "")
    checkpoints.write_atomically(target / "run.json", text.encode() + b"\n")
    print(f"published {target}")


def _parser() -> argparse.ArgumentParser:
    parser = StrictParser(prog="figures", description="Plan, reproduce, draw and judge a paper's figures.")
    parser.add_argument("action", choices=["plan", "reproduce", "figure", "publish", "readme", "verdict"])
    parser.add_argument("paper", nargs="?", help="one of the paper folders")
    parser.add_argument("figure", nargs="?", help="a figure of that paper; all of them when left out")
    parser.add_argument("--profile", default="quick", choices=PROFILES)
    parser.add_argument("--seeds", default="", help="seeds instead of the profile's, for example 1-10")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time")
    parser.add_argument(
        "--published", action="store_true", help="verdict: of what is published, not of what was run here"
    )
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1])
    return parser


def _one(options: argparse.Namespace, figure: Figure) -> str:
    runs = plan(figure, parse_seeds(options.seeds) if options.seeds else None)
    if options.action == "plan":
        show_plan(figure, runs, options.jobs)
        return verdicts.REPRODUCED
    print(f"{figure.title}\nprofile {figure.profile}: {figure.about}", flush=True)
    _explain_failures(figure, execute(figure, runs, options.jobs, options.device))
    return finish(figure, runs, options.device, options.seeds)


def _body(argv: Sequence[str] | None) -> int:
    options = _parser().parse_args(argv)
    root = options.root
    if options.action == "verdict" and options.published:
        found = report.published(root / "published")
        print(report.markdown(found))
        return (
            verdicts.EXIT_CODES[verdicts.INCOMPLETE]
            if any(v["status"] == verdicts.INCOMPLETE for v in found)
            else 0
        )
    if options.action == "verdict":
        found = report.collect(root / "results")
        if not found:
            raise UserError("nothing has been run yet; start with make reproduce-pola-fig3")
        print(report.markdown(found))
        print(f"page: {report.write(root / 'results')}")
        return verdicts.EXIT_CODES[verdicts.overall([verdict["status"] for verdict in found])]
    if options.action == "readme":
        readme = root / "README.md"
        text = report.front_page(readme.read_text("utf-8"), root / "published")
        checkpoints.write_atomically(readme, text.encode())
        return 0
    if options.paper is None or not (root / options.paper / "figures").is_dir():
        raise UserError(f"no paper {options.paper!r} with figures in this repository")
    if options.jobs < 1:
        raise UserError("JOBS must be at least 1")
    os.environ["JAX_PLATFORMS"] = options.device
    statuses = []
    for name in [options.figure] if options.figure else figure_ids(root, options.paper):
        figure = load(root, options.paper, name, options.profile)
        if options.action == "figure":
            draw(figure, root / "published" / options.paper / name)
        elif options.action == "publish":
            publish(figure)
        else:
            statuses.append(_one(options, figure))
    return max((verdicts.EXIT_CODES[status] for status in statuses), default=0)


def main(argv: Sequence[str] | None = None) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return run_main(_body, argv, program="figures")


if __name__ == "__main__":
    sys.exit(main())
