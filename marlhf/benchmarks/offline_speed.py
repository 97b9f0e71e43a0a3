"""Offline learning on Spread: seconds per update, with and without tests, as ratios to the original's (spec section 9).

The data is as large as a third of a published mix (20 files) and random: nothing here depends on what it says. Rows are
130 steps, 32 a batch, three agents. The clock is the process's CPU time, which other programs on the machine disturb
little; the wall time is printed beside it. XLA has one thread; the original had two cores.

    python benchmarks/offline_speed.py
"""

import argparse
import os
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from common.cli import StrictParser
from marlhf.environments import make_task
from marlhf.evaluation import GreedyTest
from marlhf.offline.learner import Dataset, OfflineLearner, OfflineSettings, lanes

#: seconds per update of the original: tested every 50 updates without the tests, and as shipped, tested at each
ORIGINAL_UPDATE, ORIGINAL_SHIPPED = 0.070, 0.72
ROW, EPISODE = 130, 26


def random_data(rows: int, task, alignment: str) -> Dataset:
    """Rows of a task's sizes, on the device."""
    draw = np.random.default_rng(0)
    steps = (rows, 1, ROW) if alignment == "original" else (rows, ROW // EPISODE, EPISODE)
    width = task.obs_size + task.n_agents
    dones = np.arange(ROW) % EPISODE == EPISODE - 1
    return Dataset(
        jnp.asarray(draw.normal(size=(*steps, task.n_agents, width)).astype(np.float32)),
        jnp.asarray(draw.integers(0, task.n_actions, (*steps, task.n_agents)).astype(np.int32)),
        jnp.asarray(np.broadcast_to(dones.reshape(steps[1:]), steps)),
        jnp.asarray(draw.normal(size=steps).astype(np.float32)),
    )


def seconds(run, repeats: int) -> tuple[float, float, float]:
    """The best of `repeats` by CPU and by wall time, after a first call, whose wall time is the third number."""
    began = time.perf_counter()
    jax.block_until_ready(run())
    first, cpu, wall = time.perf_counter() - began, [], []
    for _ in range(repeats):
        cpu_began, wall_began = time.process_time(), time.perf_counter()
        jax.block_until_ready(run())
        cpu.append(time.process_time() - cpu_began)
        wall.append(time.perf_counter() - wall_began)
    return min(cpu), min(wall), first


def line(name: str, cpu: float, wall: float, original: float) -> None:
    """Milliseconds of one update and how many of them the original's takes."""
    print(
        f"{name:52} {1e3 * cpu:9.1f} {1e3 * wall:9.1f} {1e3 * original:9.0f} {original / cpu:8.1f}",
        flush=True,
    )


def learners(task, rows: int, updates: int, repeats: int) -> float:
    """Every learner without tests; returns VDN's CPU seconds per update."""
    variants = (
        ("VDN", {}),
        ("VDN, rows as in the original", {"alignment": "original"}),
        ("MAIQL", {"algorithm": "maiql"}),
        ("MABCQ (two networks)", {"algorithm": "mabcq"}),
    )
    found = {}
    for name, more in variants:
        hp = OfflineSettings(**more)
        learner = OfflineLearner(hp, task.n_agents, task.n_actions, task.obs_size + task.n_agents)
        data, step = random_data(rows, task, hp.alignment), jax.jit(learner.advance)
        state = learner.fresh(0)
        cpu, wall, _ = seconds(lambda s=step, at=state, d=data: s(at, np.int32(updates), d), repeats)
        found[name] = cpu / updates
        line(name, cpu / updates, wall / updates, ORIGINAL_UPDATE)
    return found["VDN"]


def tested(task, rows: int, every: int, episodes: int, repeats: int) -> None:
    """VDN with a test after every so many updates, and what 10 000 updates take."""
    learner = OfflineLearner(OfflineSettings(), task.n_agents, task.n_actions, task.obs_size + task.n_agents)
    test, data = GreedyTest(task, learner.team, episodes), random_data(rows, task, "corrected")

    @jax.jit
    def chunk(state, n, data):
        state, report = learner.advance(state, n, data)
        return state, report, test(state.params, jax.random.fold_in(state.key, state.update))

    state = learner.fresh(0)
    cpu, wall, first = seconds(lambda: chunk(state, np.int32(every), data), repeats)
    line(f"VDN, {episodes} episodes every {every} updates", cpu / every, wall / every, ORIGINAL_SHIPPED)
    whole = cpu / every * 10_000
    print(
        f"  10 000 updates: {whole:.0f} s and {first - wall:.0f} s to compile; the original {10_000 * ORIGINAL_SHIPPED:.0f} s, "
        f"{10_000 * ORIGINAL_SHIPPED / (whole + first - wall):.1f} times as long",
        flush=True,
    )


def seeds(task, rows: int, updates: int, count: int, one: float, repeats: int) -> None:
    """Several seeds in one compiled program against one."""
    learner = OfflineLearner(OfflineSettings(), task.n_agents, task.n_actions, task.obs_size + task.n_agents)
    data, states = random_data(rows, task, "corrected"), jax.vmap(learner.fresh)(jnp.arange(count))
    step = jax.jit(lanes(learner))
    cpu, wall, _ = seconds(lambda: step(states, np.int32(updates), data), repeats)
    line(f"VDN, {count} seeds side by side", cpu / updates, wall / updates, count * ORIGINAL_UPDATE)
    print(f"  {cpu / updates / one:.2f} times one seed", flush=True)


def _options(argv) -> argparse.Namespace:
    parser = StrictParser(prog="offline_speed.py", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2560, help="rows of data (128 a file)")
    parser.add_argument("--updates", type=int, default=20, help="updates per measurement")
    parser.add_argument("--every", type=int, default=100, help="updates between tests")
    parser.add_argument("--episodes", type=int, default=256, help="episodes of a test")
    parser.add_argument("--seeds", type=int, default=5, help="seeds side by side")
    parser.add_argument("--repeats", type=int, default=3, help="measurements, of which the best counts")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Print one line per measurement."""
    options = _options(argv)
    os.environ.setdefault("NPROC", "1")  # read when JAX starts its backend
    if not os.environ.get("JAX_PLATFORMS"):
        jax.config.update("jax_platforms", "cpu")
    task = make_task("spread")
    print(f"{'per update':52} {'CPU ms':>9} {'wall ms':>9} {'original':>9} {'ratio':>8}")
    one = learners(task, options.rows, options.updates, options.repeats)
    tested(task, options.rows, options.every, options.episodes, options.repeats)
    seeds(task, options.rows, options.updates, options.seeds, one, options.repeats)


if __name__ == "__main__":
    sys.exit(main())
