"""How fast the exact games run, as ratios to the released program's times on the same kind of machine.

Runs the paper's commands of Figure 3, 20 repeats each, in a process of their own, one after the other on one core, as a
person would; then shows where a process' time goes and how far the arithmetic is from the machine's limit.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common.runs import RunFolder

HOME = Path(__file__).resolve().parents[1]
COMMON = "--n_agents 2 --init_state_representation 2 --set_seed --actual_update --repeats 20"
CFS = (1.1, 1.25, 1.33, 1.4, 1.6)
PROXIMAL = "--outer_exact_prox --outer_beta"
# Seconds of the released program for 20 runs: measured whole for LOLA, otherwise its measured seconds per run times 20
# (6; the middle of 15 to 24; the middle of 25 to 50).
RELEASED = {
    "LOLA tabular": 7.5,
    "LOLA net": 54.0,
    "POLA tabular": 120.0,
    "POLA net": 390.0,
    "POLA pre-conditioned": 750.0,
}
LOLA_NET = ((1.33, 0.4, 0.05), (1.4, 0.3, 0.1), (1.6, 0.12, 0.05))
POLA_NET = (
    (1.1, 0.3, 0.03, 0.1),
    (1.25, 0.25, 0.03, 0.13),
    (1.33, 0.25, 0.02, 0.13),
    (1.4, 0.2, 0.03, 0.1),
    (1.6, 0.12, 0.03, 0.05),
)


def commands() -> dict[str, list[str]]:
    """The paper's commands for Figure 3, by row."""
    rates = "--lr_policies_inner {} --lr_policies_outer {} --base_cf_no_scale {}"
    lola = "--print_every 10 --num_epochs 30 --seed 1 " + rates
    lola_net = "--using_nn --print_every 20 --num_epochs 100 --seed 1 " + rates
    pola = f"--print_every 1 --num_epochs 2 --seed 1 {PROXIMAL} {{}} {rates}"
    matrix = f"--ill_condition --precondition opponent-defects --print_every 5 --num_epochs 10 --seed 2 {PROXIMAL} 0.5 "
    return {
        "LOLA tabular": [lola.format(3, 25, cf) for cf in CFS],
        "LOLA net": [lola_net.format(a, b, cf) for cf, a, b in LOLA_NET],
        "POLA tabular": [pola.format(0.1, a, 0.3, cf) for cf, a in zip(CFS, (5, 5, 5, 4, 2.5), strict=True)],
        "POLA net": ["--using_nn " + pola.format(beta, a, b, cf) for cf, a, b, beta in POLA_NET],
        "POLA pre-conditioned": [
            (matrix + rates).format(a, 0.05, cf) for cf, a in zip(CFS, (0.4, 0.5, 0.4, 0.3, 0.3), strict=True)
        ],
    }


def timed(words: str, root: Path) -> tuple[float, float, float]:
    """Wall seconds and processor seconds of a command's process, and the seconds of its run alone."""
    before, began = os.times(), time.monotonic()
    command = [sys.executable, "LOLA_exact.py", *shlex.split(words), "--run_root", str(root)]
    subprocess.run(command, cwd=HOME, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.monotonic() - began, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    newest = max(root.iterdir(), key=lambda path: path.stat().st_mtime)
    return wall, used, RunFolder.read(newest).record["seconds"]


def measure(root: Path) -> None:
    """Time every command and print the table."""
    form = "{:22} {:>8} {:>11} {:>10} {:>7} {:>14} {:>12}".format
    print(form("row", "commands", "released", "ours", "ratio", "processor time", "in the runs"))
    totals, count = [0.0] * 4, 0

    def show(name: str, number: int, released: float, wall: float, used: float, inside: float) -> None:
        ratio = f"{released / wall:.0f}x"
        print(
            form(
                name,
                number,
                f"{released:.0f} s",
                f"{wall:.1f} s",
                ratio,
                f"{used:.1f} s",
                f"{inside:.1f} s",
            ),
            flush=True,
        )

    for row, words in commands().items():
        times = [timed(f"{COMMON} {one}", root) for one in words]
        sums = [RELEASED[row] * len(words), *(sum(column) for column in zip(*times, strict=True))]
        show(row, len(words), *sums)
        totals = [a + b for a, b in zip(totals, sums, strict=True)]
        count += len(words)
    show("Figure 3", count, *totals)
    outside = (totals[1] - totals[3]) / count
    print(f"outside its run a process spends {outside:.2f} s, almost all of it importing PyTorch")


def profile() -> None:
    """Where one outer iteration's time goes: calls of operations, and arithmetic."""
    import torch

    from pola.exact.config import parse
    from pola.exact.experiment import Experiment

    words = "--set_seed --actual_update --lr_policies_inner 5 --lr_policies_outer 0.3 --outer_exact_prox --outer_beta 0.1"
    for repeats in (20, 200, 2000):
        never = f"--repeats {repeats} --prox_threshold 1e-30 --prox_outer_max_iters 400"
        experiment = Experiment(parse(shlex.split(f"{words} {never}")))
        state = experiment.start()
        experiment.update(state)
        began = time.perf_counter()
        experiment.update(state)
        each = (time.perf_counter() - began) / 400 * 1e6
        operations = max(trace.operations for trace in experiment.updater._outer._recordings.values())
        print(
            f"outer POLA tabular, {2 * repeats:4} lanes: an iteration takes {each:.0f} us in {operations} operations, "
            f"{each / operations:.2f} us each; {1e3 * each / (2 * repeats):.0f} ns a lane"
        )
    x = torch.ones(64)
    began = time.perf_counter()
    for _ in range(100_000):
        torch.mul(x, x)
    call = (time.perf_counter() - began) * 10
    print(
        f"the cheapest PyTorch call takes {call:.2f} us: with few lanes calls are the limit, not arithmetic"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as root:
        measure(Path(root))
    profile()


if __name__ == "__main__":
    main()
