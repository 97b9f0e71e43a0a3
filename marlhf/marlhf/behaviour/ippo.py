"""IPPO for Overcooked: two cooks with one set of parameters learn from the sparse reward (sections 2.8 and 5.9).

An update plays `num_steps` steps in `num_envs` environments (with 400, one episode each), and takes `update_epochs`
passes over the `num_minibatches` parts of what was seen. `fresh` and `advance` are pure, as in `vdn`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from common.cli import UserError

from .. import agents
from ..environments import RolloutManager, Task, View
from ..networks import ActorCritic, FeedForwardActor
from ..skill import position
from . import ladder

# What the published labels name: the return of an episode of 400 steps. The fifth, `random`, plays uniformly and
# needs no file.
TARGETS = {"expert": 240.0, "rookie1": 200.0, "rookie2": 160.0, "rookie3": 20.0}
FINAL = 256  # episodes of the last measurement


@dataclass(frozen=True)
class IPPOSettings:
    """The published `ippo_ff_overcooked` in lower case."""

    lr: float = 2.5e-4
    anneal_lr: bool = True  # linearly to 0
    num_envs: int = 16
    num_steps: int = 400
    total_timesteps: float = 4e6
    update_epochs: int = 4
    num_minibatches: int = 4
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip_eps: float = 0.2
    ent_coef: float = 0.01
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    activation: str = "tanh"

    def __post_init__(self):
        for name in ("num_envs", "num_steps", "total_timesteps", "update_epochs", "num_minibatches"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} {getattr(self, name)}; it has to be at least 1")
        if self.activation not in ("tanh", "relu"):
            raise UserError(f"activation {self.activation}; it has to be tanh or relu")

    @property
    def num_updates(self) -> int:
        """Updates of the whole training."""
        return int(self.total_timesteps) // self.num_steps // self.num_envs


class Seen(NamedTuple):
    """What one step left, rows being agents times environments: `obs [B, d]`, all else `[B]`."""

    obs: jax.Array
    action: jax.Array
    log_prob: jax.Array
    value: jax.Array
    reward: jax.Array
    done: jax.Array


class IPPOState(NamedTuple):
    """Everything that a training continues from."""

    params: Any
    optimiser: Any
    view: View
    env: Any
    updates: jax.Array
    key: jax.Array


class Report(NamedTuple):
    """Of n updates, `[n]`: mean return of the episodes that ended last, and the loss."""

    returns: jax.Array
    loss: jax.Array


def _manager(settings: IPPOSettings, task: Task) -> RolloutManager:
    return RolloutManager(task, settings.num_envs, zero_first_observations=False)


def network_of(settings: IPPOSettings, task: Task) -> ActorCritic:
    """The two towers of the settings."""
    return ActorCritic(task.n_actions, activation=settings.activation)


def optimiser_of(settings: IPPOSettings) -> optax.GradientTransformation:
    """Adam behind a clip of the global norm; the rate falls once an update."""
    steps = settings.update_epochs * settings.num_minibatches

    def falling(count):
        return settings.lr * (1.0 - (count // steps) / max(1, settings.num_updates))

    rate = falling if settings.anneal_lr else settings.lr
    return optax.chain(optax.clip_by_global_norm(settings.max_grad_norm), optax.adam(rate, eps=1e-5))


def _rows(task: Task, view: View) -> jax.Array:
    """Raw observations `[n E, d]`, agent by agent."""
    return view.obs[..., : task.obs_size].reshape(-1, task.obs_size)


def fresh(settings: IPPOSettings, task: Task, seed: jax.Array | int) -> IPPOState:
    """The state before the first update.

    Raises: UserError when the rows can't be cut into equal minibatches.
    """
    rows = settings.num_steps * settings.num_envs * task.n_agents
    if rows % settings.num_minibatches:
        raise UserError(
            f"num_minibatches {settings.num_minibatches}; it has to divide the {rows} rows of an update"
        )
    key, key_params, key_env = jax.random.split(jax.random.PRNGKey(seed), 3)
    params = network_of(settings, task).init(key_params, jnp.zeros((1, task.obs_size)))
    view, env = _manager(settings, task).reset(key_env)
    return IPPOState(params, optimiser_of(settings).init(params), view, env, jnp.int32(0), key)


def advantages(settings: IPPOSettings, seen: Seen, last_value: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Generalised advantages and value targets `[T, B]`; `last_value [B]` follows the last step."""

    def back(later, step: Seen):
        advantage, next_value = later
        going_on = 1.0 - step.done
        error = step.reward + settings.gamma * next_value * going_on - step.value
        advantage = error + settings.gamma * settings.gae_lambda * going_on * advantage
        return (advantage, step.value), advantage

    _, found = jax.lax.scan(back, (jnp.zeros_like(last_value), last_value), seen, reverse=True)
    return found, found + seen.value


def loss(
    settings: IPPOSettings, task: Task, params: Any, seen: Seen, advantage: jax.Array, goal: jax.Array
) -> jax.Array:
    """PPO's clipped objective over rows `[M]`, the value clipped alike; advantages standardised over the rows."""
    logits, value = network_of(settings, task).apply(params, seen.obs)
    log_p = jax.nn.log_softmax(logits)
    log_prob = jnp.take_along_axis(log_p, seen.action[:, None], axis=-1)[:, 0]
    clipped = seen.value + jnp.clip(value - seen.value, -settings.clip_eps, settings.clip_eps)
    value_loss = 0.5 * jnp.maximum((value - goal) ** 2, (clipped - goal) ** 2).mean()
    ratio = jnp.exp(log_prob - seen.log_prob)
    better = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    bounded = jnp.clip(ratio, 1.0 - settings.clip_eps, 1.0 + settings.clip_eps)
    actor_loss = -jnp.minimum(ratio * better, bounded * better).mean()
    entropy = -(jnp.exp(log_p) * log_p).sum(axis=-1).mean()
    return actor_loss + settings.vf_coef * value_loss - settings.ent_coef * entropy


def _play(settings: IPPOSettings, task: Task, state: IPPOState, key: jax.Array):
    manager, network = _manager(settings, task), network_of(settings, task)

    def step(carry, key):
        view, env = carry
        key_action, key_env = jax.random.split(key)
        obs = _rows(task, view)
        logits, value = network.apply(state.params, obs)
        action = jax.random.categorical(key_action, logits)
        log_prob = jnp.take_along_axis(jax.nn.log_softmax(logits), action[:, None], axis=-1)[:, 0]
        joint = action.reshape(task.n_agents, settings.num_envs)
        view, rewards, _, done, episode, env = manager.step(key_env, env, joint)
        ended = jnp.tile(done, task.n_agents).astype(jnp.float32)
        return (view, env), (Seen(obs, action, log_prob, value, rewards.reshape(-1), ended), episode.returns)

    (view, env), (seen, returns) = jax.lax.scan(
        step, (state.view, state.env), jax.random.split(key, settings.num_steps)
    )
    return view, env, seen, returns[-1].mean()


def _update(settings: IPPOSettings, task: Task, state: IPPOState) -> tuple[IPPOState, tuple]:
    key, key_play, key_learn = jax.random.split(state.key, 3)
    view, env, seen, returns = _play(settings, task, state, key_play)
    _, last_value = network_of(settings, task).apply(state.params, _rows(task, view))
    data = jax.tree.map(
        lambda x: x.reshape(-1, *x.shape[2:]), (seen, *advantages(settings, seen, last_value))
    )
    optimiser = optimiser_of(settings)

    def minibatch(learnt, rows):
        params, moments = learnt
        part = jax.tree.map(lambda x: x[rows], data)
        value, gradient = jax.value_and_grad(lambda p: loss(settings, task, p, *part))(params)
        change, moments = optimiser.update(gradient, moments)
        return (optax.apply_updates(params, change), moments), value

    def epoch(learnt, key):
        rows = jax.random.permutation(key, data[1].shape[0])
        return jax.lax.scan(minibatch, learnt, rows.reshape(settings.num_minibatches, -1))

    learnt, losses = jax.lax.scan(
        epoch, (state.params, state.optimiser), jax.random.split(key_learn, settings.update_epochs)
    )
    return IPPOState(*learnt, view, env, state.updates + 1, key), (returns, losses.mean())


def advance(settings: IPPOSettings, task: Task, state: IPPOState, n: int) -> tuple[IPPOState, Report]:
    """n updates as one program."""
    state, (returns, losses) = jax.lax.scan(lambda state, _: _update(settings, task, state), state, length=n)
    return state, Report(returns, losses)


def sampled_returns(task: Task, params: Any, key: jax.Array, episodes: int) -> jax.Array:
    """Returns `[episodes]` of fresh episodes with sampled actions; `params` of `FeedForwardActor`."""
    actor = FeedForwardActor(task.n_actions)
    key, key_reset = jax.random.split(key)
    env = jax.vmap(task.reset)(jax.random.split(key_reset, episodes))

    def step(env, key):
        key_action, key_env = jax.random.split(key)
        obs, _ = jax.vmap(task.observe)(env)
        _, logits = actor.apply(params, actor.initial_carry(episodes), obs, jnp.zeros(obs.shape[:2], bool))
        action = jax.random.categorical(key_action, logits)
        env, rewards, _ = jax.vmap(task.transition)(jax.random.split(key_env, episodes), env, action)
        return env, jax.vmap(task.team_reward)(rewards)

    return jax.lax.scan(step, env, jax.random.split(key, task.episode_length))[1].sum(axis=0)


class Cooks:
    """The actors of a training whose episodes' mean return came nearest to the published labels."""

    def __init__(self, task: Task):
        self.task, self.rungs = task, {}

    def consider(self, params: Any, returns: float, updates: int) -> None:
        """Keep the actor of an `ActorCritic`'s parameters where its return is nearest to a label's."""
        for label, target in TARGETS.items():
            rung = self.rungs.get(label)
            if rung is None or abs(returns - target) < abs(rung.value - target):
                actor = jax.device_get(ActorCritic.actor(params))
                self.rungs[label] = ladder.Rung(actor, returns, updates)

    def write(self, folder: Path, trained: dict[str, Any]) -> list[agents.AgentMeta]:
        """Measure every rung on fresh episodes and write ``folder/overcooked/<label>.safetensors``."""
        nothing = jax.tree.map(np.zeros_like, next(iter(self.rungs.values())).params)  # uniform play
        score = jax.jit(lambda params: sampled_returns(self.task, params, jax.random.PRNGKey(1024), FINAL))
        random, metas = float(score(nothing).mean()), []
        for label, rung in self.rungs.items():
            value = ladder.measured(score(rung.params))
            meta = agents.AgentMeta(
                kind="feed_forward_actor",
                environment="overcooked",
                kwargs=dict(self.task.kwargs),
                label=label,
                role="behaviour",
                n_actions=self.task.n_actions,
                hidden=rung.params["params"]["Dense_0"]["bias"].shape[0],
                inputs=self.task.obs_size,
                returns={"sampled": value},
                random=random,
                skill=position(value.mean, random, TARGETS["expert"]),
                trained={**trained, "updates": rung.updates},
            )
            agents.save_agent(folder / "overcooked" / f"{label}.safetensors", rung.params, meta)
            metas.append(meta)
        return metas


def train_cooks(
    task: Task,
    settings: IPPOSettings,
    seed: int,
    folder: Path,
    say: Callable[[str], None] = print,
    seconds: float = float("inf"),
) -> list[agents.AgentMeta]:
    """Train, keep the actors at the published labels' returns, and write them to ``folder/overcooked/``.

    Raises: UserError on settings that don't fit, or an activation that the saved actors don't have.
    """
    if settings.activation != "tanh":
        raise UserError(f"activation {settings.activation}; the saved actors are tanh")
    cooks, state, started = Cooks(task), fresh(settings, task, seed), time.monotonic()
    go = jax.jit(lambda state: advance(settings, task, state, 1), donate_argnums=0)
    while int(state.updates) < settings.num_updates and time.monotonic() - started < seconds:
        before = jax.device_get(state.params)  # the return of an update is that of the actor before it learnt
        state, report = go(state)
        done, value = int(state.updates), float(report.returns[0])
        cooks.consider(before, value, done - 1)
        if done % 25 == 0:
            say(f"{done}/{settings.num_updates} updates, return {value:.0f}")
    metas = cooks.write(folder, {"algorithm": "IPPO", "seed": seed, "settings": asdict(settings)})
    for meta in metas:
        say(f"{meta.label}: sampled {meta.returns['sampled'].mean:.1f}")
    return metas
