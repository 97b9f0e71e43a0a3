"""League: what agents of every algorithm earn against each other, ours beside the paper's."""

import json
import math
from pathlib import Path

import numpy as np

from common import plotting
from common.stats import mean_interval
from common.verdicts import Measurement
from loqa.league import heat_map, results

GAMES, STEPS, KEY = 32, 50, 2
OURS, PAPER = "ours", "paper"


def _agents(runs):
    """The agents that the runs saved last, named by family and seed, and the scripted players."""
    from loqa.league.loaders import load_agent, newest_state
    from loqa.league.program import GAME, league_order, scripted_agents

    trained = [
        load_agent(
            newest_state(folder.path / "agents"), f"{family}_{folder.config['hp']['seed']}", GAME, family
        )
        for family, folders in runs.items()
        for folder in folders
    ]
    return league_order(trained + scripted_agents(GAME))


def tabulate(runs):
    """Play the league: a row per pair, then the families' means, then the paper's."""
    from loqa.league import program

    program.choose_device("auto")
    pairs, rows = [], []
    order = program.pairs_of(_agents(runs), "all")
    played = {
        (one.name, other.name): report
        for chunk in program.in_chunks(order, KEY, GAMES, STEPS)
        for (one, other), report in chunk
    }
    for one, other in order:
        report = played[one.name, other.name]
        returns, errors = report.statistics.mean_rewards, report.standard_error
        pairs.append((one.name, other.name, one.family, other.family, float(returns[0]), float(returns[1])))
        rows.append({"source": OURS, "pairs": "one", "family1": one.family, "family2": other.family})
        rows[-1] |= {"agent1": one.name, "agent2": other.name, "n": 1}
        rows[-1] |= {f"mean_{seat + 1}": float(returns[seat]) for seat in (0, 1)}
        rows[-1] |= {f"se_{seat + 1}": float(errors[seat]) for seat in (0, 1)}
    published = json.loads(Path(__file__).with_name("league_paper.json").read_text("utf-8"))["rows"]
    for source, means in ((OURS, results.family_means(pairs)), (PAPER, published)):
        for row in means:
            spread = {f"se_{seat}": row[f"std_{seat}"] / math.sqrt(row["n"]) for seat in (1, 2)}
            rows.append({"source": source, **row, **(spread if row["n"] > 1 else {})})
    return rows


def draw(rows):
    """Two heat maps of family means."""
    figure, axes = plotting.new_figure(2, panel=(7.2, 6.2))
    titles = {OURS: "Ours", PAPER: "The paper's"}
    for ax, (source, title) in zip(axes, titles.items(), strict=True):
        means = [row for row in rows if row["source"] == source and row["pairs"] == "all"]
        heat_map.draw(ax, means, title)
    return figure


def _returns(rows, family1, family2, kind, seat):
    """Returns of one seat over our pairs of two families; seat 0 stands for the mean of both."""
    chosen = []
    for row in rows:
        if row["source"] != OURS or row["pairs"] != "one":
            continue
        if (row["family1"], row["family2"]) != (family1, family2):
            continue
        same = row["agent1"] == row["agent2"]
        if kind == "all" or same == (kind == "self"):
            chosen.append(row)
    if seat:
        return [row[f"mean_{seat}"] for row in chosen], [row[f"se_{seat}"] for row in chosen]
    both = [(row["mean_1"] + row["mean_2"]) / 2 for row in chosen]
    return both, [math.hypot(row["se_1"], row["se_2"]) / 2 for row in chosen]


def _measure(rows, family1, family2, kind, seat):
    """Mean over pairs with its interval: over the pairs, or over the games where there is one pair."""
    values, errors = _returns(rows, family1, family2, kind, seat)
    if not values:
        return None
    if len(values) == 1:
        (value,), (error,) = values, errors
        note = f"one pair, interval over {GAMES} games"
        return Measurement(value, value - 1.96 * error, value + 1.96 * error, 1, error, note)
    interval = mean_interval(values, kind="student")
    spread = float(np.std(values, ddof=1) / math.sqrt(len(values)))
    return Measurement(*map(float, interval), len(values), spread)


def measure(rows):
    """Every claim's number."""
    wanted = {
        "ac-ac": ("AC", "AC", "all", 0),
        "ad-ac-defector": ("AD", "AC", "all", 1),
        "ad-ac-cooperator": ("AD", "AC", "all", 2),
        "ad-ad": ("AD", "AD", "all", 0),
        "loqa-self": ("LOQA", "LOQA", "self", 0),
        "loqa-cross": ("LOQA", "LOQA", "cross", 0),
        "loqa-ac": ("LOQA", "AC", "all", 1),
        "loqa-ac-cooperator": ("LOQA", "AC", "all", 2),
        "loqa-ad": ("LOQA", "AD", "all", 1),
        "loqa-ad-defector": ("LOQA", "AD", "all", 2),
        "loqa-random": ("LOQA", "Random", "all", 1),
        "norb-self": ("LOQA-noRB", "LOQA-noRB", "self", 0),
        "norb-ac": ("LOQA-noRB", "AC", "all", 1),
        "nosp-self": ("LOQA-noSP", "LOQA-noSP", "self", 0),
    }
    found = {claim: _measure(rows, *where) for claim, where in wanted.items()}
    return {claim: value for claim, value in found.items() if value is not None}
