"""Who gets what from whom, what could be had from each, and who is left after some hundred generations."""

import numpy as np
from matplotlib.figure import Figure

from common import plotting
from common.verdicts import Measurement

MAIN = "stackelberg/prisoners_dilemma"
#: groups of repetitions that reciprocate by their papers' claims, in exact or sampled games
EXACT, RECIPROCATORS = ("pola-tabular", "lola-tabular"), ("pola-tabular", "lola-tabular", "loqa-repaired")
EXPLOITERS = ("defector", "zdextort2", "loqa-released")
#: groups whose share has a line of its own; the others are thin
SHOWN = 6
#: of the numbers in the table, in points; how many digits there are decides how many bytes the picture has
CELL_FONT = 6.5


def tabulate(runs):
    """All rows of the main game; of the others who is left, and what the best response gets."""
    rows = []
    for name, folders in runs.items():
        found = [row for folder in folders for row in folder.metrics()]
        last = max(row["generation"] for row in found if row["what"] == "share")
        for row in found:
            if name == MAIN or row["what"] == "response" or row.get("generation") == last:
                rows.append(row)
    return rows


def select(rows, what, game=MAIN):
    return [row for row in rows if row["what"] == what and row["game"] == game]


def entrants(rows):
    """The players by name, in the picture's order."""
    return {row["player"]: row for row in select(rows, "entrant")}


def members(rows, *groups):
    return [name for name, row in entrants(rows).items() if row["group"] in groups]


def values(rows):
    """``{(row, column): what the row player gets}``."""
    return {(row["row"], row["column"]): row for row in select(rows, "pair")}


def final_shares(rows, game=MAIN):
    """Shares by player in the last generation."""
    found = select(rows, "share", game)
    last = max((row["generation"] for row in found), default=0)
    return {row["player"]: row["share"] for row in found if row["generation"] == last}


def draw(rows):
    figure = Figure(figsize=(13.2, 13.0), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(2.6, 1), height_ratios=(2.3, 1))
    table, exploited, growth, games = (figure.add_subplot(cell) for cell in grid)
    people = entrants(rows)
    draw_table(table, rows, people)
    draw_responses(exploited, rows, people)
    draw_growth(growth, rows, people)
    draw_games(games, rows, people)
    return figure


def draw_table(ax, rows, people):
    found, names = values(rows), list(people)
    labels = [people[name]["label"] for name in names]
    matrix = [[found[row, column]["value"] for column in names] for row in names]
    game = next(iter(people.values()))
    limits = game["sucker"], game["temptation"]
    plotting.heatmap(ax, matrix, labels, labels, "row player's payoff per round", limits=limits)
    for value in ax.texts:
        value.set(fontsize=CELL_FONT, text=value.get_text().removesuffix(".00"))
    ax.tick_params(axis="x", labelrotation=60)
    papers = [person["paper"] for person in people.values()]
    for number in range(1, len(names)):
        if papers[number] != papers[number - 1]:
            ax.axhline(number - 0.5, color="white", linewidth=2.5)
            ax.axvline(number - 0.5, color="white", linewidth=2.5)
    ax.set_title(
        f"Cross-play: mutual cooperation {game['reward']:g}, defection {game['punishment']:g}, "
        f"temptation {game['temptation']:g}, sucker {game['sucker']:g}"
    )


def draw_responses(ax, rows, people):
    found = {row["player"]: row for row in select(rows, "response")}
    at = np.arange(len(people))
    gains = np.array([found[name]["gain"] for name in people])
    bound = np.array([found[name]["bound"] for name in people], bool)
    for chosen, label, hatch in (
        (~bound, "best response (exact)", ""),
        (bound, "best response found (lower bound)", "///"),
    ):
        ax.barh(
            at[chosen],
            gains[chosen],
            0.7,
            label=label,
            color="#9db4cc",
            edgecolor="#222222",
            linewidth=0.6,
            hatch=hatch,
        )
    own = [found[name]["own"] for name in people]
    ax.plot(
        own, at, label="the player itself", linestyle="", color=plotting.COLOURS[1], marker="D", markersize=5
    )
    game = next(iter(people.values()))
    for value, label, style in (
        (game["reward"], "mutual cooperation", "--"),
        (game["punishment"], "mutual defection", ":"),
    ):
        ax.axvline(value, color="#555555", linewidth=1.1, linestyle=style, label=label)
    ax.set(
        ylim=(len(people) - 0.5, -0.5),
        xlim=(game["sucker"] - 0.15, game["temptation"] + 0.15),
        xlabel="payoff per round",
    )
    ax.set_yticks(at, [])
    ax.grid(True, axis="x")
    ax.grid(False, axis="y")
    ax.set_title("Against the best response")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=1)


def grouped(shares, people):
    """Sums over the repetitions of a recipe, the largest first."""
    total = {}
    for name, share in shares.items():
        total[people[name]["group"]] = total.get(people[name]["group"], 0.0) + share
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def group_label(people, group):
    """The label of a group: of its one member, or of the first without its number, and how many they are."""
    labels = [person["label"] for person in people.values() if person["group"] == group]
    return labels[0] if len(labels) == 1 else f"{labels[0].rsplit(' ', 1)[0]} ({len(labels)})"


def draw_growth(ax, rows, people):
    found = select(rows, "share")
    generations = sorted({row["generation"] for row in found})
    order = list(grouped(final_shares(rows), people))
    curves = {group: np.zeros(len(generations)) for group in order}
    for row in found:
        curves[people[row["player"]]["group"]][generations.index(row["generation"])] += row["share"]
    rest = order[SHOWN:]
    for number, group in enumerate(rest):
        label = f"each of the other {len(rest)}" if number == 0 else None
        ax.plot(generations, curves[group], color="#999999", linewidth=0.8, label=label)
    for kind, group in enumerate(order[:SHOWN]):
        style = plotting.series_style(kind)
        ax.plot(generations, curves[group], label=group_label(people, group), markevery=(kind, 6), **style)
    ax.set_xscale("symlog", linthresh=10)
    ax.set_xticks([each for each in (0, 5, 10, 30, 100, 300) if each <= generations[-1]])
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="generation", ylabel="share of the population", xlim=(0, generations[-1]))
    ax.set_title("Ecology: shares grow with the payoff from the population; repetitions of a recipe added up")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=4)


def draw_games(ax, rows, people):
    games = list(dict.fromkeys(row["game"] for row in rows if row["what"] == "share"))
    order = list(grouped(final_shares(rows), people))
    for kind, game in enumerate(games):
        shares = grouped(final_shares(rows, game), people)
        style = plotting.series_style(kind) | {"linestyle": "", "markersize": 6}
        ax.plot([shares[group] for group in order], range(len(order)), label=game, **style)
    ax.set_yticks(range(len(order)), [group_label(people, group) for group in order])
    ax.set(ylim=(len(order) - 0.5, -0.5), xlabel="share in the last generation")
    ax.grid(True, axis="both")
    ax.set_title("Who is left, by game")
    ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.14), ncols=1)


def worst(rows, pairs, pick=min):
    """The lowest (or highest) payoff of the row player over some pairs, with its sampling error."""
    found = [values(rows)[pair] for pair in pairs]
    if not found:
        return None
    row = pick(found, key=lambda row: row["value"])
    reach, note = 1.96 * row["error"], f"{row['row']} with {row['column']}"
    if not row["error"]:
        return Measurement(row["value"], n=len(found), note=f"exact: {note}")
    return Measurement(
        row["value"], row["value"] - reach, row["value"] + reach, len(found), row["error"], note
    )


def meeting(first, second):
    """Ordered pairs of different players, one of each list."""
    return [(row, column) for row in first for column in second if row != column]


def both_ways(first, second):
    return meeting(first, second) + meeting(second, first)


def measure(rows):
    responses = {row["player"]: row for row in select(rows, "response")}
    shares, loqa = final_shares(rows), members(rows, "loqa-repaired")
    dice, released, unpaid = (members(rows, group) for group in ("pola-dice", "loqa-released", "iqflow"))
    reciprocators = members(rows, *RECIPROCATORS)
    found = {f"{paper}-own-kind": worst(rows, meeting(*[members(rows, group)] * 2)) for paper, group in (
        ("pola", "pola-tabular"), ("lola", "lola-tabular"), ("loqa", "loqa-repaired"), ("pola-dice", "pola-dice"),
    )}  # fmt: skip
    found |= {
        "across-papers": worst(rows, both_ways(members(rows, *EXACT), loqa)),
        "not-exploited": worst(rows, meeting(reciprocators, ["defector"])),
        "pola-dice-not-exploited": worst(rows, meeting(dice, ["defector"])),
        "released-defects": worst(rows, meeting(released, released), max),
        "unpaid-cooperator": worst(rows, meeting(unpaid, ["defector"]), max),
    }
    if reciprocators:
        name = min(reciprocators, key=lambda name: responses[name]["own"])
        found["cooperation-pays"] = Measurement(
            responses[name]["own"], n=len(reciprocators), note=f"exact: {name}"
        )
    if "stackelberg-leader" in responses:
        (leader,) = select(rows, "leader")
        ours = responses["stackelberg-leader"]["own"]
        found["stackelberg-value"] = Measurement(
            ours - leader["value"], note=f"exact: {ours:.4g} of {leader['value']:.4g}"
        )
    gone = sum(shares[name] for name in members(rows, *EXPLOITERS))
    found["defectors-die-out"] = Measurement(gone, n=len(members(rows, *EXPLOITERS)))
    return {claim: value for claim, value in found.items() if value is not None}
