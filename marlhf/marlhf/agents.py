"""Trained agents as files, and the catalogue of the committed ones.

A file is a safetensors of float32 arrays named by their path (`params/ScannedRNN_0/GRUCell_1/hn/kernel`); its metadata
has one entry, ``marlhf``: the JSON of an `AgentMeta`. The catalogue is the folder ``agents/<environment>/``
(``spread_na5`` for Spread with five agents) with one file per label. Labels are the roles that an agent has in the data
mixes; the published numbers (specification, section 2.2) are read as aliases of them.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from common.cli import UserError, nearest

from . import networks
from .offline.team import Team
from .skill import LABELS

FORMAT = "marlhf agent 1"
ALIASES = {
    "spread": ("149", "198", "297", "348", "387"),
    "reference": ("104", "149", "199", "242", "298"),
    "tag": ("621", "525", "392", "271", "187"),
    "spread_na4": ("99", "118", "136", "150", "175"),
    "spread_na5": ("99", "117", "153", "165", "184"),
    "spread_na6": ("137", "157", "176", "190", "200"),
    "spread_na7": ("159", "169", "177", "195", "216"),
    "overcooked": ("240", "200", "160", "20", "random"),
}
# Who plays agent 0 in unilateral data. The published Tag deviator 480 is not among its five columns.
DEVIATORS = {
    "spread": ("rookie1", "rookie2"),
    "reference": ("rookie1", "rookie2"),
    "tag": ("deviator1", "rookie3", "trivial"),
    "overcooked": ("rookie1", "rookie2", "rookie3"),
    **{f"spread_na{n}": ("rookie2", "rookie3", "trivial") for n in (4, 5, 6, 7)},
}
EXTRA_ALIASES = {"tag": {"480": "deviator1"}}
KINDS = {
    "q": networks.QNetwork,
    "twin_q": networks.TwinQNetwork,
    "recurrent_actor": networks.RecurrentActor,
    "feed_forward_actor": networks.FeedForwardActor,
}


@dataclass(frozen=True)
class Measured:
    """A mean per-agent return over fresh episodes, and its standard error."""

    mean: float
    se: float
    episodes: int


@dataclass(frozen=True)
class AgentMeta:
    """What a file says of its agent.

    `kind` one of ``q`` and ``twin_q`` (greedy over Q values), ``recurrent_actor`` and ``feed_forward_actor`` (sampled);
    `inputs` the observation's size with the one-hot index, where it has one; `returns` by way of playing (``greedy``,
    ``eps0.05``, ``sampled``); `random` the return of uniform actions; `skill` s of section 8.2 of the specification,
    (return - random) / (the published expert's return - the published random return); `trained` how; `separate` the number
    of agents with parameters of their own, a leading axis of every array (0: all of them share one set).
    """

    kind: str
    environment: str
    kwargs: Mapping[str, Any]
    label: str
    role: str  # behaviour or prey
    n_actions: int
    hidden: int
    inputs: int
    returns: Mapping[str, Measured]
    random: float | None
    skill: float | None
    trained: Mapping[str, Any]
    separate: int = 0

    @property
    def greedy(self) -> bool:
        """Plays the best of its Q values and reads its index, or draws from a policy that reads the bare observation."""
        return self.kind in ("q", "twin_q")


@dataclass(frozen=True)
class Agent:
    """A network, its parameters, and what is known of them."""

    network: Any
    params: Any
    meta: AgentMeta

    def team(self, n_agents: int) -> Team:
        """The network as n agents play it."""
        return Team(self.network, n_agents, shared=not self.meta.separate)


def save_agent(path: Path, params: Any, meta: AgentMeta) -> None:
    """Write an agent file, whole or not at all."""
    flat = traverse_util.flatten_dict(jax.device_get(params), sep="/")
    arrays = {name: np.ascontiguousarray(value, np.float32) for name, value in flat.items()}
    text = json.dumps({"format": FORMAT, **dataclasses.asdict(meta)}, sort_keys=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(safetensors.numpy.save(arrays, {"marlhf": text}))
    partial.replace(path)


def load_meta(path: Path) -> AgentMeta:
    """What a file says of its agent.

    Raises: UserError when it is missing or not an agent file.
    """
    if not path.is_file():
        known = "train and save it with `make agents-marlhf-<environment>`"
        raise UserError(f"no agent at {path}; {known} or name another file")
    try:
        with safetensors.safe_open(path, "numpy") as file:
            said = json.loads((file.metadata() or {})["marlhf"])
        if said.pop("format") != FORMAT:
            raise UserError(f"{path} is of another version; this program reads '{FORMAT}'")
        said["returns"] = {how: Measured(**numbers) for how, numbers in said["returns"].items()}
        return AgentMeta(**said)
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not an agent file ({error}); it has to be one that `agents` wrote"
        ) from None


def load_agent(path: Path) -> Agent:
    """The agent in a file.

    Raises: UserError when it is missing, damaged, or its arrays are not those of the network that it names.
    """
    meta = load_meta(path)
    if meta.kind not in KINDS:
        raise UserError(f"{path} holds a {meta.kind}; there are {', '.join(KINDS)}")
    network = KINDS[meta.kind](n_actions=meta.n_actions, hidden=meta.hidden)
    params = traverse_util.unflatten_dict(safetensors.numpy.load_file(path), sep="/")
    obs, resets = jax.ShapeDtypeStruct((1, 1, meta.inputs), np.float32), jax.ShapeDtypeStruct((1, 1), bool)
    expected = jax.eval_shape(network.init, jax.random.key(0), network.initial_carry(1), obs, resets)
    own = (meta.separate,) if meta.separate else ()
    shapes = [
        {name: (*lead, *leaf.shape) for name, leaf in traverse_util.flatten_dict(tree, sep="/").items()}
        for tree, lead in ((params, ()), (expected, own))
    ]
    if shapes[0] != shapes[1]:
        wrong = sorted(set(shapes[0].items()) ^ set(shapes[1].items()))[0][0]
        raise UserError(
            f"{path} doesn't hold the network that it names: {wrong} is missing or of another shape"
        )
    return Agent(network, jax.tree.map(jax.numpy.asarray, params), meta)


def load_for(task: Any, path: Path, alone: bool = True) -> Agent:
    """The agent in a file, after checking that it can play the task (its own name, sizes and number of actions).

    Args: `alone`: it has to be one set of parameters that any agent can play.
    Raises: UserError when it can't.
    """
    agent = load_agent(path)
    with_index = task.obs_size + (task.n_agents if agent.meta.greedy else 0)
    if alone and agent.meta.separate:
        raise UserError(
            f"{path} has parameters for each of {agent.meta.separate} agents; here one agent plays for all, trained with "
            "PARAMETERS_SHARING=True"
        )
    if agent.meta.environment != task.name:
        raise UserError(f"{path} is an agent of {agent.meta.environment}, and the environment is {task.name}")
    if (agent.meta.inputs, agent.meta.n_actions) != (with_index, task.n_actions):
        raise UserError(
            f"{path} reads {agent.meta.inputs} numbers and chooses among {agent.meta.n_actions} actions; {folder_name(task)} "
            f"shows {with_index} and has {task.n_actions}"
        )
    if agent.meta.separate not in (0, task.n_agents):
        raise UserError(
            f"{path} is a team of {agent.meta.separate}; {folder_name(task)} has {task.n_agents} agents"
        )
    return agent


def load_actor(path: Path, role: str) -> tuple[Any, Any]:
    """Network and parameters of a file whose agent has this role.

    Raises: UserError on another role.
    """
    agent = load_agent(path)
    if agent.meta.role != role:
        raise UserError(f"{path} is a {agent.meta.role} agent; a {role} is needed here")
    return agent.network, agent.params


def folder_name(task: Any) -> str:
    """The environment's folder, under agents/ as under data/: its name, with ``_na<n>`` for Spread with n other than 3."""
    return f"spread_na{task.n_agents}" if task.name == "spread" and task.n_agents != 3 else task.name


def agents_folder() -> Path:
    """Where the committed agents lie."""
    return Path(__file__).resolve().parents[1] / "agents"


def aliases(environment: str) -> dict[str, str]:
    """Published label -> role, for an environment's folder name."""
    return {
        **dict(zip(ALIASES.get(environment, ()), LABELS, strict=False)),
        **EXTRA_ALIASES.get(environment, {}),
    }


def catalogue(task: Any, folder: Path | None = None) -> dict[str, AgentMeta]:
    """The behaviour agents of a task that are there, by role, best first.

    Args: `folder` holds one folder per environment (default: the committed agents).
    """
    files = sorted(((folder or agents_folder()) / folder_name(task)).glob("*.safetensors"))
    metas = {path.stem: load_meta(path) for path in files}
    behaviour = {label: meta for label, meta in metas.items() if meta.role == "behaviour"}
    order = {label: place for place, label in enumerate((*LABELS, "deviator1"))}
    return dict(sorted(behaviour.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))


def role_of(task: Any, label: str) -> str:
    """The role that a role's name or a published number stands for.

    Raises: UserError on anything else, naming the nearest.
    """
    environment = folder_name(task)
    known = aliases(environment)
    if label in known:
        return known[label]
    if label in LABELS or label in DEVIATORS.get(environment, ()):
        return label
    raise UserError(f"{environment} has no agent {label!r}; {nearest(label, [*LABELS, *known])}")


def find_agent(task: Any, label: str, folder: Path | None = None) -> Path:
    """The file of an agent, by role or published number.

    Raises: UserError when the label is unknown or its file is not there.
    """
    path = (folder or agents_folder()) / folder_name(task) / f"{role_of(task, label)}.safetensors"
    if not path.is_file():
        made = f"make agents-marlhf-{folder_name(task)}"
        raise UserError(f"no agent {label} of {folder_name(task)} at {path}; `{made}` trains and saves it")
    return path
