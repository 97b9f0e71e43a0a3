"""Figure 5: recurrent policies in the Coin Game over training."""

import json
from pathlib import Path

from pola.dice import curves

LAST = 50_000
PUBLISHED = {
    "fig_coin/proportion_same_coins": "same_proportion",
    "fig_coin/score_vs_each_other": "each_other",
    "fig_coin/score_vs_always_defect": "vs_defect",
}


def tabulate(runs):
    """Our evaluations, and the paper's means where the runs are long enough to be laid beside them."""
    rows = curves.tabulate([run for group in runs.values() for run in group], LAST)
    if any(row["outer_steps"] > 0.5 * LAST for row in rows):
        paper = json.loads(Path(__file__).with_name("paper_curves.json").read_text("utf-8"))
        rows += curves.published(paper, PUBLISHED)
    return rows


def draw(rows):
    last = _last(rows)
    note = "" if last > 0.5 * LAST else f"Small runs: {last:,} outer steps, short episodes, small networks"
    return curves.draw(rows, "coin", note=note)


def measure(rows):
    """Every claim's number at the last outer step that our runs reach (the paper's: 50,000)."""
    end = _last(rows)
    found = {
        "pola-dice-same": curves.at(rows, "POLA-DiCE", "same_proportion", end),
        "pola-om-same": curves.at(rows, "POLA-OM", "same_proportion", end),
        "lola-dice-same": curves.at(rows, "LOLA-DiCE", "same_proportion", end),
        "pola-dice-each-other": curves.at(rows, "POLA-DiCE", "each_other", end),
        "pola-om-each-other": curves.at(rows, "POLA-OM", "each_other", end),
        "pola-dice-vs-defect": curves.at(rows, "POLA-DiCE", "vs_defect", end),
        "pola-dice-above-lola": curves.difference(rows, "POLA-DiCE", "LOLA-DiCE", "same_proportion", end),
        "pola-om-above-lola": curves.difference(rows, "POLA-OM", "LOLA-DiCE", "same_proportion", end),
        "pola-dice-scores-above-lola": curves.difference(rows, "POLA-DiCE", "LOLA-DiCE", "each_other", end),
    }
    return {name: value for name, value in found.items() if value is not None}


def _last(rows):
    return max((row["outer_steps"] for row in rows if "rollout_len" in row), default=0)
