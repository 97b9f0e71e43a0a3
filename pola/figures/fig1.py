"""Figure 1: policies after one update from two nets that encode the same policy."""

import numpy as np

from common import plotting
from common.verdicts import Measurement

STATES = ("DD", "DC", "CD", "CC", "start")
# Agent 1 after the released program's update, in DD, DC, CD, CC, start (own move first).
RELEASED = {
    ("LOLA", 1): (0.390827, 0.511288, 0.435020, 0.468321, 0.447857),
    ("LOLA", 2): (0.431838, 0.441801, 0.420404, 0.435167, 0.437494),
    ("POLA", 1): (0.219885, 0.544687, 0.344401, 0.596509, 0.481090),
    ("POLA", 2): (0.223724, 0.521527, 0.325776, 0.611467, 0.487061),
}


def tabulate(runs):
    """One row per algorithm, net, agent and state, and the value of that agent."""
    rows = []
    for name, folders in runs.items():
        algorithm, net = name.split(", net ")
        for run in folders:
            iterations = run.summary["iterations"]
            for agent, policy in enumerate(run.summary["final_policies"][0]):
                rows += [
                    {
                        "algorithm": algorithm,
                        "net": int(net),
                        "agent": agent + 1,
                        "state": state,
                        "p_cooperate": p,
                        "value": run.summary["values"][0][agent],
                        "iterations_of_both": iterations["total"] if iterations else 1,
                    }
                    for state, p in zip(STATES, policy, strict=True)
                ]
    return rows


def _policy(rows, algorithm, net, agent=1):
    wanted = {"algorithm": algorithm, "net": net, "agent": agent}
    found = {r["state"]: r["p_cooperate"] for r in rows if all(r[k] == v for k, v in wanted.items())}
    return np.array([found[state] for state in STATES]) if len(found) == len(STATES) else None


def draw(rows):
    figure, axes = plotting.new_figure(2, 2, panel=(4.6, 2.9), sharey=True)
    for row, algorithm in enumerate(("LOLA", "POLA")):
        for agent in (1, 2):
            ax = axes[2 * row + agent - 1]
            policies = {f"net {net}": _policy(rows, algorithm, net, agent) for net in (1, 2)}
            policies = {name: policy for name, policy in policies.items() if policy is not None}
            if policies:
                plotting.policy_bars(ax, policies, ylabel="P(cooperate)" if agent == 1 else "")
            plotting.reference_line(ax, 0.5, "both nets before the update")
            name = "LOLA" if algorithm == "LOLA" else "Outer POLA"
            ax.set(title=f"{name}, agent {agent}", ylim=(0, 0.75), xlabel="state" if row else "")
    plotting.legend_below(figure, axes)
    return figure


def measure(rows):
    policies = {key: _policy(rows, *key) for key in RELEASED}
    found = {}
    for (algorithm, net), policy in policies.items():
        if policy is not None:
            away = float(np.abs(policy - RELEASED[algorithm, net]).max())
            note = "ours: " + ", ".join(f"{p:.3f}" for p in policy)
            found[f"{algorithm.lower()}-net-{net}"] = Measurement(away, n=1, note=note)
    if all(policy is not None for policy in policies.values()):
        gap = {a: float(np.abs(policies[a, 1] - policies[a, 2]).max()) for a in ("LOLA", "POLA")}
        found["lola-differs"] = Measurement(gap["LOLA"], n=1)
        found["pola-coincides"] = Measurement(gap["POLA"], n=1)
        found["pola-coincides-more"] = Measurement(gap["POLA"] / gap["LOLA"], n=1)
    return found
