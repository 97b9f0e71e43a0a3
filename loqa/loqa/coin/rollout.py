"""Playing episodes between two players, and between the learner and its past selves.

All of an episode's randomness is drawn before it starts, in the original's order of keys (spec 3.3), so that the loop over
time only evaluates networks and moves pieces.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from loqa import agent_buffer
from loqa.agent_buffer import AgentBuffer
from loqa.coin import agents, recurrence
from loqa.coin.game import N_ACTIONS, CoinGame, GameState, scope
from loqa.coin.recurrence import Activity
from loqa.losses import Heads

#: past agents' parameters that a block of episodes may hold: they are read at every step and should stay in the cache
BLOCK_BYTES = 12 * 2**20


class Noise(NamedTuple):
    """Everything random of B episodes of T steps; row T is drawn for the last observation and not used."""

    owner: jax.Array  # [B] int32
    players: jax.Array  # first cells [B, P] int32
    first_coin: jax.Array  # [B] uniform
    coins: jax.Array  # [T + 1, B] uniform
    actions: jax.Array  # Gumbel noise [T + 1, B, P, A]


class Trace(NamedTuple):
    """What a policy did: log-probabilities [T + 1, B, A], and the GRU's activity [T + 1, B, H] if it was kept."""

    log_probs: jax.Array
    activity: Activity | None


class Episodes(NamedTuple):
    """B episodes of T steps; nothing in them carries a gradient."""

    states: GameState  # [T + 1, B]; the last follows the last step
    actions: jax.Array  # [T, B, P] int32
    rewards: jax.Array  # [T, B, P]
    traces: tuple  # per player: a `Trace`, or () of a scripted one


class Player(NamedTuple):
    """A player as the loop sees it: its first carry, and

    `act(carry, state [B], observation [B, D], gumbel [B, A]) -> carry, actions [B], what to keep of the step`.
    """

    carry: Any
    act: Callable


def episode_keys(key: jax.Array, batch: int) -> jax.Array:
    """One key per episode, uint32 [B, 2]."""
    return jax.random.split(key, batch)


def draw_noise(game: CoinGame, keys: jax.Array, steps: int) -> Noise:
    """The noise of one episode per key, [B, 2], of T `steps`."""

    def one(key):
        game_key, (owner, players, first_coin) = game.first_draws(scope(key, "game_init"))

        def tick(carry, _):
            game_key, play_key = carry
            game_key, coin = game.next_draw(game_key)
            play_key, *seats = jax.random.split(play_key, 1 + game.players)
            gumbel = jnp.stack([jax.random.gumbel(seat, (N_ACTIONS,)) for seat in seats])
            return (game_key, play_key), (coin, gumbel)

        _, drawn = lax.scan(tick, (game_key, scope(key, "play_rng")), None, length=steps + 1)
        return Noise(owner, players, first_coin, *drawn)

    return jax.vmap(one, out_axes=Noise(0, 0, 0, 1, 1))(keys)


def neural(params: agents.Params, batch: int, *, keep_activity: bool = False) -> Player:
    """A player that samples from an agent's policy."""
    block = params["actor_head"][agents.BLOCK]
    weights = agents.recurrent_weights(block)

    def act(carry, state, observation, gumbel):
        del state
        activity = recurrence.gru_step(agents.input_gates(block, observation), carry, *weights)
        log_probs = jax.nn.log_softmax(agents.readout(block, activity.state))
        actions = jnp.argmax(log_probs + gumbel, axis=-1).astype(jnp.int32)
        return activity.state, actions, Trace(log_probs, activity if keep_activity else None)

    return Player(agents.start(params, batch).actor, act)


def neural_each(params: agents.Params, batch: int) -> Player:
    """Another agent in every episode: leaves of `params` have a leading axis [B]."""

    def act(carry, state, observation, gumbel):
        del state

        def one(own, *inputs):
            player = neural(own, 1)
            carry, actions, trace = player.act(inputs[0], None, *inputs[1:])
            return carry, actions[0], trace.log_probs[0]

        singles = [part[:, None] for part in (observation, gumbel)]
        carry, actions, log_probs = jax.vmap(one)(params, carry, *singles)
        return carry, actions, Trace(log_probs, None)

    width = agents.hidden_size(params["actor_head"])
    return Player(jnp.zeros((batch, 1, width)), act)


def scripted(game: CoinGame, rule: Callable, seat: int, ranks: jax.Array) -> Player:
    """A rule of `loqa.coin.scripted` with its tie breaks [B, A], the same during an episode."""

    def act(carry, state, observation, gumbel):
        del observation, gumbel
        return carry, rule(game, state, seat, ranks), ()

    return Player((), act)


def play(game: CoinGame, players: Sequence[Player], noise: Noise) -> Episodes:
    """Play one episode per column of `noise`; player i of `players` sits in seat i."""

    def step(carry, drawn):
        state, carries = carry
        coin, gumbel = drawn
        seen = game.flat_observation(state)
        outcomes = [
            player.act(own, state, seen[:, seat], gumbel[:, seat])
            for seat, (player, own) in enumerate(zip(players, carries, strict=True))
        ]
        carries, actions, kept = zip(*outcomes, strict=True)
        actions = jnp.stack(actions, axis=-1)
        following, rewards = game.play(state, actions, coin)
        return (following, carries), (state, actions, rewards, kept)

    start = (
        game.start(noise.owner, noise.players, noise.first_coin),
        tuple(player.carry for player in players),
    )
    _, (states, actions, rewards, kept) = lax.scan(step, start, (noise.coins, noise.actions))
    return Episodes(states, actions[:-1], rewards[:-1], kept)


# --- against past agents -----------------------------------------------------------------------------------------


def block_size(batch: int, agent_bytes: int) -> int:
    """Episodes per block: the largest divisor of `batch` whose agents fit in `BLOCK_BYTES`, at least 1."""
    return max(
        size
        for size in range(1, batch + 1)
        if batch % size == 0 and size * agent_bytes <= BLOCK_BYTES or size == 1
    )


def against_past(
    game: CoinGame,
    params: agents.Params,
    newest: agents.Params,
    buffer: AgentBuffer,
    drawn: jax.Array,
    current: int,
    noise: Noise,
) -> tuple[Episodes, Heads]:
    """The learner in seat 0 of every episode against an agent of its own in seat 1.

    Args:
        drawn: slots in `buffer` of the first episodes' opponents; the last `current` meet `newest`.

    Returns:
        The episodes, and the opponents' heads on their own observations, [T + 1, B, A] each.
    """
    batch = noise.owner.shape[0]
    agent_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    # An accelerator has no such cache to stay in, and wants all episodes side by side
    size = block_size(batch, agent_bytes) if jax.default_backend() == "cpu" else batch
    count = batch // size
    is_newest = jnp.arange(batch) >= batch - current
    drawn = jnp.concatenate([drawn, jnp.zeros(current, drawn.dtype)])

    def block(inputs):
        drawn, is_newest, noise = inputs
        past = agent_buffer.take(buffer, drawn)
        if current:
            past = jax.tree.map(
                lambda old, new: jnp.where(_over(is_newest, old), new[None], old), past, newest
            )
        learner = neural(params, size, keep_activity=True)
        episodes = play(game, (learner, neural_each(past, size)), noise)
        seen = game.flat_observation(episodes.states)[:, :, 1]
        q = jax.vmap(lambda one, seen: agents.q_outputs(one, seen[:, None])[:, 0], (0, 1), 1)(past, seen)
        return episodes, Heads(episodes.traces[1].log_probs, q)

    def cut(leaf, axis):
        shape = (*leaf.shape[:axis], count, size, *leaf.shape[axis + 1 :])
        return jnp.moveaxis(leaf.reshape(shape), axis, 0)

    if count == 1:
        return block((drawn, is_newest, noise))
    noises = Noise(*(cut(leaf, axis) for leaf, axis in zip(noise, (0, 0, 0, 1, 1), strict=True)))
    episodes, heads = lax.map(block, (cut(drawn, 0), cut(is_newest, 0), noises))
    return jax.tree.map(_join, (episodes, heads))


def _over(mask: jax.Array, leaf: jax.Array) -> jax.Array:
    return mask.reshape(mask.shape + (1,) * (leaf.ndim - 1))


def _join(leaf: jax.Array) -> jax.Array:
    """[blocks, T, b, ...] -> [T, B, ...]."""
    moved = jnp.moveaxis(leaf, 0, 1)
    return moved.reshape(moved.shape[0], -1, *moved.shape[3:])


def against_agent(
    game: CoinGame, params: agents.Params, other: agents.Params, noise: Noise
) -> tuple[Episodes, Heads]:
    """The learner in seat 0 against one other agent in seat 1; returns as in `against_past`."""
    batch = noise.owner.shape[0]
    players = neural(params, batch, keep_activity=True), neural(other, batch)
    episodes = play(game, players, noise)
    seen = game.flat_observation(episodes.states)[:, :, 1]
    return episodes, Heads(episodes.traces[1].log_probs, agents.q_outputs(other, seen))
