"""Playing: one rollout between two recurrent policies, stored for learning."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from pola.dice.networks import Params, input_gates, readout, recurrent_weights
from pola.dice.recurrence import Gates, gru_step


class Trajectory(NamedTuple):
    """B episodes of T steps as one player ("self") sees them; nothing in it carries a gradient."""

    codes: jax.Array  # [T + 1, B, S], see `Environment.codes`; row T follows the last step
    self_actions: jax.Array  # [T, B] int32
    other_actions: jax.Array  # [T, B] int32
    self_rewards: jax.Array  # [T, B]
    other_rewards: jax.Array  # [T, B]
    self_states: jax.Array | None = None  # [T, B, H] hidden states of the policies that played
    other_states: jax.Array | None = None

    def swapped(self) -> "Trajectory":
        """The same episodes as the other player sees them."""
        return Trajectory(
            self.codes,
            self.other_actions,
            self.self_actions,
            self.other_rewards,
            self.self_rewards,
            self.other_states,
            self.self_states,
        )


class Player(NamedTuple):
    """A recurrent policy ready to play: what its step needs, computed once per rollout."""

    rows: Gates  # [S, H] each: input side of the gates for every distinct observation of the game
    weights: Gates  # [H, H] each
    bias: jax.Array  # [H]
    end: Params  # output layer

    def step(self, index: jax.Array, state: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Observation numbers [B], hidden state [B, H], Gumbel noise [B, A] -> next state, actions [B]."""
        gates = Gates(*(rows[index] for rows in self.rows))
        state = gru_step(gates, state, self.weights, self.bias)
        logits = readout({"linear_end": self.end}, state)
        return state, jnp.argmax(logits + noise, axis=-1).astype(jnp.int32)

    def start(self, batch: int) -> jax.Array:
        """Hidden state [batch, H] at the beginning of an episode."""
        return jnp.zeros((batch, self.bias.shape[0]))


def make_player(env, params: Params) -> Player:
    """`Player` of a policy's parameters."""
    rows = input_gates(params, jnp.asarray(env.distinct_observations()))
    return Player(rows, *recurrent_weights(params), params["linear_end"])


def in_seats(role: jax.Array, own, other) -> tuple:
    """(own, other) if the player sits first (`role` 0), else (other, own); leaves of equal shape."""
    first = jax.tree.map(lambda a, b: jnp.where(role == 0, a, b), own, other)
    second = jax.tree.map(lambda a, b: jnp.where(role == 0, b, a), own, other)
    return first, second


def sample(env, self_params, other_params, role, key, steps: int, batch: int) -> Trajectory:
    """Play `batch` episodes of `steps` steps.

    Args: policies of the player whose rollout it is and of its opponent; `role` int, 0 if the player sits first.
    """
    self_params, other_params = lax.stop_gradient((self_params, other_params))
    me, you = make_player(env, self_params), make_player(env, other_params)
    reset_key, env_key, self_key, other_key = jax.random.split(key, 4)
    shape = (steps, batch, env.n_actions)
    noise = (
        env.draw(env_key, steps, batch),
        jax.random.gumbel(self_key, shape),
        jax.random.gumbel(other_key, shape),
    )

    def step(carry, inputs):
        state, my_hidden, your_hidden = carry
        env_noise, my_noise, your_noise = inputs
        index = env.index(state)
        my_hidden, mine = me.step(index, my_hidden, my_noise)
        your_hidden, yours = you.step(index, your_hidden, your_noise)
        following, *rewards, _ = env.step(state, env_noise, *in_seats(role, mine, yours))
        my_reward, your_reward = in_seats(role, *rewards)
        stored = state, mine, yours, my_reward, your_reward, my_hidden, your_hidden
        return (following, my_hidden, your_hidden), stored

    start = env.reset(reset_key, batch), me.start(batch), you.start(batch)
    (last, _, _), (states, *rest) = lax.scan(step, start, noise)
    states = jax.tree.map(lambda path, end: jnp.concatenate([path, end[None]], axis=0), states, last)
    return Trajectory(env.codes(env.observe(states)), *rest)
