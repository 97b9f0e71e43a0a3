"""Films of trained agents: `python film.py coin --checkpoint FILE --output FILE.gif` draws one episode as a GIF."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from common.cli import StrictParser, add_film_flags, check_film_flags, run_main

MOST_STEPS = 200  # a film stays below 1 MiB


def _parser() -> argparse.ArgumentParser:
    parser = StrictParser(prog="film.py", description="Draw one episode of the Coin Game as a GIF.")
    parser.add_argument("game", choices=["coin"], help="which game")
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="agents that POLA_dice_jax.py --save_dir DIR saved"
    )
    parser.add_argument(
        "--opponent",
        default="self",
        help="who plays blue: self (the other agent of the pair), always-cooperate, always-defect, tit-for-tat, random, "
        "or another file of agents",
    )
    add_film_flags(parser, f"1 to {MOST_STEPS}; left out: as long as in training", fps=3.0)
    return parser


def body(argv: Sequence[str] | None = None) -> int:
    """Command line to film."""
    options = _parser().parse_args(argv)
    check_film_flags(options, MOST_STEPS)
    os.environ.setdefault("NPROC", "1")  # see `pola.dice.program.choose_device`
    os.environ.setdefault(
        "JAX_PLATFORMS", "cpu"
    )  # one short episode is slower on a GPU than the GPU takes to start
    from common import gif
    from pola.film import drawing, episode

    agents = episode.load(options.checkpoint)
    other = episode.opponent(options.opponent, agents, options.checkpoint)
    steps = options.steps or min(agents.steps, MOST_STEPS)
    played = episode.play(agents, other, options.seed, steps)
    size = gif.save(drawing.frames(played), options.output, options.fps)
    for player, (colour, name) in enumerate(zip(drawing.NAMES, played.names, strict=True)):
        total, (own, others) = played.rewards[:, player].sum(), played.taken(steps, player)
        print(f"{colour} {name}: return {total:+.0f}, coins taken: own {own}, the other's {others}")
    print(f"{options.output}: {steps + 1} frames, {size / 1024:.0f} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(body, program="film.py"))
