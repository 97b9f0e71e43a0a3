"""Test return by data mix and environment, as the position between random play and the data's expert."""

from common import plotting
from marlhf import curves

ENVIRONMENTS = ("spread", "reference", "tag")
MIXES = ("diversified", "mix-unilateral", "mix-expert", "pure-expert")
#: what is known of the paper's table (spec 1): mean and standard deviation of five seeds
PAPER = {("spread", "mix-unilateral"): (-20.98, 0.56), ("spread", "mix-expert"): (-21.11, 1.16)}
CONVENTIONS = {"own": "one seed drives everything", "fixed": "only the learner's seed varies"}

tabulate = curves.tabulate


def draw(rows):
    """One panel per environment; the paper's known values as grey diamonds."""
    figure, axes = plotting.new_figure(3, panel=(4.2, 3.4), sharey=True)
    conventions = [name for name in CONVENTIONS if any(row["upstream_seeds"] == name for row in rows)]
    for ax, environment in zip(axes, ENVIRONMENTS, strict=True):
        groups = [
            curves.Group(
                CONVENTIONS[convention],
                [
                    curves.values(
                        rows, "position", environment=environment, mix=mix, upstream_seeds=convention
                    )
                    for mix in MIXES
                ],
                kind,
            )
            for kind, convention in enumerate(conventions)
        ]
        curves.draw_groups(ax, groups, MIXES)
        curves.draw_ends(ax)
        _paper(ax, environment)
        ax.tick_params(axis="x", rotation=25)
        ax.set_title(curves.TITLES[environment])
    axes[0].set_ylabel("position of the test return")
    figure.suptitle(curves.seeds_drawn(rows), fontsize=9)
    plotting.legend_below(figure, axes, ncols=3)
    return figure


def _paper(ax, environment):
    for (name, mix), (mean, sd) in PAPER.items():
        if name == environment:
            low, at, high = (curves.original_position(name, mean + k * sd) for k in (-1, 0, 1))
            ax.errorbar(
                MIXES.index(mix) + 0.3, at, [[at - low], [high - at]], fmt="D", color="#888888", capsize=3,
                markersize=5, label="paper, mean and standard deviation",
            )  # fmt: skip


def _main(rows):
    """The runs that the claims are about: those whose seeds drive everything."""
    return [row for row in rows if row["upstream_seeds"] == "own"]


def _best(rows, environment, mix):
    """The position with a mix less that with the best of the others, seed by seed."""
    chosen = _main(rows)
    found = {name: curves.values(chosen, "position", environment=environment, mix=name) for name in MIXES}
    if not all(len(part) for part in found.values()):
        return None
    others = {name: part for name, part in found.items() if name != mix}
    rival = max(others, key=lambda name: others[name].mean())
    means = ", ".join(f"{name} {part.mean():.2f}" for name, part in found.items())
    return curves.difference(found[mix], others[rival], f"best of the others: {rival}; {means}")


def measure(rows):
    """The orderings of the paper, and where its two known values lie."""
    own = _main(rows)
    found = {
        "spread-best": _best(rows, "spread", "mix-unilateral"),
        "reference-best": _best(rows, "reference", "diversified"),
        "tag-best": _best(rows, "tag", "pure-expert"),
    }
    for mix in ("mix-unilateral", "mix-expert"):
        returns = curves.values(own, "return", environment="spread", mix=mix)
        note = f"return {returns.mean():.2f}" if len(returns) else ""
        positions = curves.values(own, "position", environment="spread", mix=mix)
        found[f"spread-{mix}"] = curves.measurement(positions, note)
    return {name: value for name, value in found.items() if value is not None}
