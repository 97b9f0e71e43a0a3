"""Files that hold a trained follower: a checkpoint of `common.checkpoints` with the table and what it belongs to.

Arrays: ``agent_1/_model.weight`` [actions, codes] (and ``agent_1/_value.weight`` [1, codes] of a PPO follower), the
original's names; other networks use ``agent_1/layer0`` and so on. Meta: format, game, memory, steps, number of codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common import checkpoints
from common.cli import UserError

from ..experiments.catalogue import Condition
from .schedule import Spec
from .translate import game_of

# DEVIATION(Q20): no follower file is shipped (one of the release was stale); runs train or save their own
FORMAT = "stackerlberg follower 1"
_NAMES = {"layer0": "agent_1/_model.weight", "value": "agent_1/_value.weight"}


def path_of(name: str, root: Path, condition: Condition, seed: int, alone: bool) -> Path:
    """Where a follower's file is.

    Args:
        name: the configuration's key: ``auto`` or a file name, which may hold {matrix_name} and {seed}; a relative
            one is below ``followers`` in the run root.
        alone: the only condition and seed of its process.

    Raises:
        UserError: a pickle, or one name for several followers.
    """
    game = condition.configuration.env_config.get("matrix_name") or "matrix"
    # DEVIATION(Q17): the name is worked out here; the original wrote it into the configuration that it was given
    if name == "auto":
        name = f"pretrain_checkpoint_{game}_{seed}"
    elif not alone and "{seed}" not in name:
        raise UserError(
            f"{name} would be one file for several followers; put {{seed}} and {{matrix_name}} into its name"
        )
    path = Path(name.replace("{matrix_name}", str(game)).replace("{seed}", str(seed)))
    if path.suffix == ".pkl":
        raise UserError(
            f"{path} is a pickle, which is not read; save the follower again (pretrain_save_checkpoint)"
        )
    path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
    return path if path.is_absolute() else root / "followers" / path


def _meta(spec: Spec, condition: Condition) -> dict:
    protocol = spec.protocol
    return {
        "format": FORMAT,
        "game": game_of(condition.configuration).name,
        "memory": protocol.memory,
        "episode_length": protocol.episode_length,
        "codes": protocol.follower_codes(spec.actions),
        "actions": spec.actions[1],
    }


def save(path: Path, spec: Spec, condition: Condition, params: dict[str, np.ndarray]) -> None:
    """Write one lane's parameters: ``layer0`` [actions, codes], ..."""
    plain = spec.follower_network.plain
    arrays = {
        (_NAMES[name] if plain else f"agent_1/{name}"): value[None] if name == "value" else value
        for name, value in params.items()
    }
    checkpoints.save(path, arrays, _meta(spec, condition))


def load(
    path: Path, spec: Spec, condition: Condition, like: dict[str, Sequence[int]]
) -> dict[str, np.ndarray]:
    """Read one lane's parameters; `like` holds the shapes that they must have.

    Raises:
        UserError: no such file, a damaged one, or a follower of another game or network.
    """
    arrays, meta = checkpoints.load(path)
    if meta.get("format") != FORMAT:
        raise UserError(f"{path} does not hold a follower (pretrain_save_checkpoint writes one)")
    wanted = _meta(spec, condition)
    # payoffs may differ: the modified prisoner's dilemma has the follower payoffs of the plain one
    for key in ("memory", "codes", "actions"):
        if meta.get(key) != wanted[key]:
            raise UserError(
                f"{path} holds a follower with {key} {meta.get(key)}; this experiment needs {wanted[key]}"
            )
    plain, found = spec.follower_network.plain, {}
    for name, shape in like.items():
        stored = _NAMES[name] if plain else f"agent_1/{name}"
        if stored not in arrays:
            raise UserError(f"{path} lacks {stored}: its follower has another network")
        value = arrays[stored][0] if name == "value" else arrays[stored]
        if tuple(value.shape) != tuple(shape):
            raise UserError(f"{path}: {stored} is {list(value.shape)}, and has to be {list(shape)}")
        found[name] = value
    return found
