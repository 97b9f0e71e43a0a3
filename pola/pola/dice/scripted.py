"""Scripted opponents of the evaluation (paper, section 5): always defect, always cooperate, tit-for-tat.

A script moves from the state before the move, its own seat and, in the Coin Game, a mood per episode. All three
kinds play side by side: `kinds` says for every episode which one it meets.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pola.dice import contribution_game
from pola.dice.coin_game import SIDE, CoinState
from pola.dice.contribution_game import ContributionState

DEFECT, COOPERATE, TIT_FOR_TAT = 0, 1, 2
KINDS = ("vs_defect", "vs_cooperate", "vs_tft")


class Script(NamedTuple):
    """A scripted player in a seat; `kinds` int32 [B], `seat` int, 0 if it sits first."""

    kinds: jax.Array
    seat: jax.Array

    def start(self) -> jax.Array:
        """Mood at the beginning of an episode, bool [B]: well-disposed."""
        return jnp.ones(self.kinds.shape, bool)

    def step(self, env, state, mood: jax.Array, reward: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Move.

        Args: `state` before the move, `mood` [B], `reward` [B] own reward of the previous step (0 at first).
        Returns: the mood, and actions int32 [B].
        """
        mood = jnp.where(reward == 0, mood, reward > 0)
        moves = contribution_moves if env.name == "ipd" else coin_moves
        return mood, moves(state, self.kinds, self.seat, mood)


def contribution_moves(state: ContributionState, kinds, seat, mood) -> jax.Array:
    """Moves in the contribution game; tit-for-tat repeats the opponent's last action and begins with C."""
    del mood
    theirs = jnp.where(seat == 0, state.second, state.first)
    echo = jnp.where(theirs == contribution_game.START, contribution_game.COOPERATE, theirs)
    return jnp.where(kinds == TIT_FOR_TAT, echo, kinds).astype(jnp.int32)


def toward(position: jax.Array, coin: jax.Array) -> jax.Array:
    """The move that shortens the way to the coin, rows before columns; positions [..., 2] -> int32 [...].

    On the coin itself (which never happens in play) it is 0.
    """
    ahead = (coin - position) % SIDE
    back = (position - coin) % SIDE
    across = jnp.where(ahead[..., 1] > back[..., 1], 1, 0)
    along = jnp.where(ahead[..., 0] < back[..., 0], 2, 3)
    return jnp.where(ahead[..., 0] == back[..., 0], across, along).astype(jnp.int32)


def considerate(position: jax.Array, coin: jax.Array, own_colour: jax.Array) -> jax.Array:
    """Toward a coin of one's own colour, away from the other's (on this board that never takes it)."""
    move = toward(position, coin)
    return jnp.where(own_colour, move, move ^ 1)


def coin_moves(state: CoinState, kinds, seat, mood) -> jax.Array:
    """Moves in the Coin Game; "tit-for-tat" is considerate while its mood is good.

    The mood follows its own last reward: below zero bad, above zero good (so it is not exactly tit-for-tat).
    """
    position = jnp.where(seat == 0, state.red, state.blue)
    own_colour = (state.red_coin == 1) == (seat == 0)
    kind = (kinds == COOPERATE) | ((kinds == TIT_FOR_TAT) & mood)
    greedy = toward(position, state.coin)
    return jnp.where(kind, considerate(position, state.coin, own_colour), greedy)
