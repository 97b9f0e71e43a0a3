"""A run's state as named arrays, and checkpoints that a person may move about (`--save_dir`, `--load_prefix`)."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from common import checkpoints
from common.cli import UserError
from pola.dice.config import Config, find_checkpoint

#: settings that fix the shape of the state, with the flag that sets them
ARCHITECTURE = ("env", "hidden_size", "layers_before_gru", "opp_model", "optim")


def _name(path) -> str:
    return "/".join(
        str(getattr(part, "name", getattr(part, "key", getattr(part, "idx", part)))) for part in path
    )


def to_arrays(state: Any) -> dict[str, np.ndarray]:
    """Every leaf of a tree of arrays by its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {_name(path): np.asarray(leaf) for path, leaf in leaves}


def from_arrays(like: Any, arrays: Mapping[str, np.ndarray], what: str) -> Any:
    """The tree that `to_arrays` took apart.

    Args: `like` a tree of the same structure, `what` names the source in an error.
    Raises: UserError when an entry is missing, left over or of another shape or type.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    wanted = {_name(path): leaf for path, leaf in leaves}
    checkpoints.check_fits(arrays, wanted, what)
    return jax.tree_util.tree_unflatten(structure, [jax.numpy.asarray(arrays[name]) for name in wanted])


def _architecture(config: Config) -> dict[str, Any]:
    return {name: getattr(config, name) for name in ARCHITECTURE}


def save(config: Config, seed: int, epoch: int, state: Any, rows: list[dict[str, Any]]) -> Path:
    """Write `checkpoint_<date>_seed<seed>_epoch<epoch>` into `config.save_dir`, the log so far included.

    DEVIATION(Q10): one self-contained file with its history and a checksum, where the original wrote a Flax
    checkpoint whose history began anew with every resume.
    """
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M")
    path = Path(config.save_dir) / f"checkpoint_{stamp}_seed{seed}_epoch{epoch}"
    meta = {"epoch": epoch, "seed": seed, "architecture": _architecture(config), "rows": rows}
    checkpoints.save(path, to_arrays(state), meta | {"config": config.identity(seed)})
    return path


def load(config: Config, like: Any) -> tuple[Any, int, list[dict[str, Any]]]:
    """The checkpoint of `--load_prefix`: state, epoch and the rows logged before it.

    Raises: UserError when it is damaged, of another architecture or seed, or leaves nothing to do.
    """
    path = find_checkpoint(config.load_dir, config.load_prefix)
    if hashlib.sha256(path.read_bytes()).hexdigest() != config.loaded:
        raise UserError(f"{path} was replaced while the program started; run the same command again")
    arrays, meta = checkpoints.load(path)
    if "architecture" not in meta:
        raise UserError(f"{path} is not a checkpoint that --save_dir wrote")
    for name, here in _architecture(config).items():
        there = meta["architecture"].get(name)
        if there != here:
            raise UserError(f"{path} was made with {name} {there}, this command says {name} {here}")
    (seed,) = config.seeds
    if meta["seed"] != seed:
        raise UserError(f"{path} belongs to seed {meta['seed']}; add --seed {meta['seed']}")
    if meta["epoch"] >= config.n_update:
        raise UserError(
            f"{path} is already at epoch {meta['epoch']}; --n_update {config.n_update} leaves nothing to do"
        )
    return from_arrays(like, arrays, str(path)), meta["epoch"], meta["rows"]
