"""A run's state as named arrays, and the files that hold a trained mechanism and its followers.

An agents file is a checkpoint of `common.checkpoints`: one line that names the format, the SHA-256 of the rest, then an
NPZ. Its arrays are named by their path, ``mechanism/Dense_0/kernel`` (the incentive net; absent with ``--alg pg``) and
``followers/MLP_0/Dense_0/kernel`` (the followers' actors, stacked along a leading axis); its meta holds ``format``,
``alg``, ``exp``, ``episode``, ``seed`` and ``config`` (the run's whole configuration).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import checkpoints
from common.cli import UserError
from iqflow.utils.trees import to_arrays

FORMAT = "iqflow agents 1"


def save_agents(
    folder: Path, episode: int, agents: Mapping[str, Any], meta: Mapping[str, Any], keep: int
) -> Path:
    """Write ``folder/agents_<episode>`` and remove all but the newest `keep` of these files.

    Args:
        agents: ``{"mechanism": tree, "followers": tree}``; meta: ``alg``, ``exp``, ``config``, ``seed``.
    """
    path = folder / f"agents_{episode}"
    content = {**meta, "format": FORMAT, "episode": episode}
    checkpoints.save(path, to_arrays(dict(agents)), content)
    for stale in saved_agents(folder)[:-keep]:
        stale.unlink()
    return path


def saved_agents(folder: Path) -> list[Path]:
    """The agents files in a folder, oldest first."""
    found = [(re.fullmatch(r"agents_(\d+)", path.name), path) for path in Path(folder).glob("agents_*")]
    return [path for _, path in sorted((int(match[1]), path) for match, path in found if match)]


def load_agents(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read an agents file: ``{"mechanism": tree, "followers": tree}`` (NumPy) and its meta.

    Raises:
        UserError: it is absent, damaged or another kind of checkpoint.
    """
    arrays, meta = checkpoints.load(Path(path))
    if meta.get("format") != FORMAT:
        raise UserError(f"{path} is not a file of IQ-Flow agents (agents_EPISODE)")
    return checkpoints.nested(arrays), meta
