"""Player files: what a player sees and what it answers (README, "The player file"). Read strictly, nothing is guessed."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.cli import UserError
from tournament.game import SITUATIONS
from tournament.recurrent import ACTIVATIONS, GRU_INPUTS, GRU_STATES, Dense, Network

FORMAT = "opponent-shaping-player/1"
MEMORY_ONE, RECURRENT = "memory-one", "recurrent"
_COMMON = {"format", "name", "label", "paper", "group", "about", "kind", "sees", "made_by"}
_KEYS = {
    MEMORY_ONE: _COMMON | {"cooperate"},
    RECURRENT: _COMMON | {"inputs", "cell", "layers", "gru", "readout", "answers", "check"},
}
_MADE_BY = {"commands": list, "game": str}
_MADE_BY_OPTIONAL = {"seed", "revision", "discount", "rounds"}
#: largest difference between the probabilities of a recurrent player's `check` and what its network gives here
CHECK_TOLERANCE = 1e-5
_LONGEST_LABEL = 22


@dataclass(frozen=True, eq=False)
class PlayerFile:
    """A player as its file describes it.

    Attributes:
        name, label, paper, group, about, made_by: as in the file; `group` names independent repetitions of one recipe.
        digest: SHA-256 of the file.
        table: ``[5]`` probability of cooperation in each of `game.SITUATIONS`; None for a recurrent player.
        network: None for a memory-one player.
        check: situations (numbers) and probabilities of a recurrent player's recorded history.
    """

    name: str
    label: str
    paper: str
    group: str
    about: str
    made_by: Mapping[str, Any]
    digest: str
    table: np.ndarray | None = None
    network: Network | None = None
    check: tuple[list[int], list[float]] | None = None


class _Wrong(Exception):
    """What is wrong in a file; `read` says in which."""


def read(path: Path) -> PlayerFile:
    """Read a player file.

    Raises:
        UserError: anything in it that is not as the README says; one line that names the file and the place.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UserError(f"no player file at {path}") from None
    try:
        data = json.loads(content, object_pairs_hook=_unique, parse_constant=_constant)
        return _player(data, path.stem, hashlib.sha256(content).hexdigest())
    except _Wrong as wrong:
        raise UserError(f"player file {path}: {wrong}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"player file {path} is no JSON: {error}") from None


def read_all(paths: Sequence[Path]) -> list[PlayerFile]:
    """The players of some files, and of all ``*.json`` of some folders, by name.

    Raises:
        UserError: a wrong file, a folder without any, or one name twice.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        found = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not found:
            raise UserError(f"no player file (*.json) in {path}")
        files += found
    players = [read(file) for file in files]
    names = [player.name for player in players]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"two player files are called {twice[0]}")
    return players


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise _Wrong(f"key {key!r} stands there twice")
    return dict(pairs)


def _constant(text: str) -> float:
    raise _Wrong(f"{text} is no number that a player can have")


def _player(data: Any, stem: str, digest: str) -> PlayerFile:
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise _Wrong(f'it is no player; one begins with "format": "{FORMAT}"')
    kind = data.get("kind")
    if kind not in _KEYS:
        raise _Wrong(f"kind is {kind!r}; it can be {MEMORY_ONE} or {RECURRENT}")
    _check_keys(data, _KEYS[kind] - {"label", "group"}, _KEYS[kind], f"a {kind} player")
    for key in ("name", "label", "paper", "group", "about"):
        if key in data and (not isinstance(data[key], str) or not data[key].strip()):
            raise _Wrong(f"{key} is {data[key]!r}; it has to be a text")
    name = data["name"]
    if name != stem or not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise _Wrong(
            f"name is {name!r}; it has to be the file's, {stem!r}, of small letters, digits and dashes"
        )
    label = data.get("label", name)
    if len(label) > _LONGEST_LABEL:
        raise _Wrong(f"label {label!r} is longer than {_LONGEST_LABEL} letters")
    order = _order(data["sees"])
    known = {
        "name": name,
        "label": label,
        "paper": data["paper"],
        "group": data.get("group", name),
        "about": data["about"],
        "made_by": _made_by(data["made_by"]),
        "digest": digest,
    }
    if kind == MEMORY_ONE:
        return PlayerFile(
            **known, table=_probabilities(data["cooperate"], len(data["sees"]), "cooperate")[order]
        )
    network = _network(data, order)
    return PlayerFile(**known, network=network, check=_checked(data["check"], network))


def _check_keys(data: Any, needed: set[str], allowed: set[str], what: str) -> None:
    if not isinstance(data, dict):
        raise _Wrong(f"{what} has to be an object with {', '.join(sorted(needed))}")
    for key in sorted(needed - set(data)):
        raise _Wrong(f"{what} lacks {key!r}")
    for key in sorted(set(data) - allowed):
        raise _Wrong(f"{what} has {key!r}, which nobody reads")


def _made_by(data: Any) -> Mapping[str, Any]:
    _check_keys(data, set(_MADE_BY), set(_MADE_BY) | _MADE_BY_OPTIONAL, "made_by")
    for key, kind in _MADE_BY.items():
        if not isinstance(data[key], kind) or not data[key]:
            raise _Wrong(
                f"made_by {key} is {data[key]!r}; it has to be a {'list' if kind is list else 'text'}"
            )
    if not all(isinstance(command, str) for command in data["commands"]):
        raise _Wrong("made_by commands has to be a list of texts")
    for key in sorted(_MADE_BY_OPTIONAL & set(data)):
        text = key == "revision"
        if data[key] is not None and not (isinstance(data[key], str) if text else _number(data[key])):
            raise _Wrong(f"made_by {key} is {data[key]!r}; it has to be a {'text' if text else 'number'}")
    return data


def _order(sees: Any) -> np.ndarray:
    """``[5]``: which of a player's observations each of `SITUATIONS` is."""
    if not isinstance(sees, list) or not all(isinstance(label, str) for label in sees):
        raise _Wrong("sees has to be a list of observations, such as start, CC, CD, DC, DD")
    for label in sees:
        if not re.fullmatch(r"start|[CD-][CD-]", label):
            raise _Wrong(
                f"sees has {label!r}; an observation is start, or two of C, D and - (own action first)"
            )
    order = []
    for situation in SITUATIONS:
        found = [number for number, label in enumerate(sees) if _is(label, situation)]
        if len(found) != 1:
            which = "no observation" if not found else " and ".join(sees[number] for number in found)
            raise _Wrong(f"sees has {which} for {situation}; every situation needs one")
        order += found
    return np.array(order)


def _is(label: str, situation: str) -> bool:
    if "start" in (label, situation):
        return label == situation
    return all(letter in ("-", action) for letter, action in zip(label, situation, strict=True))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _probabilities(values: Any, length: int, what: str) -> np.ndarray:
    if not isinstance(values, list) or len(values) != length:
        raise _Wrong(f"{what} has to be a list of {length} probabilities, one for each observation")
    for value in values:
        if not _number(value) or not 0 <= value <= 1:
            raise _Wrong(f"{what} has {value!r}, which is no probability")
    return np.array(values, float)


def _network(data: Mapping[str, Any], order: np.ndarray) -> Network:
    if data["cell"] != "gru":
        raise _Wrong(f"cell is {data['cell']!r}; the only one is gru")
    if data["answers"] not in (["C", "D"], ["D", "C"]):
        raise _Wrong(f'answers is {data["answers"]!r}; it has to be ["C", "D"] or ["D", "C"]')
    inputs = data["inputs"]
    if not isinstance(inputs, list) or len(inputs) != len(data["sees"]):
        raise _Wrong(f"inputs has to be a list of {len(data['sees'])} vectors, one for each observation")
    width = len(inputs[0]) if isinstance(inputs[0], list) else 0
    if not width or not all(isinstance(row, list) and len(row) == width for row in inputs):
        raise _Wrong("inputs has to be a list of vectors of one length")
    if not all(_number(value) for row in inputs for value in row):
        raise _Wrong("inputs holds something that is no number")
    if not isinstance(data["layers"], list):
        raise _Wrong("layers has to be a list")
    layers, size = [], width
    for number, layer in enumerate(data["layers"]):
        what = f"layers[{number}]"
        _check_keys(layer, {"kernel", "bias", "activation"}, {"kernel", "bias", "activation"}, what)
        if layer["activation"] not in ACTIVATIONS:
            raise _Wrong(
                f"{what} activation is {layer['activation']!r}; it can be {' or '.join(ACTIVATIONS)}"
            )
        layers.append(_dense(layer, size, None, what, layer["activation"]))
        size = layers[-1].bias.size
    _check_keys(data["gru"], set(GRU_INPUTS + GRU_STATES), set(GRU_INPUTS + GRU_STATES), "gru")
    hidden = _array(_part(data["gru"]["hn"], "gru hn")["bias"], "gru hn bias").size
    gru = {
        name: _dense(_part(data["gru"][name], f"gru {name}"), size, hidden, f"gru {name}")
        for name in GRU_INPUTS
    }
    for name in GRU_STATES:
        part = data["gru"][name]
        if name != "hn":
            _check_keys(part, {"kernel"}, {"kernel"}, f"gru {name}")
            gru[name] = Dense(
                _array(part["kernel"], f"gru {name} kernel", (hidden, hidden)), np.zeros(hidden, np.float32)
            )
        else:
            gru[name] = _dense(part, hidden, hidden, f"gru {name}")
    readout = _dense(_part(data["readout"], "readout"), hidden, 2, "readout")
    shown = np.array(inputs, np.float32)[order]
    return Network(shown, tuple(layers), gru, readout, data["answers"].index("C"))


def _part(part: Any, what: str) -> Mapping[str, Any]:
    _check_keys(part, {"kernel", "bias"}, {"kernel", "bias"}, what)
    return part


def _dense(
    part: Mapping[str, Any], rows: int, columns: int | None, what: str, activation: str = "none"
) -> Dense:
    bias = _array(part["bias"], f"{what} bias", None if columns is None else (columns,))
    return Dense(_array(part["kernel"], f"{what} kernel", (rows, bias.size)), bias, activation)


def _array(data: Any, what: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """``{"shape": [...], "float32": base64 of little-endian numbers}``; without `shape` a vector of any length."""
    _check_keys(data, {"shape", "float32"}, {"shape", "float32"}, what)
    sizes = data["shape"]
    if not isinstance(sizes, list) or not sizes or not all(type(size) is int and size > 0 for size in sizes):
        raise _Wrong(f"{what} has shape {sizes!r}; it has to be a list of whole numbers above 0")
    try:
        array = np.frombuffer(base64.b64decode(data["float32"], validate=True), "<f4").reshape(sizes)
    except (binascii.Error, TypeError, ValueError):
        raise _Wrong(f"{what} is not base64 of as many float32 as its shape {data['shape']!r} says") from None
    if array.shape != (shape or (array.size,)):
        raise _Wrong(f"{what} has shape {sizes}; it has to be {list(shape) if shape else 'one length'}")
    if not np.isfinite(array).all():
        raise _Wrong(f"{what} holds something that is no number")
    return array


def _checked(check: Any, network: Network) -> tuple[list[int], list[float]]:
    """The recorded history and probabilities, which the network has to give."""
    _check_keys(check, {"history", "cooperate"}, {"history", "cooperate"}, "check")
    history = check["history"]
    if not isinstance(history, list) or not history or not all(word in SITUATIONS for word in history):
        raise _Wrong(f"check history has to be a list of {', '.join(SITUATIONS)}")
    recorded = _probabilities(check["cooperate"], len(history), "check cooperate")
    situations = [SITUATIONS.index(word) for word in history]
    apart = float(np.abs(np.array(network.along(situations)) - recorded).max())
    if apart > CHECK_TOLERANCE:
        raise _Wrong(
            f"its network gives probabilities that are {apart:.2g} from its check's: a wrong or damaged file"
        )
    return situations, recorded.tolist()
