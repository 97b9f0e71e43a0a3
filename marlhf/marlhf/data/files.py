"""Files of recorded play: one NPZ each, with the arrays of spec section 5.2 and a header that says what made them.

A file holds E rows, that is E environments played side by side for T steps; several whole episodes follow one another
in a row. Arrays, for every agent name listed in the header (time first, then row):

    obs/<agent> [T, E, d+n]     obs/__all__ [T, E, W] (the world state)     actions/<agent> [T, E] int32
    rewards/<agent> [T, E]      rewards/__all__ [T, E]                      dones/<agent>, dones/__all__ [T, E] bool
    infos/returned_episode_returns, infos/returned_episode_lengths, infos/returned_episode  [T, E, n]
    header                      JSON text: "format", "agents", and whatever the maker says (task, policies, seed ...)

``obs`` and ``obs/__all__`` are float32, or unsigned bytes where the task's observations are (Overcooked).
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.checkpoints import write_atomically
from common.cli import UserError

FORMAT = "marlhf rows 1"
_INFOS = ("returned_episode_returns", "returned_episode_lengths", "returned_episode")


class Rows(NamedTuple):
    """Recorded play: T steps of E environments with n agents (NumPy or JAX arrays).

    ``obs[t]`` is what the agents saw before step t (with their one-hot index; zeros at the first step of an episode
    that began inside the row), ``world_state[t]`` the same moment without zeroing; ``rewards[t]`` and ``dones[t]`` are
    what step t gave.
    """

    obs: Any  # [T, n, E, d+n] float32 or uint8
    world_state: Any  # [T, E, W] float32 or uint8
    actions: Any  # [T, n, E] int32
    rewards: Any  # [T, n, E] float32
    team_rewards: Any  # [T, E] float32
    dones: Any  # [T, E] bool
    returned_episode_returns: Any  # [T, E, n] float32: the last finished episode's return
    returned_episode_lengths: Any  # [T, E, n] float32
    returned_episode: Any  # [T, E, n] bool: an episode ended with this step


def _check(rows: Rows, agents: Sequence[str]) -> None:
    steps, n, envs = rows.actions.shape
    expected = {
        "obs": (steps, n, envs, rows.obs.shape[-1]),
        "world_state": (steps, envs, rows.world_state.shape[-1]),
        "rewards": (steps, n, envs),
        "team_rewards": (steps, envs),
        "dones": (steps, envs),
        **dict.fromkeys(_INFOS, (steps, envs, n)),
    }
    for name, shape in expected.items():
        assert getattr(rows, name).shape == shape, f"{name} is {getattr(rows, name).shape}, not {shape}"
    assert len(agents) == n, f"{n} agents are recorded, the header names {len(agents)}"


def save_rows(path: Path | str, rows: Rows, made_by: Mapping[str, Any]) -> None:
    """Write one file, whole or not at all.

    Args:
        path: the file to replace; its folder is made.
        rows: the play.
        made_by: anything JSON can hold; must contain ``agents``, the agents' names in order.
    """
    agents = list(made_by["agents"])
    _check(rows, agents)
    arrays: dict[str, Any] = {"header": np.array(json.dumps({"format": FORMAT, **made_by}, sort_keys=True))}
    obs, world = (
        part if part.dtype == np.uint8 else part.astype(np.float32)
        for part in map(np.asarray, (rows.obs, rows.world_state))
    )
    dones = np.asarray(rows.dones, bool)
    for index, agent in enumerate(agents):
        arrays[f"obs/{agent}"] = obs[:, index]
        arrays[f"actions/{agent}"] = np.asarray(rows.actions[:, index], np.int32)
        arrays[f"rewards/{agent}"] = np.asarray(rows.rewards[:, index], np.float32)
        arrays[f"dones/{agent}"] = dones
    arrays |= {"obs/__all__": world, "dones/__all__": dones}
    arrays["rewards/__all__"] = np.asarray(rows.team_rewards, np.float32)
    for name in _INFOS:
        kind = bool if name == "returned_episode" else np.float32
        arrays[f"infos/{name}"] = np.asarray(getattr(rows, name), kind)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(Path(path), buffer.getvalue())


def _unreadable(path: Path, why: Any) -> UserError:
    return UserError(f"{path} is not a whole file of recorded play ({why}); collect it again")


class RowsFile:
    """An open file of play: the header and the shapes at once, each array when it is asked for.

    Raises:
        UserError: the file is missing, damaged, cut short or something else.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        try:
            self._npz = np.load(self.path, allow_pickle=False)
            self.made_by = json.loads(str(self._npz["header"]))
            assert self.made_by["format"] == FORMAT
            self.agents = tuple(self.made_by["agents"])
            self.steps, self.envs = self.shape(f"actions/{self.agents[0]}")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise UserError(f"no file of recorded play at {self.path}") from None
        except (AssertionError, AttributeError, EOFError, IndexError, KeyError) as error:
            raise _unreadable(self.path, f"no header of the form {FORMAT!r}") from error
        except (OSError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise _unreadable(self.path, error) from None

    def __enter__(self) -> RowsFile:
        return self

    def __exit__(self, *_: Any) -> None:
        self._npz.close()

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one array, without reading it."""
        return self._kind(name)[0]

    def _kind(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        with self._npz.zip.open(f"{name}.npy") as member:
            version = np.lib.format.read_magic(member)
            reader = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }
            shape, _, dtype = reader[version](member)
            return shape, dtype

    def array(self, name: str) -> np.ndarray:
        """One array by its name in the file."""
        try:
            return self._npz[name]
        except KeyError:
            raise _unreadable(self.path, f"it lacks {name}") from None
        except (EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
            raise _unreadable(self.path, error) from None

    def sizes(self) -> tuple[int, int, int, int, int]:
        """(T, n, E, d+n, W), without reading the arrays."""
        try:
            width, state = (self.shape(f"obs/{name}")[-1] for name in (self.agents[0], "__all__"))
        except KeyError:
            raise _unreadable(self.path, "it lacks obs") from None
        return self.steps, len(self.agents), self.envs, width, state

    def bytes_only(self) -> bool:
        """Whether the observations are unsigned bytes."""
        return self._kind("obs/__all__")[1] == np.uint8

    def fill(self, rows: Rows, first: int) -> None:
        """Copy the file into columns ``first : first + E`` of larger arrays."""
        place = slice(first, first + self.envs)
        try:
            for index, agent in enumerate(self.agents):
                rows.obs[:, index, place] = self.array(f"obs/{agent}")
                rows.actions[:, index, place] = self.array(f"actions/{agent}")
                rows.rewards[:, index, place] = self.array(f"rewards/{agent}")
            rows.world_state[:, place] = self.array("obs/__all__")
            rows.team_rewards[:, place] = self.array("rewards/__all__")
            rows.dones[:, place] = self.array("dones/__all__")
            for name in _INFOS:
                getattr(rows, name)[:, place] = self.array(f"infos/{name}")
        except ValueError as error:
            raise _unreadable(self.path, error) from None


def empty_rows(steps: int, n: int, envs: int, width: int, state: int, as_bytes: bool = False) -> Rows:
    """Arrays to be filled, of the sizes (T, n, E, d+n, W)."""
    seen = np.uint8 if as_bytes else np.float32
    return Rows(
        obs=np.empty((steps, n, envs, width), seen),
        world_state=np.empty((steps, envs, state), seen),
        actions=np.empty((steps, n, envs), np.int32),
        rewards=np.empty((steps, n, envs), np.float32),
        team_rewards=np.empty((steps, envs), np.float32),
        dones=np.empty((steps, envs), bool),
        returned_episode_returns=np.empty((steps, envs, n), np.float32),
        returned_episode_lengths=np.empty((steps, envs, n), np.float32),
        returned_episode=np.empty((steps, envs, n), bool),
    )


def load_files(
    paths: Sequence[Path | str], sizes: tuple[int, int] | None = None, task: str | None = None
) -> Rows:
    """Several files side by side along E, in the given order; holds the data once (one array more while it reads).

    Args:
        sizes: (d+n, W) that the task at hand has, when it is known.
        task: its name, when it is known.

    Raises:
        UserError: a file is unreadable, or its sizes are not those of the task or of the first file.
    """
    envs = []
    first = None
    for path in paths:
        with RowsFile(path) as file:
            found, as_bytes = file.sizes(), file.bytes_only()
            envs.append(file.envs)
            made_for = file.made_by.get("task", task)
        if task is not None and made_for != task:
            raise UserError(f"{path} was made by {made_for}, not by {task}; name the task it was made for")
        if sizes is not None and found[3:] != tuple(sizes):
            raise UserError(
                f"{path} has observations of size {found[3]} and world states of size {found[4]}, "
                f"this task has {sizes[0]} and {sizes[1]}; collect it again or name the task it was made for"
            )
        first = first or (path, found, as_bytes)
        if (*found[:2], *found[3:], as_bytes) != (*first[1][:2], *first[1][3:], first[2]):
            raise UserError(
                f"{path} does not fit beside {first[0]}: its (steps, agents, rows, observation, state) are {found}, "
                f"the other's {first[1]}"
            )
    assert first is not None, "no files"
    steps, n, _, width, state = first[1]
    rows = empty_rows(steps, n, sum(envs), width, state, first[2])
    at = 0
    for path, count in zip(paths, envs, strict=True):
        with RowsFile(path) as file:
            file.fill(rows, at)
        at += count
    return rows


def file_hash(path: Path | str) -> str:
    """The SHA-256 of a file, by which comparisons and headers name it."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UserError(f"no file at {path}") from None
