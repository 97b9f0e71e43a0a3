"""Hydra composition to one frozen configuration: every key is read or refused, with one line that says what is wrong.

A command line is Hydra overrides with the original's keys (``env.ENV_NAME=MPE_simple_spread_v3 +ENV_KWARGS.num_agents=5``)
and a few flags of the house (``--seeds 0-4``). A field ``td_lambda`` of a dataclass is the key ``TD_LAMBDA``. Neither JAX
nor flax is imported here, so that a wrong key is answered at once.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.cli import StrictParser, UserError, add_run_flags, parse_seeds
from common.settings import build, rule

CONFIG = Path(__file__).resolve().parents[1] / "train" / "config"


# --- what a field may hold ---------------------------------------------------------------------------------------


def texts() -> Any:
    """A list of texts, one at least."""
    return rule(lambda value: len(value) > 0, "a list of texts, for example [a,b]")


def place() -> Any:
    """Where something is written: never part of what a run is."""
    return rule(lambda value: True, "a path", place=True)


def source() -> Any:
    """Where something is read: what lies there is part of what a run is, its name is not."""
    return rule(lambda value: True, "a path", place=True)


def table(keys: str, length: int) -> Any:
    """A table of lists of `length` paths, its keys of the pattern `keys`; what lies there counts and not its name."""

    def fits(value: Mapping[str, tuple[str, ...]]) -> bool:
        return all(re.fullmatch(keys, key) and len(row) == length for key, row in value.items())

    wanted = (
        f"tasks with lists of {length} folders, for example {{overcooked:[{','.join('abcde'[:length])}]}}"
    )
    return rule(fits, wanted, place=True)


def counts(length: int) -> Any:
    """A list of `length` whole numbers, none below 0."""
    return rule(
        lambda value: len(value) == length and min(value) >= 0,
        f"a list of {length} whole numbers from 0 on, for example [{','.join('1' * length)}]",
    )


def block() -> Any:
    """A block of further keys under the field's own name, such as ``alg``."""
    return field(metadata={"block": True})


# --- blocks that every program has -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kwargs:
    """What a task is made with beside its name; 0 and "" are the task's own."""

    num_agents: int = field(default=0, metadata={"key": "num_agents"})
    num_landmarks: int = field(default=0, metadata={"key": "num_landmarks"})
    prey: str = field(default="default", metadata={"key": "prey"})
    layout: str = field(default="cramped_room", metadata={"key": "layout"})


@dataclass(frozen=True)
class Logging:
    """Where the log goes beside metrics.jsonl; it never changes what is computed."""

    project: str = "marlhf"
    project_prefix: str = ""
    entity: str = ""
    wandb_mode: str = "disabled"


@dataclass(frozen=True)
class Launch:
    """One command line, understood.

    Attributes:
        hp: the program's own frozen tree; its field `seed` is the first of `seeds`.
        seeds: the seeds of this process, one run each.
        found: what the configuration names and a run reads, by its content; JSON.
        seed_axis: ``loop``, ``vmap`` or ``auto``; never part of what a run is.
    """

    hp: Any
    seeds: tuple[int, ...]
    run_root: str
    device: str
    logging: Logging
    found: Mapping[str, Any] = field(default_factory=dict)
    seed_axis: str = "auto"

    def identity(self, seed: int | None = None) -> dict[str, Any]:
        """What a run of one seed (default: the first) computes, as far as the command line says it; JSON."""
        return plain(self.hp) | {"seed": self.seeds[0] if seed is None else seed} | dict(self.found)


def plain(tree: Any) -> dict[str, Any]:
    """A dataclass as nested dictionaries, without the fields that say where something is put."""
    found = {}
    for item in dataclasses.fields(tree):
        value = getattr(tree, item.name)
        if not item.metadata.get("place"):
            found[item.name] = plain(value) if dataclasses.is_dataclass(value) else value
    return found


def pick(kind: type, *trees: Any, **more: Any) -> Any:
    """The dataclass `kind`, its fields taken by name from `more`, else from the first of `trees` that has it."""
    values = dict(more)
    for item in dataclasses.fields(kind):
        for tree in trees:
            if item.name not in values and hasattr(tree, item.name):
                values[item.name] = getattr(tree, item.name)
    return kind(**values)


def key_of(item: dataclasses.Field) -> str:
    """The key of a field on the command line and in the YAML files."""
    return item.metadata.get("key", item.name if item.metadata.get("block") else item.name.upper())


# --- the command line --------------------------------------------------------------------------------------------


def _parser(program: str, config: str) -> argparse.ArgumentParser:
    parser = StrictParser(
        prog=program,
        description="Hydra overrides with the original's keys: env.ENV_NAME=..., alg.EPOCHS=..., ENV_NAME=..., "
        "+ENV_KWARGS.num_agents=5, ...; --cfg job prints every key with the value it would have.",
    )
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, for example SEED=42")
    parser.add_argument("--config-name", default=config, help="a file of train/config, without .yaml")
    parser.add_argument("--seed", type=int, help="the same as the key SEED")
    parser.add_argument("--seeds", help="several seeds in one process, for example 0-4")
    add_run_flags(parser, "marlhf")
    parser.add_argument(
        "--seed_axis",
        default="auto",
        choices=["auto", "loop", "vmap"],
        help="seeds one after another or side by side; auto: a loop on a CPU, and where seeds share no data",
    )
    parser.add_argument("--cfg", choices=["job"], help="print the composed configuration and stop")
    return parser


@functools.lru_cache(maxsize=256)  # the seeds of a figure's run differ in a flag only
def _composed(config: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if not (CONFIG / f"{config}.yaml").is_file():
        known = ", ".join(sorted(path.stem for path in CONFIG.glob("*.yaml")))
        raise UserError(f"unknown configuration {config!r}; there are {known}")
    # A key that the original had to be given with + may have become a regular one here, and a table is filled with
    # entries that its default lacks; ++ fits all of them.
    words = [f"++{word.lstrip('+')}" if word.startswith("+") or "={" in word else word for word in overrides]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(CONFIG)):
            return OmegaConf.to_container(compose(config, overrides=words), resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2] if lines[0].startswith("In '") else lines[:1])
        if override := getattr(error, "override", None):
            reason = f"{override!r} is no Hydra override: {reason}"
        raise UserError(f"{reason.rstrip('.')}; --cfg job prints every key") from None


def _keys(overrides: Sequence[str]) -> Iterator[str]:
    for word in overrides:
        yield word.lstrip("+~").split("=")[0]


def _logging(tree: dict[str, Any]) -> Logging:
    named = {item.name: item for item in dataclasses.fields(Logging)}
    found = {name: tree.pop(name.upper(), getattr(Logging(), name)) for name in named}
    for name, value in found.items():
        if not isinstance(value, str):
            raise UserError(f"{name.upper()}={value!r}; it has to be text")
    if found["wandb_mode"] not in ("online", "offline", "disabled"):
        raise UserError(f"WANDB_MODE={found['wandb_mode']}; it has to be online or offline or disabled")
    return Logging(**found)


def read(
    argv: Sequence[str] | None,
    *,
    program: str,
    config: str,
    hp_type: type,
    dead: Mapping[str, str] = types.MappingProxyType({}),
) -> Launch:
    """Understand a command line.

    Args:
        program: the script's path from the paper's folder, for errors and help.
        config: name of its YAML file in ``train/config``.
        hp_type: frozen dataclass of all keys but those of `Logging`; it has a field `seed`.
        dead: see `common.settings.build`.
    Raises:
        UserError: anything in the command line that nobody reads or that can't be.
        SystemExit: after ``--help`` and ``--cfg job``, with code 0; after a wrong flag with code 2.
    """
    parser = _parser(program, config)
    options = parser.parse_intermixed_args(argv)
    for word in options.overrides:
        if "=" not in word and not word.startswith("~"):
            raise UserError(f"{word!r} is neither a flag nor an override such as SEED=42")
    if options.seed is not None and options.seeds:
        raise UserError("--seed and --seeds exclude each other")
    for key in _keys(options.overrides):
        if key in dead:
            raise UserError(f"{key} {dead[key]}; leave it out")
    tree = copy.deepcopy(_composed(options.config_name, tuple(options.overrides)))
    seeds = parse_seeds(options.seeds) if options.seeds else (options.seed,)
    if seeds != (None,):
        tree["SEED"] = seeds[0]
    if options.cfg:
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(OmegaConf.create(tree)), end="")
        parser.exit(0)
    logging = _logging(tree)
    hp = build(hp_type, tree, "", dead, key_of)
    if seeds == (None,):
        seeds = (hp.seed,)
    return Launch(hp, seeds, options.run_root, options.device, logging, seed_axis=options.seed_axis)
