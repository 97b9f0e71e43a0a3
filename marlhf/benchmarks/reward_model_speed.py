"""Reward learning on Spread: milliseconds per step and seconds per epoch, as ratios to the original's (spec section 9).

A step reads 256 trajectories of 26 steps and 2 560 pairs of them. Each line runs in a process of its own, from files on
the disk: load the mix, cut it, train one epoch, then time the next ones; so its peak memory is that of the whole
program. The files are copies of one random file, since nothing here depends on what they say. The ratio is taken from
the process's CPU time, which other programs on the machine disturb little; the wall time is printed beside it. XLA has
one thread; the original had two cores.

    python benchmarks/reward_model_speed.py
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np

from common.cli import StrictParser
from marlhf.data.files import empty_rows, save_rows
from marlhf.data.mixes import Mix, folder_names, load_mix, task_folder
from marlhf.data.trajectories import cut
from marlhf.reward_model import Architecture
from marlhf.reward_training import RewardTraining, RewardTrainingSettings, make_data

#: the original's milliseconds per step (FF, width 128) and its peak memory for 20 files in GB
ORIGINAL_STEP, ORIGINAL_MEMORY = 18.0, 2.05
ROW, EPISODE, AGENTS, ACTIONS, RAW, STATE, ENVS = 130, 26, 3, 5, 18, 54, 128
SPREAD = SimpleNamespace(
    name="spread", id="MPE_simple_spread_v3", n_agents=AGENTS, obs_size=RAW, state_size=STATE
)


def write_files(folder: Path, count: int) -> None:
    """`count` names of one random file of Spread's sizes."""
    draw = np.random.default_rng(0)
    rows = empty_rows(ROW, AGENTS, ENVS, RAW + AGENTS, STATE)
    for part in (rows.obs, rows.world_state, rows.rewards):
        part[...] = draw.standard_normal(part.shape, np.float32)
    for part in rows[4:]:
        part[...] = 0
    rows.actions[...] = draw.integers(0, ACTIONS, rows.actions.shape)
    rows.dones[EPISODE - 1 :: EPISODE] = True
    home = task_folder(folder, SPREAD) / folder_names(SPREAD, "expert")[0]
    header = {"agents": [f"agent_{index}" for index in range(AGENTS)], "task": SPREAD.id}
    save_rows(home / "traj_batch_0.npz", rows, header)
    for index in range(1, count):
        (home / f"traj_batch_{index}.npz").symlink_to("traj_batch_0.npz")


def one(folder: Path, files: int, kind: str, width: int, lanes: int, repeats: int) -> None:
    """Print one line: load, cut, train."""
    rows = load_mix(SPREAD, Mix((files, 0, 0, 0, 0)), folder)
    trajectories = cut(rows, EPISODE, with_state=kind == "RNN")
    del rows
    data = make_data(trajectories)
    del trajectories
    training = RewardTraining(RewardTrainingSettings(), Architecture(kind, width, ACTIONS, RAW, STATE))
    fresh, advance = training.fresh, training.advance
    seeds = np.arange(lanes, dtype=np.uint32)
    if lanes > 1:
        fresh, advance = jax.vmap(fresh), jax.vmap(advance, in_axes=(0, None, None))
    advance = jax.jit(advance, donate_argnums=0)
    state, _ = jax.block_until_ready(
        advance(jax.jit(fresh)(seeds if lanes > 1 else seeds[0]), np.int32(1), data)
    )
    cpu, wall = [], []
    for _ in range(repeats):
        cpu_began, wall_began = time.process_time(), time.perf_counter()
        state, _ = jax.block_until_ready(advance(state, np.int32(1), data))
        cpu.append(time.process_time() - cpu_began)
        wall.append(time.perf_counter() - wall_began)
    steps = training.plan(data).training
    each = 1e3 * min(cpu) / steps
    ratio = f"{lanes * ORIGINAL_STEP / each:8.1f}" if (kind, width) == ("FF", 128) else f"{'':8}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{kind:4} {width:5} {lanes:5} {files:5} {each:9.2f} {1e3 * min(wall) / steps:9.2f} {ratio} "
        f"{min(cpu):9.2f} {peak:9.2f}",
        flush=True,
    )


def _options(argv) -> argparse.Namespace:
    parser = StrictParser(prog="reward_model_speed.py", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2, help="epochs that are timed; the best counts")
    parser.add_argument(
        "--files",
        type=int,
        default=20,
        help="files of the timed lines (60 are a whole mix; 20 the original's)",
    )
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Print one line per measurement."""
    options = _options(argv)
    os.environ.setdefault("NPROC", "1")  # read when JAX starts its backend
    if not os.environ.get("JAX_PLATFORMS"):
        jax.config.update("jax_platforms", "cpu")
    if options.one:
        folder, files, kind, width, lanes = options.one
        one(Path(folder), int(files), kind, int(width), int(lanes), options.repeats)
        return
    print(
        f"{'':4} {'width':>5} {'seeds':>5} {'files':>5} {'CPU ms':>9} {'wall ms':>9} {'ratio':>8} {'epoch s':>9} "
        f"{'peak GiB':>9}   a step of the original takes {ORIGINAL_STEP:g} ms (FF 128); 20 files, {ORIGINAL_MEMORY} GB"
    )
    lines = [(options.files, "FF", 128, 1), (options.files, "FF", 128, 5), (options.files, "RNN", 64, 1)]
    lines += [(60, "FF", 128, 1), (60, "RNN", 64, 1)]
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), 60)
        for line in dict.fromkeys(lines):
            words = [sys.executable, __file__, "--repeats", str(options.repeats), "--one", folder]
            subprocess.run([*words, *map(str, line)], check=True)


if __name__ == "__main__":
    sys.exit(main())
