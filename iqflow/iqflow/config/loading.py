"""From a command line to one frozen configuration: the file, ``--set`` on top of it, and every check on the result."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.cli import StrictParser, UserError, add_run_flags, parse_seeds
from common.settings import build
from iqflow.config import settings as s
from iqflow.env.cleanup import maps

FOLDER = Path(__file__).resolve().parent
DEFAULT = "config_ssd_qflow2"
SET_HELP = "change a key of the configuration, for example env.r_multiplier=0 (repeatable)"
SEED_BASE, N_SEEDS = 12340, 5
_KINDS = {"matrix": "ipd, chicken or stag_hunt", "er": "er", "ssd": "ssd"}


def names() -> tuple[str, ...]:
    """The configurations that come with the repository."""
    return tuple(sorted(path.stem for path in FOLDER.glob("config_*.toml")))


@dataclass(frozen=True)
class Settings:
    """One resolved configuration: algorithm, experiment and the sections of `iqflow.config.settings`.

    Attributes:
        method: the section ``qflow``, ``id`` or ``pg``.
    """

    alg: str
    exp: str
    schedule: s.Schedule
    env: s.MatrixEnv | s.EscapeRoomEnv | s.CleanupEnv
    method: Any
    nn: s.Nets
    main: s.Main

    @property
    def kind(self) -> str:
        """``matrix``, ``er`` or ``ssd``."""
        return kind_of(self.exp)

    def tree(self) -> dict[str, Any]:
        """The sections under their names in a file, as JSON can hold them."""
        sections = {
            "alg": self.schedule,
            "env": self.env,
            self.alg: self.method,
            "nn": self.nn,
            "main": self.main,
        }
        return {name: dataclasses.asdict(section) for name, section in sections.items()}


@dataclass(frozen=True)
class Launch:
    """One command line of a launcher, understood.

    Attributes:
        config: the configuration's name, or the path of a file.
        seeds: the lanes of this process.
        seed_min: what is subtracted from a seed to number its output folder.
        run_root: folder of the runs; empty: the repository's results and the original's output folders.
        mechanism: file of a trained mechanism that pays the followers and does not learn; empty: none.
    """

    settings: Settings
    config: str
    seeds: tuple[int, ...]
    seed_min: int = SEED_BASE
    run_root: str = ""
    device: str = "auto"
    gpus: str = ""
    mechanism: str = ""

    def identity(self, seed: int | None = None) -> dict[str, Any]:
        """What a run of one seed (default: the first) is addressed by; JSON. Where files go does not count."""
        tree = self.settings.tree()
        for key in ("root_dir_name", "exp_name", "dir_name", "max_to_keep"):
            del tree["main"][key]
        if self.settings.kind == "ssd":
            tree["env"]["map_name"] = map_rows(self.settings.env.map_name)
        seed = self.seeds[0] if seed is None else seed
        identity = {"alg": self.settings.alg, "exp": self.settings.exp, "config": tree, "seed": seed}
        if self.mechanism:
            identity["mechanism"] = hashlib.sha256(Path(self.mechanism).read_bytes()).hexdigest()
        return identity

    def output_folder(self, seed: int) -> Path:
        """Where the original puts a seed's files, relative to the working directory, with the experiment in between."""
        main = self.settings.main
        # DEVIATION(Q9): the original's three matrix games write to one folder; here the experiment is part of the path.
        folder = Path(main.root_dir_name) / main.exp_name / self.settings.exp
        return folder / f"{main.dir_name}_{seed - self.seed_min}"


def kind_of(exp: str) -> str:
    """``matrix``, ``er`` or ``ssd`` of an experiment's name."""
    return "matrix" if exp in s.MATRIX_GAMES else exp


def read_tree(config: str) -> dict[str, Any]:
    """The plain tree of a configuration, by its name or by the path of a TOML file.

    Raises:
        UserError: no such configuration or file, or it is not TOML.
    """
    path = FOLDER / f"{config}.toml" if config in names() else Path(config)
    if path.suffix != ".toml" or not path.is_file():
        raise UserError(
            f"unknown configuration {config!r}; there are {', '.join(names())}, or the path of a TOML file"
        )
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}") from None


def map_rows(name: str) -> tuple[str, ...]:
    """Cleanup's map by its name, or from a text file.

    Raises:
        UserError: no such map, or one that can't be used.
    """
    if name in maps.MAPS:
        return maps.named(name)
    path = Path(name)
    if not path.is_file():
        raise UserError(
            f"env.map_name={name!r}; it has to be {', '.join(maps.MAPS)}, or the path of a text file"
        )
    rows = tuple(path.read_text("utf-8").splitlines())
    maps.layout(rows)
    return rows


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        lowered = text.lower()
        return {"true": True, "false": False}.get(lowered, text)


def override(tree: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """A copy of `tree` with ``section.key=value`` words put in; a value that is not TOML is text.

    Raises:
        UserError: a word is not of that form.
    """
    tree = dict(tree)
    for word in words:
        key, equals, value = word.partition("=")
        *folders, leaf = key.split(".")
        if not equals or not folders or not re.fullmatch(r"\w+(\.\w+)+", key):
            raise UserError(f"--set {word!r} can't be read; write for example --set env.r_multiplier=0")
        place = tree
        for folder in folders:
            place[folder] = dict(place.get(folder, {})) if isinstance(place.get(folder, {}), Mapping) else {}
            place = place[folder]
        place[leaf] = _value(value)
    return tree


def _kind_of_tree(tree: Mapping[str, Any]) -> str:
    env = tree.get("env")
    if not isinstance(env, Mapping):
        return "matrix"
    if "cleanup_params" in env or "map_name" in env:
        return "ssd"
    return "er" if "min_at_lever" in env else "matrix"


def _check_suits(config: str, tree: Mapping[str, Any], alg: str, exp: str) -> None:
    """Whether a configuration is for this algorithm and experiment, before its keys are looked at."""
    if alg != "qflow" and kind_of(exp) == "matrix":
        raise UserError(
            f"--alg {alg} is not implemented for --exp {exp}; matrix games have --alg qflow only "
            "(--set env.r_multiplier=0 switches its incentives off)"
        )
    methods = [name for name in s.ALGORITHMS if name in tree]
    kind = _kind_of_tree(tree)
    if methods == [alg] and kind == kind_of(exp):
        return
    if len(methods) != 1:
        raise UserError(
            f"{config} has to have one of the sections {', '.join(s.ALGORITHMS)}, and has {len(methods)}"
        )
    suited = [name for name in names() if _suits(name, alg, exp)]
    raise UserError(
        f"{config} is for --alg {methods[0]} --exp {_KINDS[kind]}, not for --alg {alg} --exp {exp}; "
        f"for that --config {' or '.join(suited)}"
    )


def _suits(name: str, alg: str, exp: str) -> bool:
    tree = read_tree(name)
    return alg in tree and _kind_of_tree(tree) == kind_of(exp)


def _types(alg: str, kind: str, actor_critic: bool) -> tuple[type, type, type, type]:
    """The dataclasses of the sections env, method, nn and main."""
    follower = "ActorCritic" if actor_critic else "Reinforce"
    method = {
        "qflow": s.QFlowCleanup if kind == "ssd" else getattr(s, f"QFlow{follower}"),
        "id": s.IDActorCritic if kind == "ssd" else s.IDReinforce,
        "pg": getattr(s, f"PG{follower}"),
    }[alg]
    env = {
        "matrix": s.MatrixEnv,
        "er": s.EscapeRoomEnv if alg == "pg" else s.PaidEscapeRoomEnv,
        "ssd": {"pg": s.CleanupEnv, "id": s.DesignedCleanupEnv, "qflow": s.PaidCleanupEnv}[alg],
    }[kind]
    nets = s.ImageNets if kind == "ssd" else s.Nets if alg == "pg" else s.VectorNets
    return env, method, nets, s.MatrixMain if kind == "matrix" else s.Main


def _check_values(settings: Settings, given: Mapping[str, Any]) -> None:
    """What no single key can say."""
    env, method = settings.env, settings.method
    if settings.alg == "id" and settings.schedule.n_envs > 1:
        raise UserError(
            "alg.n_envs is not for --alg id, which compares one episode with the one before it; leave it out"
        )
    if settings.kind == "er" and env.min_at_lever > env.n_agents:
        raise UserError(f"env.min_at_lever={env.min_at_lever} is more than env.n_agents={env.n_agents}")
    if settings.kind == "ssd":
        for name in ("obs_height", "obs_width"):
            if getattr(env, name) != 2 * env.view_size + 1:
                raise UserError(
                    f"env.{name}={getattr(env, name)}; with env.view_size={env.view_size} it has to be "
                    f"{2 * env.view_size + 1}"
                )
        if len(env.global_ref_point) not in (0, 2):
            raise UserError(
                "env.global_ref_point has to be [row, column]; leave it out for the agents' own windows"
            )
        map_rows(env.map_name)
    if settings.alg == "id" and settings.kind == "er":
        read, other = ("lr_cost", "reg_coeff") if method.separate_cost_optimizer else ("reg_coeff", "lr_cost")
        which = str(method.separate_cost_optimizer).lower()
        if read not in given:
            raise UserError(f"id.{read} is missing; id.separate_cost_optimizer={which} reads it")
        if given.get(other):
            raise UserError(f"id.{other} is not read with id.separate_cost_optimizer={which}; leave it out")
    if settings.alg == "qflow" and method.cost_type == 1 and method.cost_reg_coeff2 > 0:
        raise UserError("qflow.cost_reg_coeff2 is not read with qflow.cost_type=1; set it to 0")


def resolve(config: str, tree: Mapping[str, Any], alg: str, exp: str) -> Settings:
    """A configuration's plain tree as `Settings` for an algorithm and an experiment.

    Args:
        config: its name, for errors.
    Raises:
        UserError: it does not suit, or a key is missing, unknown, dead or out of range.
    """
    _check_suits(config, tree, alg, exp)
    kind = kind_of(exp)
    sections = ("alg", "env", alg, "nn", "main")
    for name in tree:
        if name not in sections:
            raise UserError(f"unknown section {name} in {config}; it has {', '.join(sections)}")
    for name in sections:
        if not isinstance(tree.get(name), Mapping):
            raise UserError(f"section {name} is missing in {config}")
    actor_critic = kind == "ssd" or (alg != "id" and tree[alg].get("use_actor_critic") is True)
    dead = s.dead_keys(alg, exp, actor_critic)
    env, method, nets, main = _types(alg, kind, actor_critic)
    settings = Settings(
        alg=alg,
        exp=exp,
        schedule=build(s.Schedule, tree["alg"], "alg", dead),
        env=build(env, tree["env"], "env", dead),
        method=build(method, tree[alg], alg, dead),
        nn=build(nets, tree["nn"], "nn", dead),
        main=build(main, tree["main"], "main", dead),
    )
    _check_values(settings, tree[alg])
    return settings


# --- the launchers' flags ----------------------------------------------------------------------------------------


def make_parser(program: str, description: str, algorithms: Sequence[str]) -> argparse.ArgumentParser:
    """The flags that both launchers share (spec 2.3) and those of the house."""
    parser = StrictParser(prog=program, description=description)
    parser.add_argument("--alg", default="qflow", choices=algorithms, help="algorithm")
    parser.add_argument("--exp", default="ssd", choices=s.EXPERIMENTS, help="environment")
    parser.add_argument("--config", default=DEFAULT, help=f"{', '.join(names())}, or a TOML file's path")
    parser.add_argument("--gpus", help="what CUDA_VISIBLE_DEVICES is set to (default: what it is, or 0)")
    parser.add_argument(
        "--seed_min", type=int, default=SEED_BASE, help="subtracted from a seed to number folders"
    )
    parser.add_argument("--seed_base", type=int, help=f"the first seed (default: {SEED_BASE})")
    parser.add_argument(
        "--n_seeds", type=int, help=f"how many seeds from --seed_base on (default: {N_SEEDS})"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=SET_HELP)
    return parser


def check_gpus(options: argparse.Namespace) -> str:
    """The value of ``--gpus``, empty when it was not given.

    Raises:
        UserError: nothing would read it.
    """
    if options.gpus is not None and options.device == "cpu":
        raise UserError("--gpus is not read with --device cpu; leave one of them out")
    return options.gpus or ""


def _seeds(options: argparse.Namespace) -> tuple[int, ...]:
    given = [f"--{name}" for name in ("seed", "seeds") if getattr(options, name) is not None]
    given += ["--seed_base/--n_seeds"] * (options.seed_base is not None or options.n_seeds is not None)
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} exclude each other")
    if options.seed is not None:
        seeds = (options.seed,)
    elif options.seeds is not None:
        seeds = parse_seeds(options.seeds)
    else:
        first = SEED_BASE if options.seed_base is None else options.seed_base
        count = N_SEEDS if options.n_seeds is None else options.n_seeds
        if count < 1:
            raise UserError(f"--n_seeds {count}; it has to be at least 1")
        seeds = tuple(range(first, first + count))
    if min(seeds) < 0 or max(seeds) >= 2**32:
        raise UserError("a seed is a whole number from 0 to 4294967295")
    return seeds


def _n_envs(options: argparse.Namespace) -> list[str]:
    return [] if options.n_envs is None else [f"alg.n_envs={options.n_envs}"]


def parse(argv: Sequence[str] | None = None) -> Launch:
    """Understand a command line of ``train_multiprocess.py``.

    Raises:
        UserError: a configuration that does not suit, or keys or values that can't be.
        SystemExit: a wrong flag, with code 2.
    """
    parser = make_parser("train_multiprocess.py", "Train IQ-Flow or a baseline.", s.ALGORITHMS)
    parser.add_argument(
        "--n_envs",
        type=int,
        help="episodes that an iteration plays side by side and learns from at once (default: 1, the paper's schedule); "
        "the same as --set alg.n_envs=K",
    )
    parser.add_argument(
        "--mechanism",
        default="",
        metavar="FILE",
        help="agents_EPISODE of a run of --alg qflow or id: with --alg pg, its mechanism pays the followers and does not learn",
    )
    parser.add_argument("--seed", type=int, help="one seed, instead of --seed_base and --n_seeds")
    parser.add_argument("--seeds", help="several seeds in one process, for example 1-10")
    add_run_flags(parser, "iqflow")
    options = parser.parse_args(argv)
    tree = override(read_tree(options.config), [*_n_envs(options), *options.set])
    if options.mechanism and options.alg != "pg":
        raise UserError(f"--mechanism is for --alg pg, not for --alg {options.alg}, which trains its own")
    if options.mechanism and not Path(options.mechanism).is_file():
        raise UserError(f"no checkpoint at {options.mechanism}; a run saves it as agents/agents_EPISODE")
    return Launch(
        settings=resolve(options.config, tree, options.alg, options.exp),
        config=options.config,
        seeds=_seeds(options),
        seed_min=options.seed_min,
        run_root=options.run_root,
        device=options.device,
        gpus=check_gpus(options),
        mechanism=options.mechanism,
    )
