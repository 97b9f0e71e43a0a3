"""What an evaluation measures, and the log's columns (spec 6.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from iqflow.alg import followers
from iqflow.networks.layers import Sizes
from iqflow.trainer.rollout import Record

#: columns per agent, in the original's order, by kind of environment and whether there is a mechanism
AGENT_COLUMNS = {
    ("matrix", True): ("received", "reward_env", "reward_total", "n_c", "n_d"),
    ("er", True): ("reward_total", "n_lever", "n_door", "received", "r-lever", "r-start", "r-door"),
    ("er", False): ("reward_total", "n_lever", "n_door"),
    ("ssd", True): (
        "received",
        "reward_env",
        "reward_total",
        "waste_cleared",
        "r_riverside",
        "r_beam",
        "r_cleared",
    ),
    ("ssd", False): ("reward_env", "reward_total", "waste_cleared"),
}
TOTAL_COLUMNS = {
    "matrix": ("time", "reward_env_total"),
    "er": ("steps_per_eps", "total_env_reward"),
    "ssd": ("time", "reward_env_total"),
}


def _sums(records: Record, values: jax.Array) -> jax.Array:
    """[E, T, N] summed over the steps that happened, mean over episodes: [N]."""
    return jnp.mean(jnp.sum(values * records.episode.valid[..., None], axis=1), axis=0)


def _common(records: Record) -> dict[str, jax.Array]:
    env, received = _sums(records, records.episode.rewards), _sums(records, records.incentives)
    return {"received": received, "reward_env": env, "reward_total": env + received}


def matrix(env: Any, records: Record) -> dict[str, jax.Array]:
    """Averages per step; `reward_env_total` is the sum over the agents, so that 6 is a perfect prisoner's dilemma."""
    actions = records.episode.actions
    found = _common(records) | {
        "n_c": _sums(records, (actions == 0).astype(jnp.float32)),
        "n_d": _sums(records, (actions == 1).astype(jnp.float32)),
    }
    found = {name: value / env.max_steps for name, value in found.items()}
    return found | {"reward_env_total": jnp.sum(found["reward_env"])}


def escape_room(env: Any, records: Record) -> dict[str, jax.Array]:
    """Averages per episode; ``r-x`` is what was received in steps whose action was x."""
    found, actions = _common(records), records.episode.actions
    for number, place in enumerate(("lever", "start", "door")):
        chosen = (actions == number).astype(jnp.float32)
        found |= {
            f"n_{place}": _sums(records, chosen),
            f"r-{place}": _sums(records, chosen * records.incentives),
        }
    steps = jnp.mean(jnp.sum(records.episode.valid, axis=1))
    return found | {"steps_per_eps": steps, "total_env_reward": jnp.sum(found["reward_env"])}


def row(kind: str, paid: bool, report: Mapping[str, Any]) -> dict[str, Any]:
    """The log's columns of one evaluation, in the original's order; `time` is filled in by the program.

    Raises:
        ValueError: a number is not finite.
    """
    columns: dict[str, Any] = {"step": int(report["step"])}
    for agent in range(len(report["reward_total"])):
        columns |= {f"A{agent + 1}_{name}": report[name][agent].item() for name in AGENT_COLUMNS[kind, paid]}
    columns |= {name: 0 if name == "time" else report[name].item() for name in TOTAL_COLUMNS[kind]}
    wrong = [name for name, value in columns.items() if not np.isfinite(value)]
    if wrong or not report["healthy"]:
        raise ValueError(f"{wrong[0] if wrong else 'a parameter'} is not finite at step {columns['step']}")
    if "detail" in report:
        columns["detail"] = report["detail"]
    return columns


def cleanup(env: Any, records: Record) -> dict[str, jax.Array]:
    """Averages per episode; ``r_x`` is what was received at the river, with the cleaning action, and for waste removed."""
    base = getattr(env, "base", env)
    found = _common(records)
    found |= {
        "waste_cleared": _sums(records, records.info.n_cleaned.astype(jnp.float32)),
        "reward_env_total": jnp.sum(found["reward_env"]),
    }
    if env is base:
        at_river = records.states.position[..., 1] <= base.layout.river_boundary
        beam = records.episode.actions == base.clean_action
        for name, where in (("riverside", at_river), ("beam", beam), ("cleared", records.info.n_cleaned > 0)):
            found[f"r_{name}"] = _sums(records, records.incentives * where)
    return found


MEASURES = {"matrix": matrix, "er": escape_room, "ssd": cleanup}


def measure(kind: str, env: Any, records: Record) -> dict[str, jax.Array]:
    """What an evaluation's episodes (leading axes [E, T]) show, by name; per agent [N] or for all []."""
    return MEASURES[kind](env, records)


def tables(env: Any, sizes: Sizes, state: Any, mechanism: Any) -> dict[str, jax.Array]:
    """A matrix game's whole incentive function and all policies.

    Returns:
        incentives: [5, 2, 2, 2] = what was seen (index 2 a0 + a1 of the last step, 4 at the start), agent 0's action,
            agent 1's action, the agent that is paid.
        cooperation: [2, 5] = agent, what was seen: probability of action 0.
    """
    seen = jnp.broadcast_to(jnp.eye(5)[:, None, None, None], (5, 2, 2, 2, 5))
    actions = jnp.stack(jnp.meshgrid(jnp.arange(2), jnp.arange(2), indexing="ij"), -1)
    actions = jnp.broadcast_to(actions, (5, 2, 2, 2))
    paid = mechanism.incentives(state.mechanism, seen, actions)
    policies = jax.vmap(lambda seen: followers.log_policies(sizes, state.followers.actor, seen), out_axes=1)(
        jnp.broadcast_to(jnp.eye(5)[:, None], (5, 2, 5))
    )
    return {"incentives": paid, "cooperation": jnp.exp(policies[..., 0])}
