"""A prey for Tag: a recurrent policy that learns to evade given adversaries (specification, section 3.4).

The published prey came from a MAPPO training that isn't described and is not shipped; its evasiveness is: how much
adversaries of three levels score against it, against a uniformly random prey and against a motionless one. `train_prey`
makes preys of growing evasiveness by advantage actor-critic against adversaries that were trained on a random prey.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from common.cli import UserError

from .. import agents
from ..environments import Task, make_task
from ..networks import PRECISION, QNetwork, RecurrentActor
from . import ladder, vdn

ADVERSARIES = 3


@dataclass(frozen=True)
class PreySettings:
    """Advantage actor-critic on whole episodes."""

    num_envs: int = 256
    num_updates: int = 300
    agent_hidden_dim: int = 64
    lr: float = 0.001
    gamma: float = 0.95
    gae_lambda: float = 0.95
    ent_coef: float = 0.01
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    adversary_epsilon: float = 0.05
    reward_scale: float = 0.1


class Critic(nn.Module):
    """Value of the prey's situation from the whole world state: `[..., W] -> [...]`."""

    @nn.compact
    def __call__(self, world_state):
        x = nn.tanh(nn.Dense(64, precision=PRECISION)(world_state))
        x = nn.tanh(nn.Dense(64, precision=PRECISION)(x))
        return nn.Dense(1, precision=PRECISION)(x)[..., 0]


class PreyState(NamedTuple):
    """Everything that a training continues from."""

    params: Any  # {"actor": ..., "critic": ...}
    optimiser: Any
    updates: jax.Array
    key: jax.Array


class Hunt(NamedTuple):
    """One episode in E environments, time first: the prey's `obs [T, E, 16]`, `world_state [T, E, W]`,
    `actions [T, E]`, its `rewards [T, E]` and those of one adversary."""

    obs: jax.Array
    world_state: jax.Array
    actions: jax.Array
    rewards: jax.Array
    caught: jax.Array


def hunt(
    task: Task, adversary: QNetwork, theirs: Any, prey: RecurrentActor, ours: Any, key: jax.Array, n_envs: int,
    epsilon: float,
) -> Hunt:  # fmt: skip
    """The adversaries (greedy but for `epsilon`) after the prey (sampled), in the task with all four as learners."""
    key, key_reset = jax.random.split(key)
    env = jax.vmap(task.reset)(jax.random.split(key_reset, n_envs))
    index = jnp.broadcast_to(jnp.eye(ADVERSARIES), (n_envs, ADVERSARIES, ADVERSARIES))
    no_resets = jnp.zeros((1, n_envs), bool)

    def step(state, key):
        env, hunters, memory = state
        keys = jax.random.split(key, 4)
        obs, world_state = jax.vmap(task.observe)(env)
        seen = jnp.concatenate([obs[:, :ADVERSARIES], index], axis=-1)
        hunters, q = vdn.q_values(adversary, theirs, hunters, seen[None], no_resets)
        chase = jnp.argmax(q[0], axis=-1)
        explore = jax.random.uniform(keys[0], chase.shape) < epsilon
        chase = jnp.where(explore, jax.random.randint(keys[1], chase.shape, 0, task.n_actions), chase)
        memory, logits = prey.apply(ours, memory, obs[None, :, ADVERSARIES], no_resets)
        evade = jax.random.categorical(keys[2], logits[0])
        actions = jnp.concatenate([chase, evade[:, None]], axis=1)
        env, rewards, _ = jax.vmap(task.transition)(jax.random.split(keys[3], n_envs), env, actions)
        seen_by_prey = (obs[:, ADVERSARIES], world_state, evade, rewards[:, ADVERSARIES], rewards[:, 0])
        return (env, hunters, memory), Hunt(*seen_by_prey)

    start = (env, adversary.initial_carry(ADVERSARIES * n_envs), prey.initial_carry(n_envs))
    return jax.lax.scan(step, start, jax.random.split(key, task.episode_length))[1]


def advantages(settings: PreySettings, rewards: jax.Array, values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Generalised advantages and value targets `[T, E]` of episodes that end after their last step."""

    def back(later, step):
        advantage, next_value = later
        reward, value = step
        error = reward + settings.gamma * next_value - value
        advantage = error + settings.gamma * settings.gae_lambda * advantage
        return (advantage, value), advantage

    nothing = jnp.zeros(rewards.shape[1])
    _, found = jax.lax.scan(back, (nothing, nothing), (rewards, values), reverse=True)
    return found, found + values


def _networks(settings: PreySettings, task: Task) -> tuple[RecurrentActor, Critic]:
    return RecurrentActor(task.n_actions, settings.agent_hidden_dim), Critic()


def _optimiser(settings: PreySettings) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(settings.max_grad_norm), optax.adam(settings.lr, eps=1e-5))


def fresh(settings: PreySettings, task: Task, seed: jax.Array | int) -> PreyState:
    """The state before the first update."""
    key, key_actor, key_critic = jax.random.split(jax.random.PRNGKey(seed), 3)
    actor, critic = _networks(settings, task)
    params = {
        "actor": actor.init(
            key_actor, actor.initial_carry(1), jnp.zeros((1, 1, task.obs_size)), jnp.zeros((1, 1), bool)
        ),
        "critic": critic.init(key_critic, jnp.zeros((1, task.state_size))),
    }
    return PreyState(params, _optimiser(settings).init(params), jnp.int32(0), key)


def _loss(settings: PreySettings, task: Task, params: Any, played: Hunt) -> jax.Array:
    actor, critic = _networks(settings, task)
    resets = jnp.zeros(played.actions.shape, bool)
    _, logits = actor.apply(params["actor"], actor.initial_carry(resets.shape[1]), played.obs, resets)
    log_p = jax.nn.log_softmax(logits)
    taken = jnp.take_along_axis(log_p, played.actions[..., None], axis=-1)[..., 0]
    values = critic.apply(params["critic"], played.world_state)
    better, goals = advantages(
        settings, settings.reward_scale * played.rewards, jax.lax.stop_gradient(values)
    )
    better = (better - better.mean()) / (better.std() + 1e-8)
    entropy = -(jnp.exp(log_p) * log_p).sum(axis=-1).mean()
    return (
        -(taken * better).mean()
        + settings.vf_coef * 0.5 * ((values - goals) ** 2).mean()
        - settings.ent_coef * entropy
    )


def advance(
    settings: PreySettings, task: Task, adversary: QNetwork, population: Any, state: PreyState, n: int
) -> tuple[PreyState, jax.Array]:
    """n updates, each against one of the population drawn at random; also the prey's mean returns `[n]`.

    Args: `population` parameters of `adversary` with a leading axis of its members.
    """
    size = jax.tree.leaves(population)[0].shape[0]
    actor, _ = _networks(settings, task)

    def update(state, _):
        key, key_member, key_play = jax.random.split(state.key, 3)
        member = jax.random.randint(key_member, (), 0, size)
        theirs = jax.tree.map(lambda leaf: leaf[member], population)
        played = hunt(
            task, adversary, theirs, actor, state.params["actor"], key_play, settings.num_envs,
            settings.adversary_epsilon,
        )  # fmt: skip
        gradient = jax.grad(lambda params: _loss(settings, task, params, played))(state.params)
        change, optimiser = _optimiser(settings).update(gradient, state.optimiser)
        state = PreyState(optax.apply_updates(state.params, change), optimiser, state.updates + 1, key)
        return state, played.rewards.sum(axis=0).mean()

    return jax.lax.scan(update, state, length=n)


def evasiveness(
    adversaries: Mapping[str, agents.Agent | None], preys: Sequence[str | Path], episodes: int = 1024
) -> dict[str, dict[str, agents.Measured]]:
    """Mean adversary return (10 x contacts an episode) of every adversary against every prey: {prey: {name: ...}}.

    Args: `adversaries` None plays uniformly; `preys` as `make_task(prey=...)` takes them.
    """
    table: dict[str, dict[str, agents.Measured]] = {}
    key = jax.random.PRNGKey(33)
    for prey in preys:
        task, row = make_task("tag", prey=prey), table.setdefault(Path(prey).stem, {})
        score = {}  # one program for all adversaries of one network
        for name, agent in adversaries.items():
            if agent is None:
                values = ladder.uniform_returns(task, key, episodes)
            else:
                network = agent.network
                score.setdefault(network, jax.jit(functools.partial(_score, task, network, key, episodes)))
                values = score[network](agent.params)
            row[name] = ladder.measured(values)
    return table


def _score(task: Task, network: QNetwork, key: jax.Array, episodes: int, params: Any) -> jax.Array:
    return vdn.per_agent_return(task, vdn.play(task, network, params, key, episodes, 0.0)[0])


def train_prey(
    settings: PreySettings,
    adversaries: Sequence[agents.Agent],
    seed: int,
    folder: Path,
    every: int,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Train a prey against the adversaries and write ``folder/prey_<updates>.safetensors`` every so many updates.

    Raises: UserError when there are no adversaries, or of different widths.
    """
    widths = {agent.network.hidden for agent in adversaries}
    if len(widths) != 1:
        raise UserError(
            f"adversaries of widths {sorted(widths)}; a prey is trained against those of one width"
        )
    task = make_task("tag", prey="learner")
    population = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[agent.params for agent in adversaries])
    actor, adversary = _networks(settings, task)[0], adversaries[0].network
    go = jax.jit(lambda state: advance(settings, task, adversary, population, state, every))
    state, written = fresh(settings, task, seed), []
    while int(state.updates) < settings.num_updates:
        state, returns = go(state)
        done, value = int(state.updates), float(np.mean(returns))
        meta = agents.AgentMeta(
            kind="recurrent_actor",
            environment="tag",
            kwargs={},
            label="prey",
            role="prey",
            n_actions=task.n_actions,
            hidden=actor.hidden,
            inputs=task.obs_size,
            returns={},
            random=None,
            skill=None,
            trained={
                "algorithm": "advantage actor-critic against adversaries trained on a random prey",
                "seed": seed,
                "updates": done,
                "settings": asdict(settings),
            },
        )
        path = folder / f"prey_{done}.safetensors"
        agents.save_agent(path, state.params["actor"], meta)
        written.append(path)
        say(f"{done}/{settings.num_updates} updates, prey's return {value:.1f}")
    return written
