"""Why a share of the seeds of two matrix games never cooperates (spec 8.3), and what quirks 7.1, 7.2, 7.5, 7.6 change."""

import numpy as np
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from common import plotting
from common.stats import mean_interval, success_proportion, wilson
from common.verdicts import Measurement

TITLES = {"chicken": "Chicken", "ipd": "Prisoner's dilemma"}
RELEASED, LATE, STATE_VALUES = "as released", "late start", "state values (Q1)"
VARIANTS = (
    RELEASED,
    LATE,
    STATE_VALUES,
    "reward-to-go (Q2)",
    "cost on values (Q5)",
    "cost on incentives (Q5)",
    "no mask (Q6)",
)
LAST = 5  # evaluations
COOPERATES = 0.9
LARGEST = 2.0  # env.r_multiplier of config_img_qflow
END = 0.02  # a sigmoid's slope there is under 4 % of its largest
DISAGREES = 0.05
AGENTS = (1, 2)


def tabulate(runs):
    """One row per seed with its end, and one per evaluation of the seeds as released with the incentives."""
    rows = []
    for name, group in runs.items():
        game, variant = name.split(", ")
        for run in group:
            evaluations = run.metrics()
            own = {"game": game, "variant": variant, "seed": run.config["seed"]}
            rows.append({"kind": "seed", **own, **_end(evaluations)})
            if variant == RELEASED:
                rows += [{"kind": "incentive", **own, **_incentives(row)} for row in evaluations]
    return rows


def _end(evaluations):
    """Means of the last evaluations, and the least and largest entry of each agent's incentive table at the end."""
    last = evaluations[-LAST:]
    found = {
        "reward": np.mean([row["reward_env_total"] for row in last]),
        "disagreement": np.mean([row["detail"]["disagreement"] for row in last]),
    }
    table = np.array(evaluations[-1]["detail"]["incentives"])
    for agent in AGENTS:
        own = table[..., agent - 1]
        found[f"cooperation_{agent}"] = np.mean([row[f"A{agent}_n_c"] for row in last])
        found |= {f"lowest_{agent}": own.min(), f"highest_{agent}": own.max()}
    return {name: round(float(value), 4) for name, value in found.items()}


def _incentives(row):
    """What each agent is given for either action, mean over what was seen and the other's action."""
    table = np.array(row["detail"]["incentives"])  # [seen, agent 1's action, agent 2's action, agent]
    means = {1: table[..., 0].mean((0, 2)), 2: table[..., 1].mean((0, 1))}
    found = {
        f"{action}_{agent}": round(float(means[agent][number]), 4)
        for agent in AGENTS
        for number, action in enumerate("cd")
    }
    return {"episode": row["episode"], **found}


def _seeds(rows, variant, games=tuple(TITLES)):
    """The ends of a variant's seeds, by game and seed."""
    own = [
        row for row in rows if row["kind"] == "seed" and row["variant"] == variant and row["game"] in games
    ]
    return sorted(own, key=lambda row: (row["game"], row["seed"]))


def _cooperates(row):
    return min(row["cooperation_1"], row["cooperation_2"]) > COOPERATES


def _stuck(row):
    """One agent cooperates and the other defects."""
    both = row["cooperation_1"], row["cooperation_2"]
    return max(both) > COOPERATES and min(both) < 1 - COOPERATES


def _saturated(row):
    """How many of a seed's two agents have their whole incentive table at 0, and how many at the other end."""
    low = sum(row[f"highest_{agent}"] < END for agent in AGENTS)
    high = sum(row[f"lowest_{agent}"] > LARGEST - END for agent in AGENTS)
    return np.array([low, high])


def draw(rows):
    """Above: cooperating seeds and saturated agents by variant; below: incentives over training of two seeds."""
    figure, axes = plotting.new_figure(2, 2, panel=(5.0, 4.0))
    variants = [variant for variant in VARIANTS if _seeds(rows, variant)]
    games = [game for game in TITLES if any(row["game"] == game for row in rows)]
    for kind, game in enumerate(games):
        shift = 0.36 * (kind - (len(games) - 1) / 2)
        at = [number for number, variant in enumerate(variants) if _seeds(rows, variant, [game])]
        groups = [_seeds(rows, variants[number], [game]) for number in at]
        _draw_shares(axes[0], np.array(at) + shift, groups, game, kind)
        _draw_saturated(axes[1], np.array(at) + shift, groups, kind)
    _finish_by_variant(axes[:2], variants, games, rows)
    stuck = _example(rows, _stuck)
    games = [stuck["game"]] if stuck else tuple(TITLES)
    _draw_example(axes[2], rows, stuck, "stuck")
    _draw_example(axes[3], rows, _example(rows, _cooperates, games), "cooperating")
    return figure


def _finish_by_variant(axes, variants, games, rows):
    shares, saturated = axes
    for ax, labels in ((shares, variants), (saturated, [""] * len(variants))):
        ax.set_yticks(range(len(variants)), labels)
        ax.set_ylim(len(variants) - 0.4, -0.6)
        ax.grid(True, axis="x")
        ax.grid(False, axis="y")
    shares.set(xlim=(-0.03, 1.03), xlabel="share of the seeds, with Wilson's 95 % interval")
    shares.set_title("Both agents cooperate in over 90 % of the steps")
    agents = 2 * max(len(_seeds(rows, variant, [game])) for variant in variants for game in games)
    saturated.set(xlabel=f"agents at 0 + agents at {LARGEST:.0f}, of {agents} per game")
    saturated.set_xlim(0, max(2.0, 1.2 * saturated.dataLim.x1))  # room for the numbers
    saturated.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    saturated.set_title("Agents whose incentives are all at one end")
    _legend(shares, shares.get_legend_handles_labels()[0])
    _legend(saturated, _saturation_key(games))


def _legend(ax, handles):
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, handlelength=3)


def _draw_shares(ax, at, groups, game, kind):
    shares = [success_proportion([_cooperates(row) for row in group]) for group in groups]
    values = np.array([share.value for share in shares])
    reach = [
        np.maximum(values - [share.low for share in shares], 0),
        np.maximum([share.high for share in shares] - values, 0),
    ]
    style = plotting.series_style(kind) | {"linestyle": "none", "markersize": 6}
    ax.errorbar(values, at, xerr=reach, label=TITLES[game], capsize=3, elinewidth=1.2, **style)


def _draw_saturated(ax, at, groups, kind):
    """Stacked bars, those at 0 and those at the largest incentive, with both numbers."""
    counts = np.array([sum(map(_saturated, group)) for group in groups]).reshape(-1, 2)
    for end in (0, 1):
        left = counts[:, 0] if end else 0
        ax.barh(at, counts[:, end], 0.32, left=left, **_bar(kind, end))
    for y, (low, high) in zip(at, counts, strict=True):
        ax.annotate(
            f"{low} + {high}", (low + high, y), (3, 0), textcoords="offset points", va="center", fontsize=7.5
        )


def _bar(kind, end):
    """Filled at 0, hatched at the largest incentive."""
    colour = plotting.COLOURS[kind]
    face, hatch = (colour, "") if end == 0 else ("white", plotting.HATCHES[1 + 2 * kind])
    return {"facecolor": face, "edgecolor": colour, "hatch": hatch, "linewidth": 0.8}


def _saturation_key(games):
    return [
        Patch(label=f"{TITLES[game]}, at {end * LARGEST:.0f}", **_bar(kind, end))
        for kind, game in enumerate(games)
        for end in (0, 1)
    ]


def _example(rows, wanted, games=tuple(TITLES)):
    """The first seed as released that is wanted, one with a saturated agent before others; None if there is none."""
    found = [row for row in _seeds(rows, RELEASED, games) if wanted(row)]
    return min(found, key=lambda row: not _saturated(row).any(), default=None)


def _draw_example(ax, rows, seed, kind):
    """One seed's incentives over training; where no seed is of that kind, the first one's and a title that says so."""
    ax.set(xlabel="episode", ylabel="incentive per step", ylim=(-0.1, LARGEST + 0.1))
    title = f"A {kind} seed as released"
    if seed is None:
        seed, title = next(iter(_seeds(rows, RELEASED)), None), f"No {kind} seed as released; another"
    if seed is None:
        ax.set_title("No seed as released")
        return
    own = [
        row
        for row in rows
        if row["kind"] == "incentive" and (row["game"], row["seed"]) == (seed["game"], seed["seed"])
    ]
    every = max(1, len(own) // 6)
    for number, (agent, action) in enumerate((agent, action) for agent in AGENTS for action in "cd"):
        style = plotting.series_style(number) | {"linewidth": 2.6 - 0.5 * number}
        ax.plot(
            [row["episode"] for row in own],
            [row[f"{action}_{agent}"] for row in own],
            label=f"to agent {agent} for {action.upper()}",
            markevery=(number * every // 4, every),
            **style,
        )
    plays = " and ".join(f"{100 * seed[f'cooperation_{agent}']:.0f} %" for agent in AGENTS)
    ax.set_title(
        f"{title}: {TITLES[seed['game']]}, seed {seed['seed']}\nagents 1 and 2 cooperate in {plays} of the steps"
    )
    _legend(ax, ax.get_legend_handles_labels()[0])


def _share(flags, note=""):
    share = success_proportion(flags)
    return Measurement(share.value, share.low, share.high, share.n, note=note)


def _others(rows, games, count):
    """What `count` gives for the seeds of every variant, in words: the measured effect of each switch."""
    found = [(variant, _seeds(rows, variant, games)) for variant in VARIANTS]
    return "; ".join(f"{variant} {count(group)}" for variant, group in found if group)


def _of_all(group):
    return f"{sum(map(_cooperates, group))} of {len(group)}"


def _at_ends(group):
    low, high = sum(map(_saturated, group))
    return f"{low} at 0 and {high} at {LARGEST:.0f} of {2 * len(group)}"


def measure(rows):
    """Every claim's number, as far as its runs are there."""
    found = {}
    for game in TITLES:
        if released := _seeds(rows, RELEASED, [game]):
            words = _others(rows, [game], _of_all)
            found[f"{game}-released"] = _share([*map(_cooperates, released)], words)
    released, late = _seeds(rows, RELEASED), _seeds(rows, LATE)
    if stuck := [row for row in released if _stuck(row)]:
        found["stuck-saturated"] = _share([_saturated(row).any() for row in stuck])
        found["stuck-disagree"] = _share([row["disagreement"] > DISAGREES for row in stuck])
    if good := [row for row in released if _cooperates(row)]:
        found["cooperative-saturated"] = _share([_saturated(row).any() for row in good])
    if late:
        found["late-at-zero"] = _late_at_zero(rows, late)
        found["late-success"] = _share([*map(_cooperates, late)], f"as released {_of_all(released)}")
    if gain := _gain(rows, STATE_VALUES):
        found["state-values-success"] = gain
    return found


def _late_at_zero(rows, late):
    agents, count = 2 * len(late), int(sum(map(_saturated, late))[0])
    low, high = (agents * end for end in wilson(count, agents))
    return Measurement(count, low, high, len(late), note=_others(rows, tuple(TITLES), _at_ends))


def _gain(rows, variant):
    """Cooperating seeds of a variant minus those as released, paired by game and seed; None without pairs."""
    ends = [
        {(row["game"], row["seed"]): float(_cooperates(row)) for row in _seeds(rows, name)}
        for name in (variant, RELEASED)
    ]
    gains = np.array([ends[0][key] - ends[1][key] for key in ends[0] if key in ends[1]])
    if len(gains) < 2:
        return None
    value, low, high = map(float, mean_interval(gains, kind="student"))
    return Measurement(value, low, high, len(gains))
