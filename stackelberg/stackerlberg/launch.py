"""The script's command line, understood: which experiment, changed how, on which engine, for which seeds."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.cli import StrictParser, UserError, add_run_flags, parse_seeds

from .experiments import catalogue
from .experiments.catalogue import Experiment
from .experiments.configuration import plain

SCRIPT = "stackerlberg/train/run_experiment.py"
ENGINES = ("batched", "rllib")
CERTIFY = ("report", "warn", "refuse")


@dataclass(frozen=True)
class Ray:
    """How Ray is started; read by the RLlib engine.

    Attributes:
        num_cpus: 0: all cores.
        local_mode: everything in this process.
        address: of a running cluster; empty: a cluster of one's own.
    """

    num_cpus: int = 0
    local_mode: bool = False
    address: str = ""


@dataclass(frozen=True)
class Launch:
    """One command line.

    Attributes:
        experiment: resolved, with every ``--set`` and ``--grid`` in it.
        seeds: one run folder each.
        log_every: iterations per row of the log; a row holds means over them and the evaluation after the last.
        certify: what a follower that does not best-respond to every leader table leads to.
        print_rows: print every row (``--no-tune``).
    """

    experiment: Experiment
    engine: str
    seeds: tuple[int, ...]
    log_every: int
    certify: str
    run_root: str
    device: str
    print_rows: bool
    hyperopt: bool
    hyperopt_samples: int
    project: str
    group: str
    ray: Ray
    settings: tuple[tuple[str, Any], ...] = ()

    def identity(self, seed: int | None = None) -> dict[str, Any]:
        """What a run of one seed (default: the first) is addressed by; JSON."""
        return {
            "experiment": self.experiment.name,
            "engine": self.engine,
            "seed": self.seeds[0] if seed is None else seed,
            "log_every": self.log_every,
            "max_env_steps": self.experiment.max_env_steps,
            "conditions": {c.label: plain(c.configuration) for c in self.experiment.conditions},
        }

    def with_experiment(self, experiment: Experiment, seeds: Sequence[int]) -> Launch:
        """The same command line for another experiment and other seeds."""
        return dataclasses.replace(self, experiment=experiment, seeds=tuple(seeds), hyperopt=False)


def parser() -> argparse.ArgumentParser:
    """The script's flags; those of the original first."""
    # DEVIATION(Q19): --help works, and unknown flags are refused instead of ignored
    found = StrictParser(
        prog="run_experiment.py",
        description="Run an experiment of the paper. Names: " + ", ".join(catalogue.names()),
    )
    found.add_argument("--experiment", default="matrix_bots", help="name of the experiment")
    found.add_argument("--seed", type=int, help="one seed instead of the experiment's own")
    found.add_argument("--ray_num_cpus", type=int, default=0, help="cores for Ray; 0: all (engine rllib)")
    found.add_argument("--ray_local_mode", action="store_true", help="Ray in one process (engine rllib)")
    # DEVIATION(Q9): --no-tune resolves grids and ends
    found.add_argument(
        "--no-tune", action="store_true", dest="no_tune", help="print every result; without Ray Tune"
    )
    found.add_argument("--hyperopt", action="store_true", help="search the experiment's search space")
    found.add_argument(
        "--wandb_project", default="test_local", help="wandb project; auto: the experiment's name"
    )
    found.add_argument("--wandb_group", default="test_local", help="wandb group; auto: the experiment's name")
    found.add_argument("--engine", default="batched", choices=ENGINES, help="what computes")
    found.add_argument("--seeds", help="several seeds in one process, for example 1-10")
    found.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a key of the configuration, for example leader_config.lr=0.01 (repeatable)",
    )
    found.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="KEY=[V,V]",
        help="one condition for each value of a key (repeatable)",
    )
    found.add_argument("--log_every", type=int, default=10, help="iterations per row of the log")
    found.add_argument(
        "--certify",
        default="report",
        choices=CERTIFY,
        help="if the pre-trained follower does not best-respond to every leader table: only report it, warn, or stop",
    )
    found.add_argument(
        "--hyperopt_samples",
        type=int,
        default=0,
        help="size of the search, repeats included; 0: the experiment's own",
    )
    found.add_argument("--ray_address", default="", help="a running Ray cluster (engine rllib)")
    add_run_flags(found, "stackelberg", device="cpu")
    return found


def _pairs(words: Sequence[str], flag: str) -> list[tuple[str, Any]]:
    pairs = []
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise UserError(f"{flag} {word!r} can't be read; write KEY=VALUE")
        pairs.append((key, catalogue.value_of(text)))
    return pairs


def _grids(words: Sequence[str]) -> list[tuple[str, list[Any]]]:
    grids = _pairs(words, "--grid")
    for key, values in grids:
        if not isinstance(values, list) or not values:
            raise UserError(f"--grid {key} needs a list such as [0.004,0.008], not {values!r}")
    return grids


@functools.lru_cache(maxsize=32)
def _resolved(name: str, settings: tuple[str, ...], grids: tuple[str, ...]) -> Experiment:
    """The experiment of a command line's words: a figure's plan asks for it once per seed."""
    return catalogue.resolve(name, _pairs(settings, "--set"), _grids(grids))


def _seeds(options: argparse.Namespace, experiment: Experiment) -> tuple[int, ...]:
    if options.seed is not None and options.seeds:
        raise UserError("--seed and --seeds exclude each other")
    if options.seed is not None:
        if not 0 <= options.seed < 2**31:
            raise UserError(f"--seed {options.seed}; a seed is a whole number from 0 to 2147483647")
        return (options.seed,)
    return parse_seeds(options.seeds) if options.seeds else experiment.seeds


def _refuse(options: argparse.Namespace) -> None:
    if options.ray_num_cpus < 0:
        raise UserError(
            f"--ray_num_cpus {options.ray_num_cpus}; it has to be a number of cores, or 0 for all"
        )
    if options.engine == "batched" and options.ray_address:
        raise UserError("--ray_address is for --engine rllib; the batched engine runs in one process")
    for name in ("log_every", "hyperopt_samples"):
        value, least = getattr(options, name), 1 if name == "log_every" else 0
        if value < least or not math.isfinite(value):
            raise UserError(f"--{name} {value}; it has to be at least {least}")
    if options.hyperopt and (options.seed is not None or options.seeds):
        raise UserError("--hyperopt repeats each sample with seeds of its own; leave out --seed and --seeds")
    if options.hyperopt_samples and not options.hyperopt:
        raise UserError("--hyperopt_samples needs --hyperopt; nothing else reads it")


def parse(argv: Sequence[str] | None = None) -> Launch:
    """Understand a command line.

    Raises:
        UserError: anything in it that nobody reads or that can't be.
    """
    options = parser().parse_args(argv)
    _refuse(options)
    settings = _pairs(options.set, "--set")
    experiment = _resolved(options.experiment, tuple(options.set), tuple(options.grid))
    if options.hyperopt and len(experiment.conditions) > 1:
        raise UserError(
            f"--hyperopt can't search while {experiment.name} has a grid over "
            f"{', '.join(experiment.conditions[0].varied)}; fix it with --set"
        )
    if options.hyperopt and not experiment.hyperopt:
        raise UserError(f"{experiment.name} has no search space; see its entry in published.toml")

    def chosen(name: str) -> str:
        return experiment.name if name == "auto" else name

    return Launch(
        experiment=experiment,
        engine=options.engine,
        seeds=_seeds(options, experiment),
        log_every=options.log_every,
        certify=options.certify,
        run_root=options.run_root,
        device=options.device,
        print_rows=options.no_tune,
        hyperopt=options.hyperopt,
        hyperopt_samples=options.hyperopt_samples,
        project=chosen(options.wandb_project),
        group=chosen(options.wandb_group),
        ray=Ray(options.ray_num_cpus, options.ray_local_mode, options.ray_address),
        settings=tuple(settings),
    )
