"""Ablations on 3 x 3: LOQA without past agents and without self-play, and learners that do not shape at all."""

from common import plotting
from loqa.coin import curves

LOQA, NO_BUFFER, NO_SELF_PLAY, NAIVE = "LOQA", "no replay buffer", "no self-play", "two naive learners"
AGENTS = (LOQA, NO_BUFFER, NO_SELF_PLAY, NAIVE)
LAST_EVALUATIONS = 10


def tabulate(runs):
    return curves.tabulate(runs)


def draw(rows):
    figure, axes = plotting.new_figure(2, 2, panel=(4.8, 3.4))
    curves.draw_curves(axes[:3], rows, AGENTS)
    curves.draw_bars(axes[3], rows, AGENTS, LAST_EVALUATIONS, "Mean of the last ten evaluations")
    seeds = len({row["seed"] for row in rows})
    drawn = (
        f"Mean of up to {seeds} seeds (from 3 on with 95 % interval), each seed thin or as a mark"
        if seeds > 1
        else "One seed"
    )
    figure.suptitle(drawn, fontsize=9)
    plotting.legend_below(figure, axes, ncols=3)
    return figure


def measure(rows):
    """Every claim's number, from the mean of the last ten evaluations of each seed."""

    def end(agent, column):
        return curves.last(rows, agent, column, LAST_EVALUATIONS)

    found = {
        "buffer-tolerates": curves.difference(end(LOQA, "cooperate_gets"), end(NO_BUFFER, "cooperate_gets")),
        "buffer-cooperates": curves.difference(end(LOQA, "self"), end(NO_BUFFER, "self")),
        "self-play-cooperates": curves.difference(end(LOQA, "self"), end(NO_SELF_PLAY, "self")),
        "two-learners-defended": curves.measurement(end(NO_SELF_PLAY, "vs_defect")),
        "naive": curves.measurement(end(NAIVE, "self")),
        "no-buffer-self": curves.measurement(end(NO_BUFFER, "self")),
        "no-buffer-vs-cooperate": curves.measurement(end(NO_BUFFER, "vs_cooperate")),
        "no-buffer-cooperate-gets": curves.measurement(end(NO_BUFFER, "cooperate_gets")),
        "no-self-play-self": curves.measurement(end(NO_SELF_PLAY, "self")),
    }
    return {name: value for name, value in found.items() if value is not None}
