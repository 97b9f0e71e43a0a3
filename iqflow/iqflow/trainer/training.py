"""One episode is one iteration: play, learn the incentives, learn the policies; all of a period in one compiled call.

    episode:  record  = play(followers, incentives)                    rollout.py
              mechanism.learn(record)     critics, then incentives     mechanisms.py
              followers.update(record)    environment reward + incentive
    evaluation after every `alg.period` episodes, inside the same call; `program.Batch` puts the seeds side by side.

The order is that of spec 5.3. Every episode's randomness comes from the seed and the episode's number alone, and an
evaluation's from another branch, so evaluating more often does not change what is learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from iqflow.alg import followers
from iqflow.alg.episodes import Episode, follower_rewards, per_agent
from iqflow.config.loading import Settings
from iqflow.env import scripted
from iqflow.trainer import mechanisms, reports
from iqflow.trainer.building import EPISODES_AXIS, make_env, make_learner
from iqflow.trainer.rollout import Act, Record, play

#: weight of the newest evaluation in the score, where no key gives it (spec 6.4)
SCORE_WEIGHT = {"er": 0.001, "ssd": 0.01}
PROBE_EPISODES = 10
#: branches of a seed's randomness
_FOLLOWERS, _MECHANISM, _EPISODES, _EVALUATION, _PROBE = range(5)


class TrainState(NamedTuple):
    """Everything a run needs to go on; leaves of one seed."""

    key: jax.Array  # uint32 [2], never changed
    episode: jax.Array  # int32 [], episodes done
    step: jax.Array  # int32 [], environment steps done
    followers: Any  # leaves [N, ...]
    mechanism: Any  # of `mechanisms`


class Trainer:
    """A resolved configuration as pure functions of a state; see `program.Trainer` for the interface."""

    def __init__(self, settings: Settings, frozen: mechanisms.Frozen | None = None):
        """`frozen`: a trained mechanism that pays and does not learn, with ``--alg pg``."""
        self.settings = settings
        self.env = make_env(settings)
        self.learner = make_learner(settings, self.env)
        self.mechanism = frozen or mechanisms.make(settings, self.env)
        self.paid = settings.alg != "pg" or frozen is not None

    def fresh(self, seed) -> TrainState:
        """The state before the first episode."""
        key = jax.random.PRNGKey(seed)
        return TrainState(
            key=key,
            episode=jnp.int32(0),
            step=jnp.int32(0),
            followers=self._new_followers(key, jnp.int32(0)),
            mechanism=self.mechanism.init(jax.random.fold_in(key, _MECHANISM)),
        )

    def _new_followers(self, key, episode) -> Any:
        key = jax.random.fold_in(jax.random.fold_in(key, _FOLLOWERS), episode)
        return followers.init_agents(self.learner, key)

    def _act(self, state: TrainState) -> Act:
        def act(_, observations, key):
            return followers.act(self.learner.sizes, state.followers.actor, observations, key)

        return act

    def _play(self, state: TrainState, act: Act, key) -> Record:
        def pay(observations, actions):
            return self.mechanism.incentives(state.mechanism, observations, actions)

        return play(self.env, act, pay, key)

    def _episodes(self, state: TrainState, key) -> Record:
        """An iteration's episode, or `n_envs` of them with a leading axis."""
        n_envs = self.settings.schedule.n_envs
        if n_envs == 1:
            return self._play(state, self._act(state), key)
        return jax.vmap(lambda key: self._play(state, self._act(state), key))(jax.random.split(key, n_envs))

    def _update(self, agents: Any, episode: Episode, rewards) -> Any:
        """The followers after one step each on their episode, or on the mean over several."""

        def update(agents, episode, rewards):
            return followers.update_agents(self.learner, agents, per_agent(episode, rewards))[0]

        if self.settings.schedule.n_envs == 1:
            return update(agents, episode, rewards)
        mapped = jax.vmap(update, in_axes=(None, 0, 0), out_axes=None, axis_name=EPISODES_AXIS)
        return mapped(agents, episode, rewards)

    def iterate(self, state: TrainState) -> TrainState:
        """One training episode with all its updates."""
        # DEVIATION(Q17): keys of their own for every part and episode; the original mixes three generators
        key = jax.random.fold_in(jax.random.fold_in(state.key, _EPISODES), state.episode)
        play_key, learn_key = jax.random.split(key)
        record = self._episodes(state, play_key)
        mechanism = self.mechanism.learn(state.mechanism, record, state.followers, state.step, learn_key)
        shared = self.settings.method.shared_reward
        given = record.incentives if self.paid else None
        rewards = follower_rewards(record.episode.rewards, given, shared)
        learned = self._update(state.followers, record.episode, rewards)
        steps = jnp.sum(record.episode.valid).astype(jnp.int32)
        return TrainState(state.key, state.episode + 1, state.step + steps, learned, mechanism)

    def advance(self, state: TrainState, n, reset, evaluate) -> tuple[TrainState, dict[str, Any]]:
        """New followers if `reset`, then `n` episodes, then an evaluation if `evaluate` (zeros otherwise)."""
        if self.settings.main.agent_reset_period:
            state = lax.cond(
                reset,
                lambda state: state._replace(followers=self._new_followers(state.key, state.episode)),
                lambda state: state,
                state,
            )
        state = lax.fori_loop(0, n, lambda _, state: self.iterate(state), state)
        shapes = jax.eval_shape(self.evaluation, state)
        report = lax.cond(
            evaluate,
            self.evaluation,
            lambda state: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes),
            state,
        )
        return state, report

    def evaluation(self, state: TrainState) -> dict[str, Any]:
        """Averages over `alg.n_eval` fresh episodes with the present policies (sampled) and incentives."""
        key = jax.random.fold_in(jax.random.fold_in(state.key, _EVALUATION), state.episode)
        keys = jax.random.split(key, self.settings.schedule.n_eval)
        records = jax.vmap(lambda key: self._play(state, self._act(state), key))(keys)
        found = reports.measure(self.settings.kind, self.env, records)
        learned = (state.followers, self.mechanism.learned(state.mechanism))
        healthy = jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(learned)])
        detail = self.mechanism.detail(state.mechanism)
        if self.settings.kind == "matrix":
            detail |= reports.tables(self.env, self.learner.sizes, state, self.mechanism)
        return found | {"step": state.step, "healthy": jnp.all(healthy), "detail": detail}

    def probe(self, state: TrainState) -> jax.Array | None:
        """What scripted agents receive in the place of each follower (spec 3.4, 6.2); None outside two-player Cleanup.

        Returns:
            [follower replaced, A1 to A3, (mean, standard error)] of the total incentive of an episode, over 10 episodes.
        """
        env = self.env
        if self.settings.kind != "ssd" or not self.paid or env.n_agents != 2:
            return None
        if env.disable_left_right_action or env.random_orientation:
            return None
        key = jax.random.fold_in(jax.random.fold_in(state.key, _PROBE), state.episode)
        keys = jax.random.split(key, PROBE_EPISODES)
        return jnp.stack(
            [
                jnp.stack([self._probed(state, rule, replaced, keys) for rule in scripted.PROBES.values()])
                for replaced in range(env.n_agents)
            ]
        )

    def _probed(self, state: TrainState, rule: scripted.Rule, replaced: int, keys: jax.Array) -> jax.Array:
        def act(game, observations, key):
            own_key, rule_key = jax.random.split(key)
            actions = self._act(state)(game, observations, own_key)
            return actions.at[replaced].set(rule(self.env, game, replaced, rule_key))

        given = jax.vmap(lambda key: jnp.sum(self._play(state, act, key).incentives[:, replaced]))(keys)
        return jnp.stack([jnp.mean(given), jnp.std(given) / jnp.sqrt(jnp.float32(PROBE_EPISODES))])

    def row(self, report: dict[str, Any]) -> dict[str, Any]:
        """The log's columns of an evaluation."""
        return reports.row(self.settings.kind, self.paid, report)

    def agents(self, state: TrainState) -> dict[str, Any]:
        """What is saved of a trained state: the followers' actors, and the mechanism if this run trains one."""
        saved = {"followers": state.followers.actor}
        if self.settings.alg == "pg":
            return saved
        return saved | {"mechanism": self.mechanism.rewarder(state.mechanism)}

    def score(self, rows: Sequence[dict[str, Any]]) -> float:
        """Moving average over the evaluations of the total environment reward, started at the first one (spec 6.4)."""
        # DEVIATION(Q10): the original's scores of two trainers are other numbers (lever moves; a vector).
        weight = getattr(self.settings.main, "report_decay", SCORE_WEIGHT.get(self.settings.kind))
        name = "total_env_reward" if self.settings.kind == "er" else "reward_env_total"
        score = rows[0][name]
        for row in rows[1:]:
            score += weight * (row[name] - score)
        return score
