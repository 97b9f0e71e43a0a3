"""LOQA on the Coin Game: the state of a run, one iteration, the evaluation, and what `loqa.program` needs of them.

One iteration (spec 5.1): keep the current agent now and then, draw one past agent per episode, play, improve the actor
on the agent's loss and the shaping loss, regress the Q head, let the target follow. `Trainer.advance` runs any number
of iterations and the evaluation that follows in one compiled program.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from loqa import agent_buffer, losses, optimisers
from loqa.agent_buffer import AgentBuffer
from loqa.coin import agents, scripted
from loqa.coin.agents import Architecture, Params
from loqa.coin.config import ON, PROGRAM, Hp
from loqa.coin.game import CoinGame, scope
from loqa.coin.rollout import (
    Episodes,
    against_agent,
    against_past,
    draw_noise,
    episode_keys,
    neural,
    play,
)
from loqa.coin.rollout import scripted as scripted_player
from loqa.coin.statistics import Statistics, measure
from loqa.losses import Experience, Heads
from loqa.optimisers import ActorOptimiser, ActorState


class Learner(NamedTuple):
    """One agent that learns."""

    params: Params
    actor: ActorState
    q: Any  # optimiser state of the Q head's regression
    target: Params  # running average of `params`


class State(NamedTuple):
    """Everything that a run is made of between two iterations."""

    key: jax.Array  # uint32 [2]
    rollout_key: jax.Array  # uint32 [2], of the last iteration
    iteration: jax.Array  # int32, updates done
    learners: tuple[Learner, ...]  # one in self-play, else two
    buffers: tuple[AgentBuffer, ...]  # one per learner, or none
    initial: tuple[Params, ...]  # what a reset goes back to, or nothing


class Training(NamedTuple):
    """How one learner's last iteration went; scalars."""

    q_loss: jax.Array
    entropy: jax.Array  # of the policy, nats, mean over the batch and the steps
    agent_norm: jax.Array  # of the gradient of the agent's loss, before clipping (with `separate`: after it)
    opponent_norm: jax.Array  # of the shaping gradient


class Report(NamedTuple):
    """What a run logs; `statistics` of both players, [2] each."""

    training: tuple[Training, ...]
    self_play: Statistics
    always_cooperate: Statistics | None
    always_defect: Statistics | None


def make_game(hp: Hp) -> CoinGame:
    """The board."""
    return CoinGame(hp.game.height, hp.game.width)


def architecture(hp: Hp) -> Architecture:
    """The agents' networks."""
    return Architecture(
        make_game(hp).observation_size,
        hp.actor.hidden_size,
        hp.actor.layers_before_gru,
        hp.qvalue.hidden_size,
        hp.qvalue.layers_before_gru,
    )


def actor_optimiser(hp: Hp, kind: str) -> ActorOptimiser:
    """How the gradients of a learner's two losses are applied; `kind` loqa or naive."""
    train, separate = hp.actor.train, hp.actor.train.separate == ON
    return ActorOptimiser(
        kind=train.optimizer,
        agent_lr=train.lr_loss_actor_agent if separate else train.lr_loss_actor,
        opponent_lr=train.lr_loss_actor_opponent,
        separate=separate,
        entropy_beta=train.entropy_beta,
        weight=hp.opponent_differentiation_weight,
        clip_mode=train.clip_grad.mode,
        max_norm=train.clip_grad.max_norm,
        exclude_after=hp.differentiable_opponent.exclude_after_step,
        shaping=kind == "loqa",
    )


def q_optimiser(hp: Hp) -> optax.GradientTransformation:
    """The optimiser of the Q head's regression."""
    return optimisers.make(hp.qvalue.train.optimizer, hp.qvalue.train.lr_loss_qvalue)


def fresh(hp: Hp, seed) -> State:
    """The state of a run before its first iteration; `seed` uint32."""
    key, *init_keys = jax.random.split(jax.random.PRNGKey(seed), 3)
    if not hp.independent_init:
        init_keys = [init_keys[0]] * 2  # two learners start as twins, as published (spec 7, Q8)
    learners = []
    for kind, init_key in zip(hp.learners, init_keys, strict=False):
        params = agents.init(architecture(hp), init_key)
        # The regression's gradient is 0 outside the Q head, where Adam then does nothing: it gets the Q head alone
        states = actor_optimiser(hp, kind).init(params), q_optimiser(hp).init(params["qvalue_head"])
        learners.append(Learner(params, *states, jax.tree.map(jnp.copy, params)))
    buffers, initial = (), ()
    if hp.agent_replay_buffer.mode == ON:
        wanted = hp.agent_replay_buffer
        length = agent_buffer.slots(wanted.capacity, wanted.update_freq, hp.max_iterations)
        buffers = tuple(agent_buffer.empty(learner.params, length) for learner in learners)
    if hp.reset.mode == ON:
        initial = tuple(jax.tree.map(jnp.copy, learner.params) for learner in learners)
    return State(key, key, jnp.zeros((), jnp.int32), tuple(learners), buffers, initial)


# --- one iteration -----------------------------------------------------------------------------------------------


def experience_of(episodes: Episodes) -> Experience:
    """Episodes as the learner in seat 0 sees them."""
    actions, rewards = episodes.actions, episodes.rewards
    return Experience(actions[..., 0], rewards[..., 0], actions[..., 1], rewards[..., 1])


def improve_actor(
    hp: Hp, game: CoinGame, number: int, learner: Learner, episodes, opponent: Heads, iteration, log
):
    """One update of a learner's whole tree by the agent's and the shaping loss (spec 5.2 to 5.4, 5.6).

    Args: `opponent` the other player's heads [T + 1, B, A]; `log` (bool) whether the norms are wanted.
    """
    seen = game.flat_observation(episodes.states)[:, :, 0]
    objective, experience = hp.objective, experience_of(episodes)

    def all_losses(params):
        own = agents.sequence(params, seen, episodes.traces[0].activity)
        return losses.actor_losses(objective, own, opponent, experience)

    rule = actor_optimiser(hp, hp.learners[number])
    params, state, report = rule.update(all_losses, learner.params, learner.actor, iteration, log)
    return learner._replace(params=params, actor=state), report


def improve_q(hp: Hp, game: CoinGame, learner: Learner, episodes: Episodes) -> tuple[Learner, jax.Array]:
    """One update of the Q head on the same episodes, then of the target (spec 5.5); also the loss."""
    seen = game.flat_observation(episodes.states)[:, :, 0]
    timed, experience = agents.timed(seen), experience_of(episodes)
    q = agents.head_outputs(learner.target["qvalue_head"], timed)
    # `argmax` asks for no policy
    log_probs = agents.policy_outputs(learner.target, seen) if hp.qvalue.mode == "mean" else jnp.zeros_like(q)

    def loss(head):
        own = agents.head_sequence(head, timed)
        target = Heads(log_probs, q)
        taken = experience.actions, experience.rewards
        return losses.q_loss(hp.qvalue.mode, own, target, *taken, hp.reward_discount)

    head = learner.params["qvalue_head"]
    value, gradient = jax.value_and_grad(loss)(head)
    updates, state = q_optimiser(hp).update(gradient, learner.q, head)
    params = learner.params | {"qvalue_head": optax.apply_updates(head, updates)}
    target = optimisers.soft_update(learner.target, params, hp.qvalue.train.target_ema_gamma)
    return Learner(params, learner.actor, state, target), value


def gather(hp: Hp, game: CoinGame, state: State, number: int, buffers) -> tuple[Episodes, Heads]:
    """Learner `number`'s episodes of this iteration and its opponents' heads."""
    batch, length = hp.batch_size, hp.game.game_length
    noise = draw_noise(game, episode_keys(scope(state.rollout_key, f"gen_episode_{number}"), batch), length)
    params, other = state.learners[number].params, (number + 1) % len(state.learners)
    if not buffers:
        return against_agent(game, params, state.learners[other].params, noise)
    # The opponents of agent 0 are drawn with the second stream even in self-play, where they are its own past
    current = agent_buffer.current(batch, hp.agent_replay_buffer.cur_agent_frac)
    draws = agent_buffer.draw(buffers[other], scope(state.key, f"rb{1 - number}"), batch - current)
    newest = state.learners[other].params
    return against_past(game, params, newest, buffers[other], draws, current, noise)


def iterate(hp: Hp, game: CoinGame, state: State) -> tuple[State, tuple[Training, ...]]:
    """One iteration (spec 5.1)."""
    iteration = state.iteration
    key, rollout_key = jax.random.split(state.key)
    state = state._replace(key=key, rollout_key=rollout_key)
    buffers, due = (), iteration % hp.agent_replay_buffer.update_freq == 0
    if state.buffers:
        pairs = zip(state.buffers, state.learners, strict=True)
        buffers = tuple(agent_buffer.push(buffer, learner.params, due) for buffer, learner in pairs)
    gathered = [gather(hp, game, state, number, buffers) for number in range(len(state.learners))]
    log = (iteration % hp.eval_every == 0) | (iteration == hp.max_iterations)

    learners, reports = list(state.learners), []
    for number, (episodes, opponent) in enumerate(gathered):
        if number == 1 and not buffers:  # the second learner meets the first one's new heads (spec 5.1)
            seen = game.flat_observation(episodes.states)[:, :, 1]
            other = learners[0].params
            opponent = Heads(agents.policy_outputs(other, seen), agents.q_outputs(other, seen))
        learners[number], report = improve_actor(
            hp, game, number, learners[number], episodes, opponent, iteration, log
        )
        reports.append(report)
    training = []
    for number, ((episodes, _), report) in enumerate(zip(gathered, reports, strict=True)):
        learners[number], q_loss = improve_q(hp, game, learners[number], episodes)
        training.append(Training(q_loss, -report.losses.entropy, report.agent_norm, report.opponent_norm))
    if state.initial:
        back = iteration % hp.reset.every == 0
        learners = [
            learner._replace(params=jax.tree.map(lambda a, b: jnp.where(back, b, a), learner.params, first))
            for learner, first in zip(learners, state.initial, strict=True)
        ]
    state = State(key, rollout_key, iteration + 1, tuple(learners), buffers, state.initial)
    return state, tuple(training)


# --- evaluation --------------------------------------------------------------------------------------------------


def evaluate(hp: Hp, game: CoinGame, state: State) -> tuple[Statistics, Statistics | None, Statistics | None]:
    """Fresh episodes of the first agent against the last one (itself, in self-play), always-cooperate, always-defect."""
    batch, length = hp.batch_size, hp.game.game_length
    params, other = state.learners[0].params, state.learners[-1].params

    def score(second, noise) -> Statistics:
        episodes = play(game, (neural(params, batch), second), noise)
        return measure(game, episodes.states, episodes.actions, episodes.rewards)

    keys = episode_keys(scope(state.rollout_key, "gen_episode_eval"), batch)
    each_other = score(neural(other, batch), draw_noise(game, keys, length))
    if not hp.eval_scripted:
        return each_other, None, None
    # DEVIATION(Q20): the original plays against the scripted players only when wandb is on
    keys = episode_keys(state.key, batch)
    noise = draw_noise(game, keys, length)
    scripts = (
        (scripted.always_cooperate, scripted.COOPERATE_STREAM),
        (scripted.always_defect, scripted.DEFECT_STREAM),
    )
    found = [
        score(scripted_player(game, rule, 1, scripted.episode_ranks(keys, stream)), noise)
        for rule, stream in scripts
    ]
    return each_other, *found


def advance(hp: Hp, game: CoinGame, state: State, n) -> tuple[State, Report]:
    """`n` (int32, may be 0) iterations, then the evaluation that belongs to the last of them."""
    unknown = jnp.full((), jnp.nan)
    nothing = tuple(Training(unknown, unknown, unknown, unknown) for _ in state.learners)
    state, training = lax.fori_loop(0, n, lambda _, carry: iterate(hp, game, carry[0]), (state, nothing))
    return state, Report(training, *evaluate(hp, game, state))


# --- for loqa.program --------------------------------------------------------------------------------------------

#: statistics that are logged of games against scripted players, as in the original
AGAINST_SCRIPTS = (
    "mean_rewards",
    "adversity",
    "easymisses",
    "adversarial_pickup_div_timesteps",
    "any_pickup_div_timesteps",
    "adversarial_pickup_div_all_pickup",
    "nearpasses",
    "own_pickup_div_timesteps",
)


class Trainer:
    """Coin Game training as `loqa.program` runs it."""

    name = PROGRAM

    def __init__(self, hp: Hp) -> None:
        self.hp = hp
        self.game = make_game(hp)

    def fresh(self, seed) -> State:
        """See `fresh`."""
        return fresh(self.hp, seed)

    def advance(self, state: State, n) -> tuple[State, Report]:
        """See `advance`."""
        return advance(self.hp, self.game, state, n)

    def row(self, iteration: int, report: Report) -> dict[str, Any]:
        """One line of metrics.jsonl (spec 6.2)."""
        row: dict[str, Any] = {"iteration": iteration}
        for name, pair in report.self_play._asdict().items():
            row |= {f"{name}_{seat}": float(value) for seat, value in enumerate(pair)}
        for number, training in enumerate(report.training):
            row |= {
                f"loss_agent_{number}_qvalue": float(training.q_loss),
                f"agent{number}_entropy": float(training.entropy),
                f"grad_agent{number}_norm": float(training.agent_norm),
                f"grad_opponent{number}_norm": float(training.opponent_norm),
            }
        for script in ("always_cooperate", "always_defect"):
            statistics = getattr(report, script)
            if statistics is not None:
                for name in AGAINST_SCRIPTS:
                    agent, other = getattr(statistics, name)
                    row |= {f"{script}_0_{name}_a": float(agent), f"{script}_0_{name}_d": float(other)}
        return row

    def show(self, row: dict[str, Any]) -> str:
        """What a person sees of one evaluation."""
        lines = [f"iteration {row['iteration']}"]
        for number in range(len(self.hp.learners)):
            names = (
                f"loss_agent_{number}_qvalue",
                f"agent{number}_entropy",
                f"grad_agent{number}_norm",
                f"grad_opponent{number}_norm",
            )
            lines.append("  " + "  ".join(f"{name} {row[name]:.4g}" for name in names))
        for name in Statistics._fields:
            lines.append(f"  {name}: {row[f'{name}_0']:.4f} {row[f'{name}_1']:.4f}")
        for script in ("always_cooperate", "always_defect"):
            name = f"{script}_0_mean_rewards"
            if f"{name}_a" in row:
                lines.append(f"  against {script}: {row[f'{name}_a']:.4f}, it gets {row[f'{name}_d']:.4f}")
        return "\n".join(lines)

    def agents(self, state: State) -> dict[str, Any]:
        """The agents of minimal_state_N; in self-play both are the same, as in the original."""
        first, last = state.learners[0], state.learners[-1]
        return {"agent0": {"params": first.params}, "agent1": {"params": last.params}}
