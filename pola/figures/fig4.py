"""Figure 4: scores of recurrent policies in the iterated prisoner's dilemma over training."""

import json
from pathlib import Path

from common.verdicts import Measurement
from pola.dice import curves

LAST = 20_000
PUBLISHED = {
    "fig_ipd/score_vs_each_other": "each_other",
    "fig_ipd/score_vs_always_defect": "vs_defect",
}


def tabulate(runs):
    """Our evaluations, and the paper's means where the game is the paper's."""
    rows = curves.tabulate([run for group in runs.values() for run in group], LAST)
    if any(row["contrib_factor"] == 1.33 and row["outer_steps"] > 0.5 * LAST for row in rows):
        paper = json.loads(Path(__file__).with_name("paper_curves.json").read_text("utf-8"))
        rows += curves.published(paper, PUBLISHED)
    return rows


def draw(rows):
    factor = next((row["contrib_factor"] for row in rows if "contrib_factor" in row), 1.33)
    note = f"Contribution factor {factor:g}"
    if factor > 1.33:
        note += ": an easier game than the paper's 1.33, with small networks and short episodes"
    return curves.draw(rows, "ipd", note=note)


def measure(rows):
    """Every claim's number: at the end of the small runs (1,500 outer steps) or of the paper's (20,000)."""
    if not rows:
        return {}
    last = max((row["outer_steps"] for row in rows if "rollout_len" in row), default=0)
    small = last <= 1500
    end, early, half = (1500, 300, None) if small else (LAST, None, 6000)
    found: dict[str, Measurement | None] = {
        "pola-dice-each-other": curves.at(rows, "POLA-DiCE", "each_other", end),
        "pola-om-each-other": curves.at(rows, "POLA-OM", "each_other", end),
        "lola-dice-each-other": curves.at(rows, "LOLA-DiCE", "each_other", end),
        "pola-dice-vs-defect": curves.at(rows, "POLA-DiCE", "vs_defect", end),
        "pola-om-vs-defect": curves.at(rows, "POLA-OM", "vs_defect", end),
        "pola-dice-above-lola": curves.difference(rows, "POLA-DiCE", "LOLA-DiCE", "each_other", end),
        "pola-om-above-lola": curves.difference(rows, "POLA-OM", "LOLA-DiCE", "each_other", end),
    }
    if early:
        found["pola-dice-vs-defect-early"] = curves.at(rows, "POLA-DiCE", "vs_defect", early)
    if half:
        found["pola-dice-half-way"] = curves.at(rows, "POLA-DiCE", "each_other", half)
    return {name: value for name, value in found.items() if value is not None}
