"""Command line of the league's program: flags in, frozen values out (no JAX is imported here)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from common.cli import DEVICES, StrictParser, UserError, add_run_flags

PROGRAM = "run_league.py"
MODES = {
    "all": "every pair",
    "self_play": "every agent with itself",
    "trained_opponent": "pairs of two trained agents",
    "random_opponent": "pairs with the random player",
    "ablation": "pairs whose first agent is an ablation (LOQA-noRB, LOQA-noSP, or a name with 'ablation')",
    "ablation_2": "pairs whose second agent is one",
    "mfos": "pairs with an M-FOS agent",
    "advantage_alignment": "pairs with an agent of a follow-up (family AA...)",
}


@dataclass(frozen=True)
class League:
    """`main`: play a league, or one pair of it."""

    league_name: str  # folder of the results
    agents: str  # folder of agents; "": scripted players only
    league_mode: str  # a key of MODES, or "" for one pair
    agent1: str
    agent2: str
    batch_size: int  # games per pair
    trace_length: int  # steps per game
    seed: int
    mfos_memory: str  # reset or carried
    episode_logs: bool
    device: str

    @property
    def label(self) -> str:
        """What the names of the result files begin with."""
        return self.league_mode or f"{self.agent1}_vs_{self.agent2}"


@dataclass(frozen=True)
class Merge:
    """`merge`: put the files of separately played pairs together."""

    league_name: str


@dataclass(frozen=True)
class Probe:
    """`test_trained_agent_loader`: train a best response against one agent."""

    agent: str
    agents: str
    iterations: int
    batch_size: int
    trace_length: int
    hidden_size: int
    learning_rate: float
    entropy_beta: float
    reward_discount: float
    eval_every: int
    seed: int
    run_root: str
    device: str


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return text.lower() == "true"


def _whole(least: int, most: int = 2**31 - 1):
    def number(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return number


def _real(above: float):
    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not above < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is no number above {above:g}")
        return value

    return number


def _flag(parser: argparse.ArgumentParser, name: str, words: str) -> None:
    parser.add_argument(name, nargs="?", const=True, default=False, type=_truth, help=words)


def _add_main(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--league_name",
        required=True,
        help="folder of the results; a league that was interrupted there goes on",
    )
    add(
        "--agents",
        default="",
        help="folder of agents (see loqa/league/loaders.py); empty: scripted players only",
    )
    modes = "; ".join(f"{name}: {words}" for name, words in MODES.items())
    add("--league_mode", choices=list(MODES), help=modes)
    add("--agent1", default="", help="with --agent2: play one pair, this agent in seat 0")
    add("--agent2", default="", help="the agent in seat 1")
    add("--batch_size", type=_whole(1), default=32, help="games per pair")
    add(
        "--trace_length",
        type=_whole(1),
        default=50,
        help="steps per game (the paper: 16 in pairs with M-FOS)",
    )
    _flag(parser, "--debug_mode", "2 games of 5 steps")
    add("--seed", type=_whole(0, 2**32 - 1), default=2, help="random key of every pair")
    add(
        "--mfos_memory",
        choices=["reset", "carried"],
        default="reset",
        help="carried: as in the original, M-FOS agents keep their recurrent state from game to game",
    )
    _flag(
        parser, "--episode_logs", "also write every game (states, actions, rewards) to MODE_episode_logs.npz"
    )
    add("--device", choices=DEVICES, default="auto", help="where to compute")


def _add_probe(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--agent", default="Always Cooperate", help="name of the agent to respond to")
    add("--agents", default="", help="folder of agents (see loqa/league/loaders.py)")
    add("--iterations", type=_whole(1), default=1000, help="updates of the best response")
    add("--batch_size", type=_whole(1), default=128, help="games per update")
    add("--trace_length", type=_whole(2), default=50, help="steps per game")
    add("--hidden_size", type=_whole(1), default=32, help="width of both recurrent heads")
    add("--learning_rate", type=_real(0), default=3e-3, help="of Adam, for both heads")
    add("--entropy_beta", type=_real(-1e-9), default=0.02, help="entropy bonus")
    add("--reward_discount", type=_real(0), default=0.96, help="gamma")
    add("--eval_every", type=_whole(1), default=20, help="updates between logged returns")
    add("--seed", type=_whole(0, 2**32 - 1), default=1, help="seed")
    add_run_flags(parser, "loqa")


def _parser() -> tuple[StrictParser, dict[str, StrictParser]]:
    """The program's parser, and those of its commands by name."""
    parser = StrictParser(prog=PROGRAM, description="The Coin Game league on 3 x 3 cells.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_main(commands.add_parser("main", help="play a league, or one pair of it"))
    merge = commands.add_parser("merge", help="put the files of separately played pairs together")
    merge.add_argument("--league_name", required=True, help="folder of the results")
    name = "test_trained_agent_loader"
    _add_probe(commands.add_parser(name, help="train a best response against one agent"))
    return parser, commands.choices


def parse(argv: Sequence[str] | None = None) -> League | Merge | Probe:
    """Read a command line; `--x=y` and `--x y` are the same.

    Raises:
        UserError: flags that exclude or need each other.
        SystemExit: an unknown flag or a wrong value (exit code 2, one line on stderr).
    """
    parser, commands = _parser()
    found, left = parser.parse_known_args(argv)
    if left:
        commands[found.command].error(f"unrecognized arguments: {' '.join(left)}")
    options = vars(found)
    command = options.pop("command")
    if command == "merge":
        return Merge(**options)
    if command != "main":
        if not options["reward_discount"] <= 1:
            raise UserError(f"--reward_discount {options['reward_discount']:g}; it has to be at most 1")
        return Probe(**options)
    if options.pop("debug_mode"):
        options |= {"batch_size": 2, "trace_length": 5}
    if options["league_mode"] and (options["agent1"] or options["agent2"]):
        raise UserError("--league_mode plays many pairs, --agent1 and --agent2 one; give either")
    if not options["league_mode"] and not (options["agent1"] and options["agent2"]):
        raise UserError("give --league_mode, or both --agent1 and --agent2")
    return League(**options | {"league_mode": options["league_mode"] or ""})
