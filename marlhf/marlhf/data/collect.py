"""Recording play (spec section 5.2): a whole file as one compiled scan, joint or with one agent deviating.

All learning agents play one policy, with noise where it is greedy; in unilateral play one chosen agent plays another
policy, without noise. What is recorded at step t is what was seen before it, what was done, and what it gave.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from common.cli import UserError
from marlhf.agents import Agent
from marlhf.data.files import Rows, save_rows
from marlhf.environments import RolloutManager, Task

#: the policy that draws every action evenly, where an agent is asked for
UNIFORM = "random"


def file_key(seed: int, policy: str, index: int) -> jax.Array:
    """The key of one file: no two files of any policies share one."""
    # DEVIATION(Q23): every file starts from states of its own; the original starts all of them from the same 128
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), zlib.crc32(policy.encode())), index)


def _start(player: Agent | str, batch: int) -> jax.Array:
    return jnp.zeros((batch, 0)) if player == UNIFORM else player.network.initial_carry(batch)


def _act(player: Agent | str, task: Task, params, key, carry, obs, resets, epsilon):
    """Actions [B] for observations [B, d+n], and the next carry."""
    choice_key, mask_key = jax.random.split(key)
    if player == UNIFORM:
        return carry, jax.random.randint(choice_key, obs.shape[:1], 0, task.n_actions)
    if not player.meta.greedy:
        raw = obs[None, :, : task.obs_size]
        carry, logits = player.network.apply(params, carry, raw, resets[None])
        return carry, jax.random.categorical(choice_key, logits[0])
    carry, q = player.network.apply(params, carry, obs[None], resets[None])
    # DEVIATION(Q17): whether an action is random and which one it is are drawn with two keys, in the original with one
    noise = jax.random.randint(choice_key, obs.shape[:1], 0, task.n_actions)
    noisy = jax.random.uniform(mask_key, obs.shape[:1]) < epsilon
    return carry, jnp.where(noisy, noise, q[0].argmax(axis=-1))


class Collector:
    """Plays and records files of one policy (or of one with a deviator) on one task.

    Args:
        task: the task.
        player: an agent, or ``random`` for even odds.
        deviator: what the deviating agent plays in unilateral play.
        epsilon: the chance that a greedy agent's action is drawn evenly instead, for every agent and step on its own;
            a deviator's never is.
        n_envs, n_steps: rows of a file and their length, whole episodes.
        zero_first_observations: see `RolloutManager` (Q4).

    Raises:
        UserError: the steps are no whole number of episodes, or a number is out of range.
    """

    def __init__(
        self,
        task: Task,
        player: Agent | str,
        deviator: Agent | str | None = None,
        *,
        epsilon: float = 0.05,
        n_envs: int = 128,
        n_steps: int = 130,
        zero_first_observations: bool = True,
    ):
        if n_steps < 1 or n_steps % task.episode_length:
            raise UserError(
                f"NUM_STEPS={n_steps}; rows have to hold whole episodes, so a multiple of {task.episode_length}"
            )
        if n_envs < 1 or not 0 <= epsilon <= 1:
            raise UserError(f"NUM_ENVS={n_envs} and EPSILON={epsilon}; from 1 on, and from 0 to 1")
        self.task, self.player, self.deviator = task, player, deviator
        self.epsilon, self.n_envs, self.n_steps = epsilon, n_envs, n_steps
        self.manager = RolloutManager(task, n_envs, zero_first_observations)
        self._record = jax.jit(self._play)

    def __call__(self, key: jax.Array, deviating_agent: int = 0) -> Rows:
        """One file's play.

        Args:
            key: all randomness of the file.
            deviating_agent: index of the agent that the deviator replaces.

        Raises:
            UserError: there is no such agent.
        """
        if not 0 <= deviating_agent < self.task.n_agents:
            raise UserError(
                f"deviating agent {deviating_agent}: {self.task.id} has agents 0 to {self.task.n_agents - 1}"
            )
        params = tuple(
            None if player in (None, UNIFORM) else player.params for player in (self.player, self.deviator)
        )
        return jax.tree.map(np.asarray, self._record(params, key, jnp.int32(deviating_agent)))

    def _play(self, params, key, who) -> Rows:
        task, n, envs = self.task, self.task.n_agents, self.n_envs
        reset_key, key = jax.random.split(key)
        view, state = self.manager.reset(reset_key)
        carries = (
            _start(self.player, n * envs),
            None if self.deviator is None else _start(self.deviator, envs),
        )

        def step(loop, key):
            view, state, done, (carry, other) = loop
            act_key, deviate_key, env_key = jax.random.split(key, 3)
            obs = view.obs.reshape(n * envs, -1)
            carry, actions = _act(
                self.player, task, params[0], act_key, carry, obs, jnp.tile(done, n), self.epsilon
            )
            actions = actions.reshape(n, envs).astype(jnp.int32)
            if self.deviator is not None:
                # DEVIATION(Q10): what a deviator did is what is recorded, and it is drawn with a key of its own
                # DEVIATION(Q24): any agent can be the one that deviates, agent 0 unless another is asked for
                other, deviation = _act(
                    self.deviator, task, params[1], deviate_key, other, view.obs[who], done, 0.0
                )
                actions = actions.at[who].set(deviation.astype(jnp.int32))
            after, rewards, team, ended, episode, state = self.manager.step(env_key, state, actions)
            record = Rows(
                view.obs, view.world_state, actions, rewards, team, ended,
                episode.returns, episode.lengths, episode.ended,
            )  # fmt: skip
            return (after, state, ended, (carry, other)), record

        start = (view, state, jnp.ones(envs, bool), carries)
        return jax.lax.scan(step, start, jax.random.split(key, self.n_steps))[1]


def deviating_agent(who: str, index: int, n: int) -> int:
    """Which agent deviates in file number `index`: an index for all files, or ``each`` in turn.

    Raises:
        UserError: it is neither.
    """
    if who == "each":
        return index % n
    if not who.isdecimal() or int(who) >= n:
        raise UserError(f"deviating agent {who!r}; it has to be 0 to {n - 1}, or each for all in turn")
    return int(who)


def collect_file(
    collector: Collector,
    folder: Path | str,
    index: int,
    *,
    seed: int,
    policy: str,
    who: str = "0",
    made_by: Mapping[str, Any],
) -> Rows:
    """Play, and write ``folder/traj_batch_<index>.npz``.

    Args:
        seed, policy: with `index` the source of all randomness (`file_key`); `policy` names who plays.
        who: see `deviating_agent`; read in unilateral play only.
        made_by: what the header shall say beside the settings (the policies' files and hashes, versions).

    Returns:
        What was played (NumPy).
    """
    task = collector.task
    chosen = deviating_agent(who, index, task.n_agents) if collector.deviator is not None else None
    rows = collector(file_key(seed, policy, index), chosen or 0)
    if task.name == "overcooked":  # its observations are bytes
        rows = rows._replace(obs=rows.obs.astype(np.uint8), world_state=rows.world_state.astype(np.uint8))
    header = {
        **made_by,
        "task": task.id,
        "kwargs": dict(task.kwargs),
        "agents": list(task.agents),
        "episode_length": task.episode_length,
        "policy": policy,
        "deviating_agent": chosen,
        "epsilon": collector.epsilon,
        "zero_first_observations": collector.manager.zero_first_observations,
        "seed": seed,
        "index": index,
        "jax": jax.__version__,
    }
    save_rows(Path(folder) / f"traj_batch_{index}.npz", rows, header)
    return rows
