"""The training schedule (spec 5.1) as three pure functions of a state: pre-train the follower, train the leader, retrain.

A block is some iterations in one loop on the device, then the evaluation that belongs to the last of them. Every random
number comes from (seed, phase, iteration), so a block's length changes nothing and a run can stop between blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from stackerlberg.batched import kinds, play, referee, tabular_q
from stackerlberg.batched.arrays import cumulative, fold, greedy, greedy_ends, ranked, uniform
from stackerlberg.batched.es import ES
from stackerlberg.batched.learners import Collect, Settings, Steps
from stackerlberg.batched.networks import Network
from stackerlberg.batched.pg import PG
from stackerlberg.batched.play import Episodes, Game, Side
from stackerlberg.batched.ppo import PPO
from stackerlberg.batched.simple_q import SimpleQ
from stackerlberg.protocol import Protocol

ALGORITHMS = {"PG": PG, "PPO": PPO, "SimpleQ": SimpleQ, "ES": ES}
PRE, LEADER, POST = 0, 1, 2  # two more numbers, 3 and 4, are the evaluations of the last two


@dataclass(frozen=True)
class Spec:
    """All that is compiled in: equal specs share a program, whatever their games, learning rates and seeds.

    Attributes:
        follower, follower_network: of the contextual follower; None with tabular Q.
        tabular: the inner-loop oracle; None with a contextual follower.
        mock: the pre-trainer's leader is told that every step is play (``tell_leader_mock``).
        deterministic: (leader acts greedily while the follower learns, and the other way round).
        evaluation: episodes of the sampled evaluation.
    """

    protocol: Protocol
    actions: tuple[int, int]
    leader: Settings
    leader_network: Network
    follower: Settings | None = None
    follower_network: Network | None = None
    tabular: tabular_q.TabularQ | None = None
    mock: bool = False
    deterministic: tuple[bool, bool] = (True, True)
    randomize_leader: bool = True
    stop_on_optimal: bool = False
    inner_follower: int = 0
    evaluation: int = 10


class Data(NamedTuple):
    """What differs between lanes."""

    game: Game
    lr_leader: Array
    lr_follower: Array
    tables: referee.Tables | None


def _learner(settings: Settings, network: Network):
    return ALGORITHMS[settings.algorithm](settings, network)


def fresh(spec: Spec, keys: Array, lanes: int) -> dict[str, Any]:
    """The state before everything: keys [S, 2]."""
    state = {"keys": keys, "leader": _learner(spec.leader, spec.leader_network).fresh(fold(keys, 11), lanes)}
    if spec.follower is not None:
        state["follower"] = _learner(spec.follower, spec.follower_network).fresh(fold(keys, 12), lanes)
        state["optimal_at"] = jnp.full((lanes,), -1, jnp.int32)
    if spec.tabular is not None:
        shape = spec.actions[1], spec.protocol.observation_counts(spec.actions)[1]
        for name, number in (("table", 13), ("evaluation_table", 14)):
            state[name] = tabular_q.new_table(spec.tabular, fold(keys, number), shape, lanes)
    return state


def restart_follower(spec: Spec, state: dict[str, Any]) -> dict[str, Any]:
    """The follower's policy under a trainer that has seen nothing yet, for the third phase."""
    lanes = state["optimal_at"].shape[-1]
    new = _learner(spec.follower, spec.follower_network).fresh(fold(state["keys"], 12), lanes)
    kept = {"params": state["follower"].params}
    if spec.follower.algorithm == "SimpleQ":
        kept["target"] = jax.tree.map(jnp.copy, state["follower"].params)
    return state | {"follower": new._replace(**kept)}


def _keys(state: dict[str, Any], phase: int, iteration) -> Array:
    return fold(state["keys"], (phase + 1) * 2**28 + iteration)


def _means(episodes: Episodes) -> dict[str, Array]:
    leader, follower = episodes.returns()
    return {"return_leader": leader.mean(0), "return_follower": follower.mean(0)}


def _steps(side: Side, numbers: Array, first: int = 0) -> Steps:
    """A learner's own steps from the first one that it may learn from; `numbers` are their kinds."""
    kept = [x[first:] for x in (*side, numbers)]
    return Steps(*kept, side.rewards.sum(0))


# --- the follower learns ------------------------------------------------------------------------------------------


def random_leaders(keys: Array, network: Network, episodes: int, lanes: int) -> Array:
    """Logits of fresh leaders, each input's weight uniform in [-1, 1): [A0, O, E, N] (spec 5.2).

    Where the inputs are one-hot observations, the greedy tables are uniform.
    """
    inputs = network.observations if network.features is None else len(network.features)
    weights = 2 * uniform(keys, (network.outputs, inputs, episodes), lanes) - 1
    if network.features is None:
        return weights
    seen = jnp.array(network.features)  # [inputs, O]
    return jnp.einsum("aien,io->aoen", weights, seen)


def _ends(values: Array, deterministic: bool) -> Array:
    return greedy_ends(values) if deterministic else cumulative(jax.nn.softmax(values, axis=0))


def _follower_collect(spec: Spec, data: Data, leader_values, phase: int):
    protocol = replace(spec.protocol, tell_leader_mock=True) if spec.mock and phase == PRE else spec.protocol

    def collect(arena, ends: Array, keys: Array, episodes: int):
        lanes = ends.shape[-1]
        values = leader_values(keys, episodes)
        leader = _ends(values, spec.deterministic[0])
        chance = play.draw(keys, protocol, spec.actions, episodes, lanes)
        played = play.play(protocol, spec.actions, data.game, leader, ends[:, :, 0], chance)
        numbers = kinds.of_follower(protocol, spec.actions, played)
        return arena, _steps(played.follower, numbers), _means(played)

    return Collect(collect, kinds.follower_kinds(spec.protocol, spec.actions, data.game))


def _follower_iteration(spec: Spec, data: Data, state, phase: int, keys: Array):
    lanes = data.lr_follower.shape[-1]
    if phase == PRE and spec.randomize_leader:

        def leader_values(keys, episodes):
            return random_leaders(fold(keys, 5), spec.leader_network, episodes, lanes)
    else:

        def leader_values(keys, episodes):
            return _learner(spec.leader, spec.leader_network).values(state["leader"])[:, :, None]

    learner = _learner(spec.follower, spec.follower_network)
    collect = _follower_collect(spec, data, leader_values, phase)
    (new, _), stats = learner.iterate((state["follower"], ()), data.lr_follower, collect, keys)
    return state | {"follower": new}, stats


def replies(spec: Spec, state: dict[str, Any]) -> Array:
    """The greedy follower's action for every code, [O * contexts, N]."""
    return greedy(_learner(spec.follower, spec.follower_network).values(state["follower"]))


def _regret(spec: Spec, data: Data, state) -> Array:
    return referee.regret(spec.protocol, spec.actions, data.tables, replies(spec, state))


def _regret_report(spec: Spec, data: Data, state) -> dict[str, Array]:
    found = _regret(spec, data, state)
    return {"regret": found, "optimal_tables": (found < 1e-4).sum(0), "optimal_at": state["optimal_at"]}


def pretrain(spec: Spec, data: Data, state: dict[str, Any], first: Array, count: Array):
    """Iterations `first` to ``first + count - 1`` of the follower's pre-training: state, report."""

    def body(number, carry):
        state, sums = carry
        new, stats = _follower_iteration(spec, data, state, PRE, _keys(state, PRE, number))
        if spec.stop_on_optimal:
            done = state["optimal_at"] >= 0
            kept = _pick(done, state["follower"], new["follower"])
            optimal = (_regret(spec, data, new) < 1e-4).all(0)
            at = jnp.where(done | ~optimal, state["optimal_at"], number)
            new = new | {"follower": kept, "optimal_at": at}
        return new, jax.tree.map(jnp.add, sums, stats)

    zeros = _zeros(lambda s: _follower_iteration(spec, data, s, PRE, s["keys"])[1], state)
    state, sums = jax.lax.fori_loop(first, first + count, body, (state, zeros))
    return state, _report(sums, count) | _regret_report(spec, data, state)


def _pick(kept: Array, old, new):
    """Per lane the old or the new; scalars (which all lanes share) are the new ones."""
    return jax.tree.map(lambda a, b: jnp.where(ranked(kept, b.ndim), a, b) if b.ndim else b, old, new)


def _zeros(stats, state):
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(stats, state))


def _report(sums: dict[str, Array], count: Array) -> dict[str, Array]:
    return {name: value / jnp.maximum(count, 1) for name, value in sums.items()}


# --- the leader learns --------------------------------------------------------------------------------------------


def _play_contextual(spec: Spec, data: Data, state, ends: Array, keys: Array, episodes: int) -> Episodes:
    values = _learner(spec.follower, spec.follower_network).values(state["follower"])
    chance = play.draw(keys, spec.protocol, spec.actions, episodes, ends.shape[-1])
    follower = _ends(values, spec.deterministic[1])
    return play.play(spec.protocol, spec.actions, data.game, ends, follower, chance)


def _play_tabular(spec: Spec, data: Data, table: Array, ends, keys, episodes, settings, sampling=True):
    """Episodes against the inner Q learner and the table that is left over."""
    lanes = ends.shape[-1]
    if settings.reset:
        new = tabular_q.new_table(settings, fold(keys, 3), (*table.shape[:2], episodes), lanes)
        *played, _ = tabular_q.play(settings, spec.actions, data.game, ends, new, keys, sampling=sampling)
        return *played, table
    return tabular_q.play_carried(
        settings, spec.actions, data.game, ends, table, keys, episodes, sampling=sampling
    )


def _leader_iteration(spec: Spec, data: Data, state, keys: Array):
    learner = _learner(spec.leader, spec.leader_network)
    hidden = (
        spec.leader.steps - spec.leader.learned_steps
    )  # the first ones: queries, or the inner learner's games
    if spec.tabular is None:

        def collect(arena, ends, keys, episodes):
            played = _play_contextual(spec, data, state, ends, keys, episodes)
            numbers = kinds.of_leader(spec.protocol, spec.actions, played)
            return arena, _steps(played.leader, numbers, hidden), _means(played)

        source = Collect(collect, kinds.leader_kinds(spec.protocol, spec.actions, data.game))
        (new, _), stats = learner.iterate((state["leader"], ()), data.lr_leader, source, keys)
        return state | {"leader": new}, stats

    def collect(table, ends, keys, episodes):
        side, other, follower, table = _play_tabular(spec, data, table, ends, keys, episodes, spec.tabular)
        stats = {"return_leader": side.rewards.sum(0).mean(0), "return_follower": follower.mean(0)}
        numbers = kinds.of_tabular(spec.protocol, spec.actions, side.observations, side.actions, other)
        return table, _steps(side, numbers, hidden), stats

    every = kinds.tabular_kinds(spec.protocol, spec.actions, data.game, spec.tabular.reward_during_q)
    source = Collect(collect, every)
    (new, table), stats = learner.iterate((state["leader"], state["table"]), data.lr_leader, source, keys)
    return state | {"leader": new, "table": table}, stats


def evaluate(spec: Spec, data: Data, state: dict[str, Any], keys: Array):
    """Sampled and greedy evaluation, exact values and greedy actions of the leader as it is."""
    learner = _learner(spec.leader, spec.leader_network)
    values = learner.values(state["leader"])
    sampled = cumulative(jax.nn.softmax(values, axis=0))
    if spec.leader.algorithm == "SimpleQ":
        sampled = greedy_ends(values)
    best, report = greedy_ends(values)[:, :, None], {"leader_values": values}
    if spec.tabular is not None:
        quiet = replace(spec.tabular, reward_during_q=False)
        side, _, follower, table = _play_tabular(
            spec, data, state["evaluation_table"], sampled[:, :, None], keys, spec.evaluation, quiet
        )
        once, *_ = _play_tabular(
            spec, data, table, best, fold(keys, 9), spec.evaluation, quiet, sampling=False
        )
        report |= {"evaluation_leader": side.rewards.sum(0).mean(0), "evaluation_follower": follower.mean(0)}
        report["greedy_leader"] = once.rewards.sum(0).mean(0)
        return state | {"evaluation_table": table}, report
    # the greedy leader plays in one more episode of the same batch
    ends = jnp.concatenate([jnp.repeat(sampled[:, :, None], spec.evaluation, 2), best], axis=2)
    played = _play_contextual(spec, data, state, ends, keys, spec.evaluation + 1)
    for name, returns in zip(("leader", "follower"), played.returns(), strict=True):
        report |= {f"evaluation_{name}": returns[:-1].mean(0), f"greedy_{name}": returns[-1]}
    answers = jnp.diff(sampled, axis=0, prepend=0.0, append=1.0)
    asked = spec.protocol, spec.actions
    if spec.protocol.consistent_commitment:
        report["exact_leader"] = referee.committed_value(*asked, data.tables, answers, replies(spec, state))
    else:
        report["exact_leader"] = referee.protocol_value(*asked, data.game, answers, replies(spec, state))
    return state, report


def train_leader(spec: Spec, data: Data, state: dict[str, Any], first: Array, count: Array):
    """Iterations `first` to ``first + count - 1`` of the leader's training, and an evaluation: state, report."""

    def body(number, carry):
        state, sums = carry
        keys = _keys(state, LEADER, number)
        for k in range(spec.inner_follower):
            state, _ = _follower_iteration(spec, data, state, LEADER, fold(keys, 50 + k))
        state, stats = _leader_iteration(spec, data, state, keys)
        return state, jax.tree.map(jnp.add, sums, stats)

    zeros = _zeros(lambda s: _leader_iteration(spec, data, s, s["keys"])[1], state)
    state, sums = jax.lax.fori_loop(first, first + count, body, (state, zeros))
    state, report = evaluate(spec, data, state, _keys(state, 3, first + count))
    return state, _report(sums, count) | report


def post_train(spec: Spec, data: Data, state: dict[str, Any], first: Array, count: Array):
    """Follower training against the finished leader, and an evaluation of that leader: state, report."""

    def body(number, carry):
        state, sums = carry
        state, stats = _follower_iteration(spec, data, state, POST, _keys(state, POST, number))
        return state, jax.tree.map(jnp.add, sums, stats)

    zeros = _zeros(lambda s: _follower_iteration(spec, data, s, POST, s["keys"])[1], state)
    state, sums = jax.lax.fori_loop(first, first + count, body, (state, zeros))
    state, report = evaluate(spec, data, state, _keys(state, 4, first + count))
    return state, _report(sums, count) | report | _regret_report(spec, data, state)
