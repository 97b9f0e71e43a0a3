"""Figure 3: how often both agents find tit-for-tat, by contribution factor, algorithm and parameterisation."""

import numpy as np

from common import plotting
from common.stats import wilson
from common.verdicts import Measurement

CFS = (1.1, 1.25, 1.33, 1.4, 1.6)
PAPERS_RUNS = 20
FIGURE, RELEASED_MATRIX = "opponent-defects", "dd"
STATES = ("DD", "DC", "CD", "CC", "start")
POLICIES = {"tabular": "tabular", "net": "neural net", FIGURE: "pre-conditioned (the figure's matrices)"}
FORMS = {
    (FIGURE, 0): "figure's matrices, consistent",
    (FIGURE, 1): "figure's matrices, as released",
    (RELEASED_MATRIX, 0): "DD matrix, consistent",
    (RELEASED_MATRIX, 1): "DD matrix, as released",
}


def tabulate(runs):
    """One row per point of the paper's panels, and one per point of the grid of LOLA pre-conditioned."""
    rows = []
    for run in (run for group in runs.values() for run in group):
        if run.record["program"] == "LOLA_exact.py":
            rows.append(_point(run))
        else:
            rows += [{"kind": row["stage"], **row, "plain": int(row["plain"])} for row in run.metrics()]
    for row in rows:
        row.pop("stage", None)
    return rows


def _point(run):
    config, summary = run.config, run.summary
    first = summary["tft"][:PAPERS_RUNS]
    row = {
        "kind": "point",
        "algorithm": "POLA" if config["outer_prox"] else "LOLA",
        "policy": config["precondition"] or config["policy"],
        "cf": config["cf"],
        "lr_in": config["lr_in"],
        "lr_out": config["lr_out"],
        "n": len(summary["tft"]),
        "n_tft": summary["n_tft"],
        "n_of_command": len(first),
        "n_tft_of_command": sum(first),
    }
    if summary["iterations"]:
        row["median_iterations"] = summary["iterations"]["median"]
        row["largest_iterations"] = summary["iterations"]["largest"]
    return row | {f"p_{state}": p for state, p in zip(STATES, summary["row"], strict=True)}


def _best(rows, **wanted):
    """The row of the wanted kind with the largest share of successful runs, or None."""
    found = [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]
    return max(found, key=lambda row: row["n_tft"] / row["n"], default=None)


def _fresh(rows, cf, matrix, plain):
    """The grid's best point of a form, measured on initialisations that did not choose it, or None."""
    wanted = {"kind": "fresh", "cf": cf, "matrix": matrix, "plain": plain}
    return next((row for row in rows if all(row.get(k) == v for k, v in wanted.items())), None)


def _series(ax, found, label, kind, shift=0.0):
    """Shares with intervals at the contribution factors for which there is a row."""
    known = [(CFS.index(cf) + shift, row) for cf, row in found if row is not None and cf in CFS]
    if known:
        shares = [row["n_tft"] / row["n"] for _, row in known]
        low, high = zip(*(wilson(row["n_tft"], row["n"]) for _, row in known), strict=True)
        reach = np.maximum([np.subtract(shares, low), np.subtract(high, shares)], 0)
        style = plotting.series_style(kind)
        ax.errorbar([x for x, _ in known], shares, reach, label=label, capsize=3, elinewidth=1, **style)
        ax.set(ylim=(-0.05, 1.05))


def _none_found(ax, shift):
    """The paper's value for LOLA pre-conditioned: no setting was found that reaches tit-for-tat."""
    x = [k + shift for k in range(len(CFS))]
    style = {"linestyle": "none", "marker": "x", "markersize": 8, "color": "#222222", "zorder": 4}
    ax.plot(x, [0.0] * len(CFS), label="pre-conditioned in the paper: none found", **style)


def _heat(figure_axes, rows, cf, matrix, plain, title):
    """Share of successful initialisations over both step sizes."""
    cells = [
        row
        for row in rows
        if (row["kind"], row["cf"], row.get("matrix"), row.get("plain")) == ("grid", cf, matrix, plain)
    ]
    if not cells:
        figure_axes.set_axis_off()
        return
    inner, outer = (sorted({row[key] for row in cells}) for key in ("lr_in", "lr_out"))
    share = {(row["lr_in"], row["lr_out"]): 100 * row["n_tft"] / row["n"] for row in cells}
    matrix = [[share[a, b] for b in outer] for a in inner]
    plotting.heatmap(
        figure_axes,
        matrix,
        [f"{a:g}" for a in inner],
        [f"{b:g}" for b in outer],
        "runs with tit-for-tat (%)",
        form="{:.0f}",
        limits=(0, 100),
    )
    figure_axes.set(xlabel="outer step size", ylabel="inner step size", title=title)


def draw(rows):
    figure, axes = plotting.new_figure(3, 2, panel=(4.5, 3.7))
    points = [row for row in rows if row["kind"] == "point"]
    for ax, algorithm in zip(axes, ("LOLA", "POLA"), strict=False):
        for kind, (policy, label) in enumerate(POLICIES.items()):
            if (algorithm, policy) == ("LOLA", FIGURE):
                found = [(cf, _fresh(rows, cf, FIGURE, 0)) for cf in CFS]
                label += ", best of a grid"
            else:
                found = [(cf, _best(points, algorithm=algorithm, policy=policy, cf=cf)) for cf in CFS]
            _series(ax, found, label, kind, 0.07 * (kind - 1))
        ax.set(title=algorithm if algorithm == "LOLA" else "Outer POLA")
    _none_found(axes[0], 0.07)
    found = [(cf, _best(points, algorithm="POLA", policy=RELEASED_MATRIX, cf=cf)) for cf in CFS]
    _series(axes[1], found, "pre-conditioned (DD matrix)", 3, 0.14)
    for kind, ((matrix, plain), label) in enumerate(FORMS.items()):
        found = [(cf, _fresh(rows, cf, matrix, plain)) for cf in CFS]
        _series(axes[2], found, label, kind, 0.07 * (kind - 1.5))
    _none_found(axes[2], 0.0)
    axes[2].set(title="LOLA pre-conditioned, best step sizes of a grid")
    for ax in axes[:3]:
        ax.set_xticks(range(len(CFS)), [f"{cf:g}" for cf in CFS])
        ax.set(xlabel="contribution factor", ylabel="share of runs with tit-for-tat", xlim=(-0.4, 4.4))
        if ax.get_legend_handles_labels()[0]:
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.19), ncols=1)
    for ax, ((matrix, plain), label) in zip(axes[3:], FORMS.items(), strict=False):
        _heat(ax, rows, 1.33, matrix, plain, f"CF 1.33, {label}")
    return figure


def _measurement(row, note=""):
    if row is None:
        return None
    low, high = wilson(row["n_tft"], row["n"])
    p = row["n_tft"] / row["n"]
    where = f"inner {row['lr_in']:g}, outer {row['lr_out']:g}"
    if "n_of_command" in row:
        where += f"; {row['n_tft_of_command']} of the command's {row['n_of_command']}"
    se = (p * (1 - p) / row["n"]) ** 0.5
    return Measurement(p, low, high, row["n"], se, "; ".join(filter(None, [where, note])))


def measure(rows):
    points = [row for row in rows if row["kind"] == "point"]
    found = {}
    names = {
        ("LOLA", "tabular"): "lola-tabular",
        ("LOLA", "net"): "lola-net",
        ("POLA", "tabular"): "pola-tabular",
        ("POLA", "net"): "pola-net",
        ("POLA", FIGURE): "pola-pre",
        ("POLA", RELEASED_MATRIX): "pola-pre-dd",
    }
    for (algorithm, policy), name in names.items():
        for cf in CFS:
            row = _best(points, algorithm=algorithm, policy=policy, cf=cf)
            found[f"{name}-{cf:g}"] = _measurement(row)
    for name, cf, matrix, plain, lr_in, lr_out in (
        ("grid-1.33-dd", 1.33, RELEASED_MATRIX, 0, 1.0, 0.3),
        ("grid-1.33-released", 1.33, FIGURE, 1, 1.0, 3.0),
        ("grid-1.6-dd", 1.6, RELEASED_MATRIX, 0, 0.3, 0.3),
        ("grid-1.6-figure", 1.6, FIGURE, 0, 0.1, 0.05),
    ):
        wanted = {"kind": "grid", "cf": cf, "matrix": matrix, "plain": plain}
        found[name] = _measurement(_best(rows, **wanted, lr_in=lr_in, lr_out=lr_out))
    fresh = "best of the grid, measured on fresh initialisations"
    for cf in (1.1, 1.25):
        found[f"lola-pre-{cf:g}"] = _measurement(_fresh(rows, cf, FIGURE, 0), fresh)
    found["lola-pre-not-never"] = _measurement(_fresh(rows, 1.33, FIGURE, 0), fresh)
    found["lola-pre-not-never-released"] = _measurement(_fresh(rows, 1.33, FIGURE, 1), fresh)
    found["pola-above-lola-pre"] = _smallest_lead(rows, points)
    return {name: value for name, value in found.items() if value is not None}


def _smallest_lead(rows, points):
    """Outer POLA's share less LOLA's at its best step sizes, where that is smallest."""
    leads = []
    for cf in CFS:
        pola = _measurement(_best(points, algorithm="POLA", policy=FIGURE, cf=cf))
        lola = _measurement(_fresh(rows, cf, FIGURE, 0))
        if pola and lola:
            se = (pola.se**2 + lola.se**2) ** 0.5
            leads.append((pola.value - lola.value, se, min(pola.n, lola.n), cf))
    if not leads:
        return None
    lead, se, n, cf = min(leads)
    return Measurement(lead, lead - 1.96 * se, lead + 1.96 * se, n, se, f"smallest at CF {cf:g}")
