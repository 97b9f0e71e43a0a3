"""Coin Game on a 3 x 3 torus, two players and one coin (paper, section 5.3).

Actions: 0 column + 1, 1 column - 1, 2 row + 1, 3 row - 1; nobody can stay. A coin is worth `same_coin_reward`
to the owner of its colour and `diff_coin_reward` to the other player; the owner's reward changes by
`diff_coin_cost` when the other player takes it. The coin's colour alternates with every coin taken.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SIDE = 3
CELLS = SIDE * SIDE
MOVES = np.array([[0, 1], [0, -1], [1, 0], [-1, 0]], dtype=np.int32)


class CoinState(NamedTuple):
    """Positions are (row, column), int32 [..., 2]; `red_coin` is 1 for a red coin, int32 [...]."""

    red: jax.Array
    blue: jax.Array
    coin: jax.Array
    red_coin: jax.Array


class PlacementNoise(NamedTuple):
    """Draws for a new coin: uniform over 7 cells (players apart) and over 8 (players together), int32."""

    among_seven: jax.Array
    among_eight: jax.Array


class PickUps(NamedTuple):
    """Which player took a coin of which colour in a step, 0 or 1, int32 [...] (taker, then colour)."""

    red_red: jax.Array
    red_blue: jax.Array
    blue_red: jax.Array
    blue_blue: jax.Array


def cell(position: jax.Array) -> jax.Array:
    """Cell number 3 row + column of positions [..., 2]."""
    return SIDE * position[..., 0] + position[..., 1]


def position(cell_number: jax.Array) -> jax.Array:
    """(row, column) [..., 2] of cell numbers [...]."""
    return jnp.stack([cell_number // SIDE, cell_number % SIDE], axis=-1)


def place_coin(noise: PlacementNoise, red: jax.Array, blue: jax.Array) -> jax.Array:
    """Position of a new coin, uniform over the cells not occupied by a player (positions [..., 2])."""
    red_cell, blue_cell = cell(red), cell(blue)
    low, high = jnp.minimum(red_cell, blue_cell), jnp.maximum(red_cell, blue_cell)
    apart = low != high
    free = jnp.where(apart, noise.among_seven, noise.among_eight)
    free = free + (free >= low)
    free = free + (apart & (free >= high))
    return position(free)


@dataclass(frozen=True)
class CoinGame:
    """The game's rules; the defaults are the paper's."""

    same_coin_reward: float = 1.0
    diff_coin_reward: float = 1.0
    diff_coin_cost: float = -2.0

    name = "coin"
    n_actions = 4
    observation_size = 4 * CELLS
    codes_are_one_hot = False

    def reset(self, key: jax.Array, batch: int) -> CoinState:
        """Start states of `batch` games: players uniform, coin uniform over free cells, colour uniform."""
        player_key, coin_key, colour_key = jax.random.split(key, 3)
        cells = jax.random.randint(player_key, (2, batch), 0, CELLS)
        red, blue = position(cells[0]), position(cells[1])
        noise = jax.tree.map(lambda draws: draws[0], self.draw(coin_key, 1, batch))
        colour = jax.random.randint(colour_key, (batch,), 0, 2)
        return CoinState(red, blue, place_coin(noise, red, blue), colour)

    def draw(self, key: jax.Array, steps: int, batch: int) -> PlacementNoise:
        """Randomness of `steps` steps of `batch` games, [steps, batch] each."""
        seven_key, eight_key = jax.random.split(key)
        shape = (steps, batch)
        return PlacementNoise(
            jax.random.randint(seven_key, shape, 0, 7), jax.random.randint(eight_key, shape, 0, 8)
        )

    def step(self, state: CoinState, noise: PlacementNoise, first, second):
        """Move both players, pay, and replace the coin if somebody took it.

        Args: actions `first` (red) and `second` (blue), int32 [...].
        Returns: next state, rewards of red and blue, float32 [...], and the step's `PickUps`.
        """
        moves = jnp.asarray(MOVES)
        red = (state.red + moves[first]) % SIDE
        blue = (state.blue + moves[second]) % SIDE
        red_takes = cell(red) == cell(state.coin)
        blue_takes = cell(blue) == cell(state.coin)
        is_red = state.red_coin == 1
        red_reward = jnp.where(is_red, self.same_coin_reward, self.diff_coin_reward) * red_takes
        blue_reward = jnp.where(is_red, self.diff_coin_reward, self.same_coin_reward) * blue_takes
        red_reward = red_reward + self.diff_coin_cost * (is_red & blue_takes)
        blue_reward = blue_reward + self.diff_coin_cost * (~is_red & red_takes)
        taken = red_takes | blue_takes
        coin = jnp.where(taken[..., None], place_coin(noise, red, blue), state.coin)
        red_coin = jnp.where(taken, 1 - state.red_coin, state.red_coin)
        picked = PickUps(
            *(
                (takes & colour).astype(jnp.int32)
                for takes in (red_takes, blue_takes)
                for colour in (is_red, ~is_red)
            )
        )
        return CoinState(red, blue, coin, red_coin), red_reward, blue_reward, picked

    def observe(self, state: CoinState) -> jax.Array:
        """Four 3 x 3 planes (red player, blue player, coin if red, coin if blue), float32 [..., 36]."""
        coin = jax.nn.one_hot(cell(state.coin), CELLS)
        is_red = state.red_coin[..., None] == 1
        planes = (
            jax.nn.one_hot(cell(state.red), CELLS),
            jax.nn.one_hot(cell(state.blue), CELLS),
            jnp.where(is_red, coin, 0.0),
            jnp.where(is_red, 0.0, coin),
        )
        return jnp.concatenate(planes, axis=-1)

    def index(self, state: CoinState) -> jax.Array:
        """Number of the state's observation among the rows of `distinct_observations`, int32 [...]."""
        players = CELLS * cell(state.red) + cell(state.blue)
        return 2 * (CELLS * players + cell(state.coin)) + state.red_coin

    def distinct_observations(self) -> np.ndarray:
        """Every observation of the board, float32 [9 * 9 * 9 * 2, 36]."""
        red, blue, coin, colour = (
            grid.reshape(-1) for grid in np.indices((CELLS, CELLS, CELLS, 2), dtype=np.int32)
        )
        eye = np.eye(CELLS, dtype=np.float32)
        is_red = (colour == 1)[:, None]
        planes = (eye[red], eye[blue], eye[coin] * is_red, eye[coin] * ~is_red)
        return np.concatenate(planes, axis=1)

    def codes(self, observations: jax.Array) -> jax.Array:
        """The observation itself."""
        return observations
