"""One house style for every figure: a series has its own colour, line style and marker, so it reads in grey.

Nothing here uses pyplot or changes matplotlib's global state, and the same data give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from common.checkpoints import write_atomically
from common.stats import mean_interval

# Ordered so that the first three are furthest apart in grey.
COLOURS = ("#004488", "#c2413b", "#c98a14", "#1b8a5a", "#7b5ea7", "#222222")
LINES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
MARKERS = ("o", "^", "s", "D", "v", "P")
HATCHES = ("", "///", "...", "xx", "\\\\\\", "++")
_REFERENCES = ((0, (4, 1.5, 1, 1.5, 1, 1.5)), (0, (4, 2, 1, 2)), (0, (1, 2)), (0, (7, 3)))
_STYLE = {
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "font.size": 9,
    "grid.color": "#dddddd",
    "hatch.linewidth": 0.6,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "opponent-shaping",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


def house_style() -> AbstractContextManager:
    """``with house_style():`` around one's own drawing; the person's matplotlibrc does not matter inside."""
    return mpl.style.context(["default", _STYLE])


def series_style(kind: int) -> dict[str, Any]:
    """Colour, line style and marker of series number `kind`, for ``ax.plot``."""
    return {
        "color": COLOURS[kind % len(COLOURS)],
        "linestyle": LINES[kind % len(LINES)],
        "marker": MARKERS[kind % len(MARKERS)],
        "markersize": 4.5,
    }


def new_figure(ncols: int = 1, nrows: int = 1, *, panel: tuple[float, float] = (4.2, 3.2), **subplots: Any):
    """A figure and the flat list of its panels in reading order; `panel` = width, height of one in inches."""
    with house_style():
        figure = Figure(figsize=(panel[0] * ncols, panel[1] * nrows), layout="constrained")
        axes = list(figure.subplots(nrows, ncols, squeeze=False, **subplots).flat)
        for ax in axes:
            ax.xaxis.set_major_locator(MaxNLocator(6))
        return figure, axes


def save(figure: Figure, folder: Path, stem: str = "figure") -> tuple[Path, Path]:
    """Write ``stem.png`` and ``stem.svg``, each atomically; the same figure gives the same bytes."""
    paths = Path(folder) / f"{stem}.png", Path(folder) / f"{stem}.svg"
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
    for path in paths:
        buffer, form = io.BytesIO(), path.suffix[1:]
        with house_style():
            figure.savefig(buffer, format=form, dpi=160, facecolor="white", metadata=metadata[form])
        write_atomically(path, buffer.getvalue())
    return paths


def legend_below(figure: Figure, axes: Sequence[Axes], ncols: int | None = None) -> None:
    """One legend below all panels, each label once; as many columns as fit."""
    entries = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        columns = ncols or min(len(entries), max(1, int(figure.get_figwidth() / 1.6)))
        with house_style():
            figure.legend(
                entries.values(), entries.keys(), loc="outside lower center", ncols=columns, handlelength=3.5
            )


def learning_curves(
    ax: Axes,
    x: ArrayLike,
    per_seed: ArrayLike,
    label: str,
    kind: int = 0,
    *,
    band: str | None = "normal",
) -> Line2D:
    """Seeds as thin lines, their mean as a thick one and a band.

    Args:
        x: ``[T]``.
        per_seed: ``[S, T]``; NaN leaves a gap.
        kind: number of the series' style.
        band: the `kind` of `common.stats.mean_interval`; None: no band.
    """
    x, per_seed = np.asarray(x), np.asarray(per_seed, dtype=np.float64)
    if per_seed.ndim != 2 or x.shape != per_seed.shape[1:]:
        raise ValueError(f"per_seed must be [seeds, time] and x [time], not {per_seed.shape} and {x.shape}")
    style, mean = series_style(kind), mean_interval(per_seed, kind=band or "deviation")
    if len(per_seed) > 1:
        ax.plot(x, per_seed.T, color=style["color"], linewidth=0.5, alpha=0.4)
    if band:
        ax.fill_between(x, mean.low, mean.high, color=style["color"], alpha=0.2, linewidth=0)
    every = max(1, len(x) // 8)
    (line,) = ax.plot(
        x, mean.value, label=label, markevery=(kind * every // 4, every), linewidth=1.8, **style
    )
    return line


def reference_line(ax: Axes, y: float, label: str, kind: int = 0) -> None:
    """A grey horizontal line for a known value, such as mutual cooperation."""
    ax.axhline(
        y,
        label=label,
        color="#555555",
        linewidth=1.1,
        linestyle=_REFERENCES[kind % len(_REFERENCES)],
        zorder=1.5,
    )


def policy_bars(
    ax: Axes,
    policies: Mapping[str, ArrayLike],
    errors: Mapping[str, ArrayLike] | None = None,
    states: Sequence[str] = ("DD", "DC", "CD", "CC", "start"),
    ylabel: str = "probability of cooperation",
) -> None:
    """Grouped bars: one group per state, one bar per policy (``[states]`` each), with optional error bars."""
    width = 0.8 / len(policies)
    for kind, (name, policy) in enumerate(policies.items()):
        if np.shape(policy) != (len(states),):
            raise ValueError(f"policy {name!r} must have {len(states)} entries, not shape {np.shape(policy)}")
        at = np.arange(len(states)) + (kind - (len(policies) - 1) / 2) * width
        ax.bar(
            at,
            policy,
            width * 0.92,
            label=name,
            color=_tint(COLOURS[kind % len(COLOURS)]),
            edgecolor="#222222",
            linewidth=0.6,
            hatch=HATCHES[kind % len(HATCHES)],
        )
        if errors and name in errors:
            ax.errorbar(at, policy, errors[name], fmt="none", ecolor="#222222", elinewidth=1, capsize=2.5)
    ax.set(xticks=range(len(states)), xticklabels=states, xlabel="state", ylabel=ylabel, ylim=(0, 1.05))


def _tint(colour: str) -> tuple[float, ...]:
    return tuple(0.55 * np.array(mpl.colors.to_rgb(colour)) + 0.45)


def _cells(ax: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    ax.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5), aspect="auto")
    turned = (
        {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
        if max(map(len, columns)) * len(columns) > 30
        else {}
    )
    ax.set_xticks(range(len(columns)), columns, **turned)
    ax.set_yticks(range(len(rows)), rows)
    ax.grid(False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _write(
    ax: Axes, x: float, y: float, value: float, scale: mpl.cm.ScalarMappable, form: str, size: float
) -> None:
    red, green, blue, _ = scale.to_rgba(value)
    light = not np.isfinite(value) or 0.299 * red + 0.587 * green + 0.114 * blue > 0.46
    text = form.format(value).replace("-", "\N{MINUS SIGN}") if np.isfinite(value) else "n/a"
    ax.text(x, y, text, ha="center", va="center", fontsize=size, color="black" if light else "white")


def _scale(values: np.ndarray, limits: tuple[float, float] | None, cmap: str) -> mpl.cm.ScalarMappable:
    finite = values[np.isfinite(values)]
    low, high = limits or ((finite.min(), finite.max()) if finite.size else (0, 1))
    colours = mpl.colormaps[cmap].with_extremes(bad="#eeeeee")
    return mpl.cm.ScalarMappable(mpl.colors.Normalize(low, high), colours)


def heatmap(
    ax: Axes,
    matrix: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    unit: str,
    *,
    form: str = "{:.2f}",
    limits: tuple[float, float] | None = None,
) -> None:
    """``[rows, columns]`` as coloured cells with their values (`form`), a colour bar labelled `unit`."""
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.shape != (len(rows), len(columns)):
        raise ValueError(
            f"matrix {matrix.shape} does not fit {len(rows)} row and {len(columns)} column labels"
        )
    scale = _scale(matrix, limits, "cividis")
    ax.imshow(np.ma.masked_invalid(matrix), cmap=scale.cmap, norm=scale.norm)
    _cells(ax, rows, columns)
    for (i, j), value in np.ndenumerate(matrix):
        _write(ax, j, i, value, scale, form, 8.5)
    ax.figure.colorbar(scale, ax=ax, label=unit)


def cross_play_heatmap(
    ax: Axes,
    row_values: ArrayLike,
    column_values: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    unit: str,
    *,
    form: str = "{:.2f}",
    limits: tuple[float, float] | None = None,
    cmap: str = "cividis",
) -> None:
    """Two numbers per cell: lower left triangle what the row player gets, upper right the column player.

    Args:
        row_values, column_values: ``[rows, columns]`` what the row (column) player gets in that pairing.
        unit: label of the colour bar.
        limits: ends of the colour scale, e.g. ``(-0.6, 0.6)``.
    """
    values = np.stack([np.asarray(row_values, np.float64), np.asarray(column_values, np.float64)])
    if values.shape != (2, len(rows), len(columns)):
        raise ValueError(
            f"values {values.shape[1:]} do not fit {len(rows)} row and {len(columns)} column labels"
        )
    scale = _scale(values, limits, cmap)
    for player, (third, shift) in enumerate([((-0.5, 0.5), 0.2), ((0.5, -0.5), -0.2)]):
        corners = np.array([(-0.5, -0.5), (0.5, 0.5), third])
        triangles = [corners + (j, i) for i, j in np.ndindex(values.shape[1:])]
        colours = scale.to_rgba(np.ma.masked_invalid(values[player]).ravel())
        ax.add_collection(PolyCollection(triangles, facecolors=colours, edgecolors="white", linewidths=0.8))
        for (i, j), value in np.ndenumerate(values[player]):
            _write(ax, j - shift, i + shift, value, scale, form, 8 if len(columns) < 5 else 7)
    _cells(ax, rows, columns)
    ax.figure.colorbar(scale, ax=ax, label=unit)


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows atomically: columns by first appearance, strings quoted, floats exact, missing cells empty.

    Raises:
        TypeError: a value that is no string, int or float (NumPy scalars are fine).
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, *([row.get(name) for name in columns] for row in rows)]
    write_atomically(Path(path), "".join(",".join(map(_cell, line)) + "\n" for line in lines).encode())


def _cell(value: Any) -> str:
    value = value.item() if isinstance(value, np.generic) else value
    if value is None:
        return ""
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"'
    if isinstance(value, int | float):
        return repr(int(value) if isinstance(value, bool) else value)
    raise TypeError(f"a CSV cell holds a string, an int or a float, not {type(value).__name__}")


def read_csv(path: Path) -> list[dict[str, str | int | float]]:
    """Read what `write_csv` wrote: quoted cells are strings, others ints or floats, empty ones are left out."""
    text, lines, line = Path(path).read_bytes().decode(), [], []
    for cell, end in re.findall(r'("(?:[^"]|"")*"|[^,\n]*)([,\n])', text):
        line.append(cell)
        if end == "\n":
            lines.append([_value(cell) for cell in line])
            line = []
    if not lines:
        return []
    return [{k: v for k, v in zip(lines[0], values, strict=True) if v is not None} for values in lines[1:]]


def _value(cell: str) -> str | int | float | None:
    if cell.startswith('"'):
        return cell[1:-1].replace('""', '"')
    if not cell:
        return None
    return int(cell) if re.fullmatch(r"-?\d+", cell) else float(cell)
