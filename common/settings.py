"""From a plain tree of keys to frozen dataclasses: every key is read or refused, in one line that says what is wrong.

A field says what it may hold, ``lr: float = positive()``; `build` holds a tree against that.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from common.cli import UserError, nearest

_KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def rule(
    test: Callable[[Any], bool], wanted: str, default: Any = dataclasses.MISSING, **metadata: Any
) -> Any:
    """A field whose value has to pass `test`; `wanted` says what that is."""
    return dataclasses.field(default=default, metadata={"test": test, "wanted": wanted, **metadata})


def choice(*allowed: Any, default: Any = dataclasses.MISSING) -> Any:
    """One of the values given."""
    return rule(lambda value: value in allowed, " or ".join(map(str, allowed)), default)


def at_least(least: float, default: Any = dataclasses.MISSING) -> Any:
    """A finite number that is not below `least`."""
    return rule(lambda value: math.isfinite(value) and value >= least, f"a number from {least:g} on", default)


def positive(default: Any = dataclasses.MISSING) -> Any:
    """A finite number above 0."""
    return rule(lambda value: math.isfinite(value) and value > 0, "a number above 0", default)


def fraction(default: Any = dataclasses.MISSING) -> Any:
    """A number from 0 to 1."""
    return rule(lambda value: 0 <= value <= 1, "a number from 0 to 1", default)


def number(default: Any = dataclasses.MISSING) -> Any:
    """Any finite number."""
    return rule(math.isfinite, "a finite number", default)


def text(default: Any = dataclasses.MISSING) -> Any:
    """Any text."""
    return dataclasses.field(default=default)


def switch(default: Any = dataclasses.MISSING) -> Any:
    """True or False."""
    return dataclasses.field(default=default)


def _fits(value: Any, kind: Any) -> Any:
    """`value` as `kind`, or TypeError."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in (float, str) and is_number:
        return kind(value)
    if kind is Any:
        return value
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if typing.get_origin(kind) is Mapping and isinstance(value, Mapping):
        inner = typing.get_args(kind)[1]
        return {str(key): _fits(item, inner) for key, item in value.items()}
    if typing.get_origin(kind) is tuple and isinstance(value, list | tuple):
        inner = typing.get_args(kind)[0]
        return tuple(_fits(item, inner) for item in value)
    if isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise TypeError


def value_of(
    key: str, given: Any, kind: Any, metadata: Mapping[str, Any] = types.MappingProxyType({})
) -> Any:
    """What is given for a key, as the field's type.

    Args: `metadata` the field's, see `rule`.
    Raises: UserError where it is of another type or out of range.
    """
    other = "a block of keys" if typing.get_origin(kind) is Mapping else "a list"
    wanted = metadata.get("wanted") or _KINDS.get(kind, other)
    try:
        value = _fits(given, kind)
    except TypeError:
        raise UserError(f"{key}={given!r}; it has to be {wanted}") from None
    if "test" in metadata and not metadata["test"](value):
        raise UserError(f"{key}={given}; it has to be {wanted}")
    return value


def build(
    kind: type,
    tree: Any,
    path: str = "",
    dead: Mapping[str, str] = types.MappingProxyType({}),
    key_of: Callable[[dataclasses.Field], str] = operator.attrgetter("name"),
) -> Any:
    """The frozen dataclass `kind` from a plain tree.

    Args:
        path: where the tree stands, for errors (``hp``; empty: the root).
        dead: dotted keys that nobody reads, with the reason; naming one is refused.
        key_of: the key of a field in the tree.
    Raises:
        UserError: an unknown, dead or missing key, a wrong type, a value out of range.
    """
    if not isinstance(tree, Mapping):
        raise UserError(f"{path} is a block of keys, not {tree!r}")
    at = f"{path}." if path else ""
    hints, fields = typing.get_type_hints(kind), {key_of(item): item for item in dataclasses.fields(kind)}
    for key in tree:
        if f"{at}{key}" in dead:
            raise UserError(f"{at}{key} {dead[f'{at}{key}']}; leave it out")
        if key not in fields:
            raise UserError(f"unknown key {at}{key}; {nearest(key, fields, at + '{}')}")
    values = {}
    for key, item in fields.items():
        full, hint = at + key, hints[item.name]
        if key not in tree:
            if item.default is dataclasses.MISSING:
                raise UserError(f"{full} is missing")
        elif dataclasses.is_dataclass(hint):
            values[item.name] = build(hint, tree[key], full, dead, key_of)
        else:
            values[item.name] = value_of(full, tree[key], hint, item.metadata)
    return kind(**values)
