"""The original's files of one seed: ``config.json``, ``log.csv``, ``measure_k.csv``, and the folder of saved agents."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.checkpoints import write_atomically
from common.cli import UserError

_WHOLE = ("episode", "step_train", "step", "time")
_FIXED = {"": r"A\d+_(n_c|waste_cleared)", "er": r"A\d+_received", "unpaid": "(?!)"}
_TOTALS = ("steps_per_eps", "total_env_reward")
PROBES = ("A1", "A2", "A3")
#: what a row holds beside the log's columns
BESIDE = ("probe", "detail")


def log_style(columns: Sequence[str]) -> str:
    """Which of the original's number formats a log has: ``er``, ``unpaid`` (``--alg pg``), or empty for the others."""
    if "A1_received" not in columns:
        return "unpaid"
    return "er" if "steps_per_eps" in columns else ""


def log_cell(column: str, value: float | None, style: str = "") -> str:
    """One number as the original writes it: whole, with 2 decimals, or in exponent form (spec 6.2)."""
    if value is None:
        return "nan"
    if column in _WHOLE:
        return str(int(value))
    if column in _TOTALS or re.fullmatch(_FIXED[style], column):
        return f"{value:.2f}"
    return f"{value:.3e}" if style == "unpaid" and column.startswith("A") else f"{value:.2e}"


def log_lines(rows: Sequence[Mapping[str, Any]]) -> str:
    """``log.csv`` from the rows of a run that hold an evaluation."""
    rows = [row for row in rows if "step" in row]
    if not rows:
        return ""
    columns = [name for name in rows[0] if name not in BESIDE]
    style, lines = log_style(columns), [",".join(columns)]
    lines += [",".join(log_cell(name, row[name], style) for name in columns) for row in rows]
    return "\n".join(lines) + "\n"


def measure_lines(rows: Sequence[Mapping[str, Any]], replaced: int) -> str:
    """``measure_k.csv``: what a scripted agent in the place of follower `replaced` receives (spec 6.2)."""
    names = [f"{probe}_{what}" for probe in PROBES for what in ("avg", "stderr")]
    lines = [",".join(["episode", *names])]
    for row in rows:
        if "probe" in row:
            numbers = [number for pair in row["probe"][replaced] for number in pair]
            lines.append(",".join([str(row["episode"]), *(f"{number:.2e}" for number in numbers)]))
    return "\n".join(lines) + "\n"


def _text(configuration: Mapping[str, Any]) -> str:
    return json.dumps(configuration, indent=1) + "\n"


@dataclass(frozen=True)
class Output:
    """A seed's output folder."""

    path: Path

    def check(self, configuration: Mapping[str, Any]) -> None:
        """Whether the folder is free, or this configuration's.

        Raises:
            UserError: it holds results of another one.
        """
        file = self.path / "config.json"
        if file.exists() and file.read_text("utf-8") != _text(configuration):
            raise UserError(
                f"{self.path} holds results of another configuration; move it away, or name another folder with "
                "--set main.dir_name=NAME"
            )

    def claim(self, configuration: Mapping[str, Any]) -> None:
        """Make the folder this configuration's."""
        write_atomically(self.path / "config.json", _text(configuration).encode())

    @property
    def agents(self) -> Path:
        return self.path / "agents"

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Bring the CSV files up to the rows logged so far."""
        files = {"log.csv": log_lines(rows)}
        probed = next((row["probe"] for row in rows if "probe" in row), ())
        files |= {f"measure_{k}.csv": measure_lines(rows, k) for k in range(len(probed))}
        for name, text in files.items():
            if text:
                write_atomically(self.path / name, text.encode())
