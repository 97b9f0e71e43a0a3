"""Films: `python film.py cleanup --checkpoint FILE --output FILE.gif` draws one episode of Cleanup as a GIF."""

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from common.cli import StrictParser, UserError, run_main

MOST_STEPS = 200  # a film stays below 1 MiB


def _parser() -> argparse.ArgumentParser:
    parser = StrictParser(
        prog="film.py",
        description="Draw one episode of Cleanup as a GIF, with the incentives that a mechanism pays.",
    )
    parser.add_argument("game", choices=["cleanup"], help="which game")
    parser.add_argument(
        "--checkpoint", type=Path, help="a mechanism and its followers: .../agents/agents_EPISODE"
    )
    parser.add_argument("--output", type=Path, required=True, help="the GIF to write")
    parser.add_argument(
        "--agents",
        help="one word per agent, separated by commas: follower (of the checkpoint), cleaner, harvester, random, idle, "
        "A1, A2, A3; left out: the followers, or without a checkpoint a cleaner and a harvester",
    )
    parser.add_argument("--map", help="without a checkpoint: which map (left out: cleanup_small_sym)")
    parser.add_argument("--seed", type=int, default=0, help="of the episode")
    parser.add_argument("--steps", type=int, help=f"1 to {MOST_STEPS}; left out: as long as in training")
    parser.add_argument("--fps", type=float, default=5.0, help="steps a second")
    return parser


def _check(options: argparse.Namespace) -> None:
    if options.steps is not None and not 1 <= options.steps <= MOST_STEPS:
        raise UserError(f"--steps {options.steps}; it has to be 1 to {MOST_STEPS}")
    if not (math.isfinite(options.fps) and 0.2 <= options.fps <= 50):
        raise UserError(f"--fps {options.fps:g}; it has to be 0.2 to 50")
    if not 0 <= options.seed < 2**32:
        raise UserError(f"--seed {options.seed}; it has to be 0 to {2**32 - 1}")
    if options.output.suffix != ".gif":
        raise UserError(f"--output {options.output}; a film is a GIF, so the name has to end in .gif")
    if options.checkpoint and options.map:
        raise UserError("--map is for films without --checkpoint; a checkpoint brings its own map")


def _body(argv: Sequence[str] | None) -> int:
    options = _parser().parse_args(argv)
    _check(options)
    os.environ.setdefault("NPROC", "1")  # see `iqflow.trainer.program`
    os.environ.setdefault(
        "JAX_PLATFORMS", "cpu"
    )  # one short episode is slower on a GPU than a GPU takes to start
    from iqflow.film import drawing, episode

    saved = episode.trained(options.checkpoint) if options.checkpoint else None
    words = options.agents.split(",") if options.agents else None
    if saved is None:
        words = words or ["cleaner", "harvester"]
        env = episode.untrained(options.map or "cleanup_small_sym", len(words))
    else:
        env = saved.env
        words = words or [episode.FOLLOWER] * env.n_agents
    words = episode.chosen(words, env, saved)
    steps = options.steps or min(env.max_steps, MOST_STEPS)
    played = episode.play(env, words, saved, options.seed, steps)
    size = drawing.save(played, options.output, options.fps)
    for agent, name in enumerate(words):
        paid = "" if played.incentives is None else f", incentives {played.incentives[:, agent].sum():.1f}"
        print(
            f"{agent + 1} {name}: reward {played.rewards[:, agent].sum():+g}, cleaned {played.cleaned[:, agent].sum()}{paid}"
        )
    print(f"{options.output}: {steps + 1} frames, {size / 1024:.0f} KiB")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_main(_body, argv, program="film.py")


if __name__ == "__main__":
    sys.exit(main())
