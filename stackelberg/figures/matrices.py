"""Twelve games: learning curves of four kinds of leader and oracle beside the exact values, on the paper's scale."""

import numpy as np

from common import plotting
from common.stats import first_time_to_threshold
from common.verdicts import Measurement
from stackerlberg import curves
from stackerlberg.games import PAPER_GAMES

RUNS = ("PPO", "PG", "PPO, inner Q", "ES", "ES, inner Q")
LABELS = {
    "PPO": "PPO leader, contextual follower",
    "PG": "PG leader, contextual follower",
    "PPO, inner Q": "PPO leader, inner Q learner",
    "ES": "ES leader, contextual follower",
    "ES, inner Q": "ES leader, inner Q learner",
}
STEPS = 10
#: mean final returns of the PG leader in a re-simulation, 10 seeds (spec 8.7, last column)
RESIMULATED = dict(
    zip(
        PAPER_GAMES,
        (5.83, 14.80, 14.88, 14.85, 14.86, 14.77, 14.71, 5.03, 5.54, 14.73, 14.76, 14.69),
        strict=True,
    )
)
#: the best return that answers and play drawn independently can reach, where it exceeds the Stackelberg value (spec 8.4)
PROTOCOL_OPTIMUM = {"prisoners_dilemma": 8.42, "deadlock": 7.56, "prisoners_delight": 8.32}


def tabulate(runs):
    """Pre-training is not drawn here, and its curves would be half of the table."""
    return [row for row in curves.tabulate(runs) if row["phase"] or row["kind"] == curves.END]


def scaled(returns):
    """Mean payoff per step minus 4."""
    return returns / STEPS - 1.5


def exact(rows, game):
    """The Stackelberg value that the runs carry."""
    return float(curves.ends(rows, "PPO", f"matrix_name={game}", column="stackelberg")[0])


def draw(rows):
    figure, axes = plotting.new_figure(4, 3, panel=(3.3, 2.6), sharex=True)
    for ax, game in zip(axes, PAPER_GAMES, strict=True):
        for kind, run in enumerate(RUNS):
            curves.draw(ax, curves.select(rows, run, f"matrix_name={game}"), LABELS[run], kind, scale=scaled)
        plotting.reference_line(ax, scaled(exact(rows, game)), "exact Stackelberg value")
        if game in PROTOCOL_OPTIMUM:
            plotting.reference_line(ax, scaled(PROTOCOL_OPTIMUM[game]), "exact optimum of the protocol", 1)
        ax.set_title(game.replace("_", " "))
        ax.set_xscale("log")
    for ax in axes[-4:]:
        ax.set_xlabel("leader's environment steps")
    for ax in axes[::4]:
        ax.set_ylabel("payoff per step minus 4")
    figure.suptitle(curves.seeds_note(rows), fontsize=9)
    plotting.legend_below(figure, axes, ncols=4)
    return figure


def per_game(rows, run):
    """Final returns of every game, [games][seeds]."""
    return {game: curves.ends(rows, run, f"matrix_name={game}") for game in PAPER_GAMES}


def after(rows, run, game, steps=100_000):
    """Mean return in the block in which so many env steps are reached."""
    curve = curves.select(rows, run, f"matrix_name={game}")
    reached = [row for row in curve if row["env_steps"] >= steps]
    return curves.at(curve, reached[0]["iteration"]) if reached else None


def ratio(rows, game, level):
    """How many times the steps of the contextual follower's leader the inner Q learner's leader needs to a return."""
    times = []
    for run in ("PPO, inner Q", "PPO"):
        curve = curves.select(rows, run, f"matrix_name={game}")
        steps, values = (np.array([row[key] for row in curve]) for key in ("env_steps", "leader_mean"))
        times.append(first_time_to_threshold(steps, values, level) if len(curve) else None)
    if times[1] is None:
        return None
    # a leader that never gets there needed at least all its steps
    slow = times[0] or curves.select(rows, "PPO, inner Q", f"matrix_name={game}")[-1]["env_steps"]
    return Measurement(slow / times[1])


def largest(values):
    """The largest value and the game that it belongs to."""
    game = max(values, key=values.get)
    return Measurement(values[game], note=game)


def measure(rows):
    ppo, pg = per_game(rows, "PPO"), per_game(rows, "PG")
    value = {game: exact(rows, game) for game in PAPER_GAMES}
    gaps = {game: float(ppo[game].mean() - value[game]) for game in PAPER_GAMES}
    near = np.concatenate([abs(ppo[game] - value[game]) <= 1.0 for game in PAPER_GAMES])
    distance = {game: abs(float(pg[game].mean()) - RESIMULATED[game]) for game in PAPER_GAMES}
    found = {
        "ppo-worst-below": largest({game: -gap for game, gap in gaps.items()}),
        "ppo-worst-above": largest(gaps),
        "ppo-within-one": curves.share(near),
        "ppo-pd": curves.mean(ppo["prisoners_dilemma"]),
        "pg-table": largest(distance),
        "inner-q-pd": after(rows, "PPO, inner Q", "prisoners_dilemma"),
        "inner-q-stag": after(rows, "PPO, inner Q", "stag_hunt"),
        "contextual-pd": after(rows, "PPO", "prisoners_dilemma"),
        "contextual-stag": after(rows, "PPO", "stag_hunt"),
        "speed-up": ratio(rows, "stag_hunt", 11.0),
    }
    return curves.known(found)
