"""A run's state as named arrays, and the files that hold trained agents.

An agent file (``minimal_state_N``) is a checkpoint of `common.checkpoints`: one line that names the format, the SHA-256
of the rest, then an NPZ. Its arrays are named by their path in the parameter tree,
``agent0/params/actor_head/ScanPOLAGruCell_0/linear1/kernel``, all float32; its meta holds ``format``
(``loqa agents 1``), ``iteration`` and ``hp`` (the whole ``hp`` tree: board, network sizes, seed).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from common import checkpoints
from common.cli import UserError

FORMAT = "loqa agents 1"


def _name(path) -> str:
    return "/".join(
        str(getattr(part, "name", getattr(part, "key", getattr(part, "idx", part)))) for part in path
    )


def to_arrays(tree: Any) -> dict[str, np.ndarray]:
    """Every leaf of a tree of arrays by its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
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


def save_agents(path: Path, agents: Mapping[str, Any], iteration: int, hp: Mapping[str, Any]) -> None:
    """Write an agent file.

    Args: `agents` ``{"agent0": {"params": tree}, ...}``, `hp` the run's whole tree (JSON).
    """
    meta = {"format": FORMAT, "iteration": iteration, "hp": dict(hp)}
    checkpoints.save(path, to_arrays(dict(agents)), meta)


def load_agents(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read an agent file: ``{"agent0": {"params": tree}, ...}`` (NumPy) and its meta.

    Raises: UserError when it is absent, damaged or another kind of checkpoint.
    """
    arrays, meta = checkpoints.load(Path(path))
    if meta.get("format") != FORMAT:
        raise UserError(f"{path} is not a file of LOQA agents (minimal_state_N)")
    return checkpoints.nested(arrays), meta
