"""Experiments by name: reading the catalogue, changing keys, resolving grids into conditions."""

from __future__ import annotations

import copy
import itertools
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from common.cli import UserError, nearest

from .configuration import Configuration, build

# DEVIATION(Q10): all names of the README are there; five of its eight commands failed in the release
PUBLISHED = Path(__file__).with_name("published.toml")
_ENTRY_KEYS = {"base", "about", "reconstruction", "configuration", "success", "stop", "hyperopt"}
_HYPEROPT_KEYS = {"space", "starting_points", "metric", "seeds", "total_samples", "stop"}
STEPS = "leader_results/timesteps_total"


@dataclass(frozen=True)
class Condition:
    """One point of an experiment's grid.

    Attributes:
        label: ``key=value`` of what the grid varies, joined by commas; empty without a grid.
        varied: the same as a dictionary, keys by their last part (``matrix_name``).
        tree: the configuration's tree without grids and without seed.
        configuration: the same, understood.
    """

    label: str
    varied: Mapping[str, Any]
    tree: Mapping[str, Any]
    configuration: Configuration


@dataclass(frozen=True)
class Experiment:
    """An experiment, resolved.

    Attributes:
        seeds: those that its own configuration names.
        reconstruction: why it is one, for names that the release does not define.
        max_env_steps: the leader stops after so many env steps.
        success: predicate on the last row, printed only: metric and ``at_least`` or ``equals``.
        hyperopt: search space, starting points and sizes (`experiments.search`).
    """

    name: str
    about: str
    reconstruction: str
    conditions: tuple[Condition, ...]
    seeds: tuple[int, ...]
    max_env_steps: int | None = None
    success: Mapping[str, Any] = field(default_factory=dict)
    hyperopt: Mapping[str, Any] = field(default_factory=dict)


@cache
def _published() -> dict[str, Any]:
    return tomllib.loads(PUBLISHED.read_text("utf-8"))


def names() -> list[str]:
    """Every experiment's name, in the catalogue's order."""
    return list(_published())


def is_grid(value: Any) -> bool:
    """Whether a value stands for several."""
    return isinstance(value, Mapping) and set(value) == {"grid"}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries, the second wins; a grid is a value like any other."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        if both and not is_grid(value) and not is_grid(result[key]):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def entry(name: str) -> dict[str, Any]:
    """An experiment's entry with its base filled in.

    Raises:
        UserError: no experiment has that name.
    """
    table = _published()
    if name not in table:
        raise UserError(f"unknown experiment {name!r}; {nearest(name, table)}")
    own = table[name]
    unknown = sorted(set(own) - _ENTRY_KEYS) + sorted(set(own.get("hyperopt", {})) - _HYPEROPT_KEYS)
    if unknown:
        raise UserError(f"experiment {name} has an unknown key {unknown[0]}")
    if "base" not in own:
        return copy.deepcopy(own)
    base = {key: value for key, value in entry(own["base"]).items() if key != "reconstruction"}
    # a search space is one whole, not a pile of keys
    whole = {key: value for key, value in own.items() if key != "base"}
    found = merged(base, whole)
    if "space" in own.get("hyperopt", {}):
        found["hyperopt"] = merged(
            {k: v for k, v in found["hyperopt"].items()}, {"space": own["hyperopt"]["space"]}
        )
    return found


def value_of(text: str) -> Any:
    """A value from a command line: JSON where it is JSON, else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def put(tree: dict[str, Any], dotted: str, value: Any) -> None:
    """Set ``a.b.c`` in nested dictionaries.

    Raises:
        UserError: a part on the way is a value.
    """
    *folders, leaf = dotted.split(".")
    for folder in folders:
        tree = tree.setdefault(folder, {})
        if not isinstance(tree, dict):
            raise UserError(f"--set {dotted}: {folder} is a value, not a block of keys")
    tree[leaf] = value


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], list]]:
    found = []
    for key, value in tree.items():
        if is_grid(value):
            found.append(((*path, key), list(value["grid"])))
        elif isinstance(value, Mapping):
            found += _leaves(value, (*path, key))
    return found


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def conditions_of(tree: Mapping[str, Any]) -> tuple[Condition, ...]:
    """Every combination of a tree's grids, in the order in which they stand there."""
    grids = _leaves(tree)
    for path, values in grids:
        if not values:
            raise UserError(f"the grid of {'.'.join(path)} is empty")
    conditions = []
    for chosen in itertools.product(*(values for _, values in grids)):
        point, varied = copy.deepcopy(dict(tree)), {}
        for (path, _), value in zip(grids, chosen, strict=True):
            put(point, ".".join(path), value)
            varied[path[-1]] = value
        label = ",".join(f"{key}={_short(value)}" for key, value in varied.items())
        conditions.append(Condition(label, varied, point, build(point)))
    return tuple(conditions)


def resolve(
    name: str, settings: Sequence[tuple[str, Any]] = (), grids: Sequence[tuple[str, Sequence[Any]]] = ()
) -> Experiment:
    """An experiment with keys changed.

    Args:
        settings: dotted keys of the configuration and their values (``leader_config.lr``).
        grids: dotted keys and the values of a grid.

    Raises:
        UserError: an unknown name or key, or a value that can't be.
    """
    found = entry(name)
    tree = found["configuration"]
    for key, value in settings:
        put(tree, key, value)
    for key, values in grids:
        put(tree, key, {"grid": list(values)})
    # DEVIATION(Q2): the seeds of an entry are seeds, not labels
    seeds = tree.pop("seed", 0)
    seeds = seeds["grid"] if is_grid(seeds) else [seeds]
    if not all(isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**31 for seed in seeds):
        raise UserError(f"seed={seeds}; a seed is a whole number from 0 to 2147483647")
    stop = found.get("stop", {})
    if set(stop) - {STEPS}:
        raise UserError(f"experiment {name} stops at {sorted(stop)}; only {STEPS} is known")
    return Experiment(
        name=name,
        about=found["about"],
        reconstruction=found.get("reconstruction", ""),
        conditions=conditions_of(tree),
        seeds=tuple(seeds),
        max_env_steps=stop.get(STEPS),
        success=found.get("success", {}),
        hyperopt=found.get("hyperopt", {}),
    )
