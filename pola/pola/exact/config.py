"""The command line of the exact games: the paper's flags, checked, as one frozen configuration."""

from __future__ import annotations

import argparse
import dataclasses
import math
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.cli import StrictParser, UserError

PROGRAM = "LOLA_exact.py"
RUN_ROOT = Path(__file__).resolve().parents[3] / "results" / "pola" / "runs"
NETS = ("1", "2", "3", "4")  # of `pola.exact.policies.PUBLISHED_NETS`

# Flags of the released program that never did anything there; they keep published commands working.
_DEAD_NUMBERS = (
    "--clip_epsilon",
    "--batch_size",
    "--lr_values",
    "--extra_value_updates",
    "--mnist_coop_class",
    "--mnist_defect_class",
    "--opp_model_steps_per_batch",
    "--opp_model_data_batches",
    "--om_lr_v",
    "--base_cf_scale",
)
_DEAD_WORDS = ("--theta_init_mode",)
_DEAD_SWITCHES = ("--taylor_with_actual_update",)

# What does not change a computed number.
_PRESENTATION = {"print_every", "print_prox", "print_inner", "value_plots", "checkpoint_seconds"} | {
    "run_root",
    "device",
}


@dataclass(frozen=True)
class Config:
    """One command, resolved. Rates and weights are per gradient step; numbers of steps are per epoch.

    Attributes:
        cf: contribution factor; the game pays cf times the number of contributors over two, less one's own.
        gamma: discount.
        repeats, epochs: independent runs, and updates of both agents in each.
        seed: names the random streams of all runs.
        policy: ``tabular`` or ``net``; `precondition` a matrix' name or None (tabular only).
        std: standard deviation of tabular initial logits.
        hidden, extra_layers, nonlinearity: the net; `fixed_net` one of the published ones, or None.
        stretch: factors on a net's logits in DD and in all states, or None.
        start_state: whether the start has a state of its own, rather than counting as mutual cooperation.
        horizon: number of outcomes that count, or None for the endless game.
        taylor: first-order LOLA; otherwise a real inner step.
        inner_prox, inner_weighted, inner_max: solve the inner problem to its fixed point; its KL weighted by visits.
        outer_prox, threshold, outer_max: iterate the outer problem to its fixed point.
        rounded_kl: test fixed points and model fits with the released program's rounding errors.
        plain_outer: evaluate the outer loss on plain logits, as the released code does.
        adam: outer Adam with betas (0, 0.99) in place of plain gradient descent.
        om: parameterisation of the opponent model (``tabular``, ``net``, ``preconditioned``), or None without one.
        om_rate, om_threshold: of its fit.
        engine: ``batched`` (all runs at once) or ``higher`` (one at a time through the `higher` library).
        dtype: ``float32`` or ``float64``.
    """

    cf: float
    gamma: float
    repeats: int
    epochs: int
    seed: int
    policy: str
    precondition: str | None
    std: float
    hidden: int
    extra_layers: int
    nonlinearity: str
    fixed_net: str | None
    stretch: tuple[float, float] | None
    start_state: bool
    horizon: int | None
    lr_in: float
    lr_out: float
    beta_in: float
    beta_out: float
    inner_steps: int
    outer_steps: int
    taylor: bool
    inner_prox: bool
    inner_weighted: bool
    inner_max: int
    outer_prox: bool
    threshold: float
    rounded_kl: bool
    outer_max: int
    plain_outer: bool
    adam: bool
    om: str | None
    om_matrix: str | None
    om_rate: float
    om_threshold: float
    engine: str
    dtype: str
    print_every: int
    print_prox: bool
    print_inner: bool
    value_plots: bool
    checkpoint_seconds: float
    run_root: Path
    device: str

    def identity(self) -> dict[str, Any]:
        """Everything that changes what is computed, as JSON."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in _PRESENTATION}

    @property
    def cooperation(self) -> float:
        """Discounted value of mutual cooperation, the most that both can have."""
        steps = 1 / (1 - self.gamma)
        if self.horizon is not None:
            steps *= 1 - self.gamma**self.horizon
        return (self.cf - 1) * steps


class _Once(argparse.Action):
    """Keeps the values and remembers that the flag was given."""

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, self.const if self.nargs == 0 else values)
        namespace.given = {*namespace.given, self.dest}


def number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return value


def _switch(group, *names: str, help: str) -> None:
    group.add_argument(*names, action=_Once, nargs=0, const=True, default=False, help=help)


def _add_game(parser: StrictParser) -> None:
    add = parser.add_argument
    add("--env", default="ipd", choices=["ipd"], help="the game")
    add("--n_agents_list", "--n_agents", type=int, nargs="+", default=[2], help="number of players: 2")
    add("--base_cf_no_scale", action=_Once, type=number, default=1.33, help="contribution factor")
    add("--gamma", type=number, default=0.96, help="discount")
    add("--init_state_representation", type=int, default=2, choices=[0, 1, 2], help="2: the start is a state of its own, 1: it counts as mutual cooperation")  # fmt: skip
    add("--history_len", type=int, default=1, help="remembered steps: 1")
    _switch(parser, "--exact_finite_horizon", help="count the first --rollout_len outcomes only")
    add("--rollout_len", action=_Once, type=int, default=50, help="outcomes of --exact_finite_horizon")


def _add_policy(parser: StrictParser) -> None:
    add = parser.add_argument
    _switch(parser, "--using_nn", help="net policies instead of tabular ones")
    add("--nn_hidden_size", action=_Once, type=int, default=16, help="hidden units of a layer")
    add("--nn_extra_hidden_layers", action=_Once, type=int, default=0, help="hidden layers beyond the first")
    add(
        "--nonlinearity", action=_Once, default="tanh", choices=["tanh", "lrelu"], help="lrelu has slope 0.01"
    )
    add("--custom_param", default="random", choices=["random", *"1234567", "mix"], help="published net instead of random weights: 1 to 4")  # fmt: skip
    add("--std", action=_Once, type=number, default=0.1, help="standard deviation of tabular initial logits")
    _switch(parser, "--ill_condition", help="pre-conditioned tabular policies, or nets with stretched logits")
    add("--precondition", action=_Once, default="dd", choices=["dd", "opponent-defects"], help="column of the pre-conditioning matrix: DD (released code) or I cooperated, the other defected (Figure 3)")  # fmt: skip
    add("--dd_stretch_factor", action=_Once, type=number, default=6.0, help="factor on a net's logit in DD")
    add("--all_state_stretch_factor", action=_Once, type=number, default=0.33, help="factor on all of a net's logits")  # fmt: skip


def _add_algorithm(parser: StrictParser) -> None:
    add = parser.add_argument
    _switch(parser, "--actual_update", help="real inner step; without it first-order (Taylor) LOLA")
    add("--lr_policies_inner", type=number, default=0.05, help="inner step size")
    add("--lr_policies_outer", type=number, default=0.05, help="outer step size")
    add("--inner_steps", type=int, default=1, help="inner gradient steps")
    add("--outer_steps", type=int, default=1, help="outer gradient steps of an epoch")
    add("--inner_beta", type=number, default=0.0, help="weight of the inner KL")
    add("--outer_beta", type=number, default=0.0, help="weight of the outer KL")
    _switch(parser, "--outer_exact_prox", help="iterate the outer problem to its fixed point (outer POLA)")
    _switch(parser, "--inner_exact_prox", help="solve the inner problem to its fixed point")
    _switch(parser, "--visitation_weighted_kl", help="weight that inner KL by how often states are visited")
    # DEVIATION(section 5.1): the released program asks for a KL below 1e-8, but its float32 rounding errors are larger
    # and decide when it stops: on average at 2^-25. Free of rounding errors and at that threshold, a run no longer
    # depends on the machine; `--kl_test float32` is the released test.
    add("--prox_threshold", action=_Once, type=number, help="KL at which a fixed point is found; 2^-25, or 1e-8 with --kl_test float32")  # fmt: skip
    add("--kl_test", action=_Once, default="exact", choices=["exact", "float32"], help="KL free of rounding errors, or as released")  # fmt: skip
    add("--prox_inner_max_iters", action=_Once, type=int, default=10000, help="most inner iterations")
    add("--prox_outer_max_iters", action=_Once, type=int, default=5000, help="most outer iterations")
    _switch(parser, "--outer_plain_logits", help="outer loss without the pre-conditioning, as released")
    add("--optim", default="sgd", choices=["sgd", "adam"], help="outer optimiser of nets")
    _switch(parser, "--opp_model", help="fit a model to the opponent's true policy and update against it")
    _switch(parser, "--om_exact", help="needed with --opp_model: the fit sees the exact policy")
    add("--om_threshold", action=_Once, type=number, default=1e-7, help="KL at which the fit is good enough")
    add("--om_lr_p", action=_Once, type=number, default=0.2, help="step size of the fit")
    _switch(parser, "--om_using_nn", help="the model is a net")
    _switch(parser, "--om_precond", help="the model is pre-conditioned")


def _add_run(parser: StrictParser) -> None:
    add = parser.add_argument
    add("--num_epochs", type=int, default=50001, help="updates of both agents in a run")
    add("--repeats", type=int, default=1, help="independent runs")
    _switch(parser, "--set_seed", help="use --seed; without it a seed is drawn and printed")
    add("--seed", action=_Once, type=int, default=1, help="names the random streams of all runs")
    add("--print_every", type=int, default=200, help="epochs between prints")
    _switch(parser, "--print_prox_loops_info", help="print every outer iteration")
    _switch(parser, "--print_inner_rollouts", help="print the anticipated opponents")
    _switch(parser, "--value_plots", help="draw one PNG of value curves for each run, in the run's folder")
    add("--engine", default="batched", choices=["batched", "higher"], help="all runs at once, or one by one")
    add("--dtype", default="float32", choices=["float32", "float64"], help="precision")
    add("--checkpoint_seconds", type=number, default=5.0, help="seconds between checkpoints")
    add("--run_root", type=Path, default=RUN_ROOT, help="folder of the runs")
    add("--device", default="cpu", choices=["cpu", "cuda"], help="where to compute")
    for name in _DEAD_NUMBERS:
        add(name, action=_Once, type=number, help="does nothing")
    for name in _DEAD_WORDS:
        add(name, action=_Once, help="does nothing")
    for name in _DEAD_SWITCHES:
        _switch(parser, name, help="does nothing")


def build_parser() -> StrictParser:
    """All flags, with the spellings that the published commands abbreviate to."""
    parser = StrictParser(prog=PROGRAM, description="LOLA and outer POLA with exact values.")
    parser.set_defaults(given=frozenset())
    for add in (_add_game, _add_policy, _add_algorithm, _add_run):
        add(parser)
    return parser


def require(fine: bool, message: str) -> None:
    if not fine:
        raise UserError(message)


def _check_numbers(o: argparse.Namespace) -> None:
    # DEVIATION(Q14): with more than two players the released code's payoffs and its test for tit-for-tat disagree, so
    # only two are allowed, and two is the default (theirs: 5).
    require(
        o.n_agents_list == [2],
        f"--n_agents {' '.join(map(str, o.n_agents_list))}: only the two-player game is defined; write --n_agents 2",
    )
    cf = o.base_cf_no_scale
    require(1 < cf < 2, f"--base_cf_no_scale {cf:g}; it has to lie strictly between 1 and 2")
    require(0 <= o.gamma < 1, f"--gamma {o.gamma:g}; it has to be at least 0 and below 1")
    require(o.history_len == 1, "--history_len: exact values are those of one-step memory; write 1")
    require(o.init_state_representation != 0, "--init_state_representation 0; it has to be 1 or 2")
    whole = "num_epochs repeats inner_steps outer_steps prox_inner_max_iters prox_outer_max_iters rollout_len"
    for name in [*whole.split(), "nn_hidden_size", "print_every"]:
        require(getattr(o, name) >= 1, f"--{name} {getattr(o, name)}; it has to be at least 1")
    positive = "lr_policies_inner lr_policies_outer om_lr_p prox_threshold om_threshold"
    for name in positive.split():
        value = getattr(o, name)
        require(value is None or value > 0, f"--{name} {value}; it has to be above 0")
    for name in ["inner_beta", "outer_beta", "std", "seed", "nn_extra_hidden_layers", "checkpoint_seconds"]:
        require(getattr(o, name) >= 0, f"--{name} {getattr(o, name):g}; it has to be at least 0")


def _drop_ineffective(o: argparse.Namespace, parser: StrictParser) -> None:
    """Warn of each flag that has no effect beside the others, and forget it, so that it can't name another run."""
    net, prox, inner_prox = o.using_nn, o.outer_exact_prox, o.inner_exact_prox
    nets = (net or o.om_using_nn, "--using_nn or --om_using_nn")
    stretched = (net and o.ill_condition, "--using_nn --ill_condition")
    matrix = ((o.ill_condition and not net) or o.om_precond, "--om_precond or (tabular) --ill_condition")
    fixed_point = (prox or inner_prox, "--outer_exact_prox or --inner_exact_prox")
    model = (o.opp_model, "--opp_model")
    needs = {
        "nn_hidden_size": nets,
        "nn_extra_hidden_layers": nets,
        "nonlinearity": nets,
        "dd_stretch_factor": stretched,
        "all_state_stretch_factor": stretched,
        "precondition": matrix,
        "outer_plain_logits": matrix,
        "std": (not net or (o.opp_model and not o.om_using_nn), "tabular policies"),
        "rollout_len": (o.exact_finite_horizon, "--exact_finite_horizon"),
        "prox_threshold": fixed_point,
        "kl_test": (prox or inner_prox or o.opp_model, "a fixed point or --opp_model"),
        "prox_outer_max_iters": (prox, "--outer_exact_prox"),
        "prox_inner_max_iters": (inner_prox, "--inner_exact_prox"),
        "visitation_weighted_kl": (inner_prox, "--inner_exact_prox"),
        "print_prox_loops_info": (prox, "--outer_exact_prox"),
        "om_exact": model,
        "om_threshold": model,
        "om_lr_p": model,
        "om_using_nn": model,
        "om_precond": model,
    }
    for name, (effective, partner) in needs.items():
        if name in o.given and not effective:
            print(f"{PROGRAM}: --{name} does nothing without {partner}", file=sys.stderr)
            setattr(o, name, parser.get_default(name))
    for name in ("inner_steps", "outer_steps"):
        if prox and getattr(o, name) != 1:
            print(f"{PROGRAM}: --{name} does nothing with --outer_exact_prox", file=sys.stderr)
            setattr(o, name, 1)
    for name in (*_DEAD_NUMBERS, *_DEAD_WORDS, *_DEAD_SWITCHES):
        if name[2:] in o.given:
            print(f"{PROGRAM}: {name} does nothing", file=sys.stderr)
    if "seed" in o.given and not o.set_seed:
        print(f"{PROGRAM}: --seed does nothing without --set_seed; a seed is drawn", file=sys.stderr)


def _check_combinations(o: argparse.Namespace) -> None:
    """Refuse flags that contradict each other."""
    net, prox, inner_prox = o.using_nn, o.outer_exact_prox, o.inner_exact_prox
    require(not o.opp_model or o.om_exact, "--opp_model needs --om_exact; nothing else is defined here")
    require(not (o.om_using_nn and o.om_precond), "choose one of --om_using_nn and --om_precond")
    require(o.optim == "sgd" or net, "--optim adam is for nets; add --using_nn or leave it out")
    if o.custom_param != "random":
        require(o.custom_param in NETS, f"--custom_param {o.custom_param} is not kept here; there are 1 to 4")
        small = net and o.nn_hidden_size == 2 and o.nn_extra_hidden_layers == 0
        require(small, "--custom_param needs --using_nn --nn_hidden_size 2")
    if inner_prox:
        require(o.inner_beta > 0, "--inner_exact_prox needs an --inner_beta above 0")
        require(o.inner_steps == 1, "--inner_exact_prox replaces the inner steps; leave out --inner_steps")
    elif prox:
        require(
            o.inner_beta == 0, "--inner_beta beside --outer_exact_prox needs --inner_exact_prox; leave it out"
        )
    if not o.actual_update:
        first_order = not (
            prox or inner_prox or o.opp_model or o.outer_plain_logits or o.print_inner_rollouts
        )
        first_order &= o.inner_steps == 1 and o.inner_beta == 0 and o.outer_beta == 0
        require(
            first_order,
            "first-order (Taylor) LOLA knows no inner steps, penalties, fixed points or models; add --actual_update",
        )
    if o.outer_plain_logits:
        require(not (net or o.om_using_nn), "--outer_plain_logits is for tabular policies and models")
    if o.engine == "higher":
        require(not inner_prox, "--engine higher has no --inner_exact_prox; use --engine batched")
        require(o.device == "cpu", "--engine higher runs on the CPU; use --engine batched")


def parse(argv: Sequence[str] | None = None) -> Config:
    """Read a command line.

    Raises:
        UserError: a number out of range, or flags that make no sense together.
        SystemExit: with code 2, an unknown flag or a word where a number belongs.
    """
    parser = build_parser()
    o = parser.parse_args(argv)
    _check_numbers(o)
    _drop_ineffective(o, parser)
    _check_combinations(o)
    tabular = not o.using_nn
    model = "net" if o.om_using_nn else "preconditioned" if o.om_precond else "tabular"
    return Config(
        cf=o.base_cf_no_scale,
        gamma=o.gamma,
        repeats=o.repeats,
        epochs=o.num_epochs,
        seed=o.seed if o.set_seed else secrets.randbelow(2**31),
        policy="tabular" if tabular else "net",
        precondition=o.precondition if o.ill_condition and tabular else None,
        std=o.std,
        hidden=o.nn_hidden_size,
        extra_layers=o.nn_extra_hidden_layers,
        nonlinearity=o.nonlinearity,
        fixed_net=None if o.custom_param == "random" else o.custom_param,
        stretch=(o.dd_stretch_factor, o.all_state_stretch_factor)
        if o.ill_condition and not tabular
        else None,
        start_state=o.init_state_representation == 2,
        horizon=o.rollout_len if o.exact_finite_horizon else None,
        lr_in=o.lr_policies_inner,
        lr_out=o.lr_policies_outer,
        beta_in=o.inner_beta,
        beta_out=o.outer_beta,
        inner_steps=o.inner_steps,
        outer_steps=o.outer_steps,
        taylor=not o.actual_update,
        inner_prox=o.inner_exact_prox,
        inner_weighted=o.visitation_weighted_kl,
        inner_max=o.prox_inner_max_iters,
        outer_prox=o.outer_exact_prox,
        threshold=o.prox_threshold or (2.0**-25 if o.kl_test == "exact" else 1e-8),
        rounded_kl=o.kl_test == "float32",
        outer_max=o.prox_outer_max_iters,
        plain_outer=o.outer_plain_logits,
        adam=o.optim == "adam",
        om=model if o.opp_model else None,
        om_matrix=o.precondition if o.om_precond else None,
        om_rate=o.om_lr_p,
        om_threshold=o.om_threshold,
        engine=o.engine,
        dtype=o.dtype,
        print_every=o.print_every,
        print_prox=o.print_prox_loops_info,
        print_inner=o.print_inner_rollouts,
        value_plots=o.value_plots,
        checkpoint_seconds=o.checkpoint_seconds,
        run_root=o.run_root,
        device=o.device,
    )
