"""Films of trained agents: `python film.py spread --checkpoint expert --output FILE.gif` draws one episode as a GIF."""

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from common.cli import StrictParser, UserError, run_main

MOST_STEPS = 400


def _parser() -> argparse.ArgumentParser:
    parser = StrictParser(prog="film.py", description="Draw one episode of a task as a GIF.")
    parser.add_argument("game", choices=["spread", "reference", "tag", "overcooked"], help="which task")
    parser.add_argument(
        "--checkpoint",
        required=True,
        help="an agent file, or the label of a committed one: expert, rookie1, ..., trivial, or a published number",
    )
    parser.add_argument("--output", type=Path, required=True, help="the GIF to write")
    parser.add_argument(
        "--prey", default="default", help="Tag: default, random, motionless, or a file of a prey"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the episode")
    parser.add_argument(
        "--steps", type=int, help=f"1 to {MOST_STEPS}; left out: one episode (Overcooked: 100)"
    )
    parser.add_argument("--fps", type=float, default=5.0, help="steps a second")
    return parser


def body(argv: Sequence[str] | None = None) -> int:
    """Command line to film."""
    options = _parser().parse_args(argv)
    if options.steps is not None and not 1 <= options.steps <= MOST_STEPS:
        raise UserError(f"--steps {options.steps}; it has to be 1 to {MOST_STEPS}")
    if not (math.isfinite(options.fps) and 0.2 <= options.fps <= 50):
        raise UserError(f"--fps {options.fps:g}; it has to be 0.2 to 50")
    if not 0 <= options.seed < 2**32:
        raise UserError(f"--seed {options.seed}; it has to be 0 to {2**32 - 1}")
    if options.output.suffix != ".gif":
        raise UserError(f"--output {options.output}; a film is a GIF, so the name has to end in .gif")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # one short episode: a GPU takes longer to start
    os.environ.setdefault("NPROC", "1")
    from marlhf.environments import film

    played = film.play(options.game, options.checkpoint, options.prey, options.seed, options.steps)
    size = film.save(played, options.output, options.fps)
    print(f"{played.label}: return {played.total:.2f} in {played.steps} steps")
    print(f"{options.output}: {played.steps} frames, {size / 1024:.0f} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(body, program="film.py"))
