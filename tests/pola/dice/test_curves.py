"""From run records to the rows, panels and numbers of Figures 4 and 5, on records made up by hand."""

import json

import pytest

from common import plotting
from common.runs import RunFolder
from pola.dice import curves
from pola.dice.config import parse


@pytest.fixture
def record(tmp_path):
    """`record(words, scores)`: a run of that command whose evaluations scored (agent 1, agent 2) every 10 steps."""

    def make(words, scores, **extra):
        config = parse(words.split()).identity()
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        run = RunFolder(folder, {"config": config, "status": "finished"})
        folder.mkdir()
        lines = []
        for number, pair in enumerate(scores):
            row = {
                "outer_steps": 10 * number,
                "score": pair,
                "vs_defect": pair,
                "vs_cooperate": pair,
                "vs_tft": pair,
            }
            lines.append(row | extra)
        with open(folder / "metrics.jsonl", "wb") as file:
            file.writelines(json.dumps(line).encode() + b"\n" for line in lines)
        return run

    return make


POLA = "--env ipd --inner_steps 2 --outer_steps 10 --inner_beta 1 --contrib_factor 1.6 --rollout_len 20"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("--env ipd", "LOLA-DiCE"),
        ("--env ipd --persistent_adam", "LOLA-DiCE, Adam kept"),
        ("--env ipd --inner_beta 1", "POLA-DiCE"),
        ("--env coin --outer_steps 2", "POLA-DiCE"),
        ("--env coin --opp_model", "POLA-OM"),
    ],
)
def test_an_algorithm_has_the_papers_name(words, name):
    assert curves.algorithm(parse(words.split()).identity()) == name


def test_a_row_is_the_mean_over_both_agents(record):
    rows = curves.tabulate([record(f"{POLA} --seed 3", [(0.25, 0.75), (1.0, 0.0)])])
    assert [(row["seed"], row["outer_steps"], row["each_other"]) for row in rows] == [
        (3, 0, 0.5),
        (3, 10, 0.5),
    ]
    assert {row["algorithm"] for row in rows} == {"POLA-DiCE"} and rows[0]["contrib_factor"] == 1.6


def test_the_share_of_own_coins(record):
    (row,) = curves.tabulate([record("--env coin", [(0.0, 0.0)], same=3.0, diff=1.0)])
    assert row["same_proportion"] == 0.75 and "contrib_factor" not in row


def test_steps_beyond_the_last_are_left_out(record):
    assert len(curves.tabulate([record(POLA, [(0, 0)] * 5)], last_step=20)) == 3


def test_a_number_is_the_mean_over_seeds_with_its_interval(record):
    runs = [
        record(f"{POLA} --seed {seed}", [(0.0, 0.0), (score, score)]) for seed, score in ((1, 0.2), (2, 0.4))
    ]
    runs.append(record("--env ipd --contrib_factor 1.6 --rollout_len 20 --seed 1", [(0.0, 0.0), (0.1, 0.1)]))
    rows = curves.tabulate(runs)
    measured = curves.at(rows, "POLA-DiCE", "each_other", 10)
    assert measured.value == pytest.approx(0.3) and measured.n == 2
    assert measured.high - measured.value == pytest.approx(12.706 * 0.1, rel=1e-3)
    gap = curves.difference(rows, "POLA-DiCE", "LOLA-DiCE", "each_other", 10)
    assert gap.value == pytest.approx(0.2) and gap.low is None
    assert curves.at(rows, "POLA-DiCE", "each_other", 1000) is None
    assert curves.difference(rows, "POLA-DiCE", "POLA-OM", "each_other", 10) is None


def test_references_follow_from_the_game():
    both, exploited = curves.panels("ipd", 1.6, 20)
    assert (both.cooperate, both.defect) == pytest.approx((0.6, 0.0))
    assert (exploited.cooperate, exploited.defect) == pytest.approx((-0.2, 0.0))
    tft = curves.panels("ipd", 1.33, 50, every=True)[3]
    assert tft.defect == pytest.approx(0.665 / 50)


def test_the_papers_curves_lie_beside_ours(record):
    rows = curves.tabulate([record(POLA, [(0.0, 0.0), (0.2, 0.2)])])
    rows += curves.published({"p": {"POLA-DiCE": [[0, 0.1], [10, 0.3]]}}, {"p": "each_other"})
    with plotting.house_style():
        figure = curves.draw(rows, "ipd", note="small")
    labels = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert labels == {"POLA-DiCE", "paper: POLA-DiCE", "always cooperate", "always defect"}
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["Against each other", "Against always-defect"]
