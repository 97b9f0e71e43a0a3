"""Best-response probe: what a learner without any shaping earns against one fixed agent.

A recurrent actor-critic plays seat 0 against the agent in seat 1 and follows its own policy gradient with Monte-Carlo
advantages; its value head is regressed on Monte-Carlo returns. An agent that is easily exploited lets it earn more than
the 0.35 of mutual cooperation while earning less itself; a reciprocating one does not.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common.progress import Progress
from common.runs import RunFolder, RunSpec, source_digest
from loqa import losses, optimisers, storage
from loqa.coin import agents as coin
from loqa.league.agents import Agent, RecurrentPolicy
from loqa.league.config import PROGRAM, Probe
from loqa.league.play import Episodes, draw_chance, play, start
from loqa.league.program import GAME, choose_device, line_up, pick
from loqa.losses import ActorLosses
from loqa.objective import Objective

#: what may differ between two commands that compute the same numbers
PRESENTATION = ("agents", "run_root", "device")
CHECKPOINT_SECONDS = 30.0
FAMILY = "best-response"


class State(NamedTuple):
    """The whole state of a probe."""

    iteration: jax.Array  # int32, updates done
    key: jax.Array
    params: Any  # of a Coin Game agent with both heads
    actor: optimisers.ActorState
    q: Any


@dataclasses.dataclass(frozen=True)
class BestResponse:
    """The learner; `fresh`, `advance` are pure."""

    config: Probe
    policy: Any  # of the agent that is responded to

    @property
    def _objective(self) -> Objective:
        return Objective(reward_discount=self.config.reward_discount, advantage="MC")

    @property
    def _actor(self) -> optimisers.ActorOptimiser:
        return optimisers.ActorOptimiser(
            "adam",
            self.config.learning_rate,
            entropy_beta=self.config.entropy_beta,
            clip_mode="norm",
            max_norm=1.0,
            shaping=False,
        )

    @property
    def _critic(self):
        return optimisers.make("adam", self.config.learning_rate)

    def fresh(self, seed) -> State:
        """State before the first update."""
        key, init_key = jax.random.split(jax.random.PRNGKey(seed))
        hidden = self.config.hidden_size
        sizes = coin.Architecture(GAME.observation_size, hidden, 1, hidden, 1)
        params = coin.init(sizes, init_key)
        return State(jnp.int32(0), key, params, self._actor.init(params), self._critic.init(params))

    def games(self, params, opponent, key) -> Episodes:
        """A batch of games from one key: the response in seat 0, the agent in seat 1."""
        batch = self.config.batch_size
        keys = jax.random.split(key, batch)
        policies, both = (RecurrentPolicy(), self.policy), (params["actor_head"], opponent)
        chance = draw_chance(GAME, policies, keys, self.config.trace_length)
        return play(GAME, policies, both, start(policies, both, batch), chance)[0]

    def _update(self, opponent, state: State) -> State:
        key, games_key = jax.random.split(state.key)
        episodes = self.games(state.params, opponent, games_key)
        seen = GAME.flat_observation(episodes.states)[:, :, 0]
        actions, rewards = episodes.actions[..., 0], episodes.rewards[..., 0]
        gamma = self.config.reward_discount

        def own_losses(params) -> ActorLosses:
            heads = coin.sequence(params, seen)
            advantage = losses.advantages(self._objective, rewards, losses.state_values(heads))
            log_probs = losses.chosen(heads.log_probs[:-1], actions)
            entropy = -jnp.mean(losses.entropy(heads.log_probs[:-1]))
            return ActorLosses(-jnp.mean(log_probs * advantage), jnp.zeros(()), entropy)

        def q_loss(params) -> jax.Array:
            heads = coin.sequence(params, seen)
            return losses.q_loss(
                "mean", heads.q, heads, actions, rewards, gamma, target_kind="monte-carlo", loss="huber"
            )

        params, actor, _ = self._actor.update(own_losses, state.params, state.actor, state.iteration, False)
        updates, q = self._critic.update(jax.grad(q_loss)(params), state.q, params)
        params = jax.tree.map(jnp.add, params, updates)
        return State(state.iteration + 1, key, params, actor, q)

    def advance(self, state: State, opponent, n) -> tuple[State, jax.Array]:
        """`n` (int32) updates, then the mean rewards per step [2] (response, agent) of fresh games."""
        state = jax.lax.fori_loop(0, n, lambda _, now: self._update(opponent, now), state)
        key = jax.random.fold_in(state.key, state.iteration)
        return state, self.games(state.params, opponent, key).rewards.mean((0, 1))


def identity(config: Probe, agent: Agent) -> dict[str, Any]:
    """What a probe is addressed by; JSON."""
    values = dataclasses.asdict(config)
    return {name: value for name, value in values.items() if name not in PRESENTATION} | {
        "digest": agent.digest,
        "family": agent.family,
    }


def _save_response(folder: Path, config: Probe, state: State) -> Path:
    """The response as an agent file: it can be put into a league."""
    path = folder / "agents" / f"minimal_state_{config.iterations}"
    hp = {
        "agent_0": FAMILY,
        "seed": config.seed,
        "game": {"height": GAME.height, "width": GAME.width, "game_length": config.trace_length},
        "actor": {"hidden_size": config.hidden_size, "layers_before_gru": 1},
        "qvalue": {"hidden_size": config.hidden_size, "layers_before_gru": 1},
    }
    storage.save_agents(path, {"agent0": {"params": state.params}}, config.iterations, hp)
    return path


def run(config: Probe, script: Path) -> int:
    """Train, log, save; goes on where an interrupted probe was, and repeats nothing that is finished."""
    device = choose_device(config.device)
    agent = pick(line_up(config.agents), config.agent)
    repository = next(
        folder for folder in script.resolve().parents if (folder / "loqa" / "pyproject.toml").exists()
    )
    root = Path(config.run_root) if config.run_root else repository / "results" / "loqa" / "runs"
    digest = source_digest(script, [repository / "loqa", repository])
    spec = RunSpec(f"league/{PROGRAM}", identity(config, agent), digest)
    folder = RunFolder.open(root, spec, [f"league/{PROGRAM}", *sys.argv[1:]], device)
    if folder.finished:
        print(f"finished before, see {folder.path}")
        return 0
    learner = BestResponse(config, agent.policy)
    state, done = jax.jit(learner.fresh)(np.uint32(config.seed)), 0
    if saved := folder.restore():
        state = storage.from_arrays(state, saved.arrays, f"the checkpoint in {folder.path}")
        done = saved.step
        print(f"going on after update {done}")
    step, bar = jax.jit(learner.advance, donate_argnums=0), Progress("best response", config.iterations)
    opponent, kept = jax.tree.map(jnp.asarray, agent.params), time.monotonic()
    while done < config.iterations:
        n = min(config.eval_every - done % config.eval_every, config.iterations - done)
        state, rewards = jax.block_until_ready(step(state, opponent, np.int32(n)))
        done += n
        response, other = (float(value) for value in rewards)
        folder.log({"iteration": done, "response_reward": response, "agent_reward": other})
        print(f"update {done}: best response {response:.3f}, {agent.name} {other:.3f} per step", flush=True)
        if done == config.iterations or time.monotonic() - kept > CHECKPOINT_SECONDS:
            folder.checkpoint(done, storage.to_arrays(state))
            kept = time.monotonic()
        folder.progress(done, config.iterations)
        bar.update(done)
    bar.close()
    path = _save_response(folder.path, config, state)
    last = folder.metrics()[-1]
    folder.finish({"iterations": done, "last": last})
    print(f"the response is in {path}, the returns in {folder.path / 'metrics.jsonl'}")
    return 0
