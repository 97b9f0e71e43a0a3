"""How fast the batched engine trains on one CPU core, as ratios to the original's seconds per iteration (spec section 9).

Prints CPU seconds (other programs on the machine do not count) per iteration of one seed, when as many seeds are trained
together as the figures have, and the seconds that compiling takes. The original's seconds are those of the release with
its 10 ms poll, and of the release with the poll replaced by a blocking wait; both evaluate in every iteration, which is
45 % of their time, and the batched engine after every block.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from stackerlberg.batched import schedule, translate
from stackerlberg.batched.engine import COMPILER
from stackerlberg.experiments import catalogue


@dataclass(frozen=True)
class Case:
    """What is timed: a phase of an experiment with some seeds; the original's seconds per iteration, poll and no poll."""

    label: str
    experiment: str
    settings: tuple[tuple[str, object], ...]
    phase: int
    seeds: int
    iterations: int
    released: float
    no_poll: float


OBSERVED = (("common_config.env_config.hidden_queries", False),)
CASES = (
    Case(
        "3-state PG, pre-training",
        "smipd_nothiddenqueries_pg_pg",
        OBSERVED,
        schedule.PRE,
        50,
        500,
        1.98,
        0.25,
    ),
    Case(
        "3-state PG leader", "smipd_nothiddenqueries_pg_pg", OBSERVED, schedule.LEADER, 50, 1000, 1.98, 0.25
    ),
    Case(
        "5-state PG, pre-training (12 games)", "ipd_allmatrices_pg_pg", (), schedule.PRE, 10, 200, 3.06, 0.35
    ),
    Case("5-state PPO leader (12 games)", "ipd_allmatrices_ppo_pg", (), schedule.LEADER, 10, 50, 12.9, 1.9),
    Case(
        "5-state PPO leader, minibatches 1000 + 5 (12 games)",
        "ipd_allmatrices_ppo_pg",
        (("leader_config.minibatch_remainder", True),),
        schedule.LEADER,
        10,
        5,
        12.9,
        1.9,
    ),
)
#: iterations between evaluations, as in the figures
BLOCK = 25


@dataclass(frozen=True)
class Measured:
    """CPU seconds."""

    compiling: float
    seed_iteration: float


def measure(case: Case) -> Measured:
    """Time a case: blocks of 25 iterations, evaluations included."""
    experiment = catalogue.resolve(case.experiment, case.settings)
    configurations = [condition.configuration for condition in experiment.conditions]
    spec = translate.spec_of(configurations[0])
    data = translate.data_of(configurations, spec, case.seeds)
    lanes = len(configurations) * case.seeds
    keys = jnp.stack([jax.random.PRNGKey(seed) for seed in range(case.seeds)])
    state = jax.jit(lambda keys: schedule.fresh(spec, keys, lanes), compiler_options=COMPILER)(keys)
    phase = {schedule.PRE: schedule.pretrain, schedule.LEADER: schedule.train_leader}[case.phase]
    began = time.process_time()
    program = jax.jit(
        lambda data, state, first, count: phase(spec, data, state, first, count),
        donate_argnums=1,
        compiler_options=COMPILER,
    )
    block = min(BLOCK, case.iterations)
    state, _ = jax.block_until_ready(program(data, state, np.int32(0), np.int32(1)))
    compiling = time.process_time() - began
    began, done = time.process_time(), 0
    while done < case.iterations:
        state, report = program(data, state, np.int32(done), np.int32(block))
        done += block
    jax.block_until_ready(report)
    return Measured(compiling, (time.process_time() - began) / done / lanes)


def main() -> None:
    """Print the table."""
    os.environ.setdefault("NPROC", "1")  # one XLA thread; see `engine.choose_device`
    jax.config.update("jax_platforms", "cpu")
    print("seconds per iteration of one seed; ratio to the original as released, and without its poll")
    print(
        f"{'':52} {'runs':>5} {'ours':>10} {'released':>9} {'ratio':>9} {'no poll':>8} {'ratio':>8} {'compile':>8}"
    )
    for case in CASES:
        found = measure(case)
        lanes = case.seeds * len(catalogue.resolve(case.experiment, case.settings).conditions)
        print(
            f"{case.label:52} {lanes:5} {found.seed_iteration:10.2e} {case.released:9.2f} "
            f"{case.released / found.seed_iteration:8.0f}x {case.no_poll:8.2f} "
            f"{case.no_poll / found.seed_iteration:7.0f}x {found.compiling:8.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
