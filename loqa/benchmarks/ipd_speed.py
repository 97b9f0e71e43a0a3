"""How fast `ipd.py` trains on one CPU core, as ratios to the released program's times on two cores (spec section 9).

Prints CPU seconds per iteration (other programs on the machine do not count) of sums over the five states and of the plain
path that they replace, where an iteration's time goes, and what ten seeds cost in one process against ten.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

README = (
    "hp=logits hp.eval_every=100 hp.game_length=50 hp.qvalue.mode=mean hp.qvalue.train.lr_loss_qvalue=1e-2 "
    "hp.actor.train.lr_loss_actor=1e-3 hp.actor.train.entropy_beta=0.0 hp.agent_replay_buffer.mode=disabled "
    "hp.epsilon_greedy=0.2 hp.qvalue.replay_buffer.mode=disabled"
)
#: iterations between evaluations, and of a whole run
CHUNK, RUN = 100, 7001


@dataclass(frozen=True)
class Case:
    """A batch size and the original's seconds: per iteration, and for the first one with its compilation."""

    batch: int
    released: float
    released_first: float


CASES = (Case(2048, 0.334, 10.0), Case(128, 0.012, 6.7))


def load_script():
    """`ipd.py` as a module."""
    path = Path(__file__).resolve().parents[1] / "ipd.py"
    spec = importlib.util.spec_from_file_location("loqa_ipd_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def seconds_of(work: Callable[[], Any], repeats: int = 1) -> float:
    """CPU seconds of `work()`, the fewest of some repeats."""
    found = []
    for _ in range(repeats):
        began = time.process_time()
        jax.block_until_ready(work())
        found.append(time.process_time() - began)
    return min(found)


@dataclass(frozen=True)
class Measured:
    """CPU seconds: to compile, per iteration within chunks of `CHUNK`, and for a chunk of none (noise, evaluation)."""

    compiling: float
    iteration: float
    chunk: float


def measure(ipd, hp, numerics=None, iterations: int = CHUNK) -> Measured:
    """Time a configuration."""
    trainer = ipd.Trainer(hp, numerics)
    state = jax.jit(trainer.fresh)(np.uint32(hp.seed))
    began = time.process_time()
    step = jax.jit(trainer.advance).lower(state, np.int32(1)).compile()
    compiling = time.process_time() - began
    chunk = seconds_of(lambda: step(state, np.int32(0)), 3)
    whole = seconds_of(lambda: step(state, np.int32(iterations)), 3)
    return Measured(compiling, (whole - chunk) / iterations, chunk)


def main() -> None:
    """Print both tables."""
    ipd = load_script()
    os.environ.setdefault("NPROC", "1")  # one XLA thread; see `loqa.program.choose_device`
    jax.config.update("jax_threefry_partitionable", False)
    print("CPU seconds per iteration, noise and evaluation every 100 included; ratio to the original")
    print(f"{'':14} {'ours':>9} {'ratio':>7} {'plain path':>11} {'ratio':>7} {'compile':>8} {'original':>9}")
    found = {}
    for case in CASES:
        hp = ipd.parse([*README.split(), f"hp.batch_size={case.batch}"]).hp
        fused = found[case] = measure(ipd, hp)
        plain = measure(ipd, hp, ipd.Numerics(), iterations=max(2, 2560 // case.batch))
        ours, slow = (each.iteration + each.chunk / CHUNK for each in (fused, plain))
        print(
            f"batch {case.batch:<8} {ours:9.5f} {case.released / ours:6.0f}x {slow:11.5f} "
            f"{case.released / slow:6.1f}x {fused.compiling:8.1f} {case.released:9.3f}"
        )
    print("\nten runs of the README's command, CPU seconds")
    case, fused = CASES[0], found[CASES[0]]
    run = RUN * (fused.iteration + fused.chunk / CHUNK)
    print(
        f"in one process {fused.compiling + 10 * run:8.0f} (compiled once: {fused.compiling:.0f}, a run: {run:.0f})"
    )
    print(f"in ten         {10 * (fused.compiling + run):8.0f}")
    print(f"original       {10 * (case.released_first + RUN * case.released):8.0f} (wall, two cores)")


if __name__ == "__main__":
    main()
