"""The prisoner's dilemma: what each version of the agent does in each state, mean and spread over seeds."""

from common import plotting
from loqa.ipd import bars

RELEASED, REPAIRED, SCALED = "released command", "Monte-Carlo Q", "scaled inputs"
NO_SHAPING = "Monte-Carlo Q, no shaping"

tabulate = bars.tabulate


def draw(rows):
    figure, (ax,) = plotting.new_figure(panel=(8.4, 3.6))
    means, spreads = {}, {}
    for name in bars.names(rows):
        p = bars.policies(rows, name)
        label = f"{name} (tit-for-tat: {bars.is_tit_for_tat(p).sum()} of {len(p)})"
        means[label], spreads[label] = p.mean(axis=0), p.std(axis=0)
    plotting.policy_bars(ax, means, spreads, bars.STATES)
    ax.set(xlabel="state (own last move, the other's)")
    batch, iteration = rows[0]["batch_size"], max(row["iteration"] for row in rows)
    ax.set_title(
        f"After iteration {iteration}, batch {batch}; bars: mean over seeds, whiskers: standard deviation"
    )
    plotting.legend_below(figure, [ax], ncols=2)
    return figure


def measure(rows):
    found = {
        "released-defects": bars.most_cooperative(rows, RELEASED),
        "repaired-tit-for-tat": bars.share(rows, REPAIRED),
        "scaled-tit-for-tat": bars.share(rows, SCALED),
        "released-no-tit-for-tat": bars.share(rows, RELEASED),
        "no-shaping-defects": bars.most_cooperative(rows, NO_SHAPING),
    }
    return {name: value for name, value in found.items() if value is not None}
