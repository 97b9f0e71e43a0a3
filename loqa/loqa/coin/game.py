"""Coin Game on a torus of any height and width, for two players or more (spec 3.2, 3.5; randomness 3.3).

Actions: 0 left, 1 right, 2 up, 3 down; nobody can stay. A coin has an owner. Whoever reaches it gets +1; its owner
loses 2 when anybody else takes it. A taken coin reappears on a free cell and belongs to the next player in turn.

Every function takes arrays with any leading axes (games, time); only `reset` and `step`, which use a key, are written
for one game and are put under `jax.vmap`. A position is a cell number, row x width + column.
"""

import zlib
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

N_ACTIONS = 4
MOVES = np.array([[0, -1], [0, 1], [-1, 0], [1, 0]], dtype=np.int32)  # (row, column)


class GameState(NamedTuple):
    """One game, or many along leading axes."""

    players: jax.Array  # cells [..., P] int32
    coin: jax.Array  # cell [...] int32
    owner: jax.Array  # [...] int32, whose coin it is
    takers: jax.Array  # [..., P] float32, who took each owner's coin last; -1: nobody yet


def scope(key: jax.Array, name: str) -> jax.Array:
    """`key` [2] folded with the CRC-32 of `name`: the original's named random streams."""
    return jax.random.fold_in(key, np.uint32(zlib.crc32(name.encode("ascii"))))


@dataclass(frozen=True)
class CoinGame:
    """The board and the number of players; two players is the paper's game."""

    height: int = 3
    width: int = 3
    players: int = 2

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.height * self.width

    @property
    def observation_size(self) -> int:
        """Numbers in one player's flat observation: one plane per player and one per owner."""
        return 2 * self.players * self.cells

    def position(self, cell: jax.Array) -> jax.Array:
        """(row, column) [..., 2] of cells [...]."""
        return jnp.stack([cell // self.width, cell % self.width], axis=-1)

    def cell(self, position: jax.Array) -> jax.Array:
        """Cells [...] of positions (row, column) [..., 2]."""
        return position[..., 0] * self.width + position[..., 1]

    def moved(self, cell: jax.Array, action: jax.Array) -> jax.Array:
        """Cells [...] after actions [...] from cells [...]."""
        row, column = cell // self.width, cell % self.width
        across = (action == 1).astype(jnp.int32) - (action == 0)
        down = (action == 3).astype(jnp.int32) - (action == 2)
        return (row + down) % self.height * self.width + (column + across) % self.width

    def place(self, players: jax.Array, draw: jax.Array) -> jax.Array:
        """A cell [...] for a new coin, uniform over those where no player stands.

        Args: `players` cells [..., P], `draw` [...] uniform in [0, 1).
        """
        standing = _ascending(players)
        first = [jnp.ones(draw.shape, bool)]
        first += [after != before for before, after in zip(standing, standing[1:], strict=False)]
        free = self.cells - sum(one.astype(jnp.int32) for one in first)
        # `jax.random.choice` with weights looks for free x (1 - draw) among the running sums of the weights
        chosen = jnp.ceil(free * (1.0 - draw)).astype(jnp.int32) - 1
        for occupied, distinct in zip(standing, first, strict=True):
            chosen = chosen + (distinct & (chosen >= occupied))
        return chosen

    def start(self, owner: jax.Array, players: jax.Array, draw: jax.Array) -> GameState:
        """The first state from its draws: owner [...], cells [..., P], the coin's draw [...] in [0, 1)."""
        return GameState(players, self.place(players, draw), owner, jnp.full(players.shape, -1.0))

    def play(self, state: GameState, actions: jax.Array, draw: jax.Array) -> tuple[GameState, jax.Array]:
        """One step whose only randomness, `draw` [...] uniform in [0, 1), is given.

        Args: `actions` [..., P] int32.
        Returns: the next state and rewards [..., P] float32.
        """
        players = self.moved(state.players, actions)
        takes = players == state.coin[..., None]
        anyone = takes.any(-1)
        seats = jnp.arange(self.players).reshape((1,) * anyone.ndim + (self.players,))
        owns = seats == state.owner[..., None]
        lost = owns & (takes & ~owns).any(-1, keepdims=True)
        rewards = takes.astype(jnp.float32) - 2.0 * lost
        takers = state.takers
        for turn in range(self.players):  # the last in turn wins a tie: the owner first, then the others
            seat = (state.owner[..., None] + turn) % self.players
            took = (takes & (seats == seat)).any(-1, keepdims=True)
            takers = jnp.where(owns & took, seat.astype(jnp.float32), takers)
        # Strict alternation of the owner, not a new draw (spec 7, Q10)
        owner = jnp.where(anyone, (state.owner + 1) % self.players, state.owner)
        coin = jnp.where(anyone, self.place(players, draw), state.coin)
        return GameState(players, coin, owner, takers), rewards

    def observe(self, state: GameState) -> jax.Array:
        """What every player sees, float32 [..., P, 2P, height, width].

        Planes of player i: the players from i on in turn, then the coin if its owner is i, i + 1, ... in turn.
        """
        cells = jnp.arange(self.cells)
        at = state.players[..., None] == cells.reshape((1,) * state.players.ndim + (-1,))
        coin = (state.coin[..., None] == cells.reshape((1,) * state.coin.ndim + (-1,)))[..., None, :]
        seats = jnp.arange(self.players).reshape((1,) * state.owner.ndim + (self.players, 1))
        coins = coin & (seats == state.owner[..., None, None])
        views = [
            jnp.concatenate([jnp.roll(at, -seat, axis=-2), jnp.roll(coins, -seat, axis=-2)], axis=-2)
            for seat in range(self.players)
        ]
        seen = jnp.stack(views, axis=-3).astype(jnp.float32)
        return seen.reshape(*seen.shape[:-1], self.height, self.width)

    def flat_observation(self, state: GameState) -> jax.Array:
        """`observe`, flattened as the networks get it, float32 [..., P, 2P x height x width]."""
        seen = self.observe(state)
        return seen.reshape(*seen.shape[:-3], -1)

    # --- randomness, as the original draws it (spec 3.3) ---------------------------------------------------------

    def first_draws(self, key: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
        """The key that a game keeps after its reset with `key` [2], and the arguments of `start`."""
        kept, owner_key, place_key = jax.random.split(key, 3)
        owner = jax.random.randint(owner_key, (), 0, self.players)
        player_keys = jax.random.split(place_key, self.players)
        players = jax.vmap(lambda one: jax.random.randint(one, (), 0, self.cells))(player_keys)
        return kept, (owner, players, jax.random.uniform(scope(place_key, "coin")))

    def next_draw(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The key [2] that a game keeps after a step from `key`, and the step's draw for `play`."""
        kept = jax.random.split(key)[0]
        return kept, jax.random.uniform(kept)  # the key that draws is the one that is split next

    def reset(self, key: jax.Array) -> tuple[GameState, jax.Array]:
        """First state of one game from one key, and the key that it keeps."""
        kept, draws = self.first_draws(key)
        return self.start(*draws), kept

    def step(self, state: GameState, key: jax.Array, actions: jax.Array):
        """One step of one game with the key that it keeps: next state, rewards [P], next key."""
        key, draw = self.next_draw(key)
        return *self.play(state, actions, draw), key


def _ascending(players: jax.Array) -> list[jax.Array]:
    """The players' cells [..., P] as P arrays [...] in ascending order (a sorting network: P is small)."""
    cells = [players[..., seat] for seat in range(players.shape[-1])]
    for last in range(len(cells) - 1, 0, -1):
        for seat in range(last):
            low, high = jnp.minimum(cells[seat], cells[seat + 1]), jnp.maximum(cells[seat], cells[seat + 1])
            cells[seat], cells[seat + 1] = low, high
    return cells
