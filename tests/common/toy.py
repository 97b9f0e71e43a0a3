"""A paper of a few lines, written into a temporary folder, to test the house with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

CONFIG = '''
"""Command line of the toy."""
import dataclasses
from pathlib import Path
from common.cli import StrictParser, UserError

@dataclasses.dataclass(frozen=True)
class Config:
    steps: int
    drift: float
    seed: int
    run_root: Path
    device: str
    pause: float

    def identity(self):
        return {"steps": self.steps, "drift": self.drift, "seed": self.seed}

def parse(argv):
    parser = StrictParser(prog="walk.py")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--drift", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run_root", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pause", type=float, default=0.0)
    config = Config(**vars(parser.parse_args(argv)))
    if config.steps > 10**6:
        raise UserError("steps is too large; at most 1000000")
    return config
'''

SCRIPT = '''
"""A random walk that can be killed at any step."""
import sys, time
from pathlib import Path
import numpy as np
from common.cli import run_main
from common.runs import RunFolder, RunSpec, source_digest
from toy.config import parse

def body(argv):
    config = parse(argv)
    here = Path(__file__).resolve()
    spec = RunSpec("walk.py", config.identity(), source_digest(here, [here.parent]))
    run = RunFolder.open(config.run_root, spec, sys.argv, config.device)
    if run.finished:
        return 0
    rng = np.random.default_rng(config.seed)
    state, start = np.zeros(3), 0
    saved = run.restore()
    if saved:
        state, start = saved.arrays["state"], saved.step
        rng.bit_generator.state = saved.meta["rng"]
    for step in range(start, config.steps):
        state = state + rng.normal(size=3) + config.drift
        run.log({"step": step, "state": state})
        time.sleep(config.pause)
        if step % 5 == 4:
            run.checkpoint(step + 1, {"state": state}, {"rng": rng.bit_generator.state})
        run.progress(step + 1, config.steps)
    if config.drift < 0:
        raise RuntimeError("a drift below zero breaks the toy")
    run.finish({"end": state})
    return 0

if __name__ == "__main__":
    sys.exit(run_main(body, program="walk.py"))
'''

MANIFEST = """
title = "A walk"
paper = "Figure 1"
[profile.smoke]
about = "two steps"
extra = "--steps 2"
[profile.quick]
about = "short"
seeds = "1-2"
[profile.paper]
about = "long"
seeds = "1-3"
[[run]]
name = "up"
script = "walk.py"
args = "--drift 0.5"
quick = "--drift 0.5 --steps {steps} --pause {pause}"
seconds = {{ quick = 5 }}
[[claim]]
id = "rises"
text = "the walk rises"
paper = "0.5 a step"
expect = {{ {expect} }}
{extra}
"""

FIGURE = """
import numpy as np
from common import plotting
from common.verdicts import Measurement

def tabulate(runs):
    return [{"seed": run.config["seed"], "step": row["step"], "mean": float(np.mean(row["state"]))}
            for run in runs.get("up", []) for row in run.metrics()]

def draw(rows):
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots()
    axes.plot([row["step"] for row in rows], [row["mean"] for row in rows])
    return figure

def measure(rows):
    if not rows:
        return {}
    last = max(row["step"] for row in rows)
    ends = [row["mean"] for row in rows if row["step"] == last]
    return {"rises": Measurement(float(np.mean(ends)), n=len(ends))}
"""


def make(
    root: Path, *, steps: int = 20, pause: float = 0.0, expect: str = "at_least = 3", extra: str = ""
) -> Path:
    """Write the paper `toy` below `root`; returns `root`."""
    for folder in ("toy/toy", "toy/figures"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    manifest = MANIFEST.format(steps=steps, pause=pause, expect=expect, extra=extra)
    programs = "from toy.config import parse\nPROGRAMS = {'walk.py': parse}\n"
    files = {
        "toy/toy/__init__.py": "",
        "toy/toy/config.py": CONFIG,
        "toy/toy/programs.py": programs,
        "toy/walk.py": SCRIPT,
        "toy/figures/line.toml": manifest,
        "toy/figures/line.py": FIGURE,
    }
    for name, text in files.items():
        (root / name).write_text(text)
    return root


def command(root: Path, *words: str) -> tuple[list[str], dict[str, str]]:
    """The command line and environment of ``common.figures`` on the toy."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{root / 'toy'}"}
    return [sys.executable, "-m", "common.figures", *words, "--root", str(root)], environment


def call(root: Path, *words: str) -> subprocess.CompletedProcess:
    argv, environment = command(root, *words)
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120)
