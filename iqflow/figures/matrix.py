"""Result 1: total reward per step over training, and the payoff matrix after incentives."""

import numpy as np

from common import plotting
from common.matrix_games import GAMES
from common.stats import mean_interval, success_proportion
from common.verdicts import Measurement

TITLES = {"ipd": "Prisoner's dilemma", "chicken": "Chicken", "stag_hunt": "Stag Hunt"}
BEST = {"ipd": 6.0, "chicken": 6.0, "stag_hunt": 8.0}
CONTROL = "ipd, no incentive"
ACTIONS = ("C", "D")
LAST = 5  # evaluations
COOPERATES = 0.9
STAG_EPISODE, STAG_REWARD = 2_000, 7.5


def tabulate(runs):
    """One row per evaluation of every seed, and one per joint action with the incentives at the end of each seed."""
    rows = []
    for name, group in runs.items():
        for run in group:
            evaluations = run.metrics()
            own = {"series": name, "seed": run.config["seed"]}
            rows += [{"kind": "evaluation", **own, **_evaluation(row)} for row in evaluations]
            paid = np.mean(evaluations[-1]["detail"]["incentives"], axis=0)
            for first, second in np.ndindex(2, 2):
                given = {
                    f"incentive_{agent + 1}": round(float(paid[first, second, agent]), 4) for agent in (0, 1)
                }
                rows.append({"kind": "incentive", **own, "action_1": first, "action_2": second, **given})
    return rows


def _evaluation(row):
    return {
        "episode": row["episode"],
        "reward": round(row["reward_env_total"], 4),
        "cooperation_1": round(row["A1_n_c"], 4),
        "cooperation_2": round(row["A2_n_c"], 4),
    }


def _table(rows, name, column):
    """Episodes [T] and per-seed values [S, T] of one series, seeds in ascending order."""
    own = [row for row in rows if row["kind"] == "evaluation" and row["series"] == name]
    if not own:
        return None
    seeds, episodes = (sorted({row[key] for row in own}) for key in ("seed", "episode"))
    values = {(row["seed"], row["episode"]): row[column] for row in own}
    table = [[values.get((seed, episode), np.nan) for episode in episodes] for seed in seeds]
    return np.array(episodes), np.array(table)


def _last(rows, name, column):
    """Per seed [S], the mean of the last evaluations."""
    return _table(rows, name, column)[1][:, -LAST:].mean(1)


def _cooperative(rows, name):
    """Which seeds [S] have both agents cooperating at the end."""
    return np.minimum(_last(rows, name, "cooperation_1"), _last(rows, name, "cooperation_2")) > COOPERATES


def _incentives(rows, name):
    """[S, 2, 2, 2] = seed, agent 1's action, agent 2's action, the agent that is paid."""
    own = [row for row in rows if row["kind"] == "incentive" and row["series"] == name]
    seeds = sorted({row["seed"] for row in own})
    paid = np.zeros((len(seeds), 2, 2, 2))
    for row in own:
        place = seeds.index(row["seed"]), row["action_1"], row["action_2"]
        paid[place] = row["incentive_1"], row["incentive_2"]
    return paid


def _by_own_action(table):
    """[..., 2, 2, 2] by the two agents' actions -> [..., own action, other's action, agent]."""
    return np.stack([table[..., 0], np.swapaxes(table[..., 1], -1, -2)], -1)


def draw(rows):
    """Curves above, incentivised payoffs below, one column per game that was run."""
    games = [name for name in TITLES if _table(rows, name, "reward")]
    figure, axes = plotting.new_figure(len(games), 2, panel=(4.4, 3.4))
    for column, name in enumerate(games):
        top, bottom = axes[column], axes[len(games) + column]
        plotting.learning_curves(top, *_table(rows, name, "reward"), "IQ-Flow")
        control = _table(rows, CONTROL, "reward")
        if name == "ipd" and control:
            plotting.learning_curves(top, *control, "no incentive", 1)
        plotting.reference_line(top, BEST[name], "both cooperate")
        good = _cooperative(rows, name)
        top.set(xlabel="episode", ylabel="reward per step, both agents")
        top.set_title(f"{TITLES[name]}: both cooperate in {good.sum()} of {len(good)} seeds")
        _draw_payoffs(bottom, name, _incentives(rows, name)[good if good.any() else slice(None)], good.any())
    plotting.legend_below(figure, axes[: len(games)])
    return figure


def _draw_payoffs(ax, name, paid, good):
    payoffs = GAMES[f"iqflow/{name}"].payoffs + paid.mean(0)
    plotting.cross_play_heatmap(
        ax, payoffs[..., 0], payoffs[..., 1], ACTIONS, ACTIONS, "payoff and incentive"
    )
    ax.set(xlabel="agent 2's action", ylabel="agent 1's action")
    which = "cooperating seeds" if good else "no seed cooperates"
    ax.set_title(f"Payoffs after incentives ({which})")


def _share(flags, note=""):
    share = success_proportion(flags)
    return Measurement(share.value, share.low, share.high, share.n, note=note)


def _mean(values):
    values = np.asarray(values)
    interval = mean_interval(values, kind="student") if len(values) > 1 else (values[0], None, None)
    return Measurement(
        float(interval[0]), *(None if x is None else float(x) for x in interval[1:]), len(values)
    )


def _median(values):
    """With the percentile interval of 2,000 bootstrap resamples of the seeds."""
    values, rng = np.asarray(values, dtype=np.float64), np.random.default_rng(0)
    draws = [np.median(rng.choice(values, values.size)) for _ in range(2000)]
    low, high = np.quantile(draws, [(1 - 0.95) / 2, (1 + 0.95) / 2])
    return Measurement(float(np.median(values)), float(low), float(high), values.size)


def _failures(rows, name):
    """Words on the seeds that do not cooperate."""
    bad = ~_cooperative(rows, name)
    if not bad.any():
        return "no seed fails"
    both = np.stack([_last(rows, name, f"cooperation_{agent}") for agent in (1, 2)])[:, bad]
    one = int(((both.max(0) > COOPERATES) & (both.min(0) < 1 - COOPERATES)).sum())
    total = _last(rows, name, "reward")[bad].mean()
    return f"of {int(bad.sum())} other seeds {one} end with one C and one D; their mean reward is {total:.2f}"


def measure(rows):
    """Every claim's number, as far as its runs are there."""
    found = {}
    for name, claim in (("ipd", "ipd"), ("chicken", "chicken"), ("stag_hunt", "stag-hunt")):
        if not _table(rows, name, "reward"):
            continue
        good, reward = _cooperative(rows, name), _last(rows, name, "reward")
        found[f"{claim}-success"] = _share(good, _failures(rows, name))
        if name != "chicken":
            found[f"{claim}-reward"] = _median(reward)
        elif good.any():
            found["chicken-reward"] = _mean(reward[good])
        if name == "stag_hunt":
            episodes, table = _table(rows, name, "reward")
            early = table[:, episodes <= STAG_EPISODE][:, -LAST:].mean(1)
            found["stag-hunt-success"] = _share(early >= STAG_REWARD)
        if name == "ipd" and good.any():
            found |= _ipd_incentives(_incentives(rows, name)[good])
    if _table(rows, CONTROL, "reward"):
        found["ipd-no-incentive"] = _mean(_last(rows, CONTROL, "reward"))
    return found


def _ipd_incentives(paid):
    own = _by_own_action(paid)
    payoffs = _by_own_action(GAMES["iqflow/ipd"].payoffs) + own
    margins = (payoffs[:, 0] - payoffs[:, 1]).min((1, 2))
    return {
        "ipd-incentive-c": _mean(own[:, 0].mean((1, 2))),
        "ipd-incentive-d": _mean(own[:, 1].mean((1, 2))),
        "ipd-dominance": _mean(margins),
    }
