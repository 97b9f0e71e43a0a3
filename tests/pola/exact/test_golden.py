"""Cases and whole runs recorded from the released program (tests/pola/golden/README.md gives form and tolerances)."""

import dataclasses
import json
import shlex

import numpy as np
import pytest
import torch

from pola.exact.config import parse
from pola.exact.divergence import summed_kl
from pola.exact.experiment import Experiment, State, flat, is_tft, paired, payoffs
from pola.exact.memory_one import discounted_visits
from pola.exact.objective import Lanes, Problem, light_grad, probabilities, shaping_gradient, value
from pola.exact.opponent_models import ModelFit
from pola.exact.policies import SWAP, Net, Tabular, preconditioned
from pola.exact.updates import Schedule, Updater


def own_view(policy, recorded):
    """Recorded parameters of both agents (states by agent 1's move) as ``[2, P]`` in each agent's own view."""
    theta = np.stack([policy.pack(flattened(policy, agent)) for agent in recorded])
    theta[1] = policy.swap_seats(torch.from_numpy(theta[1])).numpy()
    return torch.tensor(theta, dtype=torch.float32)


def flattened(policy, agent):
    """A table is recorded bare in some places and as a list of one array in others."""
    return agent[0] if isinstance(policy, Tabular) and isinstance(agent[0], list) else agent


def policy_of(case):
    if case["kind"] == "nn":
        return Net(hidden=len(case["theta"][0][1]))
    return preconditioned("dd") if case["kind"] == "pre" else Tabular()


def lanes(case, beta=0.0):
    full = lambda number: torch.full((2,), float(number))  # noqa: E731
    return Lanes(*payoffs(full(case["cf"])), full(case["lr_in"]), full(case["lr_out"]), full(0.0), full(beta))


def columns(pair):
    return pair.T.contiguous()


def across(policy, theta):
    """The other agents' parameters ``[P, 2]`` as seen from each seat."""
    return policy.swap_seats(columns(theta.flip(0)))


def close(ours, recorded, tolerance, what):
    recorded = torch.as_tensor(recorded, dtype=torch.float32)
    away = (ours - recorded).abs().max() / recorded.abs().max()
    assert away <= tolerance, f"{what}: {away:.2e} of the largest entry"


def read(path, opponent_fits):
    cases = json.loads(path.read_text())
    return [case for case in cases if case["kind"].startswith("om") == opponent_fits]


@pytest.mark.golden("exact_cases*.json")
def test_values_visits_and_divergence(case):
    for one in read(case, False):
        policy = policy_of(one)
        theta = own_view(policy, one["theta"])
        logits = policy.logits(columns(theta))
        p = probabilities(logits)
        joint = torch.stack([p[:, 0], p[list(SWAP), 1]])
        close(joint, one["policies"], 1e-4, f"case {one['id']} policies")
        problem = Problem(policy, policy.seen_across(), one["gamma"])
        other = problem.other.logits(across(policy, theta))
        numbers = lanes(one)
        own_payoff = numbers.own_payoff
        close(own_payoff[:, 0], one["payouts"][0], 1e-6, "payoffs of agent 1")
        close(own_payoff[[0, 2, 1, 3], 1], one["payouts"][1], 1e-6, "payoffs of agent 2")
        close(value(problem, logits, other, own_payoff), one["values"], 1e-4, f"case {one['id']} values")
        visits = discounted_visits(p, probabilities(other), one["gamma"])[:, 0]
        close(visits, one["discounted_state_visits"], 1e-4, f"case {one['id']} visits")
        kl = summed_kl(logits[:, :1], logits[list(SWAP), 1:])
        close(kl, [one["kl_0_1"]], 1e-4, f"case {one['id']} KL")


@pytest.mark.golden("exact_cases*.json")
def test_gradients_of_both_values_by_both_agents(case):
    for one in read(case, False):
        policy = policy_of(one)
        theta = own_view(policy, one["theta"])
        problem, numbers = Problem(policy, policy.seen_across(), one["gamma"]), lanes(one)
        own, other = columns(theta), across(policy, theta)

        def values(own, other, problem=problem, policy=policy, numbers=numbers):
            logits = policy.logits(own), problem.other.logits(other)
            return value(problem, *logits, numbers.own_payoff).sum()

        by_own = light_grad(lambda t, other=other: values(t, other))(own)
        by_other = policy.swap_seats(light_grad(lambda t, own=own: values(own, t))(other))
        for a in (0, 1):
            for b in (0, 1):
                ours = (by_own if a == b else by_other)[:, a]
                ours = policy.swap_seats(ours) if b == 1 else ours
                recorded = policy.pack(flattened(policy, one["grad_V"][a][b]))
                close(ours, recorded, 1e-4, f"case {one['id']}: dV{a + 1}/dtheta{b + 1}")


@pytest.mark.golden("exact_cases*.json")
def test_a_lola_update(case):
    """Pre-conditioned cases were recorded with the outer loss on plain logits."""
    for one in read(case, False):
        policy = policy_of(one)
        theta = own_view(policy, one["theta"])
        problem = Problem(policy, policy.seen_across(), one["gamma"], plain_outer=one["kind"] == "pre")
        own, other, numbers = columns(theta), across(policy, theta), lanes(one)
        gradient = shaping_gradient(problem, own, own, other, numbers).detach()
        close(
            gradient, columns(own_view(policy, one["lola_descent_grad"])), 1e-4, f"case {one['id']} gradient"
        )
        new, _ = Updater(problem, Schedule()).epoch(own, other, numbers)
        close(new, columns(own_view(policy, one["after_one_lola_update"])), 1e-4, f"case {one['id']} after")
        p = probabilities(policy.logits(new))
        joint = torch.stack([p[:, 0], p[list(SWAP), 1]])
        close(joint, one["policies_after_one_lola_update"], 1e-4, f"case {one['id']} policies after")


@pytest.mark.golden("exact_cases*.json")
@pytest.mark.parametrize(("iterations", "tolerance"), [(1, 1e-4), (2, 1e-4), (20, 1e-3)])
def test_proximal_iterations(case, iterations, tolerance):
    for one in read(case, False):
        policy = policy_of(one)
        theta = own_view(policy, one["theta"])
        problem = Problem(policy, policy.seen_across(), one["gamma"], outer_penalty=True)
        updater = Updater(problem, Schedule(outer_steps=iterations))
        new, count = updater.epoch(columns(theta), across(policy, theta), lanes(one, one["outer_beta"]))
        assert count.tolist() == [iterations] * 2
        recorded = columns(own_view(policy, one[f"after_{iterations}_prox_iters"]))
        close(new, recorded, tolerance, f"case {one['id']} after {iterations}")


@pytest.mark.golden("exact_cases*.json")
def test_opponent_model_fits(case):
    for one in read(case, True):
        policy = Tabular() if one["kind"] == "om_tab" else Net(hidden=len(one["om_init_of_agent2"][1]))
        target = torch.tensor(one["theta"][1], dtype=torch.float32)[:, None]
        model = torch.tensor(policy.pack(one["om_init_of_agent2"]), dtype=torch.float32)[:, None]
        kls, now, step = [], model, ModelFit(policy, one["om_lr"], 1e-7, max_steps=1)
        for _ in range(50):
            kls.append(float(summed_kl(target, policy.logits(now))))
            now, _ = step.fit(now, target)
        close(torch.tensor(kls), one["kl_first_50"], 1e-4, f"{one['id']} first 50 KLs")
        fitted, steps = ModelFit(policy, one["om_lr"], 1e-7, rounded=True).fit(model, target)
        assert abs(int(steps) - one["iterations_to_1e_7"]) <= 0.02 * one["iterations_to_1e_7"]
        close(torch.sigmoid(policy.logits(fitted))[:, 0], one["om_policy"], 1e-3, f"{one['id']} policy")


def config_of(run):
    proximal = "--outer_exact_prox" in run["command"]
    # The recorded runs stopped where the released program's float32 rounding let them.
    command = shlex.split(run["command"]) + (["--kl_test", "float32"] if proximal else [])
    if "--ill_condition" in command and not proximal:
        command.append("--outer_plain_logits")  # as they were recorded
    return parse(command)


def initial(experiment, run):
    return torch.stack([own_view(experiment.policy, one["init"]) for one in run["repeats"]], -1)


@dataclasses.dataclass
class Replay:
    """What became of a recorded run: joint-order policies ``[R, 2, 5]`` by epoch, flags ``[R]``, iterations ``[E, 2, R]``."""

    policies: dict
    tft: torch.Tensor
    iterations: torch.Tensor


def replay(experiment, theta):
    """The states after each epoch from initial parameters, and the outer iterations ``[E, 2, R]``."""
    states, counts = [experiment.start(theta.numpy())], []
    for _ in range(experiment.config.epochs):
        state = states[-1]
        if state.model is not None:
            state, _ = experiment.fit_models(state)
        state, count = experiment.update(state)
        states.append(state)
        counts.append(count)
    return states[1:], torch.stack(counts)


def joint(policies):
    """Own-view policies ``[2, 5, R]`` in joint order ``[R, 2, 5]``."""
    policies = policies.permute(2, 0, 1)
    return torch.stack([policies[:, 0], policies[:, 1][:, list(SWAP)]], 1)


class SideBySide(Experiment):
    """Runs whose commands differ only in the numbers of their lanes, as one experiment.

    The time goes into calls and not into lanes, and a lane's bits do not depend on its neighbours (test_properties).
    """

    def __init__(self, members, runs):
        super().__init__(members[0].config)
        self.members, self.runs = members, runs

    def lanes(self, runs):
        parts = [member.lanes(count) for member, count in zip(self.members, self.runs, strict=True)]
        return Lanes(*(flat(torch.cat([paired(n) for n in same], -1)) for same in zip(*parts, strict=True)))


def alike(run):
    """What commands have in common that can run side by side."""
    config = dataclasses.asdict(config_of(run))
    for number in (
        "cf",
        "lr_in",
        "lr_out",
        "repeats",
        "seed",
        "fixed_net",
    ):  # parameters come from the recording
        del config[number]
    return repr(config | {"beta_in": config["beta_in"] > 0, "beta_out": config["beta_out"] > 0})


def side_by_side(runs):
    """Every recorded run with its replay; runs are replayed together where they can be."""
    groups = {}
    for name, run in runs.items():
        groups.setdefault(alike(run), {})[name] = run
    for group in groups.values():
        members = [Experiment(config_of(run)) for run in group.values()]
        sizes = [len(run["repeats"]) for run in group.values()]
        theta = torch.cat(list(map(initial, members, group.values())), -1)
        states, counts = replay(SideBySide(members, sizes), theta)
        thetas = torch.stack([state.theta for state in states]).split(sizes, -1)
        for (name, run), *own in zip(group.items(), members, thetas, counts.split(sizes, -1), strict=True):
            yield name, run, judged(*own)


def judged(experiment, thetas, counts):
    """The replay of one run whose parameters after each epoch are ``[E, 2, P, R]``."""
    outcomes = [experiment.outcome(State(theta, None)) for theta in thetas]
    tft = [is_tft(each.policies, each.values, experiment.config.cooperation) for each in outcomes]
    policies = {epoch: joint(each.policies) for epoch, each in enumerate(outcomes, 1)}
    return Replay(policies, torch.stack(tft).any(0), counts)


def recorded_runs(path, wanted):
    runs = json.loads(path.read_text())
    return {name: run for name, run in runs.items() if wanted(name, run["command"])}


def is_nan_run(name, run):
    return any(p is None or p != p for one in run["repeats"] for agent in one["final_policy"] for p in agent)


@pytest.mark.golden("exact_runs*.json")
def test_replays_of_lola_with_tables(case):
    for name, run in recorded_runs(case, lambda n, c: "prox" not in c and "using_nn" not in c).items():
        experiment = Experiment(config_of(run))
        states, _ = replay(experiment, initial(experiment, run))
        state, last = states[-1], joint(experiment.outcome(states[-1]).policies)
        if is_nan_run(name, run):
            # The released program lost these to 0 * NaN; ours finish, and agree up to there.
            assert torch.isfinite(last).all() and state.tft.all(), name
            continue
        final = torch.tensor([one["final_policy"] for one in run["repeats"]])
        assert (last - final).abs().max() <= 1e-3, name
        assert state.tft.tolist() == [one["tft_found"] for one in run["repeats"]], name


@pytest.mark.golden("exact_runs*.json")
def test_replays_of_lola_with_nets(case):
    """After about ten epochs these are chaotic: rounding decides single runs, so flags are compared over all of them."""
    flags = []
    for name, run, found in side_by_side(
        recorded_runs(case, lambda n, c: "prox" not in c and "using_nn" in c)
    ):
        for epoch in (e for e in map(int, run["repeats"][0]["policy_after_epoch"]) if e <= 5):
            recorded = torch.tensor([one["policy_after_epoch"][str(epoch)] for one in run["repeats"]])
            assert (found.policies[epoch] - recorded).abs().max() <= 0.01, f"{name} epoch {epoch}"
        flags += zip(found.tft.tolist(), [one["tft_found"] for one in run["repeats"]], strict=True)
    same = sum(ours == theirs for ours, theirs in flags)
    assert same >= 16 / 20 * len(flags), f"{same} flags of {len(flags)}"


@pytest.mark.golden("exact_runs*.json")
def test_replays_of_outer_pola(case):
    for name, run, found in side_by_side(recorded_runs(case, lambda n, c: "prox" in c)):
        tolerance = 0.06 if "ill_condition" in run["command"] else 0.02
        final = torch.tensor([one["final_policy"] for one in run["repeats"]])
        away = (found.policies[max(found.policies)] - final).abs().max()
        assert away <= tolerance, f"{name}: {away:.3f}"
        assert found.tft.tolist() == [one["tft_found"] for one in run["repeats"]], name
        ours = found.iterations.sum().item()
        recorded = sum(sum(one["outer_iterations"]) for one in run["repeats"])
        assert abs(ours / recorded - 1) <= 0.2, f"{name}: {ours} outer iterations, recorded {recorded}"


@pytest.mark.golden("exact_runs*.json")
def test_figure_1_from_its_commands(case):
    """Without the recorded initial parameters and with the default stopping test: what a person gets."""
    for name, run in recorded_runs(case, lambda n, c: n.startswith("fig1_")).items():
        experiment = Experiment(parse(shlex.split(run["command"])))
        state, _ = experiment.update(experiment.start())
        ours = experiment.outcome(state).policies[0, :, 0]
        recorded = torch.tensor(run["repeats"][0]["final_policy"][0])
        tolerance = 2e-3 if "prox" in run["command"] else 1e-4
        assert (ours - recorded).abs().max() <= tolerance, name
