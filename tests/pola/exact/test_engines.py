"""The batched engine, the `higher` library and closed forms give the same gradients and the same runs."""

import shlex

import pytest
import torch

from pola.exact.config import parse
from pola.exact.experiment import Experiment, payoffs
from pola.exact.higher_engine import HigherUpdater, Lane
from pola.exact.memory_one import value_gradients, value_hessian_product
from pola.exact.objective import Lanes, Problem, probabilities, shaping_gradient
from pola.exact.policies import Net, Tabular, preconditioned
from pola.exact.updates import Schedule, Updater

POLICIES = {
    "tabular": Tabular(),
    "four states": Tabular(4),
    "DD matrix": preconditioned("dd"),
    "figure's matrix": preconditioned("opponent-defects"),
    "net": Net(5),
    "deep leaky net": Net(3, extra_layers=1, nonlinearity="lrelu"),
    "stretched net": Net(4, stretch=(6.0, 0.33)),
}
FORMS = {
    "LOLA": {},
    "penalties and three inner steps": {"inner_steps": 3, "inner_penalty": True, "outer_penalty": True},
    "Taylor": {"taylor": True},
    "finite horizon": {"horizon": 7},
}
LANES = 3


def setting(policy, seed=0):
    """Random double-precision parameters of self, its epoch start and the other, and numbers for three lanes."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda: torch.randn(policy.n_parameters, LANES, dtype=torch.float64, generator=generator)  # noqa: E731
    full = lambda *numbers: torch.tensor(numbers, dtype=torch.float64)  # noqa: E731
    lanes = Lanes(*payoffs(full(1.1, 1.33, 1.6)), full(0.3, 1.0, 2.0), full(0.1, 1.0, 3.0),
                  full(0.5, 2.0, 0.1), full(0.2, 5.0, 1.0))  # fmt: skip
    return draw(), draw(), draw(), lanes


def jacobian(policy, theta):
    """d probabilities / d parameters ``[5, P]`` and its derivative ``[5, P, P]``, one lane."""
    function = lambda t: probabilities(policy.logits(t[:, None]))[:, 0]  # noqa: E731
    first = torch.autograd.functional.jacobian(function, theta)
    inner = lambda t: torch.autograd.functional.jacobian(function, t, create_graph=True)  # noqa: E731
    return first, torch.autograd.functional.jacobian(inner, theta)


def closed_form(problem, own, other, lanes, n):
    """LOLA's total gradient by hand: -[dV_i/di - lr_in (d2V_j/didj)' dV_i/dj], with the sign of V_j's ascent step.

    theta_j' = theta_j + lr_in dV_j/dtheta_j, so dtheta_j'/dtheta_i = lr_in d2V_j/dtheta_j dtheta_i, and
    dV_i/dtheta_i in total = (partial at theta_j') + lr_in (d2V_j/dtheta_i dtheta_j) dV_i/dtheta_j'.
    """
    payoff, theirs = lanes.own_payoff[:, n : n + 1], lanes.other_payoff[:, n : n + 1]
    jac_own, _ = jacobian(problem.own, own[:, n])
    jac_other, _ = jacobian(problem.other, other[:, n])
    p = lambda policy, theta: probabilities(policy.logits(theta[:, None]))  # noqa: E731
    x, y = p(problem.own, own[:, n]), p(problem.other, other[:, n])
    _, toward_other = value_gradients(x, y, theirs, problem.gamma)
    moved = other[:, n] + lanes.lr_in[n] * jac_other.T @ toward_other[:, 0]
    jac_moved, _ = jacobian(problem.other, moved)
    by_own, by_moved = value_gradients(x, p(problem.other, moved), payoff, problem.gamma)
    # (d2V_j / dtheta_i dtheta_j) times dV_i/dtheta_j': one Hessian product in probabilities.
    along = jac_other @ (jac_moved.T @ by_moved[:, 0])
    cross, _ = value_hessian_product(x, y, None, along[:, None], theirs, problem.gamma)
    return -(jac_own.T @ (by_own[:, 0] + lanes.lr_in[n] * cross[:, 0]))


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("form", FORMS)
def test_batched_and_higher_gradients_agree(name, form):
    policy = POLICIES[name]
    problem = Problem(policy, policy.seen_across(), 0.96, **FORMS[form])
    own, start, other, lanes = setting(policy)
    batched = shaping_gradient(problem, own, start, other, lanes).detach()
    engine = HigherUpdater(problem, Schedule())
    for n in range(LANES):
        lane = Lane(*[number[..., n] for number in lanes])
        single = engine.gradient(own[:, n], start[:, n], other[:, n], lane)
        assert (batched[:, n] - single).abs().max() <= 1e-9 * single.abs().max().clamp(min=1)


@pytest.mark.parametrize("name", POLICIES)
def test_batched_gradient_is_the_hessian_formula(name):
    policy = POLICIES[name]
    problem = Problem(policy, policy.seen_across(), 0.96)
    own, _, other, lanes = setting(policy, seed=1)
    batched = shaping_gradient(problem, own, own, other, lanes).detach()
    for n in range(LANES):
        by_hand = closed_form(problem, own, other, lanes, n)
        assert (batched[:, n] - by_hand).abs().max() <= 1e-9 * by_hand.abs().max().clamp(min=1)


@pytest.mark.parametrize("kind", ["dd", "opponent-defects"])
def test_the_outer_loss_on_plain_logits_agrees_and_differs_from_the_consistent_one(kind):
    policy = preconditioned(kind)
    own, start, other, lanes = setting(policy)
    problem = Problem(policy, policy.seen_across(), 0.96, outer_penalty=True, plain_outer=True)
    batched = shaping_gradient(problem, own, start, other, lanes).detach()
    engine = HigherUpdater(problem, Schedule())
    for n in range(LANES):
        lane = Lane(*[number[..., n] for number in lanes])
        single = engine.gradient(own[:, n], start[:, n], other[:, n], lane)
        assert (batched[:, n] - single).abs().max() <= 1e-9 * single.abs().max().clamp(min=1)
    consistent = Problem(policy, policy.seen_across(), 0.96, outer_penalty=True)
    assert not torch.allclose(batched, shaping_gradient(consistent, own, start, other, lanes), rtol=1e-2)


@pytest.mark.parametrize(
    "flags",
    [
        "--lr_policies_inner 3 --lr_policies_outer 25 --num_epochs 3",
        "--using_nn --nn_hidden_size 3 --lr_policies_inner 0.4 --lr_policies_outer 0.1 --num_epochs 3",
        "--using_nn --nn_hidden_size 3 --optim adam --outer_steps 3 --outer_beta 1 --lr_policies_outer 0.01 --num_epochs 2",
        "--lr_policies_inner 2 --lr_policies_outer 0.3 --outer_exact_prox --outer_beta 0.5 --num_epochs 1 --prox_outer_max_iters 60",
        "--lr_policies_inner 2 --lr_policies_outer 0.3 --outer_exact_prox --outer_beta 3 --prox_threshold 1e-5 --num_epochs 1",
        "--opp_model --om_exact --om_precond --inner_steps 4 --inner_beta 3 --lr_policies_inner 0.15 --num_epochs 2",
    ],
)
def test_whole_runs_agree(flags):
    common = f"--set_seed --actual_update --dtype float64 --repeats 2 {flags}"
    ends = {}
    for engine in ("batched", "higher"):
        experiment = Experiment(parse(shlex.split(f"{common} --engine {engine}")))
        state = experiment.start()
        for _ in range(experiment.config.epochs):
            if state.model is not None:
                state, _ = experiment.fit_models(state)
            expected = experiment.anticipated(state)
            state, count = experiment.update(state)
        ends[engine] = torch.cat([state.theta.flatten(), expected.flatten(), count.double().flatten()])
    assert (ends["batched"] - ends["higher"]).abs().max() <= 1e-9 * ends["higher"].abs().max().clamp(min=1)


def test_taylor_is_the_limit_of_small_inner_steps():
    policy = Tabular()
    own, start, other, lanes = setting(policy)
    small = lanes._replace(lr_in=torch.full((LANES,), 1e-6, dtype=torch.float64))
    real = Problem(policy, policy, 0.96)
    first_order = Problem(policy, policy, 0.96, taylor=True)
    without = small._replace(lr_in=torch.zeros(LANES, dtype=torch.float64))
    exact = shaping_gradient(real, own, start, other, small) - shaping_gradient(
        real, own, start, other, without
    )
    taylor = shaping_gradient(first_order, own, start, other, small) - shaping_gradient(
        first_order, own, start, other, without
    )
    assert torch.allclose(exact, taylor, rtol=1e-4, atol=1e-12) and exact.abs().max() > 1e-7


def test_solved_inner_problem_has_the_derivative_of_many_inner_steps():
    """The implicit derivative equals that of gradient descent carried to the same fixed point."""
    policy = Tabular()
    own, start, other, lanes = setting(policy, seed=3)
    own, other = 0.3 * own, 0.3 * other
    lanes = lanes._replace(
        lr_in=torch.full((LANES,), 0.1, dtype=torch.float64),
        lr_out=torch.ones(LANES, dtype=torch.float64),
        beta_in=torch.full((LANES,), 20.0, dtype=torch.float64),
    )
    solved = Updater(
        Problem(policy, policy, 0.96), Schedule(inner_prox=True, inner_threshold=1e-22, inner_max=4000)
    )
    new, _ = solved.epoch(own, other, lanes)
    unrolled = Problem(policy, policy, 0.96, inner_steps=400, inner_penalty=True)
    gradient = shaping_gradient(unrolled, own, own, other, lanes).detach()
    assert torch.allclose(own - new, gradient, rtol=1e-5, atol=1e-8)
