"""What a saved mechanism and its followers do: averages over fresh episodes, and a matrix game's payoffs after incentives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from common.matrix_games import GAMES
from iqflow.alg import followers
from iqflow.env import scripted
from iqflow.eval.mechanism import SavedMechanism
from iqflow.trainer import reports
from iqflow.trainer.building import make_sizes
from iqflow.trainer.rollout import Record, play


def _played(function: Callable, *args: Any) -> Any:
    """Compiled at XLA's lowest effort: a few hundred episodes take less time than the better program would to compile."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})(*args)


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
    return _played(jax.vmap(lambda key: play(saved.env, act, pay, key)), keys)


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


def can_probe(saved: SavedMechanism) -> bool:
    """Whether the scripted agents fit: two-player Cleanup in all four directions, with a mechanism (spec 3.4)."""
    env = saved.env
    if saved.rewarder is None or saved.settings.kind != "ssd" or env.n_agents != 2:
        return False
    return not (env.disable_left_right_action or env.random_orientation)


def probe(saved: SavedMechanism, count: int, seed: int) -> list[dict[str, Any]]:
    """What the scripted agents A1 to A3 are paid in the place of each follower (spec 3.4, 6.2).

    A good mechanism pays A2, which cleans, more than A1, which wanders, and A3, which cleans in vain.

    Returns:
        A row per scripted agent and follower replaced: the incentive per episode, its standard error over `count` episodes,
        and the waste removed.
    """
    sizes, env = make_sizes(saved.settings, saved.env), saved.env
    rules = tuple(scripted.PROBES.values())

    def episode(number, replaced, key):
        def act(state, observations, key):
            own_key, rule_key = jax.random.split(key)
            actions = followers.act(sizes, saved.followers, observations, own_key)
            choices = [[rule(env, state, agent, rule_key) for agent in range(env.n_agents)] for rule in rules]
            return actions.at[replaced].set(jnp.array(choices)[number, replaced])

        record = play(env, act, saved, key)
        return record.incentives[:, replaced].sum(), record.info.n_cleaned[:, replaced].sum()

    pairs = np.array(list(np.ndindex(len(rules), env.n_agents)))
    keys = jax.random.split(jax.random.PRNGKey(seed), count)
    each = jax.vmap(jax.vmap(episode, in_axes=(None, None, 0)), in_axes=(0, 0, None))
    paid, cleaned = map(np.asarray, _played(each, *pairs.T, keys))
    return [
        {
            "scripted": list(scripted.PROBES)[number],
            "instead_of": f"follower {replaced + 1}",
            "incentive": float(paid[row].mean()),
            "stderr": float(paid[row].std() / np.sqrt(count)),
            "waste_cleared": float(cleaned[row].mean()),
        }
        for row, (number, replaced) in enumerate(pairs)
    ]


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
