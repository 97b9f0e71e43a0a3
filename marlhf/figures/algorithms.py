"""Offline VDN, MAIQL and MABCQ on the same data, reward model and imitation policy."""

from common import plotting
from marlhf import curves
from marlhf.skill import position

ALGORITHMS = {"vdn": "VDN", "maiql": "MAIQL", "mabcq": "MABCQ"}

tabulate = curves.tabulate


def _environments(rows):
    return list(dict.fromkeys(row["environment"] for row in rows))


def draw(rows):
    """Positions of the test returns; the imitation policy's as a fourth series."""
    figure, (ax,) = plotting.new_figure(panel=(6.4, 3.6))
    environments = _environments(rows)
    groups = [
        curves.Group(
            label,
            [curves.values(rows, "position", environment=name, algorithm=algorithm) for name in environments],
            kind,
        )
        for kind, (algorithm, label) in enumerate(ALGORITHMS.items())
    ]
    groups.append(
        curves.Group("imitation policy, sampled", [_imitation(rows, name) for name in environments], 3)
    )
    curves.draw_groups(ax, groups, [curves.TITLES[name] for name in environments])
    curves.draw_ends(ax)
    ax.set_ylabel("position of the test return")
    ax.set_title(curves.seeds_drawn(rows))
    plotting.legend_below(figure, [ax], ncols=3)
    return figure


def _imitation(rows, environment):
    own = [row for row in rows if row["environment"] == environment and row["algorithm"] == "vdn"]
    returns = (position(row["imitation_return"], row["random"], row["expert"]) for row in own)
    return curves.values([{"position": value} for value in returns], "position")


def measure(rows):
    """What each algorithm gains over imitation and over random play, on every environment that was run."""
    found = {}
    for name in _environments(rows):
        by = {
            algorithm: curves.values(rows, "position", environment=name, algorithm=algorithm)
            for algorithm in ALGORITHMS
        }
        policy = _imitation(rows, name)
        for algorithm, values in by.items():
            note = f"imitation {policy.mean():.2f}" if len(policy) else ""
            found[f"{name}-{algorithm}-above-random"] = curves.measurement(values, note)
            found[f"{name}-{algorithm}-above-imitation"] = curves.difference(values, policy, note)
    return {claim: value for claim, value in found.items() if value is not None}
