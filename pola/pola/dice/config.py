"""Command line of the sampled games' program: flags in, a frozen configuration out (no JAX is imported here)."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.cli import StrictParser, UserError, add_run_flags, parse_seeds

PROGRAM = "POLA_dice_jax.py"
GRID_SIZE = 3

#: what may differ between two commands that compute the same numbers
PRESENTATION = frozenset(
    {
        "seeds",
        "seed_axis",
        "agent_axis",
        "device",
        "run_root",
        "print_every",
        "checkpoint_every",
        "save_dir",
        "load_dir",
        "load_prefix",
        "inspect_ipd",
    }
)

#: accepted because published commands and scripts may carry them; they did nothing in the original either
DEAD_SWITCHES = ("split_coins", "hist_one", "print_info_each_outer_step", "val_update_after_loop")
DEAD_NUMBERS = ("std",)

_ONLY_IPD = {"contrib_factor": 1.33, "init_state_coop": False, "inspect_ipd": False}
_ONLY_COIN = {"same_coin_reward": 1.0, "diff_coin_reward": 1.0, "diff_coin_cost": -2.0}
_ONLY_MODEL = {"opp_model_steps_per_batch": 1, "opp_model_data_batches": 100}
_MODEL_RATES = {"om_lr_p": "lr_out", "om_lr_v": "lr_v"}


@dataclass(frozen=True)
class Config:
    """Everything a run needs. Fields of the other game, or of an absent opponent model, are None."""

    env: str
    inner_steps: int  # K, anticipated steps of the opponent
    outer_steps: int  # M, own steps per epoch
    lr_in: float
    lr_out: float
    lr_v: float
    gamma: float
    gae_lambda: float
    n_update: int  # epochs
    rollout_len: int  # T
    batch_size: int  # B
    seeds: tuple[int, ...]
    hidden_size: int
    layers_before_gru: int
    inner_beta: float
    outer_beta: float
    rev_kl: bool
    optim: str
    persistent_adam: bool
    no_baseline: bool
    zero_vals: bool
    opp_model: bool
    opp_model_steps_per_batch: int | None
    opp_model_data_batches: int | None
    om_lr_p: float | None
    om_lr_v: float | None
    contrib_factor: float | None
    init_state_coop: bool | None
    same_coin_reward: float | None
    diff_coin_reward: float | None
    diff_coin_cost: float | None
    eval_every: int
    inspect_ipd: bool | None
    print_every: int
    checkpoint_every: int
    save_dir: str | None
    load_dir: str | None
    load_prefix: str | None
    loaded: str  # SHA-256 of the checkpoint that the run starts from, or empty
    seed_axis: str
    agent_axis: str
    device: str
    run_root: str

    def identity(self, seed: int | None = None) -> dict[str, Any]:
        """What changes the computed numbers, as JSON-able values.

        Args: `seed` one of `seeds`; may be left out where there is only one.
        """
        if seed is None:
            (seed,) = self.seeds
        fields = dataclasses.asdict(self)
        return {name: value for name, value in fields.items() if name not in PRESENTATION} | {"seed": seed}


def _parser() -> StrictParser:
    parser = StrictParser(
        prog=PROGRAM,
        description="LOLA-DiCE, POLA-DiCE and POLA-OM on the iterated prisoner's dilemma and the Coin Game.",
    )
    add = parser.add_argument
    add("--env", choices=["ipd", "coin"], default="coin", help="the game")
    add("--inner_steps", type=int, default=1, help="K, anticipated steps of the opponent")
    add("--outer_steps", type=int, default=1, help="M, own steps per epoch")
    add("--lr_in", type=float, default=0.03, help="step of the opponent's anticipated policy (SGD)")
    add("--lr_out", type=float, default=0.005, help="step of the own policy")
    add("--lr_v", type=float, default=0.001, help="step of the value nets, own and anticipated")
    add("--gamma", type=float, default=0.96, help="discount, in [0, 1)")
    add("--gae_lambda", type=float, default=1.0, help="lambda of the advantages; 1: Monte Carlo")
    add("--n_update", type=int, default=5000, help="epochs")
    add("--rollout_len", type=int, default=50, help="T, steps of an episode")
    add("--batch_size", type=int, default=4000, help="B, episodes of a rollout")
    add("--hidden_size", type=int, default=32, help="width of the networks")
    add("--layers_before_gru", type=int, choices=[0, 1, 2], default=2, help="dense layers")
    add("--inner_beta", type=float, default=0.0, help="weight of the anticipated steps' divergence")
    add("--outer_beta", type=float, default=0.0, help="weight of the own steps' divergence")
    add("--rev_kl", action="store_true", help="KL(current || reference) in both penalties")
    add("--optim", choices=["adam", "sgd"], default="adam", help="outer optimiser")
    add("--persistent_adam", action="store_true", help="keep Adam's moments over the epochs")
    add("--no_baseline", action="store_true", help="plain DiCE without value nets")
    add("--zero_vals", action="store_true", help="values count as 0 inside the advantages")
    _add_games_and_models(add)
    _add_presentation(parser)
    return parser


def _add_games_and_models(add) -> None:
    add("--opp_model", action="store_true", help="POLA-OM: learn a model of the opponent")
    add("--opp_model_steps_per_batch", "--opp_model_steps", type=int, help="model steps a rollout (1)")
    add("--opp_model_data_batches", type=int, help="rollouts for the model per epoch (100)")
    add("--om_lr_p", type=float, help="step of the model's policy (as --lr_out)")
    add("--om_lr_v", type=float, help="step of the model's value net (as --lr_v)")
    add("--contrib_factor", type=float, help="contribution factor of the dilemma, in (1, 2) (1.33)")
    add("--init_state_coop", action="store_true", default=None, help="start as after mutual cooperation")
    add("--inspect_ipd", action="store_true", default=None, help="print both agents' policies")
    add("--grid_size", type=int, default=GRID_SIZE, help="side of the board; 3 is the only one")
    # DEVIATION(Q5): the original accepted the three flags of the coins' worth and ignored them
    add("--same_coin_reward", type=float, help="own coin taken (1)")
    add("--diff_coin_reward", type=float, help="the other's coin taken (1)")
    add("--diff_coin_cost", type=float, help="own coin lost to the other (-2)")
    for name in DEAD_SWITCHES:
        add(f"--{name}", action="store_true", help="does nothing")
    for name in DEAD_NUMBERS:
        add(f"--{name}", type=float, default=None, help="does nothing")


def _add_presentation(parser: StrictParser) -> None:
    add = parser.add_argument
    add("--seed", type=int, help="seed (1)")
    add("--seeds", help="several seeds in one process, for example 1-10")
    add("--eval_every", type=int, help="epochs between evaluations (10 with one outer step, else 1)")
    add("--print_every", type=int, default=1, help="epochs between printed scores")
    add("--checkpoint_every", type=int, default=50, help="epochs between checkpoints")
    # DEVIATION(Q9): a published command has --save_dir without a folder, which the original refused
    add("--save_dir", nargs="?", const=".", help="also write checkpoints to this folder (bare: here)")
    add("--load_dir", help="folder of --load_prefix (here)")
    add("--load_prefix", help="start from this checkpoint of a --save_dir")
    add_run_flags(parser, "pola")
    add(
        "--seed_axis",
        default="auto",
        choices=["auto", "loop", "vmap"],
        help="seeds one after another or side by side; auto: a loop on a CPU",
    )
    add("--agent_axis", default="auto", choices=["auto", "loop", "vmap"], help="the same for the two agents")


def _refuse_without(options: argparse.Namespace, flags, wanted: str) -> None:
    for name in flags:
        if getattr(options, name) is not None:
            raise UserError(f"--{name} has no meaning here; it needs {wanted}")


def _check_numbers(config: Config) -> None:
    limits = {
        "inner_steps": (1, None), "outer_steps": (1, None), "n_update": (1, None), "rollout_len": (1, None),
        "batch_size": (1, None), "hidden_size": (1, None), "eval_every": (1, None), "print_every": (1, None),
        "checkpoint_every": (1, None), "opp_model_steps_per_batch": (1, None),
        "opp_model_data_batches": (1, None), "lr_in": (0, None), "lr_out": (0, None), "lr_v": (0, None),
        "om_lr_p": (0, None), "om_lr_v": (0, None), "inner_beta": (0, None), "outer_beta": (0, None),
        "gae_lambda": (0, 1), "same_coin_reward": (None, None), "diff_coin_reward": (None, None),
        "diff_coin_cost": (None, None),
    }  # fmt: skip
    for name, (low, high) in limits.items():
        value = getattr(config, name)
        if value is None:
            continue
        if not math.isfinite(value):
            raise UserError(f"--{name} {value}; it has to be a finite number")
        if (low is not None and value < low) or (high is not None and value > high):
            wanted = f"at least {low}" if high is None else f"{low} to {high}"
            raise UserError(f"--{name} {value}; it has to be {wanted}")
    if not 0 <= config.gamma < 1:
        raise UserError(f"--gamma {config.gamma}; it has to be at least 0 and below 1")
    if config.contrib_factor is not None and not 1 < config.contrib_factor < 2:
        raise UserError(
            f"--contrib_factor {config.contrib_factor}; it has to lie strictly between 1 and 2, otherwise the game is "
            "no dilemma"
        )
    if any(not 0 <= seed < 2**32 for seed in config.seeds):
        raise UserError("a seed is a whole number from 0 to 4294967295")


def _check_combinations(options: argparse.Namespace) -> None:
    if options.grid_size != GRID_SIZE:
        raise UserError(f"--grid_size {options.grid_size} does not exist; the board has 3 x 3 cells")
    if options.env == "coin":
        _refuse_without(options, _ONLY_IPD, "--env ipd")
    else:
        _refuse_without(options, _ONLY_COIN, "--env coin")
    if not options.opp_model:
        _refuse_without(options, [*_ONLY_MODEL, *_MODEL_RATES], "--opp_model")
    if options.no_baseline and options.zero_vals:
        raise UserError("--zero_vals and --no_baseline exclude each other; plain DiCE has no values to zero")
    if options.persistent_adam and options.optim != "adam":
        raise UserError("--persistent_adam needs --optim adam; sgd has no moments to keep")
    if options.seed is not None and options.seeds is not None:
        raise UserError("--seed and --seeds exclude each other")
    if options.load_dir is not None and options.load_prefix is None:
        raise UserError("--load_dir needs --load_prefix, the name of a checkpoint in it")


def find_checkpoint(folder: str | None, prefix: str) -> Path:
    """The checkpoint file that `prefix` names in `folder`: its whole name, or the start of one name only."""
    home = Path(folder or ".")
    exact = home / prefix
    if exact.is_file():
        return exact
    found = sorted(home.glob(f"{prefix}*")) if home.is_dir() and "/" not in prefix else []
    if not found:
        raise UserError(f"no checkpoint {prefix!r} in {home}; --save_dir writes them")
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:4])
        raise UserError(f"{prefix!r} names {len(found)} checkpoints in {home} ({names}); give one whole name")
    return found[0]


def _digest(options: argparse.Namespace) -> str:
    if options.load_prefix is None:
        return ""
    path = find_checkpoint(options.load_dir, options.load_prefix)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _warn_about_dead_flags(options: argparse.Namespace) -> None:
    given = [name for name in DEAD_SWITCHES if getattr(options, name)]
    given += [name for name in DEAD_NUMBERS if getattr(options, name) is not None]
    for name in given:
        print(f"{PROGRAM}: --{name} does nothing", file=sys.stderr)


def parse(argv: Sequence[str] | None = None) -> Config:
    """Read a command line.

    Raises:
        UserError: a number out of range, flags that exclude each other, a missing checkpoint.
        SystemExit: an unknown flag or a word where a number is needed (exit code 2, one line on stderr).
    """
    options = _parser().parse_args(argv)
    _check_combinations(options)
    if options.seeds is not None:
        seeds = parse_seeds(options.seeds)
    else:
        seeds = (1 if options.seed is None else options.seed,)
    if options.load_prefix is not None and len(seeds) > 1:
        raise UserError("--load_prefix starts one seed from its checkpoint; give --seed instead of --seeds")
    values = vars(options)
    defaults = dict(_ONLY_IPD if options.env == "ipd" else _ONLY_COIN)
    if options.opp_model:
        # DEVIATION(Q4): the original ignored --om_lr_p and --om_lr_v and trained its models with lr_out and
        # lr_v; here those rates are the defaults of flags that work
        defaults |= _ONLY_MODEL | {name: values[rate] for name, rate in _MODEL_RATES.items()}
    # DEVIATION(Q7): the original evaluated after every epoch; with one update an epoch that costs as much as
    # the update's own rollouts, so every tenth is evaluated unless --eval_every says otherwise
    defaults["eval_every"] = 10 if options.outer_steps == 1 else 1
    resolved = {
        name: defaults[name] if values[name] is None and name in defaults else values[name]
        for name in (field.name for field in dataclasses.fields(Config))
        if name in values
    }
    resolved |= {"seeds": seeds, "loaded": _digest(options)}
    config = Config(**resolved)
    _check_numbers(config)
    _warn_about_dead_flags(options)
    return config
