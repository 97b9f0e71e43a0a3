"""Hyper-parameter search with Optuna: what is searched, and a study that survives being killed (spec 2.3)."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.cli import UserError, add_run_flags
from iqflow.config import settings as s
from iqflow.config.loading import (
    N_SEEDS,
    SEED_BASE,
    Launch,
    Settings,
    check_gpus,
    make_parser,
    override,
    read_tree,
    resolve,
)

N_TRIALS, STARTUP_TRIALS = 40, 5
SEED_STRIDE = 995  # between the first seeds of two trials

#: log-uniform ranges by algorithm and kind of experiment
# DEVIATION(Q10): the original tunes nothing in the matrix games, has no --alg pg, and offers ID two keys that nothing
# reads in Escape Room; the ranges without a counterpart there are ours, around the shipped values.
SPACES: Mapping[tuple[str, str], Mapping[str, tuple[float, float]]] = {
    ("qflow", "matrix"): {
        "lr_actor": (1e-4, 1e-2),
        "lr_reward": (3e-4, 1e-2),
        "lr_v_model": (1e-4, 1e-2),
        "lr_v_rewarder": (1e-4, 1e-2),
        "entropy_coeff": (1e-2, 0.2),
    },
    ("qflow", "er"): {
        "lr_reward": (5e-5, 1e-3),
        "cost_reg_coeff": (5e-3, 0.5),
        "cost_reg_coeff2": (1e-4, 1e-2),
    },
    ("qflow", "ssd"): {
        "lr_actor": (1e-4, 1e-3),
        "lr_v": (1e-4, 1e-3),
        "lr_v_model": (5e-5, 1e-3),
        "entropy_coeff": (1e-2, 0.1),
        "lr_reward": (5e-5, 1e-3),
        "cost_reg_coeff": (5e-3, 0.5),
        "cost_reg_coeff2": (1e-5, 3e-4),
    },
    ("id", "er"): {
        "entropy_coeff": (5e-3, 1.0),
        "lr_actor": (1e-5, 1e-3),
        "lr_reward": (5e-6, 1e-4),
        "lr_cost": (1e-5, 1e-3),
        "reg_coeff": (1e-5, 1e-3),
    },
    ("id", "ssd"): {
        "entropy_coeff": (5e-3, 1.0),
        "lr_actor": (1e-5, 1e-3),
        "lr_reward": (5e-6, 1e-4),
        "lr_v": (1e-5, 1e-4),
        "lr_v_model": (1e-5, 1e-4),
        "reg_coeff": (1e-5, 1e-3),
    },
    ("pg", "er"): {"lr_actor": (1e-5, 1e-3), "entropy_coeff": (5e-3, 1.0)},
    ("pg", "ssd"): {"lr_actor": (1e-5, 1e-3), "lr_v": (1e-5, 1e-3), "entropy_coeff": (5e-3, 1.0)},
}


def space(settings: Settings) -> dict[str, tuple[float, float]]:
    """The ranges searched for a configuration; of ID's two cost weights the one that it reads."""
    ranges = dict(SPACES[settings.alg, settings.kind])
    if settings.alg == "id" and settings.kind == "er":
        del ranges["reg_coeff" if settings.method.separate_cost_optimizer else "lr_cost"]
    return ranges


@dataclass(frozen=True)
class Search:
    """One command line of ``tune_multiprocess.py``, understood.

    Attributes:
        tree: the configuration before a trial's values are put in.
        launch: the seeds are those of trial 0.
        n_trials: how many trials the study has when it is done.
    """

    tree: Mapping[str, Any]
    launch: Launch
    n_trials: int

    @property
    def store(self) -> Path:
        """The study's SQLite file, relative to the working directory unless ``--run_root`` is given."""
        if self.launch.run_root:
            return Path(self.launch.run_root) / "results_optuna" / "store.db"
        main = self.launch.settings.main
        folder = Path(main.root_dir_name) / main.exp_name / self.launch.settings.exp / main.dir_name
        return folder / "results_optuna" / "store.db"

    def trial(self, number: int, values: Mapping[str, float]) -> Launch:
        """The training of one trial: its values and seeds, and folders ``<dir_name>_<trial>_<k>``."""
        launch, alg = self.launch, self.launch.settings.alg
        words = [f"{alg}.{name}={value!r}" for name, value in values.items()]
        words.append(f'main.dir_name="{launch.settings.main.dir_name}_{number}"')
        tree = override(self.tree, words)
        seeds = tuple(seed + SEED_STRIDE * number for seed in launch.seeds)
        settings = resolve(launch.config, tree, alg, launch.settings.exp)
        return dataclasses.replace(launch, settings=settings, seeds=seeds, seed_min=seeds[0])


def parse(argv: Sequence[str] | None = None) -> Search:
    """Understand a command line of ``tune_multiprocess.py``.

    Raises:
        UserError: as `iqflow.config.loading.parse`.
    """
    parser = make_parser(
        "tune_multiprocess.py",
        "Search hyper-parameters with Optuna; --run_root holds the study too.",
        s.ALGORITHMS,
    )
    parser.add_argument("--n_trials", type=int, default=N_TRIALS, help="trials of the whole study")
    add_run_flags(parser, "iqflow")
    options = parser.parse_args(argv)
    tree = override(read_tree(options.config), options.set)
    settings = resolve(options.config, tree, options.alg, options.exp)
    first = SEED_BASE if options.seed_base is None else options.seed_base
    count = N_SEEDS if options.n_seeds is None else options.n_seeds
    for name, value in (("n_seeds", count), ("n_trials", options.n_trials)):
        if value < 1:
            raise UserError(f"--{name} {value}; it has to be at least 1")
    fixed = [word.split("=")[0] for word in options.set]
    searched = [f"{options.alg}.{name}" for name in space(settings)]
    if clash := sorted(set(fixed) & set(searched)):
        raise UserError(f"--set {clash[0]} is one of the keys that the search chooses; leave it out")
    launch = Launch(
        settings=settings,
        config=options.config,
        seeds=tuple(range(first, first + count)),
        seed_min=options.seed_min,
        run_root=options.run_root,
        device=options.device,
        gpus=check_gpus(options),
    )
    return Search(tree, launch, options.n_trials)


def run(search: Search, train: Callable[[Launch], Mapping[int, Mapping[str, Any] | None]]) -> int:
    """Run the study up to its number of trials; goes on where a killed one was, its unfinished trial included.

    Args:
        train: trains a trial's seeds and returns every seed's summary (None: failed).
    Returns:
        0, or 1 when a trial failed.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search.store.parent.mkdir(parents=True, exist_ok=True)
    alg, failures = search.launch.settings.alg, 0
    study = optuna.create_study(
        study_name=f"tune_{alg}",
        storage=f"sqlite:///{search.store}",
        direction="maximize",
        load_if_exists=True,
    )
    _check_same(study, search)
    states = optuna.trial.TrialState
    unfinished = [trial for trial in study.trials if trial.state == states.RUNNING]
    ranges = space(search.launch.settings)
    while unfinished or len(study.trials) < search.n_trials:
        number = unfinished[0].number if unfinished else len(study.trials)
        # A sampler of its own for every trial: what a trial tries depends on the trials before it and nothing else.
        seed = (search.launch.seeds[0] + number) % 2**32
        study.sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP_TRIALS, seed=seed)
        stored = unfinished.pop(0) if unfinished else None
        if stored is not None and set(stored.params) != set(ranges):
            study.tell(number, state=states.FAIL)
            continue
        values = stored.params if stored else _suggest(study.ask(), ranges)
        summaries = train(search.trial(number, values))
        if None in summaries.values():
            failures += 1
            study.tell(number, state=states.FAIL)
            print(f"trial {number} failed", file=sys.stderr)
            continue
        score = sum(summary["score"] for summary in summaries.values()) / len(summaries)
        study.tell(number, score)
        print(f"trial {number}: {score:.3f}  {_words(values)}", flush=True)
    done = [trial for trial in study.trials if trial.state == states.COMPLETE]
    if done:
        print(f"best of {len(done)}: trial {study.best_trial.number}, {study.best_value:.3f}  "
              f"{_words(study.best_params)}")  # fmt: skip
    return 1 if failures else 0


def _suggest(trial: Any, ranges: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    return {name: trial.suggest_float(name, low, high, log=True) for name, (low, high) in ranges.items()}


def _words(values: Mapping[str, float]) -> str:
    return " ".join(f"{name}={value:.4g}" for name, value in values.items())


def _check_same(study: Any, search: Search) -> None:
    """A study is one configuration's: going on with another one would mix two objectives."""
    identity = search.launch.identity() | {"seeds": list(search.launch.seeds)}
    for name in space(search.launch.settings):
        del identity["config"][search.launch.settings.alg][name]
    identity = json.loads(json.dumps(identity))
    known = study.user_attrs.get("configuration")
    if known is not None and known != identity:
        raise UserError(
            f"{search.store} holds a study of another configuration; move it away, or name another folder with "
            "--set main.dir_name=NAME"
        )
    study.set_user_attr("configuration", identity)
