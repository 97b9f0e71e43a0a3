"""Trees of arrays as named arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from common.cli import UserError


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
    names = [_name(path) for path, _ in leaves]
    missing, extra = sorted(set(names) - set(arrays)), sorted(set(arrays) - set(names))
    if missing or extra:
        wrong = f"lacks {missing[0]}" if missing else f"has {extra[0]}, which nothing reads"
        raise UserError(f"{what} does not fit this command: it {wrong}")
    for name, (_, leaf) in zip(names, leaves, strict=True):
        found = arrays[name]
        if found.shape != leaf.shape or found.dtype != leaf.dtype:
            raise UserError(
                f"{what} does not fit this command: {name} is {found.dtype}{list(found.shape)} there and "
                f"{leaf.dtype}{list(leaf.shape)} here"
            )
    return jax.tree_util.tree_unflatten(structure, [arrays[name] for name in names])


def nested(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Nested dictionaries from names with ``/``."""
    tree: dict[str, Any] = {}
    for name, value in arrays.items():
        *folders, leaf = name.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = value
    return tree
