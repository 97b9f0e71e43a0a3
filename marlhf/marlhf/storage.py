"""A run's state as named arrays, and the files that hold trained models.

A model file is a safetensors file: float32 arrays named by their path in the parameter tree
(``params/ScannedRNN_0/GRUCell_1/hn/kernel``), and one metadata entry ``header``, JSON: ``format`` (``marlhf model 1``),
``kind`` (reward model, imitation policy, agents), the network, the task and what made it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from common import checkpoints
from common.cli import UserError

FORMAT = "marlhf model 1"


def _name(path) -> str:
    return "/".join(
        str(getattr(part, "name", getattr(part, "key", getattr(part, "idx", part)))) for part in path
    )


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a typed PRNG key."""
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if is_key(leaf) else leaf


def to_arrays(tree: Any) -> dict[str, np.ndarray]:
    """Every leaf of a tree of arrays by its path; a typed PRNG key by its data."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {_name(path): np.asarray(_plain(leaf)) for path, leaf in leaves}


def from_arrays(like: Any, arrays: Mapping[str, np.ndarray], what: str) -> Any:
    """The tree that `to_arrays` took apart.

    Args: `like` a tree of the same structure, `what` names the source in an error.
    Raises: UserError when an entry is missing, left over or of another shape or type.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    wanted = {_name(path): leaf for path, leaf in leaves}
    checkpoints.check_fits(arrays, {name: _plain(leaf) for name, leaf in wanted.items()}, what)
    values = [
        jax.random.wrap_key_data(arrays[name]) if is_key(leaf) else jax.numpy.asarray(arrays[name])
        for name, leaf in wanted.items()
    ]
    return jax.tree_util.tree_unflatten(structure, values)


def save_model(path: Path, kind: str, params: Any, header: Mapping[str, Any]) -> str:
    """Write a model, whole or not at all; returns the file's SHA-256.

    Args: `kind` is what `load_model` will be asked for, `header` anything JSON can hold.
    """
    from safetensors.numpy import save

    text = json.dumps({"format": FORMAT, "kind": kind, **header}, sort_keys=True)
    # safetensors writes arrays by name in an order of its own, and a scalar has no buffer it accepts
    arrays = {name: np.ascontiguousarray(value) for name, value in to_arrays(params).items()}
    content = save(arrays, metadata={"header": text})
    checkpoints.write_atomically(Path(path), content)
    return hashlib.sha256(content).hexdigest()


def load_model(path: Path, kind: str, made_by: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a model: its parameters (NumPy, nested) and its header.

    Args: `made_by` is the command that makes such a file, for the error.
    Raises: UserError when it is absent, damaged or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise UserError(f"no {kind} at {path}; {made_by} makes it")
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get("header", "{}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise UserError(f"{path} is damaged or no safetensors file: {error}") from None
    if header.get("format") != FORMAT or header.get("kind") != kind:
        found = header.get("kind", "something else")
        raise UserError(f"{path} holds {found}, not a {kind}; {made_by} makes one")
    return checkpoints.nested(arrays), header


def file_digest(path: Path) -> str:
    """The SHA-256 of a file.

    Raises: UserError when there is none.
    """
    if not Path(path).is_file():
        raise UserError(f"no file at {path}")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
