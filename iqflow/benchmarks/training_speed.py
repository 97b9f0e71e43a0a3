"""How fast training runs here, as ratios to the original's times (spec section 9), and what it asks of memory.

Every case is a shipped configuration: CPU seconds per episode after compilation, evaluation not included, for some seeds
in one process, and per seed; everything that is traced and compiled before the first episode ends, the evaluation
included; the process's peak memory. CPU seconds, because other programs disturb them little; on an accelerator it is wall
time. The original's numbers are wall seconds of one process on one thread of a machine of this kind. ``--cases ipd`` runs
the cases whose name contains it, and each case runs in a process of its own (so that peak memory is its own).
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from common.cli import StrictParser, UserError, run_main
from iqflow.config.loading import parse
from iqflow.trainer.program import QUICKLY_COMPILED, choose_device
from iqflow.trainer.training import Trainer


@dataclass(frozen=True)
class Case:
    """A configuration, seeds side by side, episodes timed, and the original's seconds."""

    name: str
    words: str
    seeds: int
    episodes: int
    original: float  # seconds per episode of one seed
    original_compile: float


IPD = "--alg qflow --exp ipd --config config_img_qflow"
ER = "--alg qflow --exp er --config config_er_qflow"
SSD = "--alg qflow --exp ssd --config config_ssd_qflow"
CASES = (
    Case("IQ-Flow ipd", IPD, 1, 300, 0.0168, 54),
    Case("IQ-Flow ipd", IPD, 5, 300, 0.0168, 54),
    Case("IQ-Flow er (5,2)", ER, 1, 100, 0.048, 348),
    Case("IQ-Flow er (5,2)", ER, 5, 100, 0.048, 348),
    Case("IQ-Flow er (10,5)", "--alg qflow --exp er --config config_er_qflow2", 1, 30, 0.204, 22),
    Case("ID er (5,2)", "--alg id --exp er --config config_er_id", 5, 300, 0.020, 5),
    Case("no incentive er (5,2)", "--alg pg --exp er --config config_er_pg", 5, 1000, 0.0045, 1),
    Case("IQ-Flow cleanup 7x7", SSD, 1, 20, 0.348, 110),
    Case("IQ-Flow cleanup 7x7", SSD, 5, 10, 0.348, 110),
    Case("ID cleanup 7x7", "--alg id --exp ssd --config config_ssd_id", 1, 30, 0.171, 3),
    Case("no incentive cleanup 7x7", "--alg pg --exp ssd --config config_ssd_pg", 1, 100, 0.055, 2.7),
)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    began = clock()
    result = jax.block_until_ready(work())
    return clock() - began, result


def measure(case: Case) -> str:
    """One row of the table."""
    trainer = Trainer(parse([*case.words.split(), "--n_seeds", str(case.seeds)]).settings)
    seeds = np.arange(case.seeds, dtype=np.uint32)
    make = jax.jit(trainer.fresh, compiler_options=QUICKLY_COMPILED)
    starting, states = _timed(lambda: [make(seed) for seed in seeds])
    state = jax.tree.map(lambda *leaves: np.stack(leaves), *states)
    step = jax.jit(jax.vmap(trainer.advance, in_axes=(0, None, None, None)), donate_argnums=0)
    few = np.int32(case.episodes)
    compiling, step = _timed(lambda: step.lower(state, few, False, False).compile())
    compiling += starting
    state, _ = jax.block_until_ready(step(state, few, False, False))
    times = []
    for _ in range(2):
        seconds, (state, _) = _timed(lambda state=state: step(state, few, False, False))
        times.append(seconds / case.episodes)
    best, memory = min(times), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    each = best / case.seeds
    return (
        f"{case.name:26} {case.seeds:5} {1e3 * best:12.2f} {1e3 * each:14.2f} {1e3 * case.original:12.1f} "
        f"{case.original / each:8.1f} {compiling:10.1f} {case.original_compile:10.0f} {memory:8.0f}"
    )


def body(argv: Sequence[str] | None) -> int:
    """The table, one process per row."""
    parser = StrictParser(prog="training_speed.py", description="Training speed against the original's.")
    parser.add_argument("--cases", default="", help="only the cases whose name contains this")
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="where to compute")
    options = parser.parse_args(argv)
    if options.row is not None:
        choose_device(options.device)
        print(measure(CASES[options.row]), flush=True)
        return 0
    rows = [number for number, case in enumerate(CASES) if options.cases in case.name]
    if not rows:
        raise UserError(
            f"no case contains {options.cases!r}; there are {', '.join({case.name for case in CASES})}"
        )
    print(
        f"{'':26} {'seeds':>5} {'ms/episode':>12} {'and seed':>14} {'original':>12} {'ratio':>8} {'compile s':>10} "
        f"{'original':>10} {'MiB':>8}",
        flush=True,
    )
    for number in rows:
        command = [sys.executable, __file__, "--row", str(number), "--device", options.device]
        subprocess.run(command, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(body, program="training_speed.py"))
