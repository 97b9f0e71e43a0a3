"""One picture of value curves for each run, as the released program drew (``--value_plots``).

DEVIATION(section 6.1): off unless asked for, and in the run's folder: the released program wrote one into the working directory
after every run, which takes longer than the run itself once the runs go side by side.
"""

from __future__ import annotations

import io
from datetime import datetime

import numpy as np

from common.checkpoints import write_atomically
from common.plotting import house_style, new_figure, reference_line, series_style
from common.runs import RunFolder
from pola.exact.config import Config


def file_name(config: Config, run: int, date: str) -> str:
    """The released program's file name for run number `run`, from 0."""
    return f"2agents_outerlr{config.lr_out}_innerlr{config.lr_in}_run{run}_exact_date{date}.png"


def draw_runs(config: Config, folder: RunFolder) -> None:
    """Write one PNG for each run of a finished run folder."""
    rows = folder.metrics()
    values = np.array([row["values"] for row in rows], dtype=float)  # [epochs, R, 2]
    epochs = [row["epoch"] for row in rows]
    date = datetime.fromtimestamp((folder.path / "run.json").stat().st_mtime).strftime("%Y-%m-%d_%H-%M")
    for run in range(values.shape[1]):
        with house_style():
            figure, (axes,) = new_figure()
            for agent in range(2):
                style = series_style(agent) | {"markevery": max(1, len(epochs) // 8)}
                axes.plot(epochs, values[:, run, agent], label=f"agent {agent + 1}", **style)
            reference_line(axes, config.cooperation, "mutual cooperation")
            axes.set(xlabel="epoch", ylabel="discounted value", title=f"Run {run + 1}")
            axes.legend()
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=100, facecolor="white")
        write_atomically(folder.path / file_name(config, run, date), buffer.getvalue())
