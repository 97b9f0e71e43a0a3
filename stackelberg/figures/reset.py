"""The inner Q learner's table reset at every leader episode or carried on."""

from common import plotting
from stackerlberg import curves

RATES = ("0.008", "0.015", "0.03")
CONDITIONS = {"reset_between_episodes=true": "table reset", "reset_between_episodes=false": "table carried"}
RUN, VALUE = "battle of the sexes", 2.0

tabulate = curves.tabulate


def draw(rows):
    figure, axes = plotting.new_figure(2, panel=(4.6, 3.5), sharey=True)
    for ax, (condition, title) in zip(axes, CONDITIONS.items(), strict=True):
        for kind, rate in enumerate(RATES):
            curves.draw(ax, curves.select(rows, RUN, condition, f"lr={rate}"), f"learning rate {rate}", kind)
        plotting.reference_line(ax, VALUE, "exact Stackelberg value")
        plotting.reference_line(ax, 1.0, "the follower's preferred equilibrium", 1)
        ax.set(
            xlabel="leader's environment steps, the follower's learning included", ylabel="leader's payoff"
        )
        ax.set_title(f"Follower's {title}")
    figure.suptitle(curves.seeds_note(rows), fontsize=9)
    plotting.legend_below(figure, axes, ncols=3)
    return figure


def measure(rows):
    reset, carried = (curves.ends(rows, RUN, condition, "lr=0.015") for condition in CONDITIONS)
    return curves.known(
        {
            "reset": curves.mean(reset),
            "carried": curves.mean(carried),
            "reset-share": curves.share(reset > 1.5),
            "carried-share": curves.share(carried > 1.5),
        }
    )
