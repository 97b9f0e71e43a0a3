"""The command line of ``trainer/transfer.py``, resolved without computing anything."""

from __future__ import annotations

import argparse
import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.cli import StrictParser, UserError, add_run_flags, parse_seeds
from iqflow.config import loading
from iqflow.config.loading import Launch, Settings

CONFIG, SEEDS = "config_ssd_pg", "12340-12344"
#: what the followers learn from: own reward and the mechanism's incentives; everybody's reward, summed; own reward
REWARDS = ("incentive", "shared", "selfish")
#: who learns: this project's JAX actor-critic, or the Keras one that shares no code with it
FOLLOWERS = ("jax", "keras")


@dataclass(frozen=True)
class Transfer:
    """One command line, understood.

    Attributes:
        settings: environment, followers and schedule: a configuration of ``--alg pg --exp ssd``.
        mechanism: the file of a trained mechanism, or None.
        mechanism_run: words of ``train_multiprocess.py`` that train one, or (); seed s takes the one of training seed s.
        seeds, run_root, device, gpus: as in `iqflow.config.loading.Launch`.
    """

    settings: Settings
    reward: str
    followers: str
    seeds: tuple[int, ...]
    mechanism: Path | None = None
    mechanism_run: tuple[str, ...] = ()
    run_root: str = ""
    device: str = "auto"
    gpus: str = ""

    def training(self, seeds: Sequence[int]) -> Launch:
        """How the mechanisms of these seeds are trained.

        Raises:
            UserError: `mechanism_run` can't be read, or trains no mechanism of Cleanup.
        """
        taken = [
            word for word in self.mechanism_run if word.startswith(("--seed", "--n_seeds", "--run_root"))
        ]
        if taken:
            raise UserError(
                f"--mechanism_run {taken[0]}: seeds and folders are those of this command; leave it out"
            )
        own = ["--seeds", ",".join(map(str, seeds)), "--run_root", self.run_root, "--device", self.device]
        launch = loading.parse([*self.mechanism_run, *own])
        if launch.settings.alg == "pg" or launch.settings.kind != "ssd":
            raise UserError(
                "--mechanism_run has to train a mechanism of Cleanup: --alg qflow or id, --exp ssd"
            )
        return launch

    def identity(self, seed: int | None = None) -> dict[str, Any]:
        """What a run of one seed (default: the first) is addressed by; JSON. The file's content counts, not its name."""
        seed = self.seeds[0] if seed is None else seed
        plain = Launch(self.settings, "", (seed,)).identity(seed)
        source: Any = None
        if self.mechanism:
            source = {"sha256": hashlib.sha256(_content(self.mechanism)).hexdigest()}
        elif self.mechanism_run:
            source = self.training((seed,)).identity(seed)
        return plain | {"reward": self.reward, "followers": self.followers, "mechanism": source}

    def output_folder(self, seed: int) -> Path:
        """Where a seed's files go, relative to the working directory, when no run root is given."""
        return (
            Path("results/ssd_results/transfer")
            / self.settings.exp
            / f"{self.followers}_{self.reward}_{seed}"
        )


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}")
    return path.read_bytes()


def _parser() -> argparse.ArgumentParser:
    parser = StrictParser(
        prog="transfer.py",
        description="Give a trained mechanism, frozen, to fresh learners; or train them without one.",
    )
    parser.add_argument("--reward", required=True, choices=REWARDS, help="what the learners learn from")
    parser.add_argument("--followers", default="jax", choices=FOLLOWERS, help="whose implementation learns")
    parser.add_argument("--mechanism", type=Path, help="a trained mechanism: .../agents/agents_EPISODE")
    parser.add_argument(
        "--mechanism_run",
        default="",
        metavar="WORDS",
        help="instead: the words of train_multiprocess.py that train one, for every seed its own; it is trained, or "
        "found where it was trained before",
    )
    parser.add_argument(
        "--config", default=CONFIG, help="environment, followers and schedule (--alg pg --exp ssd)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=loading.SET_HELP)
    parser.add_argument("--seed", type=int, help="one seed, instead of --seeds")
    parser.add_argument("--seeds", help=f"several seeds in one process; left out: {SEEDS}")
    add_run_flags(parser, "iqflow")
    return parser


def _seeds(options: argparse.Namespace) -> tuple[int, ...]:
    if options.seed is not None and options.seeds is not None:
        raise UserError("--seed and --seeds exclude each other")
    seeds = (options.seed,) if options.seed is not None else parse_seeds(options.seeds or SEEDS)
    if min(seeds) < 0 or max(seeds) >= 2**32:
        raise UserError("a seed is a whole number from 0 to 4294967295")
    return seeds


def _check_mechanism(options: argparse.Namespace) -> None:
    given = [f"--{name}" for name in ("mechanism", "mechanism_run") if getattr(options, name)]
    if options.reward != "incentive" and given:
        raise UserError(f"{given[0]} is not read with --reward {options.reward}; leave it out")
    if options.reward == "incentive" and len(given) != 1:
        raise UserError("--reward incentive needs one of --mechanism FILE and --mechanism_run WORDS")


def _settings(options: argparse.Namespace) -> Settings:
    words = list(options.set)
    if any(word.startswith("pg.shared_reward") for word in words):
        raise UserError("pg.shared_reward is set by --reward shared; leave it out")
    if options.reward == "shared":
        words.append("pg.shared_reward=true")
    tree = loading.override(loading.read_tree(options.config), words)
    settings = loading.resolve(options.config, tree, "pg", "ssd")
    if settings.method.centralized:
        raise UserError("pg.centralized is for one controller; a mechanism pays every agent by itself")
    if settings.main.agent_reset_period:
        raise UserError("main.agent_reset_period has to be 0: the learners are fresh from the start")
    return settings


def parse(argv: Sequence[str] | None = None) -> Transfer:
    """Understand a command line of ``transfer.py``.

    Raises:
        UserError: what is asked for does not go together, or a key or value that can't be.
        SystemExit: a wrong flag, with code 2.
    """
    options = _parser().parse_args(argv)
    _check_mechanism(options)
    transfer = Transfer(
        settings=_settings(options),
        reward=options.reward,
        followers=options.followers,
        seeds=_seeds(options),
        mechanism=options.mechanism,
        mechanism_run=tuple(shlex.split(options.mechanism_run)),
        run_root=options.run_root,
        device=options.device,
    )
    if transfer.mechanism_run:
        transfer.training(transfer.seeds)
    return transfer
