"""Every figure, from invented runs of every profile: it is drawn, and every claim of its manifest is measured."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest

from common import figures, plotting
from common.runs import RunFolder
from common.verdicts import Measurement
from marlhf import curves
from marlhf.skill import position

ROOT = Path(__file__).resolve().parents[2]
FIGURES = figures.figure_ids(ROOT, "marlhf")
STEPS = 26


@functools.cache
def planned(name, profile):
    """A figure and its runs."""
    figure = figures.load(ROOT, "marlhf", name, profile)
    return figure, figures.plan(figure)


def invented(folder, run, number):
    """A finished run of a row of a table, with numbers that vary."""
    draw = np.random.default_rng(number)
    course = [round(float(value), 4) for value in draw.normal(size=STEPS)]
    policy = {
        "corr_return": 0.5, "corr_step": 0.5, "standardised_mean": 1.0,
        "by_step": course, "true_by_step": course[::-1], "one": course, "true_one": course,
    }  # fmt: skip
    quality = {
        "corr_return_all": float(draw.uniform()), "pair_accuracy_all": 0.8, "corr_step_all": float(draw.uniform()),
        "roughness": float(draw.uniform(1, 9)), "concentration": float(draw.uniform()),
        "per_policy": {"expert": policy},
    }  # fmt: skip
    summary = {
        "random_return": -27.0,
        "expert_return": -10.0,
        "quality": quality,
        "reward_model": {"test value loss": 0.02, "mse loss": 0.1},
        "imitation": {"test_return": -25.0, "IL_loss": 1.1},
    }
    learns = run.spec.config["alg"]["algorithm"] != "none"
    tests = [{"update": n, "test_returns": float(draw.normal(-20))} for n in range(8)] if learns else []
    path = folder / run.spec.address
    path.mkdir()
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tests))
    # as it comes back from run.json
    config = json.loads(json.dumps(run.spec.config))
    return RunFolder(path, {"status": "finished", "config": config, "summary": summary})


@pytest.mark.parametrize("profile", figures.PROFILES)
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_and_every_claim_is_measured(name, profile, tmp_path):
    figure, runs = planned(name, profile)
    module, groups = figure.module(), {}
    for number, run in enumerate(runs):
        groups.setdefault(run.name, []).append(invented(tmp_path, run, number))
    rows = module.tabulate(groups)
    plotting.write_csv(rows, tmp_path / "data.csv")
    read = plotting.read_csv(tmp_path / "data.csv")
    plotting.save(module.draw(read), tmp_path)
    measured = module.measure(read)
    assert all(isinstance(found, Measurement) and np.isfinite(found.value) for found in measured.values())
    missing = {claim.id for claim in figure.claims} - set(measured)
    assert profile == "smoke" or not missing


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_without_a_finished_run_is_an_empty_one(name):
    module = planned(name, "smoke")[0].module()
    rows = module.tabulate({})
    assert module.draw(rows) is not None and module.measure(rows) == {}


@pytest.mark.parametrize("name", FIGURES)
def test_no_run_of_a_figure_is_there_twice(name):
    for profile in figures.PROFILES:
        addresses = [run.spec.address for run in planned(name, profile)[1]]
        assert len(addresses) == len(set(addresses))


def test_figures_share_the_runs_that_they_have_in_common():
    def addresses(name):
        return {run.spec.address for run in planned(name, "quick")[1]}

    assert addresses("rewards") < addresses("alpha")
    for name in ("beta", "algorithms", "alpha", "quirks"):
        assert addresses(name) & addresses("table"), name


def test_positions_are_between_random_play_and_the_expert():
    assert position(-27.0, -27.0, -10.0) == 0 and position(-10.0, -27.0, -10.0) == 1
    assert curves.original_position("spread", -20.98) == pytest.approx(0.383, abs=1e-3)


def test_the_environment_of_a_run():
    def config(name, number=0):
        return {"env": {"env_name": name, "env_kwargs": {"num_agents": number}}}

    assert curves.environment_of(config("MPE_simple_spread_v3")) == "spread"
    assert curves.environment_of(config("MPE_simple_spread_v3", 5)) == "spread_na5"
    assert curves.environment_of(config("overcooked")) == "overcooked"


def test_differences_pair_the_seeds():
    found = curves.difference(np.array([2.0, 3.0]), np.array([1.0, 2.0]))
    assert found.value == found.low == found.high == 1.0 and found.n == 2
    assert curves.difference(np.array([2.0]), np.array([])) is None
    assert curves.difference(np.array([2.0, 4.0]), np.array([1.0])).value == 2.0
    assert curves.measurement(np.array([])) is None
