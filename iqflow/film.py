"""Films: `python film.py cleanup --checkpoint FILE --output FILE.gif` draws one episode of Cleanup as a GIF.

`python film.py escape-room ...` draws episodes of Escape Room, which last one to five steps, one after the other.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from common.cli import StrictParser, UserError, add_film_flags, check_film_flags, run_main

#: of each game; a film stays below 1 MiB. A step of Escape Room changes most of the picture, and may take two frames
MOST_STEPS = {"cleanup": 200, "escape-room": 50}


def _parser() -> argparse.ArgumentParser:
    parser = StrictParser(
        prog="film.py",
        description="Draw an episode of Cleanup, or some of Escape Room, as a GIF with the incentives that a mechanism pays.",
    )
    parser.add_argument("game", choices=list(MOST_STEPS), help="which game")
    parser.add_argument(
        "--checkpoint", type=Path, help="a mechanism and its followers: .../agents/agents_EPISODE"
    )
    parser.add_argument(
        "--agents",
        help="one word per agent, separated by commas: follower (of the checkpoint), random; in Cleanup cleaner, harvester, "
        "idle, A1, A2, A3; in Escape Room lever, start, door; left out: the followers, or without a checkpoint a cleaner "
        "and a harvester, or two at the lever and three at the door",
    )
    parser.add_argument(
        "--map", help="of Cleanup, without a checkpoint: which map (left out: cleanup_small_sym)"
    )
    add_film_flags(
        parser,
        "1 to 200; left out: as long as in training; in Escape Room 1 to 50, left out: 12",
        fps=None,
        fps_help="steps a second; left out: 5, in Escape Room, where more is to be read, 1",
    )
    return parser


def _check(options: argparse.Namespace) -> None:
    check_film_flags(options, MOST_STEPS[options.game])
    if options.checkpoint and options.map:
        raise UserError("--map is for films without --checkpoint; a checkpoint brings its own map")
    if options.map and options.game == "escape-room":
        raise UserError("--map is for cleanup; Escape Room has none")


def _paid(incentives, agent: int) -> str:
    return "" if incentives is None else f", incentives {incentives[:, agent].sum():.1f}"


def _cleanup(options: argparse.Namespace) -> tuple[int, int]:
    """Film an episode of Cleanup; returns how many frames, and their size in bytes."""
    from common import gif
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
    steps = options.steps or min(env.max_steps, MOST_STEPS["cleanup"])
    played = episode.play(env, words, saved, options.seed, steps)
    frames = drawing.frames(played)
    size = gif.save(frames, options.output, options.fps or 5.0)
    for agent, name in enumerate(words):
        paid = _paid(played.incentives, agent)
        print(
            f"{agent + 1} {name}: reward {played.rewards[:, agent].sum():+g}, cleaned {played.cleaned[:, agent].sum()}{paid}"
        )
    return len(frames), size


def _escape_room(options: argparse.Namespace) -> tuple[int, int]:
    """Film episodes of Escape Room; returns how many frames, and their size in bytes."""
    from common import gif
    from iqflow.film import escape_drawing, escape_room

    saved = escape_room.trained(options.checkpoint) if options.checkpoint else None
    env, words = escape_room.chosen(options.agents.split(",") if options.agents else None, saved)
    played = escape_room.play(env, words, saved, options.seed, options.steps or escape_room.STEPS)
    frames = escape_drawing.frames(played)
    size = gif.save(frames, options.output, options.fps or 1.0)
    for agent, name in enumerate(words):
        pulls = int((played.actions[:, agent] == escape_room.LEVER).sum())
        paid = _paid(played.incentives, agent)
        print(
            f"{agent + 1} {name}: reward {played.rewards[:, agent].sum():+g}, at the lever {pulls} times{paid}"
        )
    totals = played.complete()
    if totals:
        print(
            f"{len(totals)} whole episodes: reward together {sum(totals) / len(totals):.1f} each on average"
        )
    return len(frames), size


def body(argv: Sequence[str] | None = None) -> int:
    """Command line to film."""
    options = _parser().parse_args(argv)
    _check(options)
    os.environ.setdefault("NPROC", "1")  # see `iqflow.trainer.program`
    os.environ.setdefault(
        "JAX_PLATFORMS", "cpu"
    )  # one short episode is slower on a GPU than a GPU takes to start
    frames, size = {"cleanup": _cleanup, "escape-room": _escape_room}[options.game](options)
    print(f"{options.output}: {frames} frames, {size / 1024:.0f} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(body, program="film.py"))
