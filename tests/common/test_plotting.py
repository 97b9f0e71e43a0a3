"""What is drawn, that it is drawn the same twice and leaves no trace, and CSV files that come back exactly."""

import csv
import math

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import colors
from matplotlib.collections import PolyCollection

from common import plotting


def curves_figure():
    figure, (left, right) = plotting.new_figure(2)
    x = np.arange(0, 50, 5)
    for kind, name in enumerate(("LOLA", "POLA", "POLA-OM")):
        plotting.learning_curves(left, x, np.outer([1, 2, 3.0], x) * (kind + 1), name, kind)
    plotting.reference_line(left, 40, "mutual cooperation")
    plotting.policy_bars(
        right, {"net 1": [0.1, 0.2, 0.3, 0.4, 0.5], "net 2": [0.5] * 5}, {"net 2": [0.1] * 5}
    )
    plotting.legend_below(figure, [left, right])
    return figure


def texts(ax):
    return {text.get_text(): text for text in ax.texts}


def test_same_data_same_bytes_and_no_global_trace(tmp_path):
    before = dict(mpl.rcParams)
    first = plotting.save(curves_figure(), tmp_path / "a", "figure")
    mpl.rcParams["axes.facecolor"], mpl.rcParams["font.size"] = "red", 30  # somebody's matplotlibrc
    try:
        second = plotting.save(curves_figure(), tmp_path / "b", "figure")
    finally:
        mpl.rcParams.update(before)
    assert [path.name for path in first] == ["figure.png", "figure.svg"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert b"Matplotlib" not in one.read_bytes() and b"dc:date" not in one.read_bytes()
    assert dict(mpl.rcParams) == before
    assert sorted(path.name for path in first[0].parent.iterdir()) == ["figure.png", "figure.svg"]


def test_learning_curves_draw_seeds_mean_and_band():
    _, (ax,) = plotting.new_figure()
    per_seed = np.array([[0.0, 1, 2], [2.0, 3, 4]])
    mean = plotting.learning_curves(ax, [0, 10, 20], per_seed, "POLA", 1)
    assert mean.get_ydata().tolist() == [1, 2, 3] and mean.get_label() == "POLA"
    thin = [line for line in ax.lines if line is not mean]
    assert [line.get_ydata().tolist() for line in thin] == per_seed.tolist()
    assert max(line.get_linewidth() for line in thin) < mean.get_linewidth()
    (band,) = ax.collections
    assert band.get_datalim(ax.transData).ymax == pytest.approx(3 + 1.96 / math.sqrt(2))


def test_series_differ_without_colour():
    styles = [plotting.series_style(kind) for kind in range(6)]
    assert (
        len({style["marker"] for style in styles}) == len({str(style["linestyle"]) for style in styles}) == 6
    )
    greys = [np.dot(colors.to_rgb(style["color"]), [0.299, 0.587, 0.114]) for style in styles[:3]]
    assert np.diff(sorted(greys)).min() > 0.1


def test_bars_points_and_reference():
    figure = curves_figure()
    left, right = figure.axes
    assert [bar.get_height() for bar in right.containers[0]] == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert {bar.get_hatch() for bar in right.patches} == {"", "///"}
    assert [label.get_text() for label in right.get_xticklabels()] == ["DD", "DC", "CD", "CC", "start"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["LOLA", "POLA", "POLA-OM", "mutual cooperation", "net 1", "net 2"]


def test_heatmap_writes_every_value_readably_and_marks_gaps():
    figure, (ax,) = plotting.new_figure()
    plotting.heatmap(
        ax, [[-1.0, 0.5], [np.nan, 1.0]], ["r0", "r1"], ["c0", "c1"], "return per step", limits=(-1, 1)
    )
    written = texts(ax)
    assert set(written) == {"\u22121.00", "0.50", "n/a", "1.00"}
    assert written["\u22121.00"].get_color() == "white" and written["1.00"].get_color() == "black"
    assert written["0.50"].get_position() == (1, 0)
    assert figure.axes[1].get_ylabel() == "return per step"


def test_cross_play_puts_the_row_player_at_the_lower_left():
    _, (ax,) = plotting.new_figure()
    plotting.cross_play_heatmap(ax, [[0.1, 0.2]], [[0.3, 0.4]], ["A"], ["A", "B"], "reward", limits=(0, 1))
    place = {label: text.get_position() for label, text in texts(ax).items()}
    assert place["0.20"][0] < 1 and place["0.20"][1] > 0  # y points down
    assert place["0.40"][0] > 1 and place["0.40"][1] < 0
    triangles = [c for c in ax.collections if isinstance(c, PolyCollection)]
    assert [len(t.get_paths()) for t in triangles] == [2, 2]
    assert triangles[0].get_paths()[1].contains_point(place["0.20"])
    assert triangles[1].get_paths()[1].contains_point(place["0.40"])


def test_csv_comes_back_exactly(tmp_path):
    rows = [
        {"name": "1.33", "seed": 3, "value": 0.1 + 0.2, "text": 'a "quoted", comma\nand line'},
        {"name": "", "seed": -7, "value": np.float64(1e-300), "extra": np.int64(5)},
        {"name": "ü", "value": math.inf, "float": np.float32(0.1)},
    ]
    plotting.write_csv(rows, tmp_path / "deep" / "data.csv")
    back = plotting.read_csv(tmp_path / "deep" / "data.csv")
    assert back == [{**row} for row in rows]
    assert [type(value) for value in back[1].values()] == [str, int, float, int]
    assert list(back[0]) == ["name", "seed", "value", "text"]
    with open(tmp_path / "deep" / "data.csv", newline="", encoding="utf-8") as file:
        plain = list(csv.reader(file))
    assert plain[0] == ["name", "seed", "value", "text", "extra", "float"]
    assert plain[1] == ["1.33", "3", "0.30000000000000004", 'a "quoted", comma\nand line', "", ""]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["data.csv"]


def test_csv_corner_cases(tmp_path):
    path = tmp_path / "data.csv"
    plotting.write_csv([{"x": math.nan, "y": True}], path)
    (row,) = plotting.read_csv(path)
    assert math.isnan(row["x"]) and row["y"] == 1
    plotting.write_csv([], path)
    assert plotting.read_csv(path) == []
    plotting.write_csv([{"x": 1}], path)
    with pytest.raises(TypeError, match="not list"):
        plotting.write_csv([{"x": [1, 2]}], path)
    assert plotting.read_csv(path) == [{"x": 1}], "a failed write leaves the old file"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ax: plotting.learning_curves(ax, [0, 1], np.zeros((3, 4)), "a"), r"\(3, 4\) and \(2,\)"),
        (lambda ax: plotting.policy_bars(ax, {"a": [0.5] * 4}), "must have 5 entries"),
        (lambda ax: plotting.heatmap(ax, np.zeros((2, 2)), ["a"], ["b", "c"], "u"), "does not fit 1 row"),
        (
            lambda ax: plotting.cross_play_heatmap(ax, [[0]], [[0]], ["a"], ["b", "c"], "u"),
            "do not fit 1 row",
        ),
    ],
)
def test_wrong_shapes_are_named(call, message):
    _, (ax,) = plotting.new_figure()
    with pytest.raises(ValueError, match=message):
        call(ax)
