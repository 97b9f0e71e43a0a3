"""Scripted Coin Game players: always defect, always cooperate, uniformly random (spec 3.4).

Ties between actions of equal distance are broken by a random order of the actions. `tie_ranks(key)` makes one; where the
key comes from is the caller's choice: the training's evaluations use one order per episode, the league a new one at every
step (spec 7, Q12).
"""

import jax
import jax.numpy as jnp

from loqa.coin.game import N_ACTIONS, CoinGame, GameState, scope

#: streams (`game.scope`) of the tie breaks in the training's evaluations; the league uses the first for both players
COOPERATE_STREAM, DEFECT_STREAM = "cooperative_action_rng", "defect_action_rng"


def tie_ranks(key: jax.Array) -> jax.Array:
    """A random order of the actions from one key: the rank of each action, int32 [A]."""
    order = jax.random.permutation(key, jnp.arange(N_ACTIONS), independent=True)
    return jnp.argsort(order).astype(jnp.int32)


def episode_ranks(keys: jax.Array, stream: str) -> jax.Array:
    """`tie_ranks` [B, A] of a stream of every episode's key, uint32 [B, 2]."""
    return jax.vmap(lambda key: tie_ranks(scope(key, stream)))(keys)


def distances(game: CoinGame, state: GameState, seat: int) -> jax.Array:
    """Toroidal L1 distance from the coin after each action of the player in `seat`, int32 [..., A]."""
    from_cell = state.players[..., seat, None]
    actions = jnp.arange(N_ACTIONS).reshape((1,) * state.coin.ndim + (N_ACTIONS,))
    cell, coin = game.moved(from_cell, actions), state.coin[..., None]
    rows = jnp.abs(cell // game.width - coin // game.width)
    columns = jnp.abs(cell % game.width - coin % game.width)
    return jnp.minimum(rows, game.height - rows) + jnp.minimum(columns, game.width - columns)


def always_defect(game: CoinGame, state: GameState, seat: int, ranks: jax.Array) -> jax.Array:
    """Goes for every coin, whoever owns it.

    Args: `state` [...], `seat` 0 to P - 1, `ranks` [..., A] from `tie_ranks`.
    Returns: actions [...] int32.
    """
    return jnp.argmin(N_ACTIONS * distances(game, state, seat) + ranks, axis=-1).astype(jnp.int32)


def always_cooperate(game: CoinGame, state: GameState, seat: int, ranks: jax.Array) -> jax.Array:
    """Goes for its own coin and away from the others'; arguments as in `always_defect`."""
    order = N_ACTIONS * distances(game, state, seat) + ranks
    nearest, farthest = jnp.argmin(order, axis=-1), jnp.argmax(order, axis=-1)
    return jnp.where(state.owner == seat, nearest, farthest).astype(jnp.int32)


def random_actions(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Uniform actions of the given shape, int32."""
    return jax.random.randint(key, shape, 0, N_ACTIONS)
