"""The scalability figure: thresholds, smoothing and the picture, on recorded logs and on runs written by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from common import plotting
from common.cli import UserError
from common.runs import RunFolder, RunSpec
from loqa import scalability
from loqa.scalability import THRESHOLDS

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def figure(script):
    return script(ROOT / "loqa" / "figures" / "scalability.py")


def logs(case):
    """Key -> grid size, [T] steps, seconds, [T, 2] self-play, [T] against always-defect, normalised."""
    recorded = json.loads(case.read_text("utf-8"))
    for key, points in recorded["curves"].items():
        size, points = int(key.split("_")[0]), np.array(points)
        scale = scalability.normaliser(size)
        yield recorded, key, size, points[:, 0], points[:, 1], scale * points[:, 2:4], scale * points[:, 4]


@pytest.mark.golden("mfos_scalability*.json")
def test_first_passes_of_the_mfos_logs(case):
    for recorded, key, _, steps, seconds, each_other, against in logs(case):
        assert set(recorded["first_pass"][key]) <= set(THRESHOLDS)
        for name, expected in recorded["first_pass"][key].items():
            at = scalability.first_pass(THRESHOLDS[name], each_other.mean(1), against)
            assert ([-1, -1] if at is None else [steps[at], seconds[at]]) == expected, (key, name)


@pytest.mark.golden("mfos_scalability*.json")
def test_thresholds_are_the_recorded_ones(case):
    recorded = json.loads(case.read_text("utf-8"))["thresholds"]
    ours = {name: {"each_other_min": t[0], "against_ad_min": t[1]} for name, t in THRESHOLDS.items()}
    assert recorded == ours


@pytest.mark.golden("scalability_training_curves*.json")
def test_smoothing_gives_the_published_mfos_curves(case):
    """Their "each other" is player 0 up to 6x6 and the mean of both on 7x7; ours is always the mean."""
    published, compared = json.loads(case.read_text("utf-8"))["curves"], 0
    for _, key, size, _, seconds, each_other, against in logs(GOLDEN / "mfos_scalability.json"):
        own = each_other[:, 0] if size < 7 else each_other.mean(1)
        number = int(key.split("_")[1]) - 72
        for metric, values in (("each_other", own), ("against_always_defect", against)):
            points = np.array(published[f"{size}|M-FOS|{metric}"][number])
            places = np.searchsorted(seconds, points[:, 0] - 0.05)
            np.testing.assert_allclose(scalability.smooth(values)[places], points[:, 1], atol=1e-4)
            compared += len(points)
    assert compared


@pytest.mark.golden("scalability_figure_points*.json")
def test_the_figure_carries_the_published_points(case):
    recorded = json.loads(case.read_text("utf-8"))
    kept = json.loads((ROOT / "loqa" / "figures" / "scalability_paper.json").read_text("utf-8"))
    assert kept["seconds"] == recorded["points"]
    assert {k: list(v.values()) for k, v in recorded["thresholds"].items()} == {
        k: list(v) for k, v in THRESHOLDS.items()
    }


def test_both_conditions_are_strict_and_meet_at_one_evaluation():
    weak = THRESHOLDS["weak"]
    assert scalability.first_pass(weak, [0.05, 0.1, 0.1], [0.0, -1.2, -1.1]) == 2
    assert scalability.first_pass(weak, [0.1, 0.0], [-1.3, 0.0]) is None


def test_windows_are_cut_at_the_ends():
    values = np.arange(40.0)
    smoothed = scalability.smooth(values)
    assert smoothed[0] == values[:10].mean()
    assert smoothed[20] == values[10:30].mean()
    assert smoothed[-1] == values[29:].mean()


@pytest.mark.parametrize(("size", "scale"), [(3, 2), (4, 4), (5, 4), (6, 6), (7, 6)])
def test_normaliser(size, scale):
    assert scalability.normaliser(size) == scale


def write_run(folder, size, seed, points, width=None):
    """A finished run whose evaluations are (iteration, seconds, self-play of both, against always-defect)."""
    hp = {"seed": seed, "game": {"height": size, "width": width or size}}
    run = RunFolder.open(folder, RunSpec("coin_train.py", {"hp": hp}, "source"), ["coin_train.py"], "cpu")
    for iteration, seconds, first, second, against in points:
        row = {"iteration": iteration, "walltime": seconds, "mean_rewards_0": first, "mean_rewards_1": second}
        run.log(row | {"always_defect_0_mean_rewards_a": against})
    run.finish({})
    return run


def small_runs(folder):
    slow = [(0, 1.0, 0.0, 0.0, -0.5), (50, 3.0, 0.02, 0.0, -0.3), (100, 5.0, 0.03, 0.01, -0.29)]
    quick = [(0, 1.5, 0.0, 0.0, -0.4), (50, 3.5, 0.2, 0.1, -0.05), (100, 5.5, 0.2, 0.2, -0.04)]
    return {
        "3x3": [write_run(folder, 3, 42, quick), write_run(folder, 3, 43, slow)],
        "5x5": [write_run(folder, 5, 42, slow)],
    }


def test_rows_of_a_run(tmp_path):
    (run,) = small_runs(tmp_path)["5x5"]
    rows = scalability.curve(run)
    assert [row["each_other"] for row in rows[:3]] == pytest.approx(
        [4 * 0.01] * 3, abs=1e-6
    )  # one window for all
    passes = {row["threshold"]: row.get("iteration") for row in rows[3:]}
    assert passes == {"weak": 100, "medium": None, "strong": None}  # 4 * 0.01 = 0.04 at 50, 0.08 at 100


def test_measures_count_runs_that_never_pass(figure, tmp_path):
    found = figure.measure(figure.tabulate(small_runs(tmp_path)))
    assert found["all-weak"].value == pytest.approx(2 / 3) and found["all-weak"].n == 3
    assert found["strong-3x3"].value == 0.5
    assert found["strong-larger"].value == 0.0
    assert found["strong-3x3-iterations"].value == 50
    assert "growth" not in found  # one 3x3 run does not pass the medium threshold


def test_growth_counts_a_run_that_never_passes_with_its_length(figure, tmp_path):
    runs = small_runs(tmp_path)
    rows = figure.tabulate({"3x3": runs["3x3"][:1], "5x5": runs["5x5"]})
    growth = figure.measure(rows)["growth"]
    assert growth.value == 100 / 50 and "0 of 1 runs pass" in growth.note


def test_measures_without_our_runs_are_absent(figure):
    assert figure.measure(figure.tabulate({})) == {}


def test_drawing_from_the_csv_gives_the_same_bytes(figure, tmp_path):
    plotting.write_csv(figure.tabulate(small_runs(tmp_path / "runs")), tmp_path / "data.csv")
    pictures = []
    for name in "ab":
        rows = plotting.read_csv(tmp_path / "data.csv")
        png, _ = plotting.save(figure.draw(rows), tmp_path, name)
        pictures.append(png.read_bytes())
    assert pictures[0] == pictures[1]
    # Q22: what is called PNG is a PNG
    assert pictures[0].startswith(b"\x89PNG")


def test_a_board_that_is_not_square_is_refused(tmp_path):
    run = write_run(tmp_path, 3, 42, [(0, 1.0, 0.0, 0.0, 0.0)], width=4)
    with pytest.raises(UserError, match="3 x 4"):
        scalability.curve(run)
