"""The program's command line, understood without playing anything."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.cli import StrictParser, UserError, add_run_flags
from tournament.entrants import CLASSICS
from tournament.game import payoffs_of
from tournament.player_file import PlayerFile, read_all

PROGRAM = "play.py"
HOME = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Config:
    """A tournament.

    Attributes:
        players: read from the files; classics: names in the Axelrod library.
        game: key of `common.matrix_games.GAMES`; discount: probability of another round.
        rounds: where a sampled match is cut; repetitions: sampled matches a pair.
        generations: of the ecological tournament.
    """

    players: tuple[PlayerFile, ...]
    classics: tuple[str, ...]
    game: str
    discount: float
    rounds: int
    repetitions: int
    generations: int
    seed: int
    run_root: str
    device: str

    def identity(self) -> dict[str, Any]:
        """What a run is addressed by; the players by the content of their files."""
        return {
            "players": {player.name: player.digest for player in self.players},
            "classics": list(self.classics),
            "game": self.game,
            "discount": self.discount,
            "rounds": self.rounds,
            "repetitions": self.repetitions,
            "generations": self.generations,
            "seed": self.seed,
        }


def parser() -> argparse.ArgumentParser:
    """The program's flags."""
    found = StrictParser(
        prog=PROGRAM, description="Everybody against everybody in the iterated prisoner's dilemma."
    )
    found.add_argument(
        "--players",
        nargs="+",
        default=["players"],
        help="player files, or folders of them; a relative path is looked for here, then in the tournament's folder",
    )
    found.add_argument(
        "--classics",
        nargs="*",
        default=list(CLASSICS),
        help="strategies of the Axelrod library by their names there",
    )
    found.add_argument(
        "--game", default="stackelberg/prisoners_dilemma", help="a prisoner's dilemma of common.matrix_games"
    )
    found.add_argument("--discount", type=float, default=0.96, help="probability of another round")
    found.add_argument("--rounds", type=int, default=150, help="where a sampled match is cut")
    found.add_argument(
        "--repetitions", type=int, default=100, help="matches of a pair that has to be sampled"
    )
    found.add_argument("--generations", type=int, default=300, help="of the ecological tournament")
    found.add_argument("--seed", type=int, default=1, help="of the sampled matches")
    # there is nothing here for a GPU
    add_run_flags(found, "tournament", device="cpu", devices=("cpu",))
    return found


def parse(argv: Sequence[str] | None = None) -> Config:
    """Understand a command line and read the player files.

    Raises:
        UserError: anything in them that can't be.
    """
    options = parser().parse_args(argv)
    if not 0 <= options.discount < 1:
        raise UserError(f"--discount {options.discount}; it has to be at least 0 and below 1")
    for name, least in (("rounds", 1), ("repetitions", 2), ("generations", 1), ("seed", 0)):
        value = getattr(options, name)
        if not least <= value < 2**31:
            raise UserError(f"--{name} {value}; it has to be a whole number from {least} to {2**31 - 1}")
    payoffs_of(options.game)
    unknown = [name for name in options.classics if name not in CLASSICS]
    if unknown:
        raise UserError(f"--classics {unknown[0]}; there are {', '.join(CLASSICS)}")
    players = read_all([_found(path) for path in options.players])
    names = [player.name for player in players] + [name.lower() for name in options.classics]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"two who take part are called {twice[0]}")
    return Config(
        players=tuple(players),
        classics=tuple(options.classics),
        game=options.game,
        discount=options.discount,
        rounds=options.rounds,
        repetitions=options.repetitions,
        generations=options.generations,
        seed=options.seed,
        run_root=options.run_root,
        device=options.device,
    )


def _found(path: str) -> Path:
    """The figures' runner resolves commands in another folder than it runs them in."""
    return Path(path) if Path(path).exists() else HOME / path
