"""What is measured on episodes of the Coin Game (spec 5.9)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from loqa.coin.game import N_ACTIONS, CoinGame, GameState


class Statistics(NamedTuple):
    """One number per player, [P] float32; a rate is per step of one game unless it says otherwise."""

    mean_rewards: jax.Array  # reward per step
    mean_pickup_rewards: jax.Array  # reward per step in which anybody got any
    action_entropy: jax.Array  # of the distribution of actions over all steps, nats
    own_pickup_div_timesteps: jax.Array  # own coins taken
    adversarial_pickup_div_timesteps: jax.Array  # other players' coins taken
    any_pickup_div_timesteps: jax.Array  # coins taken
    adversarial_pickup_div_all_pickup: jax.Array  # share of others' coins among those taken
    adversity: jax.Array  # the same as adversarial_pickup_div_timesteps, a name of the original's
    easymisses: jax.Array  # of the steps with the own coin one move away, the share in which it was not taken
    nearpasses: jax.Array  # the same of other players' coins


def measure(game: CoinGame, states: GameState, actions: jax.Array, rewards: jax.Array) -> Statistics:
    """Statistics of B episodes of T steps.

    Args: `states` [T + 1, B], `actions` [T, B, P] int32, `rewards` [T, B, P].
    """
    # Counts are cast before they are summed: a mean of booleans would be one of integers on some devices
    before = jax.tree.map(lambda leaf: leaf[:-1], states)
    after = states.players[1:]
    mine = before.owner[..., None] == jnp.arange(game.players).reshape(1, 1, -1)
    stands = after == before.coin[..., None]
    near = one_move_away(game, before)
    own, others = _count(mine & stands), _count(~mine & stands)
    steps = actions.shape[0] * actions.shape[1]
    paid = (rewards != 0).any(-1)
    shares = jnp.mean(jax.nn.one_hot(actions, N_ACTIONS), axis=(0, 1))
    return Statistics(
        mean_rewards=jnp.mean(rewards, axis=(0, 1)),
        mean_pickup_rewards=jnp.sum(rewards, axis=(0, 1))
        / jnp.maximum(jnp.sum(paid.astype(jnp.float32)), 1.0),
        action_entropy=-jnp.sum(shares * jnp.log(shares + 1e-8), axis=-1),
        own_pickup_div_timesteps=own / steps,
        adversarial_pickup_div_timesteps=others / steps,
        any_pickup_div_timesteps=(own + others) / steps,
        adversarial_pickup_div_all_pickup=others / jnp.maximum(own + others, 1.0),
        adversity=others / steps,
        easymisses=_missed(mine & near, stands),
        nearpasses=_missed(~mine & near, stands),
    )


def one_move_away(game: CoinGame, state: GameState) -> jax.Array:
    """Whether each player could reach the coin with its next move, bool [..., P]."""
    moves = [game.moved(state.players, jnp.full_like(state.players, action)) for action in range(N_ACTIONS)]
    return jnp.stack([cell == state.coin[..., None] for cell in moves]).any(0)


def _count(events: jax.Array) -> jax.Array:
    return jnp.sum(events.astype(jnp.float32), axis=(0, 1))


def _missed(chances: jax.Array, taken: jax.Array) -> jax.Array:
    return _count(chances & ~taken) / jnp.maximum(_count(chances), 1.0)
