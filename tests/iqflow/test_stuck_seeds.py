"""The figure on seeds that never cooperate: its definitions and numbers, on rows made by hand."""

from pathlib import Path
from types import SimpleNamespace

import matplotlib.figure
import numpy as np
import pytest

from common import figures, plotting

ROOT = Path(__file__).resolve().parents[2]
FIGURE = figures.load(ROOT, "iqflow", "stuck-seeds", "paper")
OPEN = (0.0, 2.0)  # an agent that is paid for one action and not for the other
LOW, HIGH = (0.0, 0.01), (1.99, 2.0)


@pytest.fixture(scope="module")
def module():
    return FIGURE.module()


def seed(number, cooperation, first=OPEN, second=OPEN, *, game="chicken", variant="as released", wrong=0.0):
    return {
        "kind": "seed",
        "game": game,
        "variant": variant,
        "seed": number,
        "reward": 6.0,
        "disagreement": wrong,
        "cooperation_1": cooperation[0],
        "cooperation_2": cooperation[1],
        "lowest_1": first[0],
        "highest_1": first[1],
        "lowest_2": second[0],
        "highest_2": second[1],
    }


def curve(number, game="chicken"):
    own = {"kind": "incentive", "game": game, "variant": "as released", "seed": number}
    return [own | {"episode": at, "c_1": 2.0, "d_1": 0.0, "c_2": 1.5, "d_2": 0.5} for at in (100, 200, 300)]


def every_row():
    rows = [
        seed(1, (0.97, 0.95)),
        seed(2, (1.0, 0.0), second=LOW, wrong=0.4),
        seed(3, (0.05, 0.98), first=HIGH, second=LOW, wrong=0.3),
        seed(4, (0.02, 0.99), wrong=0.01),
        seed(5, (0.5, 0.95), first=HIGH),
        *(seed(number, (0.95, 0.95), game="ipd") for number in (1, 2)),
        *(seed(number, (0.95, 0.95), first=HIGH, variant="late start") for number in (1, 2, 3)),
        seed(4, (0.05, 0.95), second=LOW, variant="late start"),
        seed(1, (0.95, 0.2), variant="state values (Q1)"),
        *(seed(number, (0.95, 0.95), variant="state values (Q1)") for number in (2, 3, 4)),
    ]
    return rows + [row for number in range(1, 6) for row in curve(number)]


def test_the_manifest_runs_every_variant_in_both_games_and_nothing_else(module):
    names = [run["name"] for run in FIGURE.manifest["run"]]
    assert sorted(names) == sorted(f"{game}, {name}" for game in module.TITLES for name in module.VARIANTS)
    args = {run["name"].split(", ")[1]: run["args"] for run in FIGURE.manifest["run"]}
    assert len(set(args.values())) == len(module.VARIANTS)


def test_a_seeds_end_is_the_mean_of_five_evaluations_and_the_ends_of_the_last_table(module):
    table = np.ones((5, 2, 2, 2))
    table[3, 0, 1, 0], table[2, 1, 0, 0], table[..., 1] = 0.25, 1.75, 2.0
    table[:, 0, :, 1] = 0.0  # agent 2 is paid by agent 1's action here, whatever it does itself
    evaluations = [
        {
            "episode": 100 * (number + 1),
            "reward_env_total": float(number),
            "A1_n_c": 0.1 * number,
            "A2_n_c": 1.0,
            "detail": {"incentives": table.tolist(), "disagreement": 0.5 * (number == 6)},
        }
        for number in range(7)
    ]
    run = SimpleNamespace(config={"seed": 8}, metrics=lambda: evaluations)
    rows = module.tabulate({"ipd, as released": [run], "ipd, late start": [run]})
    assert [row["kind"] for row in rows] == ["seed"] + 7 * ["incentive"] + ["seed"]
    assert rows[0] == {
        "kind": "seed",
        "game": "ipd",
        "variant": "as released",
        "seed": 8,
        "reward": 4.0,
        "disagreement": 0.1,
        "cooperation_1": 0.4,
        "cooperation_2": 1.0,
        "lowest_1": 0.25,
        "highest_1": 1.75,
        "lowest_2": 0.0,
        "highest_2": 2.0,
    }
    last = rows[7]
    assert (last["episode"], last["c_2"], last["d_2"]) == (700, 1.0, 1.0)
    assert last["c_1"] == pytest.approx(0.925) and last["d_1"] == pytest.approx(1.075)


def test_saturated_is_all_of_an_agents_incentives_within_two_hundredths_of_one_end(module):
    def count(first, second=OPEN):
        return module._saturated(seed(1, (1, 1), first, second)).tolist()

    assert count(LOW) == [1, 0] and count(HIGH) == [0, 1] and count(LOW, LOW) == [2, 0]
    assert count(LOW, HIGH) == [1, 1] and count(OPEN) == [0, 0]
    assert count((0.0, 0.03)) == [0, 0] and count((1.97, 2.0)) == [0, 0]


@pytest.mark.parametrize(
    ("cooperation", "cooperates", "stuck"),
    [
        ((0.95, 0.91), True, False),
        ((0.95, 0.05), False, True),
        ((0.05, 0.95), False, True),
        ((0.95, 0.15), False, False),
        ((0.05, 0.05), False, False),
        ((0.90, 0.95), False, False),
    ],
)
def test_a_seed_cooperates_is_stuck_or_neither(module, cooperation, cooperates, stuck):
    row = seed(1, cooperation)
    assert (module._cooperates(row), module._stuck(row)) == (cooperates, stuck)


def test_every_claim_gets_its_number(module):
    measured = module.measure(every_row())
    assert set(measured) == {claim.id for claim in FIGURE.claims}
    shares = {name: (found.value, found.n) for name, found in measured.items()}
    assert shares["chicken-released"] == (0.2, 5) and shares["ipd-released"] == (1.0, 2)
    assert shares["stuck-saturated"] == (pytest.approx(2 / 3), 3)
    assert shares["stuck-disagree"] == (pytest.approx(2 / 3), 3)
    assert shares["cooperative-saturated"] == (0.0, 3)
    assert shares["late-at-zero"] == (1, 4) and shares["late-success"] == (0.75, 4)
    # seed 1 is lost, seeds 2 to 4 are won; seed 5 and the prisoner's dilemma have no partner
    assert shares["state-values-success"] == (0.5, 4)
    assert (
        measured["chicken-released"].note == "as released 1 of 5; late start 3 of 4; state values (Q1) 3 of 4"
    )
    assert "late start 1 at 0 and 3 at 2 of 8" in measured["late-at-zero"].note


def test_without_a_stuck_seed_its_claims_stay_open(module):
    measured = module.measure([seed(1, (0.95, 0.95))])
    assert set(measured) == {"chicken-released", "cooperative-saturated"}


def test_the_examples_are_the_first_stuck_seed_with_a_saturated_agent_and_a_cooperating_one(module):
    rows = every_row()
    assert module._example(rows, module._stuck)["seed"] == 2
    assert module._example([row for row in rows if row["seed"] != 2], module._stuck)["seed"] == 3
    assert module._example(rows, module._cooperates)["seed"] == 1


def drawn(module, rows):
    with plotting.house_style():
        picture = module.draw(rows)
    assert isinstance(picture, matplotlib.figure.Figure)
    return picture.axes


def test_the_picture_has_the_shares_the_counts_and_two_seeds(module):
    shares, saturated, stuck, good = drawn(module, every_row())
    # as released, late start, state values: filled at 0 and hatched at 2
    widths = [[bar.get_width() for bar in bars] for bars in saturated.containers[:2]]
    assert widths == [[2, 1, 0], [2, 3, 0]]
    assert "Chicken, seed 2" in stuck.get_title("left") and "Chicken, seed 1" in good.get_title("left")
    assert len(stuck.lines) == 4 and list(stuck.lines[0].get_xdata()) == [100, 200, 300]
    assert [text.get_text() for text in shares.get_yticklabels()] == list(module.VARIANTS[:3])


def test_a_few_rows_are_drawn_too(module):
    *_, stuck, good = drawn(module, [seed(1, (0.5, 0.5)), *curve(1)])
    assert "No stuck seed" in stuck.get_title("left") and "No cooperating seed" in good.get_title("left")
