"""Online VDN with a replay of whole episodes: the agents of graded skill (specification, section 5.1).

An update plays one episode in `num_envs` environments, appends them to a first-in-first-out buffer, and takes
`gradient_steps` steps on batches of episodes. `fresh(settings, task, seed) -> state` and `advance(settings, task,
state, n) -> (state, report)` are pure: the state is a tree of arrays, seeds may be a vmapped axis of it, and n updates
are one program on the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from common.cli import UserError

from ..environments import Task
from ..networks import QNetwork
from ..offline import targets


@dataclass(frozen=True)
class ExpertSettings:
    """The published `expert_config` in lower case, then the keys that this trainer adds.

    The published thresholds on the return (`SAVE_RETURN_THRES`), which are compared with a value divided twice by n
    (Q12), are replaced by explicit targets of skill: see `ladder`.
    """

    num_envs: int = 64
    num_steps: int = 26  # exactly one episode
    total_timesteps: float = 1e9  # transitions of environments
    buffer_size: int = 5000  # episodes, rounded down to whole updates
    buffer_batch_size: int = 32  # episodes per gradient step
    agent_hidden_dim: int = 64
    agent_init_scale: float = 2.0
    epsilon_start: float = 1.0
    epsilon_finish: float = 0.02
    epsilon_anneal_time: int = 300_000  # steps of one environment
    max_grad_norm: float = 25.0
    lr: float = 0.005
    eps_adam: float = 0.001
    lr_linear_decay: bool = False  # to `lr_final` over the whole training
    target_update_interval: int = 200  # gradient steps
    td_lambda_loss: bool = True
    td_lambda: float = 0.6
    gamma: float = 0.9
    num_test_episodes: int = 32
    test_interval: int = 50_000  # transitions
    # Not among the published keys:
    gradient_steps: int = 1  # per update
    lr_final: float = 0.0
    terminal_target: bool = False  # Q26: also train the value of the last step, on the last reward
    guidance: float = (
        0.0  # Reference: episodes whose messages name the goal, a share that falls to 0 by half-time
    )
    alignment: str = "corrected"  # Q5: resets by the previous step's done; `original` by the same step's

    def __post_init__(self):
        for name, least in (
            ("num_envs", 1),
            ("num_steps", 2),
            ("total_timesteps", 1),
            ("buffer_batch_size", 1),
            ("agent_hidden_dim", 1),
            ("epsilon_anneal_time", 1),
            ("target_update_interval", 1),
            ("num_test_episodes", 1),
            ("gradient_steps", 1),
            ("buffer_size", self.num_envs),
        ):
            if getattr(self, name) < least:
                raise UserError(f"{name} {getattr(self, name)}; it has to be at least {least}")
        if self.alignment not in ("corrected", "original"):
            raise UserError(f"alignment {self.alignment}; it has to be corrected or original")
        for name in ("gamma", "td_lambda", "guidance"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} {getattr(self, name)}; it has to be 0 to 1")

    @property
    def num_updates(self) -> int:
        """Updates of the whole training."""
        return int(self.total_timesteps) // self.num_steps // self.num_envs

    @property
    def test_every(self) -> int:
        """Updates between tests."""
        return max(1, self.test_interval // self.num_steps // self.num_envs)

    @property
    def capacity(self) -> int:
        """Episodes in the buffer."""
        return self.buffer_size // self.num_envs * self.num_envs


class Episodes(NamedTuple):
    """E whole episodes: `obs [E, T, n, d + n]`, `actions [E, T, n]`, team `rewards [E, T]`, `dones [E, T]`."""

    obs: jax.Array
    actions: jax.Array
    rewards: jax.Array
    dones: jax.Array


class ExpertState(NamedTuple):
    """Everything that a training continues from."""

    params: Any
    target: Any
    optimiser: Any
    buffer: Episodes
    updates: jax.Array
    key: jax.Array


class Report(NamedTuple):
    """Of n updates: team return of the episodes played and loss, both `[n]`; greedy per-agent return at the end."""

    returns: jax.Array
    loss: jax.Array
    test_return: jax.Array


def network_of(settings: ExpertSettings, task: Task) -> QNetwork:
    """The Q network of the settings."""
    return QNetwork(task.n_actions, settings.agent_hidden_dim, settings.agent_init_scale)


def q_values(network: QNetwork, params: Any, carry: jax.Array, obs: jax.Array, resets: jax.Array):
    """Q values `[T, B, n, A]` of observations `[T, B, n, F]` and resets `[T, B]`; carry `[n B, H]` in and out.

    All agents share the parameters; the carry's rows are the agents' batches one after another.
    """
    steps, batch, agents, size = obs.shape
    rows = obs.transpose(0, 2, 1, 3).reshape(steps, agents * batch, size)
    carry, q = network.apply(params, carry, rows, jnp.tile(resets, (1, agents)))
    return carry, q.reshape(steps, agents, batch, -1).transpose(0, 2, 1, 3)


def play(
    task: Task,
    network: QNetwork,
    params: Any,
    key: jax.Array,
    n_envs: int,
    epsilon: jax.Array | float,
    guided: jax.Array | float = 0.0,
) -> tuple[Episodes, jax.Array]:
    """One fresh episode in each environment, epsilon-greedy (an own draw for each agent, step and environment).

    In a share `guided` of the episodes the task's hint changes what is done (and recorded as done): exploration that
    tries out a telling message, which uniform actions never try for long enough to be understood.

    Returns: the episodes, and the agents' rewards `[E, T, n]`.
    """
    key, key_reset, key_guided = jax.random.split(key, 3)
    env = jax.vmap(task.reset)(jax.random.split(key_reset, n_envs))
    hinted = jax.random.uniform(key_guided, (n_envs, 1)) < guided
    index = jnp.broadcast_to(jnp.eye(task.n_agents), (n_envs, task.n_agents, task.n_agents))
    no_resets = jnp.zeros((1, n_envs), bool)

    def step(state, key):
        env, carry = state
        key_explore, key_action, key_env = jax.random.split(key, 3)
        obs = jnp.concatenate([jax.vmap(task.observe)(env)[0], index], axis=-1)
        carry, q = q_values(network, params, carry, obs[None], no_resets)
        greedy = jnp.argmax(q[0], axis=-1)
        explore = jax.random.uniform(key_explore, greedy.shape) < epsilon
        action = jnp.where(explore, jax.random.randint(key_action, greedy.shape, 0, task.n_actions), greedy)
        if task.hint is not None:
            action = jnp.where(hinted, task.hint(obs, action), action)
        env, rewards, done = jax.vmap(task.transition)(jax.random.split(key_env, n_envs), env, action)
        return (env, carry), (obs, action, rewards, done)

    carry = network.initial_carry(task.n_agents * n_envs)
    _, (obs, actions, rewards, dones) = jax.lax.scan(
        step, (env, carry), jax.random.split(key, task.episode_length)
    )
    team = jax.vmap(jax.vmap(task.team_reward))(rewards)
    by_episode = [jnp.moveaxis(x, 0, 1) for x in (obs, actions, team, dones, rewards)]
    return Episodes(*by_episode[:4]), by_episode[4]


def per_agent_return(task: Task, episodes: Episodes) -> jax.Array:
    """Return of every episode as reported, the team's divided by n, `[E]`."""
    return episodes.rewards.sum(axis=1) / task.return_divisor


def loss(settings: ExpertSettings, network: QNetwork, params: Any, target: Any, batch: Episodes) -> jax.Array:
    """Half the mean squared error of Q_tot against the TD(lambda) target, double Q (section 5.1), over a batch."""
    obs, actions, rewards, dones = (jnp.swapaxes(x, 0, 1) for x in batch)
    if settings.alignment == "original":
        resets = dones
    else:  # the carry is fresh after an episode's last step, not at it (Q5)
        resets = jnp.concatenate([jnp.zeros_like(dones[:1]), dones[:-1]])
    carry = network.initial_carry(obs.shape[1] * obs.shape[2])
    _, online = q_values(network, params, carry, obs, resets)
    _, older = q_values(network, target, carry, obs, resets)
    values = targets.double_q_value(jax.lax.stop_gradient(online), older, actions)
    q_tot = targets.team_value(online, actions)
    last = jnp.where(dones[-1], 0.0, values[-1])
    if settings.terminal_target:  # Q26: the published loss leaves out the last step
        values, last = jnp.concatenate([values, jnp.zeros_like(values[:1])]), jnp.zeros_like(last)
    else:
        q_tot, rewards, dones = q_tot[:-1], rewards[:-1], dones[:-1]
    if settings.td_lambda_loss:
        goal = targets.td_lambda(rewards, dones, values[1:], last, settings.gamma, settings.td_lambda)
        return targets.half_squared_error(q_tot, goal)
    return targets.squared_error(q_tot, targets.one_step(rewards, dones, values[1:], settings.gamma))


def optimiser_of(settings: ExpertSettings) -> optax.GradientTransformation:
    """Adam behind a clip of the global norm."""
    rate = settings.lr
    if settings.lr_linear_decay:
        steps = settings.num_updates * settings.gradient_steps
        rate = optax.linear_schedule(settings.lr, settings.lr_final, steps)
    return optax.chain(
        optax.clip_by_global_norm(settings.max_grad_norm), optax.adam(rate, eps=settings.eps_adam)
    )


def epsilon_at(settings: ExpertSettings, updates: jax.Array) -> jax.Array:
    """max(finish, start - t (start - finish) / anneal), t in steps of one environment; constant within an episode."""
    start, finish = settings.epsilon_start, settings.epsilon_finish
    return jnp.maximum(
        finish, start - updates * settings.num_steps * (start - finish) / settings.epsilon_anneal_time
    )


def fresh(settings: ExpertSettings, task: Task, seed: jax.Array | int) -> ExpertState:
    """The state before the first update.

    Raises: UserError when `num_steps` is not the task's episode.
    """
    if settings.num_steps != task.episode_length:
        raise UserError(
            f"num_steps {settings.num_steps}; an update plays whole episodes, which have {task.episode_length} steps"
        )
    key, key_params = jax.random.split(jax.random.PRNGKey(seed))
    network, size = network_of(settings, task), task.obs_size + task.n_agents
    shapes = (network.initial_carry(1), jnp.zeros((1, 1, size)), jnp.zeros((1, 1), bool))
    params = network.init(key_params, *shapes)
    rows = (settings.capacity, settings.num_steps)
    buffer = Episodes(
        jnp.zeros((*rows, task.n_agents, size)),
        jnp.zeros((*rows, task.n_agents), jnp.int32),
        jnp.zeros(rows),
        jnp.zeros(rows, bool),
    )
    optimiser = optimiser_of(settings).init(params)
    return ExpertState(params, jax.tree.map(jnp.copy, params), optimiser, buffer, jnp.int32(0), key)


def _update(settings: ExpertSettings, task: Task, state: ExpertState) -> tuple[ExpertState, tuple]:
    network = network_of(settings, task)
    key, key_play, key_learn = jax.random.split(state.key, 3)
    epsilon = epsilon_at(settings, state.updates)
    guided = jnp.maximum(0.0, settings.guidance * (1.0 - 2.0 * state.updates / max(1, settings.num_updates)))
    episodes, _ = play(task, network, state.params, key_play, settings.num_envs, epsilon, guided)
    start = state.updates * settings.num_envs % settings.capacity
    buffer = jax.tree.map(
        lambda kept, new: jax.lax.dynamic_update_slice_in_dim(kept, new, start, 0), state.buffer, episodes
    )
    filled = jnp.minimum((state.updates + 1) * settings.num_envs, settings.capacity)

    def learn(carry, step_and_key):
        params, target, optimiser = carry
        step, key = step_and_key
        rows = jax.random.randint(key, (settings.buffer_batch_size,), 0, filled)
        batch = jax.tree.map(lambda kept: kept[rows], buffer)
        value, gradient = jax.value_and_grad(lambda p: loss(settings, network, p, target, batch))(params)
        change, optimiser = optimiser_of(settings).update(gradient, optimiser, params)
        params = optax.apply_updates(params, change)
        copy = (step + 1) % settings.target_update_interval == 0
        target = jax.tree.map(lambda new, old: jnp.where(copy, new, old), params, target)
        return (params, target, optimiser), value

    steps = state.updates * settings.gradient_steps + jnp.arange(settings.gradient_steps)
    learnt = (state.params, state.target, state.optimiser)
    learnt, losses = jax.lax.scan(
        learn, learnt, (steps, jax.random.split(key_learn, settings.gradient_steps))
    )
    team = episodes.rewards.sum(axis=1).mean()
    return ExpertState(*learnt, buffer, state.updates + 1, key), (team, losses.mean())


def advance(settings: ExpertSettings, task: Task, state: ExpertState, n: int) -> tuple[ExpertState, Report]:
    """n updates, then a greedy test of `num_test_episodes` episodes; call it with n = `settings.test_every`."""
    state, (returns, losses) = jax.lax.scan(lambda state, _: _update(settings, task, state), state, length=n)
    key = jax.random.fold_in(state.key, 1)  # the training's own stream is left alone
    test = test_returns(settings, task, state.params, key, settings.num_test_episodes, 0.0)
    return state, Report(returns, losses, test.mean())


def test_returns(
    settings: ExpertSettings, task: Task, params: Any, key: jax.Array, episodes: int, epsilon: float
) -> jax.Array:
    """Per-agent return of fresh episodes `[episodes]`, greedy but for `epsilon`."""
    network = network_of(settings, task)
    played, _ = play(task, network, params, key, episodes, epsilon)
    return per_agent_return(task, played)
