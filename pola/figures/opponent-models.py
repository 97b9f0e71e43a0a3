"""Appendix B.1.6: policies learned with a fitted model of the opponent."""

import numpy as np

from common import plotting
from common.stats import wilson
from common.verdicts import Measurement

STATES = ("DD", "DC", "CD", "CC", "start")
MODELS = {"tabular": "tabular model", "net": "net model", "pre-conditioned": "pre-conditioned model"}
RELEASED_ROW = (0.02, 0.99, 0.12, 1.00, 0.98)


def tabulate(runs):
    """One row per algorithm, model and state: the mean policy over agents and runs, and its spread over runs."""
    rows = []
    for name, folders in runs.items():
        algorithm, model = name.split(" ", 1)
        for run in folders:
            policies = np.mean(run.summary["final_policies"], axis=1)  # [R, 5]
            rows += [
                {
                    "algorithm": algorithm,
                    "model": model,
                    "state": state,
                    "p_cooperate": run.summary["row"][k],
                    "deviation": float(policies[:, k].std()),
                    "n": len(policies),
                    "n_tft": run.summary["n_tft"],
                    "value": float(np.mean(run.summary["values"])),
                }
                for k, state in enumerate(STATES)
            ]
    return rows


def _of(rows, algorithm, model):
    return [row for row in rows if (row["algorithm"], row["model"]) == (algorithm, model)]


def draw(rows):
    figure, axes = plotting.new_figure(2, 1, panel=(5.6, 4.0), sharey=True)
    for ax, algorithm in zip(axes, ("LOLA", "POLA"), strict=True):
        policies, errors, printed = {}, {}, []
        for model, label in MODELS.items():
            mine = _of(rows, algorithm, model)
            if mine:
                policies[label] = [row["p_cooperate"] for row in mine]
                errors[label] = [row["deviation"] for row in mine]
                row = " / ".join(f"{p:.2f}" for p in policies[label])
                printed.append(f"{label}: {row}   TFT in {mine[0]['n_tft']} of {mine[0]['n']} runs")
        if policies:
            plotting.policy_bars(ax, policies, errors, ylabel="P(cooperate)" if algorithm == "LOLA" else "")
        ax.set(title=algorithm, xlabel="state (own move first)\n\n" + "\n".join(printed))
    plotting.legend_below(figure, axes)
    return figure


def measure(rows):
    found = {}
    for algorithm in ("LOLA", "POLA"):
        mine = _of(rows, algorithm, "tabular")
        if mine:
            n_tft, n = mine[0]["n_tft"], mine[0]["n"]
            found[f"{algorithm.lower()}-tabular"] = Measurement(n_tft / n, *wilson(n_tft, n), n)
    mine = _of(rows, "LOLA", "tabular")
    if mine:
        ours = np.array([row["p_cooperate"] for row in mine])
        note = "ours: " + " / ".join(f"{p:.2f}" for p in ours)
        away = float(np.abs(ours - RELEASED_ROW).max())
        found["lola-tabular-row"] = Measurement(away, n=mine[0]["n"], note=note)
    return found
