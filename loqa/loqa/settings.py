"""Hydra composition to one frozen configuration: every key is read or refused, with one line that says what is wrong.

A command line is Hydra overrides (``hp=logits hp.seed=42``) and a few flags of the house (``--seeds 42-51``). Neither
JAX nor flax is imported here, so that a wrong key is answered at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.cli import StrictParser, UserError, add_run_flags, nearest, parse_seeds
from common.settings import build, choice, switch, text

CONFIG = Path(__file__).resolve().parents[1] / "config"
#: keys that say where something is put, not what is computed
PRESENTATION = ("save_dir",)


# --- blocks beside hp --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wandb:
    """Logging to wandb, beside metrics.jsonl; it never changes what is computed."""

    state: str = choice("disabled", "enabled", default="disabled")
    tags: tuple[str, ...] = field(default=("test",))
    wandb_dir: str = text("")  # "": the run's own folder
    project: str = text("")  # "": loqa-ipd or loqa-coin
    group: str = text("")
    name: str = text("")


@dataclass(frozen=True)
class Jax:
    """Settings of JAX for the whole process."""

    jax_disable_jit: bool = switch(False)
    jax_debug_nans: bool = switch(False)
    jax_threefry_partitionable: bool = switch(False)  # False: the original's random streams


@dataclass(frozen=True)
class Launch:
    """One command line, understood.

    Attributes:
        hp: the program's own frozen tree.
        seeds: the lanes of this process; `hp.seed` is the first of them.
    """

    hp: Any
    seeds: tuple[int, ...]
    run_root: str
    device: str
    seed_axis: str
    wandb: Wandb
    jax: Jax

    def identity(self, seed: int | None = None) -> dict[str, Any]:
        """What a run of one seed (default: the first) is addressed by; JSON."""
        hp = dataclasses.asdict(self.hp)
        for key in PRESENTATION:
            hp.pop(key, None)
        hp["seed"] = self.seeds[0] if seed is None else seed
        return {"hp": hp, "jax_threefry_partitionable": self.jax.jax_threefry_partitionable}


# --- the command line --------------------------------------------------------------------------------------------


def _parser(program: str, root: str) -> argparse.ArgumentParser:
    groups = ", ".join(sorted(path.stem for path in (CONFIG / root / "hp").glob("*.yaml")))
    parser = StrictParser(
        prog=program,
        description=f"Hydra overrides: hp=GROUP ({groups}), hp.KEY=VALUE, wandb.state=enabled, ... "
        "--cfg job prints every key with the value it would have.",
    )
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, for example hp.seed=42")
    parser.add_argument("--seed", type=int, help="the same as the key hp.seed")
    parser.add_argument("--seeds", help="several seeds in one process, for example 42-51")
    add_run_flags(parser, "loqa")
    parser.add_argument(
        "--seed_axis",
        default="auto",
        choices=["auto", "loop", "vmap"],
        help="seeds one after another or side by side; auto: a loop on a CPU",
    )
    parser.add_argument("--cfg", choices=["job"], help="print the composed configuration and stop")
    return parser


def _compose(root: str, overrides: Sequence[str]) -> dict[str, Any]:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    # A key that the original had to be given with + may have become a regular one here; ++ fits both.
    words = [f"+{word}" if word.startswith("+") and not word.startswith("++") else word for word in overrides]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(CONFIG / root)):
            return OmegaConf.to_container(compose("config", overrides=words), resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2] if lines[0].startswith("In '") else lines[:1])
        if override := getattr(error, "override", None):
            reason = f"{override!r} is no Hydra override: {reason}"
        raise UserError(f"{reason.rstrip('.')}; --cfg job prints every key, --help every group") from None


def _refuse_dead(overrides: Sequence[str], dead: Mapping[str, str]) -> None:
    for word in overrides:
        key = word.lstrip("+~").split("=")[0]
        if key in dead:
            raise UserError(f"{key} {dead[key]}; leave it out")


def read(
    argv: Sequence[str] | None,
    *,
    program: str,
    root: str,
    hp_type: type,
    dead: Mapping[str, str] = types.MappingProxyType({}),
) -> Launch:
    """Understand a command line.

    Args:
        program: the script's name, for errors and help.
        root: ``ipd`` or ``coin``: the folder under ``config/``.
        hp_type: frozen dataclass of ``hp.*``; it has a field `seed`.
        dead: see `common.settings.build`.
    Raises:
        UserError: anything in the command line that nobody reads or that can't be.
        SystemExit: after ``--help`` and ``--cfg job``, with code 0; after a wrong flag with code 2.
    """
    parser = _parser(program, root)
    options = parser.parse_intermixed_args(argv)
    for word in options.overrides:
        if "=" not in word and not word.startswith("~"):
            raise UserError(f"{word!r} is neither a flag nor an override such as hp.seed=42")
    if options.seed is not None and options.seeds:
        raise UserError("--seed and --seeds exclude each other")
    _refuse_dead(options.overrides, dead)
    tree = _compose(root, options.overrides)
    blocks = ("hp", "wandb", "jax")
    if unknown := sorted(set(tree) - set(blocks)):
        raise UserError(f"unknown key {unknown[0]}; {nearest(unknown[0], blocks, '{}')}")
    seeds = parse_seeds(options.seeds) if options.seeds else (options.seed,)
    if seeds != (None,):
        tree["hp"]["seed"] = seeds[0]
    if options.cfg:
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(OmegaConf.create(tree)), end="")
        parser.exit(0)
    hp = build(hp_type, tree["hp"], "hp", dead)
    if seeds == (None,):
        seeds = (hp.seed,)
    return Launch(
        hp=hp,
        seeds=seeds,
        run_root=options.run_root,
        device=options.device,
        seed_axis=options.seed_axis,
        wandb=build(Wandb, tree.get("wandb", {}), "wandb"),
        jax=build(Jax, tree.get("jax", {}), "jax"),
    )
