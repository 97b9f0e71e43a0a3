"""Evaluate saved agents: ``python evaluate.py --agents RUN/agents/agents_10000``; prints tables, ``--out`` writes them as CSV."""

import sys
from collections.abc import Sequence
from pathlib import Path

from common.cli import StrictParser, UserError, run_main


def _table(rows: Sequence[dict]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [columns] + [[_cell(row.get(name, "")) for name in columns] for row in rows]
    widths = [max(len(line[k]) for line in cells) for k in range(len(columns))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells
    )


def _cell(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3f}"


def _draw_probe(rows: Sequence[dict], folder: Path) -> None:
    from common import plotting

    figure, (ax,) = plotting.new_figure()
    names = list(dict.fromkeys(row["scripted"] for row in rows))
    for kind, place in enumerate(dict.fromkeys(row["instead_of"] for row in rows)):
        own = [row for row in rows if row["instead_of"] == place]
        at = [names.index(row["scripted"]) + 0.4 * (kind - 0.5) for row in own]
        ax.bar(
            at,
            [row["incentive"] for row in own],
            0.36,
            yerr=[row["stderr"] for row in own],
            label=f"instead of {place}",
            color=plotting.COLOURS[kind],
            hatch=plotting.HATCHES[kind],
            edgecolor="white",
        )
    labels = {"A1": "A1 wanders", "A2": "A2 cleans", "A3": "A3 cleans in vain"}
    ax.set_xticks(range(len(names)), [labels[name] for name in names])
    ax.set(ylabel="incentive per episode")
    plotting.legend_below(figure, [ax])
    plotting.save(figure, folder, "probe")


def body(argv: Sequence[str] | None) -> int:
    """Parse, load, play, print."""
    parser = StrictParser(prog="evaluate.py", description="Evaluate a saved mechanism and its followers.")
    parser.add_argument("--agents", required=True, type=Path, help="a file agents/agents_EPISODE of a run")
    parser.add_argument("--episodes", type=int, default=100, help="episodes to average over")
    parser.add_argument("--seed", type=int, default=0, help="seed of these episodes")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for evaluation.csv, and payoffs.csv of a matrix game or probe.csv and probe.png of Cleanup",
    )
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="where to compute")
    options = parser.parse_args(argv)
    if options.episodes < 1:
        raise UserError(f"--episodes {options.episodes}; it has to be at least 1")
    from common.plotting import write_csv
    from iqflow.eval import evaluation, mechanism
    from iqflow.trainer.program import choose_device

    choose_device(options.device)
    saved = mechanism.load_agents(options.agents)
    tables = {"evaluation": evaluation.evaluate(saved, options.episodes, options.seed)}
    if saved.settings.kind == "matrix":
        tables["payoffs"] = evaluation.payoffs(saved)
    if evaluation.can_probe(saved):
        tables["probe"] = evaluation.probe(saved, options.episodes, options.seed)
    for name, rows in tables.items():
        print(
            f"{name} ({saved.settings.alg} {saved.settings.exp}, episode {saved.episode})\n{_table(rows)}\n"
        )
        if options.out:
            write_csv(rows, options.out / f"{name}.csv")
    if options.out and "probe" in tables:
        _draw_probe(tables["probe"], options.out)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(body, program="evaluate.py"))
