"""Training the Keras learners: one seed after the other, each in a run folder that survives being killed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common import tracking
from common.cli import UserError
from common.progress import Progress
from common.runs import RunFolder, RunSpec, source_digest
from iqflow.trainer.building import make_env
from iqflow.trainer.mechanisms import Frozen
from iqflow.trainer.output import Output
from iqflow.trainer.program import CHECKPOINT_SECONDS, repository_of
from iqflow.transfer.games import Games
from iqflow.transfer.settings import Transfer

_EVALUATION = 2**31 - 1  # episodes of evaluations are counted down from here, those of training up from 0


def _learners(transfer: Transfer, env: Any, seed: int) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from iqflow.transfer import keras_learner

    keras_learner.use_one_thread()
    method, nn = transfer.settings.method, transfer.settings.nn
    settings = keras_learner.Settings(
        gamma=method.gamma,
        entropy_coeff=method.entropy_coeff,
        lr_actor=method.lr_actor,
        lr_critic=method.lr_v,
        tau=method.tau,
        hidden=(nn.n_h1, nn.n_h2),
        filters=nn.n_filters,
        kernel=tuple(nn.kernel),
        stride=tuple(nn.stride),
    )
    return keras_learner.Learners(env.n_agents, env.observation_shape, env.n_actions, settings, seed)


class Seed:
    """One seed's learners and their games."""

    def __init__(self, transfer: Transfer, env: Any, mechanism: Frozen | None, seed: int):
        self.seed, self.steps, schedule = seed, env.max_steps, transfer.settings.schedule
        self.games = Games(env, schedule.n_envs, transfer.reward, mechanism)
        self.fresh_games = Games(env, schedule.n_eval, transfer.reward, mechanism)
        self.learners = _learners(transfer, env, seed)
        self.paid = mechanism is not None

    def _play(self, games: Games, episode: int, number: int) -> tuple[np.ndarray, ...]:
        """An episode: what was seen [T + 1, E, N, ...], actions, rewards [T, E, N], and what else the steps told."""
        draws = self.learners.draws(number, self.steps, games.games)
        seen, actions, rewards, told, done = [games.reset(self.seed, number)], [], [], [], False
        while not done:
            actions.append(self.learners.act(seen[-1], episode, draws[len(actions)]))
            observations, reward, done, info = games.step(actions[-1])
            seen.append(observations)
            rewards.append(reward)
            told.append(info)
        infos = {name: np.stack([info[name] for info in told]) for name in told[0]}
        return np.stack(seen), np.stack(actions), np.stack(rewards), infos

    def iterate(self, episode: int) -> None:
        """Training episode number `episode` (from 0; `alg.n_envs` of them side by side), and the learners' step."""
        seen, actions, rewards, _ = self._play(self.games, episode, episode)
        self.learners.learn(seen, actions, rewards, episode)

    def evaluate(self, episode: int) -> dict[str, Any]:
        """Averages per episode over fresh games, as in the logs of ``train_multiprocess.py`` (spec 6.2).

        Raises:
            ValueError: a number is not finite.
        """
        *_, infos = self._play(self.fresh_games, episode, _EVALUATION - episode)
        own, given, cleaned = (
            infos[name].sum(0).mean(0) for name in ("own_rewards", "incentives", "n_cleaned")
        )
        row: dict[str, Any] = {}
        for agent in range(own.size):
            columns = {"received": given[agent]} if self.paid else {}
            columns |= {"reward_env": own[agent], "reward_total": own[agent] + given[agent]}
            columns["waste_cleared"] = cleaned[agent]
            row |= {f"A{agent + 1}_{name}": float(value) for name, value in columns.items()}
        row["time"], row["reward_env_total"] = 0, float(own.sum())
        if not all(np.isfinite(value).all() for value in (*row.values(), *self.learners.arrays().values())):
            raise ValueError(f"a number is not finite after episode {episode}")
        return row


def _train(run: RunFolder, output: Output, seed: Seed, last: int, period: int, bar: Progress) -> None:
    saved = run.restore()
    done, walltime = 0, 0.0
    if saved is not None:
        seed.learners.restore(saved.arrays, f"the checkpoint in {run.path}")
        done, walltime = saved.step, saved.meta["walltime"]
        print(f"seed {seed.seed}: going on after episode {done}")
    began = written = time.monotonic()
    while done < last:
        seed.iterate(done)
        done += 1
        if done % period and done < last:
            continue
        now = walltime + time.monotonic() - began
        row = seed.evaluate(done)
        head = {"episode": done, "step_train": done, "step": done * seed.games.games * seed.steps}
        run.log(head | row | {"time": int(now)})
        print(f"seed {seed.seed}, episode {done}: reward_env_total {row['reward_env_total']:.2f}", flush=True)
        if done == last or time.monotonic() - written > CHECKPOINT_SECONDS:
            run.checkpoint(done, seed.learners.arrays(), {"walltime": now})
            output.write(run.metrics())
            written = time.monotonic()
        run.progress(done, last)
        bar.update(done)
    rows = run.metrics()
    output.write(rows)
    run.finish({"episodes": last, "last": rows[-1]})


def run(transfer: Transfer, script: Path, mechanisms: Mapping[int, Frozen]) -> dict[int, dict | None]:
    """Train every seed; resumes what was interrupted and repeats nothing that is finished.

    Returns:
        The summary of every seed's run, None for one that failed.
    """
    repository = repository_of(script)
    root = Path(transfer.run_root) if transfer.run_root else repository / "results" / "iqflow" / "runs"
    name = str(script.resolve().relative_to(repository / "iqflow"))
    digest = source_digest(script, [repository / "iqflow", repository])
    env, schedule = make_env(transfer.settings), transfer.settings.schedule
    mode, summaries = tracking.chosen_mode(), {}
    for seed in transfer.seeds:
        try:
            spec = RunSpec(name, transfer.identity(seed), digest)
            output = Output(root / spec.address if transfer.run_root else transfer.output_folder(seed))
            output.check(spec.config)
            folder = RunFolder.open(root, spec, [name, *sys.argv[1:]], "cpu")
            if folder.finished:
                print(f"seed {seed}: finished before, see {folder.path}")
            else:
                output.claim(spec.config)
                bar = Progress(f"transfer.py, seed {seed}", schedule.n_episodes)
                lane = Seed(transfer, env, mechanisms.get(seed), seed)
                with tracking.mirrored(folder, mode, project="iqflow"):
                    _train(folder, output, lane, schedule.n_episodes, schedule.period, bar)
                bar.close()
            summaries[seed] = folder.summary
        except (OSError, UserError, ValueError) as error:
            if len(transfer.seeds) == 1:
                raise (
                    error if isinstance(error, UserError) else UserError(f"seed {seed} failed: {error}")
                ) from error
            print(f"seed {seed} failed: {error}", file=sys.stderr, flush=True)
            summaries[seed] = None
    return summaries
