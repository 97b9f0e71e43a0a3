"""Scores: agents against each other and against scripted opponents (paper, section 5)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from pola.dice.networks import Params
from pola.dice.rollout import in_seats, make_player
from pola.dice.scripted import KINDS, Script


class Scores(NamedTuple):
    """Mean reward per step, over episodes and steps, undiscounted; policies sample, they are not greedy."""

    score: jax.Array  # [2] agents against each other
    scripted: jax.Array  # [2, 3] each agent against always-defect, always-cooperate, tit-for-tat
    picked: tuple  # per-episode counts of the game, averaged over episodes (Coin Game: `PickUps`)


def _totals(env, key, steps: int, batch: int, memory, act):
    """Play and add up: rewards of the first and second seat per episode [B] and the game's counts."""
    reset_key, env_key, play_key = jax.random.split(key, 3)
    noise = env.draw(env_key, steps, batch), jax.random.split(play_key, steps)

    def step(carry, inputs):
        state, memory, rewards, totals = carry
        env_noise, step_key = inputs
        memory, first, second = act(state, memory, rewards, step_key)
        state, *rewards, info = env.step(state, env_noise, first, second)
        totals = jax.tree.map(lambda total, new: total + new, totals, (*rewards, info))
        return (state, memory, tuple(rewards), totals), None

    state = env.reset(reset_key, batch)
    nothing = jnp.zeros((batch,))
    counts = jax.eval_shape(lambda s, n: env.step(s, n, *_idle(batch))[3], state, _first(noise[0]))
    counts = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), counts)
    start = state, memory, (nothing, nothing), (nothing, nothing, counts)
    (_, _, _, totals), _ = lax.scan(step, start, noise)
    return totals


def _idle(batch: int) -> tuple[jax.Array, jax.Array]:
    return jnp.zeros((batch,), jnp.int32), jnp.zeros((batch,), jnp.int32)


def _first(noise):
    return jax.tree.map(lambda draws: draws[0], noise)


def against_each_other(env, policies: Params, key, steps: int, batch: int):
    """Mean reward per step [2] and mean counts per episode; `policies` have a leading axis of 2."""
    players = [
        make_player(env, jax.tree.map(lambda leaf, seat=seat: leaf[seat], policies)) for seat in (0, 1)
    ]

    def act(state, memory, rewards, step_key):
        del rewards
        index = env.index(state)
        noise = jax.random.gumbel(step_key, (2, batch, env.n_actions))
        moves = [player.step(index, *rest) for player, *rest in zip(players, memory, noise, strict=True)]
        return tuple(hidden for hidden, _ in moves), *(action for _, action in moves)

    memory = tuple(player.start(batch) for player in players)
    first, second, counts = _totals(env, key, steps, batch, memory, act)
    score = jnp.stack([jnp.mean(first), jnp.mean(second)]) / steps
    return score, jax.tree.map(lambda count: jnp.mean(count.astype(jnp.float32)), counts)


def against_scripts(env, policy: Params, role, key, steps: int, batch: int) -> jax.Array:
    """Mean reward per step [3] of one agent in its own seat against each scripted opponent, `batch` episodes each."""
    player = make_player(env, policy)
    everybody = batch * len(KINDS)
    script = Script(jnp.repeat(jnp.arange(len(KINDS)), batch), 1 - role)

    def act(state, memory, rewards, step_key):
        hidden, mood = memory
        noise = jax.random.gumbel(step_key, (everybody, env.n_actions))
        hidden, mine = player.step(env.index(state), hidden, noise)
        mood, theirs = script.step(env, state, mood, jnp.where(script.seat == 0, *rewards))
        return (hidden, mood), *in_seats(role, mine, theirs)

    memory = player.start(everybody), script.start()
    first, second, _ = _totals(env, key, steps, everybody, memory, act)
    return jnp.mean(jnp.where(role == 0, first, second).reshape(len(KINDS), batch), axis=1) / steps


def evaluate(config, env, policies: Params, key) -> Scores:
    """All scores of a pair of agents, `config.batch_size` episodes of `config.rollout_len` steps each.

    Args: `policies` with a leading axis of 2.
    """
    shape = config.rollout_len, config.batch_size
    each_other_key, scripts_key = jax.random.split(key)
    score, picked = against_each_other(env, policies, each_other_key, *shape)

    def one(inputs):
        role, policy, script_key = inputs
        return against_scripts(env, policy, role, script_key, *shape)

    inputs = jnp.arange(2), policies, jax.random.split(scripts_key)
    scripted = jax.vmap(one)(inputs) if config.agent_axis == "vmap" else lax.map(one, inputs)
    return Scores(score, scripted, picked)
