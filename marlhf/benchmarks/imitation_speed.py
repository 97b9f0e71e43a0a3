"""Imitation and labelling on Spread: seconds per step and per epoch, as ratios to the original's (spec section 9).

A step reads 128 rows of one agent, 130 steps each. The data is random: nothing here depends on what it says. The clock
is the process's CPU time, which other programs on the machine disturb little; the wall time is printed beside it. XLA
has one thread; the original had two cores.

    python benchmarks/imitation_speed.py
"""

import argparse
import os
import resource
import sys
import time

import jax
import numpy as np

from common.cli import StrictParser
from marlhf import networks, rewards, sequences
from marlhf.data.files import Rows, empty_rows
from marlhf.imitation import ImitationLearner, ImitationSettings, demonstrations
from marlhf.rewards import Judge, JudgeParams, RewardSettings

#: seconds of the original per step of 128 rows, and files of a whole mix
ORIGINAL_STEP, FILES = 0.25, 60
ROW, EPISODE, AGENTS, ACTIONS, RAW, STATE = 130, 26, 3, 5, 18, 54


def random_rows(envs: int) -> Rows:
    """Rows of Spread's sizes."""
    draw = np.random.default_rng(0)
    rows = empty_rows(ROW, AGENTS, envs, RAW + AGENTS, STATE)
    for part in rows:
        part[...] = draw.integers(0, ACTIONS, part.shape) if part.dtype == np.int32 else 0
    rows.obs[...] = draw.standard_normal(rows.obs.shape, np.float32)
    rows.world_state[...] = draw.standard_normal(rows.world_state.shape, np.float32)
    rows.dones[EPISODE - 1 :: EPISODE] = True
    return rows


def imitation(rows: Rows, alignment: str, repeats: int) -> None:
    """One epoch of training."""
    hp = ImitationSettings(alignment=alignment)
    data = jax.device_put(demonstrations(sequences.from_rows(rows, EPISODE, alignment)))
    learner = ImitationLearner(hp, ACTIONS, RAW, len(data.dones))
    advance, state = jax.jit(learner.advance), learner.fresh(0)
    jax.block_until_ready(advance(state, 0, data))
    cpu, wall = [], []
    for _ in range(repeats):
        cpu_began, wall_began = time.process_time(), time.perf_counter()
        jax.block_until_ready(advance(state, 1, data))
        cpu.append(time.process_time() - cpu_began)
        wall.append(time.perf_counter() - wall_began)
    steps = learner.n_rows // hp.batch_size
    each, whole = min(cpu) / steps, FILES * AGENTS * min(cpu) / steps
    print(
        f"imitation, {alignment:10} {1e3 * each:9.1f} {1e3 * min(wall) / steps:9.1f} {1e3 * ORIGINAL_STEP:9.0f} "
        f"{ORIGINAL_STEP / each:8.1f}   an epoch of {FILES} files: {whole:.1f} s",
        flush=True,
    )


def labelling(rows: Rows, kind: type, width: int, repeats: int) -> None:
    """One pass of a reward model and the reference policy over all rows (the original's was not measured)."""
    judge = Judge(kind(width, ACTIONS), networks.RecurrentActor(ACTIONS), AGENTS, ACTIONS, RAW, STATE)
    obs, actions, forget = np.zeros((1, 1, RAW), np.float32), np.zeros((1, 1), int), np.ones((1, 1), bool)
    reward, policy, key = judge.reward_network, judge.reference_network, jax.random.key(0)
    state = np.zeros((1, 1, STATE), np.float32)
    params = JudgeParams(
        reward.init(key, reward.initial_carry(1), obs, actions, state, forget),
        policy.init(key, policy.initial_carry(1), obs, forget),
    )
    cpu, wall = [], []
    for _ in range(repeats + 1):
        cpu_began, wall_began = time.process_time(), time.perf_counter()
        rewards.label(judge, params, rows, EPISODE, RewardSettings())
        cpu.append(time.process_time() - cpu_began)
        wall.append(time.perf_counter() - wall_began)
    files = rows.dones.shape[1] / 128
    print(
        f"labelling, {kind.__name__:10} {1e3 * min(cpu[1:]) / files:9.1f} {1e3 * min(wall[1:]) / files:9.1f} per file",
        flush=True,
    )


def _options(argv) -> argparse.Namespace:
    parser = StrictParser(prog="imitation_speed.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--rows", type=int, default=512, help="rows of data (128 a file; 7680 are a whole mix)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="measurements, of which the best counts")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Print one line per measurement."""
    options = _options(argv)
    os.environ.setdefault("NPROC", "1")  # read when JAX starts its backend
    if not os.environ.get("JAX_PLATFORMS"):
        jax.config.update("jax_platforms", "cpu")
    rows = random_rows(options.rows)
    print(f"{'per step of 128 rows':21} {'CPU ms':>9} {'wall ms':>9} {'original':>9} {'ratio':>8}")
    for alignment in sequences.ALIGNMENTS:
        imitation(rows, alignment, options.repeats)
    labelling(rows, networks.RewardFF, 128, options.repeats)
    labelling(rows, networks.RewardRNN, 64, options.repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of all of it with {options.rows // 128} files: {peak:.2f} GiB")


if __name__ == "__main__":
    sys.exit(main())
