"""The tournament itself: the library's players and matches, a whole run, its resume, and the README's commands.

Everything that imports the Axelrod library is in this file: importing it takes twenty seconds of a process.
"""

import re
import shlex
import subprocess
from pathlib import Path

import axelrod
import numpy as np
import pytest

from common import figures
from common.cli import UserError, run_main
from common.runs import RunFolder
from tournament import axelrod_players, config, program
from tournament.axelrod_players import TablePlayer, from_library, library_game, sampled_values
from tournament.config import parse
from tournament.entrants import CLASSICS
from tournament.game import SITUATIONS, exact_values, payoffs_of, round_weights
from tournament.player_file import read

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "tournament"
GAME = payoffs_of("stackelberg/prisoners_dilemma")
WEIGHTS = round_weights(150, 0.96)
SMALL = ["--repetitions", "2", "--rounds", "8", "--generations", "30"]
TABLES = {  # CC, CD, DC, DD, start
    "Cooperator": [1, 1, 1, 1, 1],
    "Defector": [0, 0, 0, 0, 0],
    "TitForTat": [1, 0, 1, 0, 1],
    "WinStayLoseShift": [1, 0, 0, 1, 1],
    "Random": [0.5] * 5,
    # forgives one defection in three: what leaves cooperating the best response in Axelrod's own game, whatever is played
    "GTFT": [1, 1 / 3, 1, 1 / 3, 1],
    # Press and Dyson's equations with l = P = 2, s = 1/2, phi = 1/9
    "ZDExtort2": [17 / 18, 1 - 2.5 / 9, 2 / 9, 0, 1],
}


@pytest.mark.parametrize("name", CLASSICS)
def test_a_classic_strategy_is_the_library_s(name):
    entrant = from_library(name, CLASSICS[name], GAME)
    assert isinstance(axelrod_players.player_of(entrant), getattr(axelrod, name))
    if name in TABLES:
        assert entrant.table == pytest.approx(np.array(TABLES[name]), abs=1e-9)
    else:
        assert entrant.table is None  # it remembers more than the last round


@pytest.mark.parametrize("name", [name for name in TABLES if name not in ("Random", "GTFT", "ZDExtort2")])
def test_a_table_plays_as_the_strategy_does(name):
    """Against a table that visits every situation, the library's own strategy and its table move alike."""
    other = np.array([0.7, 0.2, 0.4, 0.9, 0.5])

    def moves(player):
        return axelrod.Match((player, TablePlayer(other)), turns=60, seed=7, game=library_game(GAME)).play()

    assert moves(TablePlayer(np.array(TABLES[name], float))) == moves(getattr(axelrod, name)())


@pytest.mark.parametrize(
    ("first", "second"), [("TitForTat", "Defector"), ("Grudger", "Defector"), ("TitForTat", "Grudger")]
)
def test_matches_by_hand(first, second):
    players = getattr(axelrod, first)(), getattr(axelrod, second)()
    values, errors = sampled_values(players, GAME, WEIGHTS, 5, 1)
    expected = (
        (3, 3)
        if second == "Grudger"
        else (WEIGHTS[0] + 2 * (1 - WEIGHTS[0]), 4 * WEIGHTS[0] + 2 * (1 - WEIGHTS[0]))
    )
    assert values == pytest.approx(expected, abs=1e-9) and errors.tolist() == [0, 0]


def test_sampled_values_are_the_exact_ones():
    tables = np.array([0.9, 0.1, 0.6, 0.3, 0.8]), np.array([0.7, 0.4, 0.2, 0.5, 0.1])
    values, errors = sampled_values(tuple(map(TablePlayer, tables)), GAME, WEIGHTS, 300, 3)
    exact = exact_values(*tables, GAME, 0.96)
    # what a match cut after 150 rounds leaves out is at most 0.96 ** 150 of the payoffs' range
    assert np.all(np.abs(values - exact) < 4 * errors + 3 * 0.96**150) and np.all(errors < 0.05)


def test_sampled_matches_are_reproducible():
    tables = tuple(TablePlayer(np.full(5, 0.5)) for _ in range(2))
    first, second, other = (sampled_values(tables, GAME, WEIGHTS, 3, seed)[0].tolist() for seed in (1, 1, 2))
    assert first == second != other


def test_a_recurrent_player_plays_its_network(recurrent, write):
    """The frequency of cooperation in each round of many matches is the network's probability of that history."""
    network = read(write(recurrent)).network
    other, counts = TablePlayer(np.ones(5)), np.zeros((2, 2))
    for seed in range(400):
        match = axelrod.Match((axelrod_players.RecurrentPlayer(network), other), turns=2, seed=seed)
        (first, _), (second, _) = match.play()
        counts[0, first is axelrod.Action.C] += 1
        counts[1, second is axelrod.Action.C] += first is axelrod.Action.C
    start, after = network.along([SITUATIONS.index("start"), SITUATIONS.index("CC")])
    share = counts[0, 1] / 400
    assert share == pytest.approx(start, abs=0.1) and counts[1, 1] / counts[0, 1] == pytest.approx(
        after, abs=0.15
    )


def test_ecology_sums_to_one_and_the_defector_goes_when_its_prey_is_gone():
    tables = [np.array(TABLES[name], float) for name in ("TitForTat", "Defector", "Cooperator")]
    values = np.array([[exact_values(a, b, GAME, 0.96)[0] for b in tables] for a in tables])
    shares = axelrod_players.generations(values, GAME, 300)
    assert shares.sum(axis=1) == pytest.approx(np.ones(301), abs=1e-12) and shares[0].tolist() == [1 / 3] * 3
    assert shares[:, 1].max() > 1 / 3 and shares[-1, 1] < 1e-6 and shares[-1, 0] > 0.5
    # one generation by hand: a share times its normalised payoff from the population
    fitness = (values @ shares[0] - GAME.sucker) / (GAME.temptation - GAME.sucker)
    assert shares[1] == pytest.approx(shares[0] * fitness / (shares[0] @ fitness), abs=1e-12)


def test_adding_a_constant_to_the_payoffs_changes_no_share():
    values = np.array([[3.0, 1.96], [2.08, 2.0]])
    other = payoffs_of("loqa/ipd")  # the same game less 4
    shares = axelrod_players.generations(values, GAME, 50), axelrod_players.generations(values - 4, other, 50)
    assert shares[0] == pytest.approx(shares[1], abs=1e-12)


# --- whole runs ------------------------------------------------------------------------------------------------------


def play(words, root):
    assert program.run(parse([*words, "--run_root", str(root)])) == 0
    (folder,) = [RunFolder.read(path.parent) for path in root.glob("*/run.json")]
    assert folder.finished
    return folder.metrics()


def command(own, *words):
    return ["--players", str(own), "--classics", "TitForTat", "Grudger", *SMALL, *words]


def test_a_run_has_every_pair_response_and_share(own, tmp_path, capsys):
    rows = play(command(own), tmp_path)
    kinds = [row["what"] for row in rows]
    assert [kinds.count(kind) for kind in ("entrant", "leader", "pair", "response")] == [4, 1, 16, 4]
    by_pair = {(row["row"], row["column"]): row for row in rows if row["what"] == "pair"}
    assert len(by_pair) == 16
    assert all(by_pair[a, b]["value"] == by_pair[b, a]["other"] for a, b in by_pair)
    assert (
        by_pair["titfortat", "steady"]["value"] == pytest.approx(3)
        and by_pair["titfortat", "steady"]["error"] == 0
    )
    for generation in {row["generation"] for row in rows if row["what"] == "share"}:
        shares = [row["share"] for row in rows if row.get("generation") == generation]
        assert sum(shares) == pytest.approx(1)
    bounds = {row["player"]: row["bound"] for row in rows if row["what"] == "response"}
    assert bounds == {"titfortat": 0, "steady": 0, "grudger": 1, "wavering": 1}
    assert "best response gets" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_bits_and_another_one_others(own, tmp_path):
    first, again, other = (
        play(command(own, "--seed", seed), tmp_path / name)
        for seed, name in (("1", "a"), ("1", "b"), ("2", "c"))
    )
    assert first == again != other


def test_a_pair_s_matches_do_not_depend_on_who_else_takes_part(own, tmp_path):
    found = [
        {
            (row["row"], row["column"]): row["value"]
            for row in play([*words, *SMALL], tmp_path / str(n))
            if row["what"] == "pair"
        }
        for n, words in enumerate(
            ["--players", str(own), "--classics", *names] for names in (["Grudger"], ["Random", "Grudger"])
        )
    ]
    assert all(found[1][pair] == value for pair, value in found[0].items())


def test_a_finished_run_is_not_repeated(own, tmp_path, capsys):
    play(command(own), tmp_path)
    assert program.run(parse([*command(own), "--run_root", str(tmp_path)])) == 0
    assert "finished already" in capsys.readouterr().out


def test_an_interrupted_run_goes_on_to_the_same_rows(own, tmp_path, monkeypatch):
    whole = play(command(own), tmp_path / "whole")
    monkeypatch.setattr(program, "CHECKPOINT_SECONDS", 0.0)
    rows = program.Tournament.rows

    def dies(self, step, earlier):
        if step == ("response", 2):
            raise KeyboardInterrupt
        return rows(self, step, earlier)

    monkeypatch.setattr(program.Tournament, "rows", dies)
    with pytest.raises(KeyboardInterrupt):
        program.run(parse([*command(own), "--run_root", str(tmp_path / "cut")]))
    monkeypatch.setattr(program.Tournament, "rows", rows)
    assert play(command(own), tmp_path / "cut") == whole


def test_generations_that_are_logged():
    assert program.shown_generations(5) == [0, 1, 2, 3, 4, 5]
    found = program.shown_generations(300)
    assert found[:21] == list(range(21)) and found[-1] == 300 and len(found) < 70


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--discount", "1"], "it has to be at least 0 and below 1"),
        (["--rounds", "0"], "--rounds 0"),
        (["--repetitions", "1"], "--repetitions 1"),
        (["--generations", "0"], "--generations 0"),
        (["--seed", "-1"], "--seed -1"),
        (["--game", "iqflow/chicken"], "no prisoner's dilemma"),
        (["--classics", "Cooperator2"], "--classics Cooperator2"),
        (["--classics", "Random", "Random"], "two who take part are called random"),
        (["--players", "nowhere"], "no player file at"),
    ],
)
def test_bad_input_is_one_line_and_two(words, expected, own, tmp_path, capsys):
    base = [] if "--players" in words else ["--players", str(own)]
    with pytest.raises(UserError, match=re.escape(expected)):
        parse([*base, *words])
    assert run_main(lambda argv: parse(argv) and 0, [*base, *words], program="play.py") == 2
    error = capsys.readouterr().err
    assert error.startswith("play.py: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["--turns", "3"], ["--gam", "loqa/ipd"], ["--device", "cuda"], ["--rounds", "x"]]
)
def test_an_unknown_flag_is_one_line_and_two(words, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(words)
    assert caught.value.code == 2 and capsys.readouterr().err.count("\n") == 1


def test_every_flag_changes_what_is_computed(own):
    flags = {
        "--classics": "Random", "--game": "iqflow/ipd", "--discount": "0.9", "--rounds": "9",
        "--repetitions": "9", "--generations": "9", "--seed": "9",
    }  # fmt: skip
    base = parse(["--players", str(own)]).identity()
    for flag, value in flags.items():
        assert parse(["--players", str(own), flag, value]).identity() != base, flag
    assert parse(["--players", str(own / "steady.json")]).identity() != base
    known = {option for action in config.parser()._actions for option in action.option_strings}
    assert known - set(flags) == {"-h", "--help", "--players", "--run_root", "--device"}


# --- the README --------------------------------------------------------------------------------------------------


def blocks(language):
    text = (HOME / "README.md").read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


COMMANDS = [line for block in blocks("") for line in block.splitlines() if line.startswith("python ")]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme(line, tmp_path, monkeypatch):
    monkeypatch.chdir(HOME)
    words = shlex.split(line)[2:]
    assert shlex.split(line)[1] == "play.py" and words.count("--players") <= 1
    mine = tmp_path / "mine.json"
    mine.write_text(blocks("json")[0])
    words = [str(mine) if word == "mine.json" else word for word in words]
    assert play([*words, *SMALL], tmp_path / "runs")


def test_the_readme_has_commands_and_its_example_is_a_player(tmp_path):
    assert len(COMMANDS) >= 2
    path = tmp_path / "mine.json"
    path.write_text(blocks("json")[0])
    assert read(path).table is not None


def test_every_make_target_of_the_readme_exists():
    text = (HOME / "README.md").read_text("utf-8")
    targets = set(re.findall(r"`make ([a-z-]+)", text))
    assert "reproduce-tournament" in targets
    for target in targets:
        answer = subprocess.run(["make", "-n", "-C", str(ROOT), target], capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr


def test_the_figure_s_commands_are_understood():
    for profile in ("smoke", "quick", "paper"):
        runs = figures.plan(figures.load(ROOT, "tournament", "crossplay", profile))
        assert runs and all(run.seed == 1 for run in runs)
