"""Player files for the tournament: what each paper's ``write_players.py`` does with its recipes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.checkpoints import write_atomically
from common.cli import StrictParser
from common.runs import RunFolder, RunSpec, source_digest

#: first entry of every player file; tournament/README.md says what such a file holds
FORMAT = "opponent-shaping-player/1"


@dataclass(frozen=True)
class Recipe:
    """A command and the players that come of it.

    Attributes:
        group: name of the recipe, first part of the players' names.
        args: of the command; seeds: one run and one player each, its first agent.
    """

    group: str
    label: str
    about: str
    args: str
    seeds: tuple[int, ...]


def finished_run(
    home: Path, script: str, parse: Callable[[Sequence[str]], Any], words: Sequence[str], root: Path
) -> RunFolder:
    """The finished run of a paper's command; trains it where it is missing.

    Args: `home` the paper's folder, `parse` the script's own parser (its ``PROGRAMS`` entry), `root` the folder of runs.
    """
    source = source_digest(home / script, [home, home.parent])
    folder = root / RunSpec(script, parse(words).identity(), source).address
    if not RunFolder.read(folder).finished:
        command = [sys.executable, script, *words, "--run_root", str(root), "--device", "cpu"]
        subprocess.run(command, cwd=home, check=True)
    return RunFolder.read(folder)


def write(players: Iterable[Mapping[str, Any]], target: Path) -> list[Path]:
    """Write each player into ``<target>/<name>.json``; returns the files."""
    files = []
    for player in players:
        files.append(target / f"{player['name']}.json")
        write_atomically(files[-1], json.dumps(player, indent=1).encode() + b"\n")
        print(f"wrote {files[-1].name}: {player['about']}")
    return files


def program(home: Path, make: Callable[[Path, Path], Any], argv: Sequence[str] | None) -> int:
    """The command line of ``write_players.py``: `make` gets the folder of the runs and that of the player files."""
    parser = StrictParser(
        prog="write_players.py", description="Write this paper's players for the tournament."
    )
    runs, files = home.parent / "results" / home.name / "runs", home.parent / "tournament" / "players"
    parser.add_argument("--run_root", type=Path, default=runs, help="folder of the runs")
    parser.add_argument("--players", type=Path, default=files, help="folder of the player files")
    options = parser.parse_args(argv)
    make(options.run_root.resolve(), options.players)
    return 0
