"""LOQA in the iterated prisoner's dilemma. To understand the method, read this file from top to bottom.

LOQA (Aghajohari et al., ICLR 2024) shapes its opponent without differentiating through the opponent's learning. It
assumes that the opponent acts by a softmax over its own action values Q, and that these values are what the opponent
will really earn. What it earns depends on our policy, so its next action does too:

1. *Play* episodes (`play`). We have a policy pi(a | s) and a Q head, and so has the opponent.
2. *The agent's loss* is a policy gradient: -mean(log pi(a_t | s_t) A_t), A_t our advantage.
3. *The shaping loss* is -mean(log pihat_t(b_t) A_t): the same advantage weighs the log-probability of the *opponent's*
   action b_t under pihat_t = softmax(Q_op / tau), in which the value of b_t is replaced by the return G_t that
   followed it. As a number G_t does not know our policy. Loaded DiCE (Farquhar et al., 2019) gives it the right
   gradient: dG_t/dtheta = E[sum over k of credit(t, k) (G_k - V_k) grad log pi(a_k | s_k)]. Both losses are in
   `actor_losses`: the first two terms of `loqa.losses.actor_losses`, written there in the paper's symbols.
4. *The Q loss* fits our own Q head to what we earned (`q_loss`): LOQA's agents can be shaped by LOQA because their
   policies follow their values.
5. One *iteration* is: play, one step on the two actor losses, one step on the Q loss (`iteration`).

`python ipd.py hp=logits hp.seed=42` trains; `--cfg job` prints every key, README.md says what each does. As released, the
README's command learns to defect always; the keys that repair it, and why, are in README.md under "Why it defects".
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from common.cli import run_main
from loqa import agent_buffer, losses, optimisers, program
from loqa.ipd import episode_buffer, evaluation, memory_one, noise
from loqa.ipd.agents import Agent, Crowd, make_agent
from loqa.ipd.config import ON, PROGRAM, Hp, parse
from loqa.ipd.evaluation import Report, Training
from loqa.ipd.game import Episodes, next_state
from loqa.losses import ActorLosses, Experience, Heads

Params = Any


# --- playing -----------------------------------------------------------------------------------------------------


class Player(NamedTuple):
    """Somebody who plays: a family of agents (`Agent`, or `Crowd` for another agent in each episode) and parameters."""

    family: Agent | Crowd
    params: Params


def play(learner: Player, opponent: Player, chance: jax.Array) -> Episodes:
    """B episodes of T steps between two players.

    Args:
        chance: [T, 2, B], how much chance prefers cooperation, per step and player (see `loqa.ipd.noise`).
    """
    batch = chance.shape[-1]
    players = learner, opponent
    policies = [player.family.policy(player.params) for player in players]

    def step(carry, chance_t):
        memories, states = carry
        moves, later = [], []
        for policy, memory, state, prefers_c in zip(policies, memories, states, chance_t, strict=True):
            memory, log_probs = policy(memory, state)
            moves.append(log_probs[:, 1] - log_probs[:, 0] > prefers_c)  # True: defect
            later.append(memory)
        own, other = moves
        return (later, [next_state(own, other), next_state(other, own)]), Episodes(own, other)

    nothing_yet = jnp.zeros((batch,), jnp.int32)
    start = [player.family.start(batch) for player in players], [nothing_yet, nothing_yet]
    return lax.scan(step, start, chance)[1]


# --- losses ------------------------------------------------------------------------------------------------------


def centred(hp: Hp, learner: Heads, rewards: jax.Array) -> jax.Array:
    """Rewards [T, B] moved by one constant per step, so that the advantages of each step average to 0 over the episodes.

    The shaping loss has no baseline of its own: pihat's other entries are constants, so what weighs log pihat also
    raises or lowers all returns of the opponent. Where V lags behind, all advantages are negative, and the learner is
    told to harm the opponent: to defect (README.md, "Why it defects").
    """
    advantage = losses.advantages(hp.objective, rewards, losses.state_values(learner))
    centre = lax.stop_gradient(jnp.mean(advantage, axis=1, keepdims=True))
    if hp.actor.train.advantage == "MC":  # moving R_t by a constant takes its difference from the next one's
        centre = centre - hp.reward_discount * jnp.concatenate([centre[1:], jnp.zeros_like(centre[:1])])
    return rewards - centre


def actor_losses(hp: Hp, agent: Agent, params: Params, opponent: Player, episodes: Episodes) -> ActorLosses:
    """The agent's, the shaping and the entropy loss of a learner with these parameters."""
    seen_by_opponent = episodes.swapped()
    experience = Experience(
        episodes.actions(),
        episodes.rewards(hp.reward_offset),
        seen_by_opponent.actions(),
        seen_by_opponent.rewards(hp.reward_offset),
    )
    mine = agent.heads(params, episodes.states())
    theirs = opponent.family.heads(opponent.params, seen_by_opponent.states())
    if hp.actor.train.centre_advantage:
        experience = experience._replace(rewards=centred(hp, mine, experience.rewards))
    return losses.actor_losses(hp.objective, mine, theirs, experience)


def q_loss(hp: Hp, agent: Agent, params: Params, target: Params, episodes: Episodes) -> jax.Array:
    """The error of the Q head, against the target network's values or the returns of these episodes."""
    states = episodes.states()
    return losses.q_loss(
        hp.qvalue.mode,
        agent.heads(params, states).q,
        agent.heads(target, states),
        episodes.actions(),
        episodes.rewards(hp.reward_offset),
        hp.reward_discount,
        target_kind=hp.qvalue.target,
        loss=hp.qvalue.loss,
    )


class Numerics(NamedTuple):
    """The three functions above, or others that compute the same numbers."""

    play: Any = play
    actor_losses: Any = actor_losses
    q_loss: Any = q_loss


def quickest(hp: Hp) -> Numerics:
    """Sums over the five states that exist instead of passes over all episodes, wherever the players allow it."""
    agent = make_agent(hp)
    chosen = Numerics(q_loss=memory_one.q_loss) if agent.memory_one else Numerics()
    if agent.memory_one and hp.agent_replay_buffer.mode != ON:
        chosen = chosen._replace(play=memory_one.play)
        if hp.differentiable_opponent.method == "loaded-dice":
            chosen = chosen._replace(actor_losses=memory_one.actor_losses)
    return chosen


# --- one iteration -----------------------------------------------------------------------------------------------


class Learner(NamedTuple):
    """An agent that learns."""

    params: Params
    actor_optimiser: Any
    q_optimiser: Any
    target: Params  # exponential average of the parameters
    first: Params | None  # the initial parameters, kept where they are returned to
    past: agent_buffer.AgentBuffer | None
    episodes: episode_buffer.EpisodeBuffer | None


class State(NamedTuple):
    """Everything a run is made of between two iterations."""

    key: jax.Array  # uint32 [2]
    iteration: jax.Array  # int32, updates done
    learners: tuple[Learner, ...]  # one in self-play, else two


def actor_optimiser(hp: Hp) -> optimisers.ActorOptimiser:
    """One optimiser for both gradients, or one each."""
    train = hp.actor.train
    separate = train.separate_optimizers == ON
    return optimisers.ActorOptimiser(
        kind=hp.optimizer,
        agent_lr=train.lr_loss_agent if separate else train.lr_loss_actor,
        opponent_lr=train.lr_loss_opponent,
        separate=separate,
        entropy_beta=train.entropy_beta,
        weight=hp.opponent_differentiation_weight,
        clip_mode=train.clip_grad.mode,
        max_norm=train.clip_grad.max_norm,
    )


def q_optimiser(hp: Hp):
    """Adam over the whole agent; the Q loss has no gradient in the actor head."""
    return optimisers.make("adam", hp.qvalue.train.lr_loss_qvalue)


def improve_actor(
    hp: Hp, numerics: Numerics, learner: Learner, opponent: Player, episodes: Episodes, iteration
) -> tuple[Learner, optimisers.ActorReport]:
    """One step on the actor losses; none in the first `hp.actor.train.freeze` iterations."""
    agent = make_agent(hp)

    def actor(params):
        return numerics.actor_losses(hp, agent, params, opponent, episodes)

    params, state, report = actor_optimiser(hp).update(
        actor, learner.params, learner.actor_optimiser, iteration
    )
    improved = learner._replace(params=params, actor_optimiser=state)
    awake = iteration >= hp.actor.train.freeze
    return jax.tree.map(lambda new, old: jnp.where(awake, new, old), improved, learner), report


def improve_q(hp: Hp, numerics: Numerics, learner: Learner, episodes: Episodes) -> tuple[Learner, jax.Array]:
    """One step on the Q loss, then the soft update of the target; returns the loss before it."""
    agent = make_agent(hp)

    def error(params):
        return numerics.q_loss(hp, agent, params, learner.target, episodes)

    loss, gradient = jax.value_and_grad(error)(learner.params)
    updates, state = q_optimiser(hp).update(gradient, learner.q_optimiser)
    params = jax.tree.map(jnp.add, learner.params, updates)
    target = optimisers.soft_update(learner.target, params, hp.qvalue.train.target_ema_gamma)
    return learner._replace(params=params, q_optimiser=state, target=target), loss


def iteration(
    hp: Hp, numerics: Numerics, state: State, chances: Sequence[jax.Array], key: jax.Array
) -> tuple[State, Training]:
    """Play, improve the actors, improve the Q heads.

    Args:
        chances: per learner, see `play`; by seat, learner i sits in seat i.
        key: of everything else that is random.
    """
    agent, now, learners = make_agent(hp), state.iteration, list(state.learners)
    alone = len(learners) == 1

    # who plays whom: a past version of the other learner in each episode, or the other learner as it is
    past = hp.agent_replay_buffer.mode == ON
    if past:
        learners = [remember(hp, learner, now) for learner in learners]
    others = learners if alone else learners[::-1]
    rivals = [
        draw_rivals(hp, other, noise.scope(key, f"rb{seat}")) if past else Player(agent, other.params)
        for seat, other in enumerate(others)
    ]
    # DEVIATION(Q7): learner 1 sits in seat 1 and learns from seat 1; the original put it in seat 0 and then trained it
    # on what its opponent in seat 1 had seen and earned
    chances = [chance if seat == 0 else jnp.flip(chance, 1) for seat, chance in enumerate(chances)]
    episodes = [
        numerics.play(Player(agent, learner.params), rival, chance)
        for learner, rival, chance in zip(learners, rivals, chances, strict=True)
    ]

    reports, errors = [], []
    for seat, played in enumerate(episodes):
        # without a buffer the second learner meets the first one as it is after its step
        rival = rivals[seat] if past or alone else Player(agent, learners[1 - seat].params)
        learners[seat], report = improve_actor(hp, numerics, learners[seat], rival, played, now)
        reports.append(report)
    for seat, played in enumerate(episodes):
        learners[seat], seen = replay(
            hp, learners[seat], played, noise.scope(key, f"episode_buffer{seat}"), now
        )
        learners[seat], error = improve_q(hp, numerics, learners[seat], seen)
        errors.append(error)
    learners = [reset(hp, learner, now) for learner in learners]

    rewards = [jnp.mean(seat.rewards(hp.reward_offset)) for seat in (episodes[0], episodes[0].swapped())]
    if not alone:
        rewards[1] = jnp.mean(episodes[1].rewards(hp.reward_offset))
    training = Training(
        q_loss=jnp.stack(errors),
        entropy=jnp.stack([-report.losses.entropy for report in reports]),
        agent_norm=jnp.stack([report.agent_norm for report in reports]),
        opponent_norm=jnp.stack([report.opponent_norm for report in reports]),
        rewards=jnp.stack(rewards),
        episodes=episodes[0],
    )
    return State(state.key, now + 1, tuple(learners)), training


# --- options that the README's command leaves off ----------------------------------------------------------------


def remember(hp: Hp, learner: Learner, now) -> Learner:
    """Every `update_freq` iterations the learner joins its own past."""
    wanted = now % hp.agent_replay_buffer.update_freq == 0
    return learner._replace(past=agent_buffer.push(learner.past, learner.params, wanted))


def draw_rivals(hp: Hp, other: Learner, key: jax.Array) -> Player:
    """One past agent per episode, the last episodes against the current one."""
    options, batch = hp.agent_replay_buffer, hp.batch_size
    current = agent_buffer.current(batch, options.cur_agent_frac)
    drawn = agent_buffer.take(other.past, agent_buffer.draw(other.past, key, batch - current))

    def with_current(old, new):
        return jnp.concatenate([old, jnp.broadcast_to(new, (current, *new.shape))])

    return Player(Crowd(make_agent(hp)), jax.tree.map(with_current, drawn, other.params))


def replay(hp: Hp, learner: Learner, played: Episodes, key: jax.Array, now) -> tuple[Learner, Episodes]:
    """The episodes that the Q head learns from: those just played, or some of the past ones."""
    if learner.episodes is None:
        return learner, played
    buffer = episode_buffer.push(learner.episodes, played)
    seen = episode_buffer.draw(buffer, jax.random.fold_in(key, now), hp.batch_size)
    return learner._replace(episodes=buffer), seen


def reset(hp: Hp, learner: Learner, now) -> Learner:
    """Every `reset.every` iterations, the first included, parameters return to the initial ones; nothing else does."""
    if learner.first is None:
        return learner
    due = now % hp.reset.every == 0
    params = jax.tree.map(lambda old, new: jnp.where(due, old, new), learner.first, learner.params)
    return learner._replace(params=params)


# --- a run -------------------------------------------------------------------------------------------------------


class Trainer:
    """A run of `ipd.py`, as `loqa.program` drives it."""

    name = PROGRAM

    def __init__(self, hp: Hp, numerics: Numerics | None = None):
        self.hp, self.agent = hp, make_agent(hp)
        self.numerics = numerics or quickest(hp)

    def _fresh_learner(self, key: jax.Array) -> Learner:
        hp, params = self.hp, self.agent.init(key)
        ring = agent_buffer.slots(
            hp.agent_replay_buffer.capacity, hp.agent_replay_buffer.update_freq, hp.max_iterations
        )
        return Learner(
            params=params,
            actor_optimiser=actor_optimiser(hp).init(params),
            q_optimiser=q_optimiser(hp).init(params),
            target=params,
            first=params if hp.reset.mode == ON else None,
            past=agent_buffer.empty(params, ring) if hp.agent_replay_buffer.mode == ON else None,
            episodes=episode_buffer.empty(hp.game_length, hp.qvalue.replay_buffer.capacity)
            if hp.qvalue.replay_buffer.mode == ON
            else None,
        )

    def fresh(self, seed) -> State:
        """The state before the first iteration."""
        key, *keys = jax.random.split(jax.random.PRNGKey(seed), 3)
        learners = [self._fresh_learner(each) for each in (keys[:1] if self.hp.just_self_play else keys)]
        return State(key, jnp.zeros((), jnp.int32), tuple(learners))

    def chances(self, key: jax.Array, recorded: bool) -> list[jax.Array]:
        """The noise of one iteration's episodes, per learner."""
        hp, shape = self.hp, (self.hp.game_length, self.hp.batch_size, self.hp.exploration)
        streams = [noise.scope(key, f"episode{seat}") for seat in range(1 if hp.just_self_play else 2)]
        if recorded:
            return [noise.recorded(stream, *shape, self.agent.memory_one) for stream in streams]
        return [noise.fresh(stream, *shape) for stream in streams]

    def advance(self, state: State, n) -> tuple[State, Report]:
        """`n` iterations, then the evaluation of the last one.

        With `rng_mode=fixed` the key never changes, so every iteration replays the same noise (spec, Q1: kept) and it is
        drawn once here.
        """
        hp = self.hp
        fixed = self.chances(state.key, recorded=True) if hp.rng_mode == "fixed" else None

        def one(state):
            if fixed is not None:
                return iteration(hp, self.numerics, state, fixed, state.key)
            following, key = jax.random.split(state.key)
            chances = self.chances(key, recorded=False)
            return iteration(hp, self.numerics, state._replace(key=following), chances, key)

        shapes = jax.eval_shape(lambda now: one(now)[1], state)
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        state, training = lax.fori_loop(0, n, lambda _, carry: one(carry[0]), (state, nothing))
        players = [state.learners[0].params, state.learners[-1].params]
        return state, evaluation.evaluate(hp, self.agent, players, training)

    row = staticmethod(evaluation.row)
    show = staticmethod(evaluation.show)

    def agents(self, state: State) -> dict[str, Params]:
        """Both players' parameters; in self-play they are the same."""
        return {f"agent{seat}": state.learners[seat - len(state.learners)].params for seat in (0, 1)}


def body(argv: Sequence[str] | None = None) -> int:
    """Command line to configuration, configuration to runs."""
    launch = parse(argv)
    return program.run(launch, Path(__file__), Trainer(launch.hp))


if __name__ == "__main__":
    sys.exit(run_main(body, program=PROGRAM))
