"""Films of trained agents: `python film.py spread --checkpoint expert --output FILE.gif` draws one episode as a GIF."""

import argparse
import os
import sys
from collections.abc import Sequence

from common.cli import StrictParser, add_film_flags, check_film_flags, run_main

MOST_STEPS = 400


def _parser() -> argparse.ArgumentParser:
    parser = StrictParser(prog="film.py", description="Draw one episode of a task as a GIF.")
    parser.add_argument("game", choices=["spread", "reference", "tag", "overcooked"], help="which task")
    parser.add_argument(
        "--checkpoint",
        required=True,
        help="an agent file, or the label of a committed one: expert, rookie1, ..., trivial, or a published number",
    )
    parser.add_argument(
        "--prey", default="default", help="Tag: default, random, motionless, or a file of a prey"
    )
    add_film_flags(parser, f"1 to {MOST_STEPS}; left out: one episode (Overcooked: 100)", fps=5.0)
    return parser


def body(argv: Sequence[str] | None = None) -> int:
    """Command line to film."""
    options = _parser().parse_args(argv)
    check_film_flags(options, MOST_STEPS)
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
