"""Per game, how far the final return is from the exact Stackelberg value with each of two switches on and off."""

import numpy as np

from common import plotting
from common.verdicts import Measurement
from stackerlberg import curves
from stackerlberg.games import PAPER_GAMES

#: a panel: its run, the switch that it shows, what off and on are called, and what is held fixed
PANELS = (
    ("PG leader", "consistent_commitment", ("drawn independently", "committed"), ()),
    (
        "PPO leader",
        "consistent_commitment",
        ("drawn independently", "committed"),
        ("minibatch_remainder=false",),
    ),
    (
        "PPO leader",
        "minibatch_remainder",
        ("minibatches of 1,000", "and of 5"),
        ("consistent_commitment=false",),
    ),
)
PG_COMMITMENT, PPO_COMMITMENT, PPO_REMAINDER = PANELS


def tabulate(runs):
    return [row for row in curves.tabulate(runs) if row["kind"] == curves.END and row["phase"]]


def excess(rows, panel, game, switched):
    """Final returns less the exact Stackelberg value, one per seed: [S]."""
    run, switch, _, fixed = panel
    parts = (f"matrix_name={game}", f"{switch}={str(switched).lower()}", *fixed)
    values, exact = (curves.ends(rows, run, *parts, column=name) for name in ("leader", "stackelberg"))
    return values - exact


def draw(rows):
    figure, axes = plotting.new_figure(3, panel=(3.6, 4.2), sharey=True)
    places = np.arange(len(PAPER_GAMES))
    for ax, panel in zip(axes, PANELS, strict=True):
        leader, switch, labels, _ = panel
        for kind, switched in enumerate((False, True)):
            found = [curves.mean(excess(rows, panel, game, switched)) for game in PAPER_GAMES]
            middle = np.array([each.value for each in found])
            low, high = (
                [each.value if getattr(each, end) is None else getattr(each, end) for each in found]
                for end in ("low", "high")
            )
            style = plotting.series_style(kind) | {"linestyle": "none"}
            ax.errorbar(
                middle,
                places + 0.24 * (kind - 0.5),
                xerr=np.abs([middle - low, high - middle]),
                label=labels[kind],
                **style,
            )
        ax.axvline(0.0, color="0.5", linewidth=0.8)
        ax.set_yticks(places, [game.replace("_", " ") for game in PAPER_GAMES])
        ax.set(title=f"{leader}, {switch}", xlabel="final return less exact value")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=1, frameon=False, fontsize=8)
    axes[0].invert_yaxis()
    seeds = len(excess(rows, PG_COMMITMENT, PAPER_GAMES[0], False))
    figure.suptitle(f"Return of ten steps, mean of {seeds} seeds and its 95 % interval", fontsize=9)
    return figure


def measure(rows):
    ppo = {
        switched: {game: excess(rows, PPO_COMMITMENT, game, switched).mean() for game in PAPER_GAMES}
        for switched in (False, True)
    }
    worst = max(ppo[True], key=ppo[True].get)
    change = {
        game: abs(
            excess(rows, PPO_REMAINDER, game, True).mean() - excess(rows, PPO_REMAINDER, game, False).mean()
        )
        for game in PAPER_GAMES
    }
    most = max(change, key=change.get)
    return {
        "commitment-ppo": Measurement(float(ppo[True][worst]), note=worst),
        "independent-ppo": curves.mean(excess(rows, PPO_COMMITMENT, "prisoners_dilemma", False)),
        "remainder": Measurement(float(change[most]), note=most),
    }
