"""Command lines: strict flags, errors of one line, seed lists."""

from __future__ import annotations

import argparse
import difflib
import errno
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

_REASONS = {
    errno.ENOSPC: "no space left on the disk; free some and run the same command again, nothing is lost",
    errno.EDQUOT: "the disk quota is used up; free some and run the same command again, nothing is lost",
    errno.EROFS: "the folder is read-only; choose a folder that can be written",
    errno.EACCES: "permission denied; choose a folder that can be written",
    errno.ENOTDIR: "a file stands where a folder is needed; move it away or choose another folder",
}
DEVICES = ("auto", "cpu", "cuda")


class UserError(Exception):
    """Something the person at the keyboard can mend; its text names what is wrong and what would be right."""


def nearest(name: Any, known: Iterable[str], form: str = "{!r}") -> str:
    """The end of a refusal of `name`: the nearest of `known`, written like `form`, or all of them if none is near."""
    known = list(known)
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean {form.format(close[0])}?" if close else f"there are {', '.join(known)}"


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Says a flag's default where there is one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        nothing = action.default is None or action.default is False or action.default in ("", [])
        return action.help if nothing else super()._get_help_string(action)


class StrictParser(argparse.ArgumentParser):
    """An argument parser without abbreviations whose errors are one line on stderr and exit code 2."""

    def __init__(self, *args, **kwargs):
        kwargs.setdefault("formatter_class", _Help)
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        known = [option for action in self._actions for option in action.option_strings]
        unknown = re.match(r"unrecognized arguments: (--[^\s=]+)", message)
        if unknown:
            close = difflib.get_close_matches(unknown[1], known, n=1)
            hint = f"did you mean {close[0]}?" if close else "--help lists every flag"
            message = f"unknown flag {unknown[1]}; {hint}"
        self.exit(2, f"{self.prog}: {message}\n")


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read a seed list such as ``1-10`` or ``1,3,7-9``.

    Raises:
        UserError: the text is empty, repeats a seed or is not of that form.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            raise UserError(
                f"seeds {text!r} can't be read at {part.strip()!r}; write for example 1-10 or 1,3,7-9"
            )
        seeds.extend(range(first, last + 1))
    if len(set(seeds)) != len(seeds):
        raise UserError(f"seeds {text!r} name a seed twice")
    return tuple(seeds)


def add_run_flags(
    parser: argparse.ArgumentParser, paper: str, device: str = "auto", devices: Sequence[str] = DEVICES
) -> None:
    """``--run_root`` and ``--device``, which every training program has."""
    parser.add_argument("--run_root", default="", help=f"folder of the runs; empty: results/{paper}/runs")
    parser.add_argument("--device", default=device, choices=devices, help="where to compute")


def add_film_flags(
    parser: argparse.ArgumentParser, steps: str, fps: float | None, fps_help: str = "steps a second"
) -> None:
    """``--output``, ``--seed``, ``--steps`` (`steps` is its help) and ``--fps``, which every film has."""
    parser.add_argument("--output", type=Path, required=True, help="the GIF to write")
    parser.add_argument("--seed", type=int, default=0, help="of the episode")
    parser.add_argument("--steps", type=int, help=steps)
    parser.add_argument("--fps", type=float, default=fps, help=fps_help)


def check_film_flags(options: argparse.Namespace, most_steps: int) -> None:
    """Whether a film can be what the flags of `add_film_flags` say.

    Raises:
        UserError: it can't.
    """
    if options.steps is not None and not 1 <= options.steps <= most_steps:
        raise UserError(f"--steps {options.steps}; it has to be 1 to {most_steps}")
    if options.fps is not None and not 0.2 <= options.fps <= 50:
        raise UserError(f"--fps {options.fps:g}; it has to be 0.2 to 50")
    if not 0 <= options.seed < 2**32:
        raise UserError(f"--seed {options.seed}; it has to be 0 to {2**32 - 1}")
    if options.output.suffix != ".gif":
        raise UserError(f"--output {options.output}; a film is a GIF, so the name has to end in .gif")


def run_main(
    body: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None, *, program: str
) -> int:
    """Run a program's body and turn what a person can mend into one line on stderr and exit code 2.

    Ctrl-C gives 130. Anything else is a defect of ours and keeps its traceback.
    """
    try:
        return body(argv)
    except UserError as error:
        reason = str(error)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in _REASONS and not isinstance(error, FileNotFoundError):
            raise
        what = _REASONS.get(error.errno, "no such file or folder")
        reason = f"{error.filename}: {what}" if error.filename else what
    except KeyboardInterrupt:
        print(f"{program}: stopped; run the same command again to go on where it was", file=sys.stderr)
        return 130
    print(f"{program}: {' '.join(reason.split())}", file=sys.stderr)
    return 2
