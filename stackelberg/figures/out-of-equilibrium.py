"""Reward during the follower's learning counted or not, in three coordination games; and the one-query game matrix_bots."""

from common import plotting
from stackerlberg import curves

RUN, BOTS = "coordination", "matrix_bots"
GAMES = {
    "x 2, miscoordination -5": ("[[[2,0.001],[-5,0]],[[-5,0],[1,2]]]", 2.0),
    "x 1.5, miscoordination -5": ("[[[1.5,0.001],[-5,0]],[[-5,0],[1,2]]]", 1.5),
    "x 2, miscoordination 0": ("[[[2,0.001],[0,0]],[[0,0],[1,2]]]", 2.0),
}
EXCLUDED, INCLUDED = "leader_reward_during_q=false", "leader_reward_during_q=true"

tabulate = curves.tabulate


def chosen(rows, game, condition):
    return curves.select(rows, RUN, f"matrix={GAMES[game][0]}", condition)


def draw(rows):
    figure, axes = plotting.new_figure(3, panel=(4.0, 3.4))
    for ax, (game, (_, value)) in zip(axes, GAMES.items(), strict=True):
        for kind, (condition, label) in enumerate(((EXCLUDED, "excluded"), (INCLUDED, "included"))):
            curves.draw(
                ax, chosen(rows, game, condition), f"reward during learning {label}", kind, y="greedy"
            )
        plotting.reference_line(ax, value, "exact Stackelberg value")
        plotting.reference_line(ax, 1.0, "the follower's preferred equilibrium", 1)
        ax.set(
            xlabel="environment steps, learning included",
            ylabel="leader's payoff, greedy",
        )
        ax.set_title(game)
    figure.suptitle(curves.seeds_note(rows), fontsize=9)
    plotting.legend_below(figure, axes)
    return figure


def ends_at(rows, game, condition, value):
    returns = curves.ends(rows, RUN, f"matrix={GAMES[game][0]}", condition, column="greedy")
    return curves.share(abs(returns - value) < 0.25)


def measure(rows):
    two, smaller, free = GAMES
    leader, follower = (curves.ends(rows, BOTS, column=column) for column in ("greedy", "greedy_follower"))
    found = {
        "excluded": ends_at(rows, two, EXCLUDED, 2.0),
        "included": ends_at(rows, two, INCLUDED, 1.0),
        "included-no-penalty": ends_at(rows, free, INCLUDED, 2.0),
        "excluded-smaller": ends_at(rows, smaller, EXCLUDED, 1.5),
        "included-smaller": ends_at(rows, smaller, INCLUDED, 1.0),
        "matrix-bots": curves.share((leader == 1.0) & (follower == 0.5)),
    }
    return curves.known(found)
