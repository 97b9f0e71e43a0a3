"""From run records to the rows, pictures and numbers of the figures `coin` and `ablations`."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from loqa.coin import curves

FIGURES = Path(curves.__file__).resolve().parents[2] / "figures"


@pytest.fixture
def original():
    return curves.original(json.loads((FIGURES / "coin_original.json").read_text("utf-8")))


class Run:
    """A finished run as the figures read it."""

    def __init__(self, seed, points, hidden=32):
        self.config = {"hp": {"seed": seed, "game": {"width": 3}, "actor": {"hidden_size": hidden}}}
        self.points = points

    def metrics(self):
        return [
            {
                "iteration": iteration,
                "mean_rewards_0": each_other - 0.01,
                "mean_rewards_1": each_other + 0.01,
                "always_defect_0_mean_rewards_a": defect,
                "always_defect_0_mean_rewards_d": -2 * defect,
                "always_cooperate_0_mean_rewards_a": 0.38,
                "always_cooperate_0_mean_rewards_d": 0.25,
            }
            for iteration, each_other, defect in self.points
        ]


def runs(*ends):
    """Runs whose reward against itself ends at each of `ends`; twelve evaluations up to iteration 6000."""
    return [
        Run(42 + number, [(500 * k + 500, end * k / 11, -0.5 + 0.45 * k / 11) for k in range(12)])
        for number, end in enumerate(ends)
    ]


def test_the_original_s_runs_are_those_of_the_specification(original):
    """The record gives, to two decimals, the numbers that it was described with."""
    ends = curves.last(original, curves.ORIGINAL, "self", 10)
    np.testing.assert_allclose(ends, [0.235, 0.224], atol=0.006)
    np.testing.assert_allclose(
        curves.last(original, curves.ORIGINAL, "vs_cooperate", 10), [0.377, 0.375], atol=0.006
    )
    when = curves.first_pass(original, curves.ORIGINAL, "strong")
    assert when == {42: 2200, 43: 2150}
    assert curves.passed_by(original, curves.ORIGINAL, "strong", 3000).value == 1.0
    assert curves.passed_by(original, curves.ORIGINAL, "strong", 2100).value == 0.0


def test_a_threshold_that_is_never_passed():
    rows = curves.tabulate({"LOQA": runs(0.05, 0.3)})
    when = curves.first_pass(rows, "LOQA", "strong")
    assert math.isinf(when[42]) and when[43] < math.inf
    assert curves.passed_by(rows, "LOQA", "strong", 6000).value == 0.5


def test_every_claim_of_the_coin_figure_gets_its_number(script):
    module = script(FIGURES / "coin.py")
    rows = module.tabulate({"LOQA": runs(0.22, 0.24, 0.26)})
    measured = module.measure(rows)
    last_ten = np.mean(np.arange(2, 12) / 11)
    assert measured["self"].value == pytest.approx(0.24 * last_ten, abs=1e-5) and measured["self"].n == 3
    assert set(measured) == {"self", "vs-defect", "vs-cooperate", "strong-threshold"}
    large = module.tabulate({"LOQA": [Run(1, [(6000, 0.3, -0.05)], hidden=128)]})
    measured = module.measure(large)
    assert measured["self-0"].value == pytest.approx(0.29) and measured["defect-gets"].value == pytest.approx(
        0.1
    )
    assert module.measure([]) == {}


def test_every_claim_of_the_ablations_gets_its_number(script):
    module = script(FIGURES / "ablations.py")
    found = dict(
        zip(module.AGENTS, (runs(0.24, 0.26), runs(0.1, 0.14), runs(0.2, 0.2), runs(0.0, 0.02)), strict=True)
    )
    measured = module.measure(module.tabulate(found))
    last_ten = np.mean(np.arange(2, 12) / 11)
    assert measured["buffer-cooperates"].value == pytest.approx(0.13 * last_ten, abs=1e-5)
    assert measured["naive"].value == pytest.approx(0.01 * last_ten, abs=1e-5)
    assert measured["buffer-tolerates"].value == pytest.approx(0.0)
    assert module.measure([]) == {}


@pytest.mark.parametrize("name", ["coin", "ablations"])
def test_the_picture(name, tmp_path, script):
    from common import plotting

    module = script(FIGURES / f"{name}.py")
    agents = getattr(module, "AGENTS", ("LOQA",))
    rows = module.tabulate({agent: runs(0.2, 0.25) for agent in agents})
    plotting.save(module.draw(rows), tmp_path)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
