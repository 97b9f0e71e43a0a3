"""Games of a pair of agents in one scan over time, recurrent states carried; many pairs at once by mapping.

All of a game's chance is drawn before it starts, in the streams of the training's rollouts (spec 3.3), and by programs
of their own: they are compiled once, however many kinds of pairs a league has.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from loqa.coin.game import CoinGame, GameState, scope
from loqa.coin.statistics import Statistics, measure
from loqa.league.agents import Agent, View


class Episodes(NamedTuple):
    """B games of T steps of two players."""

    states: GameState  # [T + 1, B]
    actions: jax.Array  # [T, B, 2] int32
    rewards: jax.Array  # [T, B, 2]


class PairReport(NamedTuple):
    """What a pair's games came to; entry 0 is the agent in seat 0."""

    statistics: Statistics  # [2] each
    standard_error: jax.Array  # [2], of `mean_rewards`, over the games; NaN for one game
    episodes: Episodes


class Chance(NamedTuple):
    """Everything random of B games of T steps."""

    first: tuple  # arguments of `CoinGame.start`, [B, ...]
    coins: jax.Array  # draws for `CoinGame.play` [T, B]
    noise: tuple  # per player, what its policy made of its keys [T, B, 2]: leaves [T, B, ...]


def draw(game: CoinGame, keys: jax.Array, steps: int):
    """`Chance.first` and `Chance.coins` of one game per key [B, 2], and the players' keys [T, B, 2 players, 2]."""

    def one(key):
        coin_key, first = game.first_draws(scope(key, "game_init"))

        def tick(carry, _):
            coin_key, play_key = carry
            coin_key, coin = game.next_draw(coin_key)
            play_key, *seats = jax.random.split(play_key, 3)
            return (coin_key, play_key), (coin, jnp.stack(seats))

        _, drawn = jax.lax.scan(tick, (coin_key, scope(key, "play_rng")), length=steps)
        return first, *drawn

    return jax.vmap(one, out_axes=(0, 1, 1))(keys)


def draw_chance(game: CoinGame, policies, keys: jax.Array, steps: int) -> Chance:
    """`draw`, and the noise of both policies."""
    first, coins, players = draw(game, keys, steps)
    return Chance(
        first, coins, tuple(policy.draw(players[:, :, seat]) for seat, policy in enumerate(policies))
    )


def start(policies, params, batch: int) -> tuple:
    """Both memories before the first step of `batch` games."""
    return tuple(policy.start(own, batch) for policy, own in zip(policies, params, strict=True))


def play(game: CoinGame, policies, params, memories, chance: Chance) -> tuple[Episodes, Any]:
    """B games.

    Args: policies, params, memories: (seat 0, seat 1).
    Returns: `Episodes`, and both memories after the last step.
    """

    # DEVIATION(Q15): one compiled scan that carries recurrent states; the original recomputed each agent's whole
    # sequence at every step, uncompiled
    def step(carry, inputs):
        state, memories, rewards = carry
        coin, noise = inputs
        seen = game.flat_observation(state)
        outcomes = [
            policies[seat].act(
                params[seat],
                memories[seat],
                View(state, seen[:, seat], rewards if seat == 0 else rewards[:, ::-1]),
                seat,
                noise[seat],
            )
            for seat in (0, 1)
        ]
        actions = jnp.stack([action for _, action in outcomes], axis=-1)
        following, paid = game.play(state, actions, coin)
        return (following, tuple(memory for memory, _ in outcomes), paid), (state, actions, paid)

    first = game.start(*chance.first), memories, jnp.zeros((chance.coins.shape[1], 2))
    (last, memories, _), (states, actions, rewards) = jax.lax.scan(step, first, (chance.coins, chance.noise))
    whole = jax.tree.map(lambda past, end: jnp.concatenate([past, end[None]]), states, last)
    return Episodes(whole, actions, rewards), memories


def play_in_turn(game: CoinGame, policies, params, chance: Chance) -> Episodes:
    """The same games one after another; a policy that is `carried` keeps its memory from each game to the next."""
    fresh = start(policies, params, 1)
    kept = [getattr(policy, "carried", False) for policy in policies]

    def one(memories, own: Chance):
        begun = tuple(old if keep else new for keep, old, new in zip(kept, memories, fresh, strict=True))
        alone = Chance(
            jax.tree.map(lambda leaf: leaf[None], own.first),
            *jax.tree.map(lambda leaf: leaf[:, None], (own.coins, own.noise)),
        )
        episodes, memories = play(game, policies, params, begun, alone)
        return memories, episodes

    per_game = Chance(
        chance.first, *jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), (chance.coins, chance.noise))
    )
    _, episodes = jax.lax.scan(one, fresh, per_game)
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf[:, :, 0], 0, 1), episodes)


def report(game: CoinGame, episodes: Episodes) -> PairReport:
    """Statistics of a pair's games."""
    per_game = episodes.rewards.mean(0)
    batch = per_game.shape[0]
    error = per_game.std(0, ddof=1) / np.sqrt(batch) if batch > 1 else jnp.full(2, jnp.nan)
    return PairReport(measure(game, *episodes), error, episodes)


# --- many pairs, compiled ----------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnums=(0, 2))
def _draw(game, keys, steps):
    return draw(game, keys, steps)


@functools.partial(jax.jit, static_argnums=0)
def _noise(policy, keys):
    return policy.draw(keys)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _episodes(game, policies, params, chance) -> Episodes:
    def one(own):
        if any(getattr(policy, "carried", False) for policy in policies):
            return play_in_turn(game, policies, own, chance)
        return play(game, policies, own, start(policies, own, chance.coins.shape[1]), chance)[0]

    return jax.vmap(one)(params)


@functools.partial(jax.jit, static_argnums=0)
def _reports(game, episodes) -> PairReport:
    return jax.vmap(lambda one: report(game, one))(episodes)


def play_pairs(
    game: CoinGame, pairs: Sequence[tuple[Agent, Agent]], seed: int, batch: int, steps: int, lanes: int
) -> list[PairReport]:
    """Every pair of one kind (equal signatures in each seat) with the same chance, as in the original's league.

    Args: `lanes` how many pairs one call computes; fewer are filled up, so that there is one compiled program.
    Returns: a report per pair, NumPy.
    """
    filled = [*pairs, *[pairs[-1]] * (lanes - len(pairs))]
    params = tuple(
        jax.tree.map(lambda *leaves: np.stack(leaves), *(pair[seat].params for pair in filled))
        for seat in (0, 1)
    )
    policies = tuple(agent.policy for agent in pairs[0])
    first, coins, keys = _draw(game, jax.random.split(jax.random.PRNGKey(seed), batch), steps)
    noise = tuple(_noise(policy, keys[:, :, seat]) for seat, policy in enumerate(policies))
    # XLA may order the operations of another number of lanes differently, so results hold for a fixed `lanes`
    reports = jax.device_get(_reports(game, _episodes(game, policies, params, Chance(first, coins, noise))))
    return [jax.tree.map(lambda leaf, lane=lane: leaf[lane], reports) for lane in range(len(pairs))]
