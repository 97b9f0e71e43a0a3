"""The two IPD figures from made-up rows: success rates, claims, pictures."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

from common import plotting
from loqa.ipd import bars

FIGURES = Path(__file__).resolve().parents[3] / "loqa" / "figures"


def _rows(names, policy):
    return [
        {"run": name, "seed": seed, "iteration": 7000, "batch_size": 512, "early_advantage": -1.3}
        | {f"p_{state}": p for state, p in zip(bars.STATES, policy, strict=True)}
        for name in names
        for seed in (42, 43)
    ]


def test_what_counts_as_tit_for_tat():
    p = np.array(
        [[1, 1, 0.1, 1, 0], [0.5, 1, 0.1, 1, 0], [1, 1, 0.4, 1, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]]
    )
    assert list(bars.is_tit_for_tat(p)) == [True, False, False, False, False]
    assert list(bars.reciprocates(p)) == [True, True, True, False, False]
    rows = _rows(["x"], p[0])
    assert bars.share(rows, "x").value == 1.0 and bars.share(rows, "y") is None
    assert bars.most_cooperative(_rows(["x"], [0, 0.2, 0.1, 0, 0]), "x").value == pytest.approx(0.2)


@pytest.mark.parametrize("figure", ["ipd", "ipd-causes"])
def test_a_figure_draws_and_measures_every_claim(figure, tmp_path, script):
    manifest, module = (
        tomllib.loads((FIGURES / f"{figure}.toml").read_text("utf-8")),
        script(FIGURES / f"{figure}.py"),
    )
    rows = _rows([run["name"] for run in manifest["run"]], [1, 1, 0.1, 1, 0])
    with plotting.house_style():
        plotting.save(module.draw(rows), tmp_path)
    assert set(module.measure(rows)) == {claim["id"] for claim in manifest["claim"]}
    assert module.measure([]) == {}
