"""The manifests of the exact figures run the paper's commands, and every claim gets a number from their rows."""

import re
import shlex
from pathlib import Path

import matplotlib.figure
import pytest

from common import figures, plotting
from pola.exact.config import parse

ROOT = Path(__file__).resolve().parents[3]
README = ROOT / "pola" / "README.md"
FIGURES = ("fig1", "fig3", "opponent-models")
STATES = ("DD", "DC", "CD", "CC", "start")


def readme_configurations():
    """Every command of the README for the exact program, resolved, without its number of repeats."""
    lines = [
        line for line in README.read_text("utf-8").splitlines() if line.startswith("python LOLA_exact.py ")
    ]
    return [comparable(shlex.split(line)[2:]) for line in lines]


def comparable(words):
    identity = parse(words).identity()
    return {key: value for key, value in identity.items() if key not in ("repeats", "precondition")}


@pytest.mark.parametrize("name", FIGURES)
def test_a_manifest_runs_the_papers_commands_without_a_warning(name, capsys):
    figure = figures.load(ROOT, "pola", name, "paper")
    published, found = readme_configurations(), 0
    for run in figures.plan(figure):
        if run.script == "LOLA_exact.py" and "tried" not in run.name:
            assert comparable(run.args) in published, run.name
            found += 1
    assert found == {"fig1": 4, "fig3": 28, "opponent-models": 6}[name]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", FIGURES)
def test_quick_and_paper_are_the_same_runs_and_claims(name):
    quick, paper = (figures.load(ROOT, "pola", name, profile) for profile in ("quick", "paper"))
    assert [run.spec for run in figures.plan(quick)] == [run.spec for run in figures.plan(paper)]
    assert quick.claims == paper.claims and quick.claims


def point(algorithm, policy, cf, n_tft, n=100):
    row = {"kind": "point", "algorithm": algorithm, "policy": policy, "cf": cf, "lr_in": 1.0, "lr_out": 2.0}
    return row | {"n": n, "n_tft": n_tft, "n_of_command": 20, "n_tft_of_command": 10}


def fig3_rows():
    rows = [
        point(algorithm, policy, cf, 50)
        for algorithm, policy in (("LOLA", "tabular"), ("LOLA", "net"), ("POLA", "tabular"), ("POLA", "net"))
        for cf in (1.1, 1.25, 1.33, 1.4, 1.6)
    ]
    rows += [
        point("POLA", matrix, cf, 90)
        for matrix in ("dd", "opponent-defects")
        for cf in (1.1, 1.25, 1.33, 1.4, 1.6)
    ]
    rows.append(point("LOLA", "net", 1.1, 60))
    for kind, n in (("grid", 100), ("fresh", 400)):
        rows += [
            {
                "kind": kind,
                "cf": cf,
                "matrix": matrix,
                "plain": plain,
                "lr_in": a,
                "lr_out": b,
                "n": n,
                "n_tft": n // 4,
            }
            for cf in (1.1, 1.25, 1.33, 1.4, 1.6)
            for matrix in ("dd", "opponent-defects")
            for plain in (0, 1)
            for a in (0.1, 0.3, 1.0)
            for b in (0.05, 0.3, 3.0)
        ]
    return rows


def fig1_rows(module):
    return [
        {"algorithm": algorithm, "net": net, "agent": agent, "state": state, "p_cooperate": p}
        for (algorithm, net), policy in module.RELEASED.items()
        for agent in (1, 2)
        for state, p in zip(STATES, policy, strict=True)
    ]


def model_rows():
    return [
        {
            "algorithm": a,
            "model": m,
            "state": s,
            "p_cooperate": 0.5,
            "deviation": 0.1,
            "n": 10,
            "n_tft": 9,
            "value": 1.0,
        }
        for a in ("LOLA", "POLA")
        for m in ("tabular", "net", "pre-conditioned")
        for s in STATES
    ]


@pytest.mark.parametrize("name", FIGURES)
def test_every_claim_gets_a_number_and_the_figure_is_drawn(name):
    figure = figures.load(ROOT, "pola", name, "paper")
    module = figure.module()
    rows = {"fig1": lambda: fig1_rows(module), "fig3": fig3_rows, "opponent-models": model_rows}[name]()
    measured = module.measure(rows)
    assert (
        {claim.id for claim in figure.claims} == set(measured)
        if name != "fig3"
        else set(measured) >= {claim.id for claim in figure.claims}
    )
    with plotting.house_style():
        assert isinstance(module.draw(rows), matplotlib.figure.Figure)
        assert isinstance(module.draw(rows[:5]), matplotlib.figure.Figure)


def test_figure_1_measures_distances_from_the_released_program():
    module = figures.load(ROOT, "pola", "fig1", "paper").module()
    rows = fig1_rows(module)
    measured = module.measure(rows)
    assert measured["lola-net-1"].value == 0 and measured["pola-net-2"].value == 0
    assert measured["lola-differs"].value == pytest.approx(0.0695, abs=5e-4)
    assert measured["pola-coincides"].value == pytest.approx(0.0232, abs=5e-4)
    moved = [row | {"p_cooperate": row["p_cooperate"] + 0.01 * (row["state"] == "CD")} for row in rows]
    assert module.measure(moved)["pola-net-1"].value == pytest.approx(0.01)


def test_figure_3_takes_the_best_setting_tried_and_the_smallest_lead():
    module = figures.load(ROOT, "pola", "fig3", "paper").module()
    measured = module.measure(fig3_rows())
    assert measured["lola-net-1.1"].value == 0.6 and measured["lola-net-1.25"].value == 0.5
    assert measured["pola-above-lola-pre"].value == pytest.approx(0.9 - 0.25)
    assert measured["pola-pre-1.4"].se == pytest.approx(0.03) and measured["pola-pre-1.4"].n == 100
    assert re.search(r"10 of the command's 20", measured["pola-pre-1.4"].note)
    assert measured["lola-pre-not-never"].n == 400 and measured["grid-1.33-dd"].n == 100
