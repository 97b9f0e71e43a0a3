"""Why the batched engine is written in JAX: the same policy-gradient iteration in torch, measured side by side.

The iteration is the leader's of ``smipd_nothiddenqueries_pg_pg`` (three states, five steps, 13 episodes of 8 steps for
each of 50 seeds, against the exact contextual follower): draw, ask, play, sum up, one Adam step. Both get the arrays with
the seeds last and the table form of the gradient. First the two are compared on the same random numbers, then each is
timed alone, on one thread, in CPU seconds, so that other programs on the machine do not count.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch

from stackerlberg import exact
from stackerlberg.batched import play, schedule, translate
from stackerlberg.batched.engine import COMPILER
from stackerlberg.batched.learners import Learner
from stackerlberg.experiments import catalogue

EXPERIMENT, ITERATIONS = "smipd_nothiddenqueries_pg_pg", 500
#: so many seeds at once; the figures have 50 (one game) and 600 (twelve)
SEEDS = (1, 50, 600)
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def setting(seeds: int):
    """The compiled-in part, the data of all lanes, a fresh state whose follower is exact, and that follower's table."""
    configuration = catalogue.resolve(EXPERIMENT).conditions[0].configuration
    spec = translate.spec_of(configuration)
    data = translate.data_of([configuration], spec, seeds)
    keys = jnp.stack([jax.random.PRNGKey(seed) for seed in range(seeds)])
    state = schedule.fresh(spec, keys, seeds)
    game = translate.game_of(configuration)
    replies = exact.exact_followers(game, spec.protocol).T  # [own observations, contexts]
    values = np.eye(2, dtype=np.float32)[replies.ravel()].T
    follower = jnp.repeat(jnp.asarray(values)[..., None], seeds, axis=-1)
    state["follower"] = state["follower"]._replace(params={"layer0": follower})
    return spec, data, state, replies


def torch_iteration(
    logits: torch.Tensor,
    mean: torch.Tensor,
    square: torch.Tensor,
    count: int,
    chance: torch.Tensor,
    payoffs: torch.Tensor,
    replies: torch.Tensor,
    lr: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One iteration: logits [2, 3, N] and Adam's memory, chance [3 + 5, E, N], payoffs [4], replies [3, 8] -> all three anew."""
    probabilities = torch.softmax(logits, 0)
    end = probabilities[0]  # [3, N]: below it the action is 0
    answers = (chance[:3] >= end[:, None]).long()  # query k asks about observation k
    context = 4 * answers[0] + 2 * answers[1] + answers[2]
    seen, own = torch.zeros_like(context), torch.zeros_like(context)
    observations, actions, rewards = [], [], []
    for step in range(chance.shape[0] - 3):
        a0 = (chance[3 + step] >= end.gather(0, seen)).long()
        a1 = replies[own, context]
        observations.append(seen)
        actions.append(a0)
        rewards.append(payoffs[2 * a0 + a1])
        seen, own = 1 + a1, 1 + a0
    asked = torch.arange(3).reshape(3, 1, 1).expand_as(answers)
    seen, acted = torch.cat([asked, torch.stack(observations)]), torch.cat([answers, torch.stack(actions)])
    paid = torch.cat([torch.zeros_like(chance[:3]), torch.stack(rewards)])
    to_go = paid.flip(0).cumsum(0).flip(0)
    lanes = logits.shape[-1]
    sums = torch.zeros(6, lanes).scatter_add_(
        0, (3 * acted + seen).reshape(-1, lanes), to_go.reshape(-1, lanes)
    )
    sums = sums.reshape(2, 3, lanes)
    gradient = -(sums - probabilities * sums.sum(0, keepdim=True)) / (seen.shape[0] * seen.shape[1])
    mean = BETA1 * mean + (1 - BETA1) * gradient
    square = BETA2 * square + (1 - BETA2) * gradient**2
    step = lr / (1 - BETA1**count) * mean / (square.sqrt() / (1 - BETA2**count) ** 0.5 + EPSILON)
    return logits - step, mean, square


def difference(spec, data, state, replies) -> float:
    """The largest difference of the two leaders' logits after one iteration on the same random numbers."""
    learner: Learner = schedule._learner(spec.leader, spec.leader_network)
    keys = schedule._keys(state, schedule.LEADER, 0)
    chance = play.draw(keys, spec.protocol, spec.actions, spec.leader.episodes, len(data.lr_leader))
    drawn = torch.from_numpy(np.array(jnp.concatenate([chance.queries, chance.leader])))
    logits = torch.from_numpy(np.array(learner.values(state["leader"])))
    payoffs = torch.from_numpy(np.array(data.game.leader[:, 0]))
    zeros = torch.zeros_like(logits), torch.zeros_like(logits)
    lr, table = float(data.lr_leader[0]), torch.from_numpy(np.array(replies))
    ours, _, _ = torch_iteration(logits, *zeros, 1, drawn, payoffs, table, lr)
    new, _ = schedule._leader_iteration(spec, data, state, keys)
    return float(np.abs(ours.numpy() - np.asarray(learner.values(new["leader"]))).max())


def time_torch(spec, data, replies, iterate: Callable) -> float:
    """CPU seconds of an iteration of all seeds."""
    steps, seeds = 3 + spec.protocol.episode_length, len(data.lr_leader)
    logits = torch.zeros(2, 3, seeds)
    mean, square = torch.zeros_like(logits), torch.zeros_like(logits)
    payoffs, table = torch.from_numpy(np.array(data.game.leader[:, 0])), torch.from_numpy(np.array(replies))
    lr, began = float(data.lr_leader[0]), 0.0
    with torch.inference_mode():
        for count in range(-20, ITERATIONS):
            if count == 0:
                began = time.process_time()
            chance = torch.rand(steps, spec.leader.episodes, seeds)
            logits, mean, square = iterate(
                logits, mean, square, max(1, count + 1), chance, payoffs, table, lr
            )
    return (time.process_time() - began) / ITERATIONS


def time_jax(spec, data, state) -> tuple[float, float]:
    """CPU seconds of an iteration of all seeds in blocks of 25, evaluations included, and of compiling."""
    began = time.process_time()
    program = jax.jit(
        lambda data, state, first, count: schedule.train_leader(spec, data, state, first, count),
        donate_argnums=1,
        compiler_options=COMPILER,
    )
    state, _ = jax.block_until_ready(program(data, state, np.int32(0), np.int32(1)))
    compiling, began = time.process_time() - began, time.process_time()
    for first in range(0, ITERATIONS, 25):
        state, report = program(data, state, np.int32(first), np.int32(25))
    jax.block_until_ready(report)
    return (time.process_time() - began) / ITERATIONS, compiling


def main() -> None:
    """Print both."""
    os.environ.setdefault("NPROC", "1")  # one XLA thread; see `engine.choose_device`
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_default_matmul_precision", "highest")
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, JAX {jax.__version__}; microseconds of one iteration of all seeds")
    print(
        f"{'seeds':>6} {'torch, eager':>13} {'JAX, one loop':>14} {'ratio':>6} {'compiling, s':>13} {'logits differ':>14}"
    )
    for seeds in SEEDS:
        spec, data, state, replies = setting(seeds)
        apart = difference(spec, data, state, replies)
        eager = time_torch(spec, data, replies, torch_iteration)
        ours, compiling = time_jax(spec, data, state)
        print(
            f"{seeds:6} {eager * 1e6:13.0f} {ours * 1e6:14.0f} {eager / ours:6.1f} {compiling:13.1f} {apart:14.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
