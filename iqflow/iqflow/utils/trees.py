"""Trees of arrays as named arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from common import checkpoints


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

    Args:
        like: a tree of the same structure (arrays or their shapes).
        what: the source, for errors.
    Raises:
        UserError: an entry is missing, left over or of another shape or type.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    wanted = {_name(path): leaf for path, leaf in leaves}
    checkpoints.check_fits(arrays, wanted, what)
    return jax.tree_util.tree_unflatten(structure, [arrays[name] for name in wanted])
