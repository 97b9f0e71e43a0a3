"""Checkpoints: named arrays and JSON in one NPZ file that is either whole or refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.cli import UserError

_MAGIC = b"opponent-shaping checkpoint 1\n"


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one step: temporary file beside it, fsync, rename, fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def save(path: Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically: a line that names the format, the SHA-256 of the rest, then an NPZ.

    Args:
        path: the file to replace.
        arrays: any number of numeric arrays by name; names may contain ``/``.
        meta: anything JSON can hold.
    """
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(dict(meta)).encode(), np.uint8)
    np.savez(
        buffer, **{"meta": text}, **{f"array:{name}": np.asarray(value) for name, value in arrays.items()}
    )
    payload = buffer.getvalue()
    digest = hashlib.sha256(payload).hexdigest().encode() + b"\n"
    write_atomically(Path(path), _MAGIC + digest + payload)


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a checkpoint that `save` wrote.

    Returns:
        The arrays by name, and the JSON.

    Raises:
        UserError: the file is missing, is no checkpoint, is cut short or was changed.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UserError(f"no checkpoint at {path}") from None
    if not content.startswith(_MAGIC):
        raise UserError(f"{path} is not a checkpoint of this project")
    digest, _, payload = content[len(_MAGIC) :].partition(b"\n")
    if hashlib.sha256(payload).hexdigest().encode() != digest:
        raise UserError(f"{path} is damaged (cut short or changed): its checksum does not match")
    try:
        with np.load(io.BytesIO(payload), allow_pickle=False) as file:
            meta = json.loads(file["meta"].tobytes())
            return {name[len("array:") :]: file[name] for name in file.files if name != "meta"}, meta
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a checkpoint of this project: {error}") from None


def check_fits(arrays: Mapping[str, np.ndarray], wanted: Mapping[str, Any], what: str) -> None:
    """Whether a checkpoint's arrays are those that a program keeps.

    Args:
        wanted: by name, something with the shape and the dtype that the array has to have.
        what: names the checkpoint in an error.
    Raises:
        UserError: an array is missing, left over, or of another shape or type.
    """
    missing, extra = sorted(set(wanted) - set(arrays)), sorted(set(arrays) - set(wanted))
    if missing or extra:
        wrong = f"lacks {missing[0]}" if missing else f"has {extra[0]}, which nothing reads"
        raise UserError(f"{what} does not fit this command: it {wrong}")
    for name, here in wanted.items():
        there = arrays[name]
        if there.shape != here.shape or there.dtype != here.dtype:
            raise UserError(
                f"{what} does not fit this command: {name} is {there.dtype}{list(there.shape)} there and "
                f"{here.dtype}{list(here.shape)} here"
            )


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
