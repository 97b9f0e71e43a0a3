"""LOQA with three players: one set of parameters plays every seat and shapes both of its opponents.

What does not depend on the number of players is the two-player trainer's (`loqa.coin.training`); here is what does: who
plays whom, the shaping loss summed over both opponents, and the evaluations.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from loqa import agent_buffer, losses
from loqa.coin import agents, scripted, training
from loqa.coin.config import ON, Hp
from loqa.coin.game import CoinGame, scope
from loqa.coin.rollout import Episodes, Noise, block_size, draw_noise, episode_keys, neural, play
from loqa.coin.rollout import scripted as scripted_player
from loqa.coin.statistics import Statistics, measure
from loqa.coin.training import Learner, Report, State, Training
from loqa.losses import ActorLosses, Experience, Heads
from loqa.three_player.config import PROGRAM

#: the axis of the episodes in each part of the noise
EPISODES = Noise(0, 0, 0, 1, 1)


def make_game(hp: Hp) -> CoinGame:
    """The board, with three players."""
    return CoinGame(hp.game.height, hp.game.width, 3)


def fresh(hp: Hp, seed) -> State:
    """The state of a run before its first iteration; `seed` uint32."""
    sizes = training.architecture(hp)
    sizes = dataclasses.replace(sizes, observation_size=make_game(hp).observation_size)
    key, init_key, _ = jax.random.split(jax.random.PRNGKey(seed), 3)
    params = agents.init(sizes, init_key)
    actor = training.actor_optimiser(hp, "loqa").init(params)
    q = training.q_optimiser(hp).init(params["qvalue_head"])
    learner = Learner(params, actor, q, jax.tree.map(jnp.copy, params))
    buffers, wanted = (), hp.agent_replay_buffer
    if wanted.mode == ON:
        length = agent_buffer.slots(wanted.capacity, wanted.update_freq, hp.max_iterations)
        buffers = (agent_buffer.empty(params, length),)
    initial = (jax.tree.map(jnp.copy, params),) if hp.reset.mode == ON else ()
    return State(key, key, jnp.zeros((), jnp.int32), (learner,), buffers, initial)


# --- one iteration -----------------------------------------------------------------------------------------------


def heads_of(game: CoinGame, params, episodes: Episodes, seat: int) -> Heads:
    """Both heads, [T + 1, B, A] each, of an agent on what it saw in a seat; no gradient is wanted."""
    seen = game.flat_observation(episodes.states)[:, :, seat]
    return Heads(episodes.traces[seat].log_probs, agents.q_outputs(params, seen))


def against_past(game: CoinGame, params, buffer, drawn, current: int, noise: Noise):
    """The learner in seat 0 of every episode against past agents in seats 1 and 2.

    Args:
        drawn: the buffer's slots of the first episodes' opponents, [B - current, 2] int32; in the last `current`
            episodes the learner meets itself twice.

    Returns:
        The episodes (with the trace of the learner alone), and the heads of both opponents on their own observations.
    """
    batch = noise.owner.shape[0]
    own = jnp.arange(batch) >= batch - current
    drawn = jnp.concatenate([drawn, jnp.zeros((current, 2), drawn.dtype)])
    by_episode = jax.tree.map(lambda leaf, axis: jnp.moveaxis(leaf, axis, 0), noise, EPISODES)

    def one(inputs):
        slots, own, noise = inputs
        past = [agent_buffer.take(buffer, slot) for slot in slots]
        past = [jax.tree.map(lambda new, old: jnp.where(own, new, old), params, agent) for agent in past]
        noise = jax.tree.map(jnp.expand_dims, noise, EPISODES)
        players = neural(params, 1, keep_activity=True), *(neural(agent, 1) for agent in past)
        episode = play(game, players, noise)
        opponents = tuple(heads_of(game, agent, episode, seat) for seat, agent in enumerate(past, 1))
        return episode._replace(traces=episode.traces[:1]), opponents

    size = block_size(batch, 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(params)))
    found = lax.map(one, (drawn, own, by_episode), batch_size=size)
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf[:, :, 0], 0, 1), found)


def gather(hp: Hp, game: CoinGame, state: State, buffer) -> tuple[Episodes, tuple[Heads, Heads]]:
    """The learner's episodes of this iteration and its opponents' heads; each opponent is drawn for itself."""
    batch, params = hp.batch_size, state.learners[0].params
    keys = episode_keys(scope(state.rollout_key, "gen_episode_0"), batch)
    noise = draw_noise(game, keys, hp.game.game_length)
    if buffer is None:
        players = neural(params, batch, keep_activity=True), neural(params, batch), neural(params, batch)
        episodes = play(game, players, noise)
        return episodes, (heads_of(game, params, episodes, 1), heads_of(game, params, episodes, 2))
    current = agent_buffer.current(batch, hp.agent_replay_buffer.cur_agent_frac)
    draws = [agent_buffer.draw(buffer, scope(state.key, f"rb{seat}"), batch - current) for seat in (1, 2)]
    return against_past(game, params, buffer, jnp.stack(draws, axis=1), current, noise)


def actor_losses(objective, learner: Heads, opponents, episodes: Episodes) -> ActorLosses:
    """The two-player losses, the shaping loss summed over both opponents (spec 3.5).

    Args: heads [T + 1, B, A] of the learner and of each opponent.
    """
    actions, rewards = episodes.actions, episodes.rewards
    # DEVIATION(Q19): with n_step each opponent's baseline is the mean of its own rewards, not that of the first one's
    each = [
        losses.actor_losses(
            objective,
            learner,
            opponent,
            Experience(actions[..., 0], rewards[..., 0], actions[..., seat], rewards[..., seat]),
        )
        for seat, opponent in enumerate(opponents, 1)
    ]
    return ActorLosses(each[0].agent, each[0].opponent + each[1].opponent, each[0].entropy)


def improve_actor(hp: Hp, game: CoinGame, learner: Learner, episodes: Episodes, opponents, iteration, log):
    """One update of the learner's whole tree; `log` (bool) whether the norms are wanted."""
    seen = game.flat_observation(episodes.states)[:, :, 0]
    objective = hp.objective

    def all_losses(params):
        own = agents.sequence(params, seen, episodes.traces[0].activity)
        return actor_losses(objective, own, opponents, episodes)

    rule = training.actor_optimiser(hp, "loqa")
    params, state, report = rule.update(all_losses, learner.params, learner.actor, iteration, log)
    return learner._replace(params=params, actor=state), report


def iterate(hp: Hp, game: CoinGame, state: State) -> tuple[State, tuple[Training, ...]]:
    """One iteration, in the order of the two-player trainer."""
    iteration, (learner,) = state.iteration, state.learners
    key, rollout_key = jax.random.split(state.key)
    state = state._replace(key=key, rollout_key=rollout_key)
    due = iteration % hp.agent_replay_buffer.update_freq == 0
    buffers = tuple(agent_buffer.push(buffer, learner.params, due) for buffer in state.buffers)
    episodes, opponents = gather(hp, game, state, buffers[0] if buffers else None)
    log = (iteration % hp.eval_every == 0) | (iteration == hp.max_iterations)
    learner, report = improve_actor(hp, game, learner, episodes, opponents, iteration, log)
    learner, q_loss = training.improve_q(hp, game, learner, episodes)
    if state.initial:
        back = iteration % hp.reset.every == 0
        params = jax.tree.map(lambda new, old: jnp.where(back, old, new), learner.params, state.initial[0])
        learner = learner._replace(params=params)
    seen = Training(q_loss, -report.losses.entropy, report.agent_norm, report.opponent_norm)
    return State(key, rollout_key, iteration + 1, (learner,), buffers, state.initial), (seen,)


# --- evaluation --------------------------------------------------------------------------------------------------


def _against(statistics: Statistics) -> Statistics:
    """The agent in seat 0 beside the mean of the two scripted players, [2]."""
    return jax.tree.map(lambda each: jnp.stack([each[0], (each[1] + each[2]) / 2.0]), statistics)


def evaluate(hp: Hp, game: CoinGame, state: State) -> tuple[Statistics, Statistics | None, Statistics | None]:
    """Fresh episodes of three copies of the agent ([3] each), then of one against two always-cooperate and two
    always-defect players ([2]: the agent, and the mean of the other two)."""
    batch, params = hp.batch_size, state.learners[0].params

    def score(others, keys) -> Statistics:
        noise = draw_noise(game, keys, hp.game.game_length)
        episodes = play(game, (neural(params, batch), *others), noise)
        return measure(game, episodes.states, episodes.actions, episodes.rewards)

    keys = episode_keys(scope(state.rollout_key, "gen_episode_eval"), batch)
    each_other = score((neural(params, batch), neural(params, batch)), keys)
    if not hp.eval_scripted:
        return each_other, None, None
    keys, found = episode_keys(state.key, batch), []
    for rule, stream in (
        (scripted.always_cooperate, scripted.COOPERATE_STREAM),
        (scripted.always_defect, scripted.DEFECT_STREAM),
    ):
        others = [
            scripted_player(game, rule, seat, scripted.episode_ranks(keys, f"{stream}_{seat}"))
            for seat in (1, 2)
        ]
        found.append(_against(score(others, keys)))
    return each_other, *found


def advance(hp: Hp, game: CoinGame, state: State, n) -> tuple[State, Report]:
    """`n` (int32, may be 0) iterations, then the evaluation that belongs to the last of them."""
    unknown = jnp.full((), jnp.nan)
    nothing = (Training(unknown, unknown, unknown, unknown),)
    state, seen = lax.fori_loop(0, n, lambda _, carry: iterate(hp, game, carry[0]), (state, nothing))
    return state, Report(seen, *evaluate(hp, game, state))


class Trainer(training.Trainer):
    """Three-player training as `loqa.program` runs it; logs and prints what the two-player trainer does."""

    name = PROGRAM

    def __init__(self, hp: Hp) -> None:
        super().__init__(hp)
        self.game = make_game(hp)

    def fresh(self, seed) -> State:
        """See `fresh`."""
        return fresh(self.hp, seed)

    def advance(self, state: State, n) -> tuple[State, Report]:
        """See `advance`."""
        return advance(self.hp, self.game, state, n)

    def show(self, row: dict[str, Any]) -> str:
        """What a person sees of one evaluation: the two-player lines, then what the third player got."""
        third = "  ".join(
            f"{name} {row[f'{name}_2']:.4f}" for name in ("mean_rewards", "own_pickup_div_timesteps")
        )
        return f"{super().show(row)}\n  third player: {third}"

    def agents(self, state: State) -> dict[str, Any]:
        """The agent of minimal_state_N: one set of parameters for every seat."""
        return {"agent0": {"params": state.learners[0].params}}
