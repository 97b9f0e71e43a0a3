"""The Coin Game on 3 x 3: training curves, and rewards of the trained agents against themselves and scripted players."""

import json
from pathlib import Path

from common import plotting
from loqa.coin import curves

AGENT = "LOQA"
LAST_EVALUATIONS = 10
#: the ten published agents at iteration 6000, in the order of the bars (spec F2; against itself: the mean of .316 and .321)
PAPER = (0.3185, -0.054, 0.123, 0.352, 0.318)


def _reduced(rows):
    """Whether the rows are of the reduced scale: the original was recorded at that one."""
    return any(row["agent"] == curves.ORIGINAL for row in rows)


def tabulate(runs):
    """Our evaluations, and the original program's where it was recorded at our scale."""
    rows = curves.tabulate(runs)
    hidden = {run.config["hp"]["actor"]["hidden_size"] for group in runs.values() for run in group}
    if hidden == {32}:
        record = Path(__file__).with_name("coin_original.json").read_text("utf-8")
        rows += curves.original(json.loads(record))
    return rows


def draw(rows):
    figure, axes = plotting.new_figure(2, 2, panel=(4.6, 3.3))
    curves.draw_curves(axes[:3], rows, [AGENT])
    agents = [AGENT, *({curves.ORIGINAL} & {row["agent"] for row in rows})]
    curves.draw_bars(axes[3], rows, agents, LAST_EVALUATIONS, "Mean of the last ten evaluations")
    if not _reduced(rows):
        axes[3].plot(
            range(len(PAPER)),
            PAPER,
            "D",
            color="#222222",
            fillstyle="none",
            label="the paper's ten agents, iteration 6000",
        )
    seeds = len({row["seed"] for row in rows if row["agent"] == AGENT})
    drawn = (
        f"Mean of {seeds} seeds with 95 % interval, each seed thin or as a mark" if seeds > 1 else "One seed"
    )
    figure.suptitle(drawn, fontsize=9)
    plotting.legend_below(figure, axes, ncols=3)
    return figure


def measure(rows):
    """The last ten evaluations at the reduced scale, the last one (iteration 6000) at the paper's."""

    def end(column, evaluations=LAST_EVALUATIONS):
        return curves.measurement(curves.last(rows, AGENT, column, evaluations))

    if _reduced(rows):
        found = {
            "self": end("self"),
            "vs-defect": end("vs_defect"),
            "vs-cooperate": end("vs_cooperate"),
            "strong-threshold": curves.passed_by(rows, AGENT, "strong", 3000),
        }
    else:
        columns = ("self_0", "self_1", "vs_defect", "defect_gets", "vs_cooperate", "cooperate_gets")
        found = {column.replace("_", "-"): end(column, 1) for column in columns}
    return {name: value for name, value in found.items() if value is not None}
