"""What a saved mechanism and its followers do: averages over fresh episodes, and a matrix game's payoffs after incentives."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from common.matrix_games import GAMES
from iqflow.alg import followers
from iqflow.eval.mechanism import SavedMechanism
from iqflow.trainer import reports
from iqflow.trainer.building import make_sizes
from iqflow.trainer.rollout import Record, play


def episodes(saved: SavedMechanism, count: int, seed: int) -> Record:
    """`count` episodes of the saved followers, paid by the saved mechanism; leading axes [count, T]."""
    sizes = make_sizes(saved.settings, saved.env)

    def act(_, observations, key):
        return followers.act(sizes, saved.followers, observations, key)

    def pay(observations, actions):
        if saved.rewarder is None:
            return jnp.zeros(actions.shape)
        return saved(observations, actions)

    keys = jax.random.split(jax.random.PRNGKey(seed), count)
    return jax.jit(jax.vmap(lambda key: play(saved.env, act, pay, key)))(keys)


def evaluate(saved: SavedMechanism, count: int, seed: int) -> list[dict[str, Any]]:
    """One row per agent and one for all, with the averages of the training log (spec 6.2)."""
    kind = saved.settings.kind
    found = jax.device_get(reports.measure(kind, saved.env, episodes(saved, count, seed)))
    columns = reports.AGENT_COLUMNS[kind, saved.rewarder is not None]
    rows = [
        {"agent": f"A{agent + 1}", **{name: float(found[name][agent]) for name in columns}}
        for agent in range(saved.env.n_agents)
    ]
    totals = {name: float(found[name]) for name in reports.TOTAL_COLUMNS[kind] if name in found}
    return [*rows, {"agent": "all", **totals}]


def payoffs(saved: SavedMechanism) -> list[dict[str, Any]]:
    """A matrix game's payoffs after incentives, one row per joint action, averaged over what can have been seen."""
    table = GAMES[f"iqflow/{saved.settings.exp}"].payoffs
    seen = np.broadcast_to(np.eye(5, dtype=np.float32)[:, None], (5, 2, 5))
    rows = []
    for first, second in np.ndindex(2, 2):
        actions = np.broadcast_to(np.array([first, second]), (5, 2))
        given = np.asarray(saved(seen, actions)).mean(0)
        row = {"actions": "CD"[first] + "CD"[second]}
        for agent in (0, 1):
            row[f"incentive_{agent + 1}"] = float(given[agent])
            row[f"payoff_{agent + 1}"] = float(table[first, second, agent] + given[agent])
        rows.append(row)
    return rows
