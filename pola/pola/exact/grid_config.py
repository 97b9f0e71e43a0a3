"""The command line of the grid of `pola.exact.grid`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.cli import StrictParser, UserError
from pola.exact.config import RUN_ROOT, number, require

GRID_PROGRAM = "lola_preconditioned_grid.py"
_PRESENTATION = {"checkpoint_seconds", "run_root", "device"}
_INNER = (0.05, 0.1, 0.15, 0.2, 0.3, 0.45, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0)
_OUTER = (0.02, 0.05, 0.1, 0.15, 0.3, 0.5, 1.0, 1.5, 3.0, 5.0, 10.0, 25.0)


@dataclass(frozen=True)
class GridConfig:
    """One grid, resolved.

    Attributes:
        cfs, lrs_in, lrs_out: contribution factors, inner and outer step sizes.
        repeats, epochs: initialisations of each point, and updates of both agents from each.
        remeasured, fresh_repeats: number of best points of each form that are measured again, and initialisations of each.
        gamma, std: discount and standard deviation of the initial logits.
        seed: names the random streams.
    """

    cfs: tuple[float, ...]
    lrs_in: tuple[float, ...]
    lrs_out: tuple[float, ...]
    repeats: int
    epochs: int
    remeasured: int
    fresh_repeats: int
    gamma: float
    std: float
    seed: int
    checkpoint_seconds: float
    run_root: Path
    device: str

    def identity(self) -> dict[str, Any]:
        """Everything that changes what is computed, as JSON."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in _PRESENTATION}


def parse(argv: Sequence[str] | None = None) -> GridConfig:
    """Read a command line.

    Raises:
        UserError: a number out of range.
    """
    parser = StrictParser(
        prog=GRID_PROGRAM, description="LOLA with pre-conditioned policies, over step sizes."
    )
    add = parser.add_argument
    add(
        "--base_cf_no_scale",
        dest="cfs",
        type=number,
        nargs="+",
        default=(1.33, 1.6),
        help="contribution factors",
    )
    add("--lr_policies_inner", dest="lrs_in", type=number, nargs="+", default=_INNER, help="inner step sizes")
    add(
        "--lr_policies_outer", dest="lrs_out", type=number, nargs="+", default=_OUTER, help="outer step sizes"
    )
    add("--repeats", type=int, default=100, help="initialisations of each point")
    add("--num_epochs", dest="epochs", type=int, default=300, help="updates of both agents")
    add("--remeasured", type=int, default=3, help="best points of each form that are measured again")
    add("--fresh_repeats", type=int, default=400, help="initialisations of each of them")
    add("--gamma", type=number, default=0.96, help="discount")
    add("--std", type=number, default=0.1, help="standard deviation of the initial logits")
    add("--seed", type=int, default=1, help="names the random streams")
    add("--checkpoint_seconds", type=number, default=5.0, help="seconds between checkpoints")
    add("--run_root", type=Path, default=RUN_ROOT, help="folder of the runs")
    add("--device", default="cpu", choices=["cpu", "cuda"], help="where to compute")
    values = vars(parser.parse_args(argv))
    for name in ("cfs", "lrs_in", "lrs_out"):
        values[name] = tuple(values[name])
        if len(set(values[name])) != len(values[name]):
            raise UserError(f"{name}: a value is given twice")
    config = GridConfig(**values)
    for cf in config.cfs:
        require(1 < cf < 2, f"--base_cf_no_scale {cf:g}; it has to lie strictly between 1 and 2")
    for rate in (*config.lrs_in, *config.lrs_out):
        require(rate > 0, f"step size {rate:g}; it has to be above 0")
    for name in ("repeats", "epochs", "remeasured", "fresh_repeats"):
        require(getattr(config, name) >= 1, f"--{name} {getattr(config, name)}; it has to be at least 1")
    require(0 <= config.gamma < 1, f"--gamma {config.gamma:g}; it has to be at least 0 and below 1")
    for name in ("std", "seed"):
        require(getattr(config, name) >= 0, f"--{name} {getattr(config, name):g}; it has to be at least 0")
    return config
