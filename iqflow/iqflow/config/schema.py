"""From a plain tree of keys to frozen dataclasses: every key is read or refused, in one line that says what is wrong."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from common.cli import UserError


def _rule(test: Callable[[Any], bool], wanted: str, default: Any) -> Any:
    return field(default=default, metadata={"test": test, "wanted": wanted})


def choice(*allowed: Any, default: Any = dataclasses.MISSING) -> Any:
    """One of the values given."""
    return _rule(lambda value: value in allowed, " or ".join(map(str, allowed)), default)


def at_least(least: float, default: Any = dataclasses.MISSING) -> Any:
    """A finite number that is not below `least`."""
    return _rule(
        lambda value: math.isfinite(value) and value >= least, f"a number from {least:g} on", default
    )


def positive(default: Any = dataclasses.MISSING) -> Any:
    """A finite number above 0."""
    return _rule(lambda value: math.isfinite(value) and value > 0, "a number above 0", default)


def fraction(default: Any = dataclasses.MISSING) -> Any:
    """A number from 0 to 1."""
    return _rule(lambda value: 0 <= value <= 1, "a number from 0 to 1", default)


def pair(*, least: int, default: Any = dataclasses.MISSING) -> Any:
    """Two whole numbers that are not below `least`."""
    return _rule(
        lambda value: len(value) == 2 and min(value) >= least, f"two whole numbers from {least} on", default
    )


def text(default: Any = dataclasses.MISSING) -> Any:
    """Text that is not empty."""
    return _rule(lambda value: bool(value), "text", default)


def switch(default: Any = dataclasses.MISSING) -> Any:
    """True or False."""
    return _rule(lambda value: True, "true or false", default)


def _fits(value: Any, kind: Any) -> Any:
    """`value` as `kind`, or TypeError."""
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if typing.get_origin(kind) is tuple and isinstance(value, list | tuple):
        inner = typing.get_args(kind)[0]
        return tuple(_fits(item, inner) for item in value)
    if (
        isinstance(kind, type)
        and isinstance(value, kind)
        and not (kind is not bool and isinstance(value, bool))
    ):
        return value
    raise TypeError


_KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def _unknown(key: str, path: str, fields: Mapping[str, Any], dead: Mapping[str, str]) -> UserError:
    full = f"{path}.{key}"
    if full in dead:
        return UserError(f"{full} {dead[full]}; leave it out")
    close = difflib.get_close_matches(str(key), fields, n=1)
    hint = f"did you mean {path}.{close[0]}?" if close else f"{path} has {', '.join(fields)}"
    return UserError(f"unknown key {full}; {hint}")


def build(kind: type, tree: Any, path: str, dead: Mapping[str, str] = types.MappingProxyType({})):
    """The frozen dataclass `kind` from a plain tree.

    Args:
        path: where the tree stands, for errors (``env``).
        dead: dotted keys that nobody reads, with the reason; naming one is refused.
    Raises:
        UserError: an unknown, dead or missing key, a wrong type, a value out of range.
    """
    if not isinstance(tree, Mapping):
        raise UserError(f"{path} is a block of keys, not {tree!r}")
    hints, fields = typing.get_type_hints(kind), {item.name: item for item in dataclasses.fields(kind)}
    for key in tree:
        if key not in fields:
            raise _unknown(key, path, fields, dead)
    values = {}
    for name, item in fields.items():
        full = f"{path}.{name}"
        if name not in tree:
            if item.default is dataclasses.MISSING:
                raise UserError(f"{full} is missing")
            continue
        if dataclasses.is_dataclass(hints[name]):
            values[name] = build(hints[name], tree[name], full, dead)
            continue
        try:
            values[name] = _fits(tree[name], hints[name])
        except TypeError:
            wanted = item.metadata.get("wanted") or _KINDS.get(hints[name], "a list")
            raise UserError(f"{full}={tree[name]!r}; it has to be {wanted}") from None
        if "test" in item.metadata and not item.metadata["test"](values[name]):
            raise UserError(f"{full}={tree[name]}; it has to be {item.metadata['wanted']}")
    return kind(**values)
