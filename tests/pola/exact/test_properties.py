"""Properties that hold whatever the numbers: symmetry of the seats, independence of the lanes, recordings that are exact."""

import dataclasses
import functools
import itertools
import shlex

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pola.exact.config import parse
from pola.exact.experiment import Experiment, State
from pola.exact.fixed_point import BLOCK, Loop
from pola.exact.memory_one import discounted_visits
from pola.exact.objective import light_grad, probabilities
from pola.exact.policies import (
    CD,
    PUBLISHED_NETS,
    Net,
    Tabular,
    draw_parameters,
    preconditioned,
)
from pola.exact.tracing import Traced

RUNS = {
    "LOLA tabular": "--lr_policies_inner 3 --lr_policies_outer 25 --num_epochs 3",
    "LOLA net": "--using_nn --lr_policies_inner 0.4 --lr_policies_outer 0.1 --num_epochs 3",
    "LOLA pre-conditioned": "--ill_condition --lr_policies_inner 1 --lr_policies_outer 0.3 --num_epochs 3",
    "POLA tabular": "--lr_policies_inner 5 --lr_policies_outer 0.3 --outer_exact_prox --outer_beta 0.1 --num_epochs 1",
    "POLA net": "--using_nn --lr_policies_inner 0.25 --lr_policies_outer 0.02 --outer_exact_prox --outer_beta 0.13 --prox_threshold 1e-5 --num_epochs 1",
    "opponent models": "--opp_model --om_exact --om_using_nn --om_lr_p 0.2 --om_threshold 1e-2 --lr_policies_inner 0.2 --lr_policies_outer 1 --num_epochs 2",
    "solved inner problem": "--inner_exact_prox --inner_beta 5 --lr_policies_inner 0.1 --lr_policies_outer 1 --num_epochs 2",
}
POLICIES = [
    Tabular(),
    Tabular(4),
    preconditioned("dd"),
    preconditioned("opponent-defects"),
    Net(3),
    Net(2, 1, "lrelu"),
]


def experiment(flags, repeats):
    return Experiment(parse(shlex.split(f"--set_seed --actual_update --repeats {repeats} {flags}")))


def run_through(exp, state):
    for _ in range(exp.config.epochs):
        if state.model is not None:
            state, _ = exp.fit_models(state)
        state, count = exp.update(state)
    return state, count


@functools.cache
def three(name):
    """Three runs: the experiment, its start, its end and the last epoch's iterations."""
    exp = experiment(RUNS[name], 3)
    start = exp.start()
    return exp, start, *run_through(exp, start)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_the_same_bits_whatever_runs_beside_it(name):
    """Run k of many, alone, and next to others that take longer: with one block of lanes and with several."""
    many, (_, _, part, part_counts) = experiment(RUNS[name], BLOCK // 2 + 3), three(name)
    whole, counts = run_through(many, many.start())
    assert torch.equal(whole.theta[..., :3], part.theta)
    assert torch.equal(counts[:, :3], part_counts)
    start = many.start()
    k = BLOCK // 2
    alone = State(
        start.theta[..., k : k + 1],
        start.tft[k : k + 1],
        None if start.model is None else start.model[..., k : k + 1],
    )
    single, _ = run_through(many, alone)
    assert torch.equal(single.theta[..., 0], whole.theta[..., k])
    assert torch.equal(single.tft, whole.tft[k : k + 1])


@pytest.mark.parametrize("name", RUNS)
def test_exchanging_the_agents_exchanges_the_result(name):
    exp, start, one, _ = three(name)
    swapped = dataclasses.replace(
        start, theta=start.theta.flip(0), model=None if start.model is None else start.model.flip(0)
    )
    other, _ = run_through(exp, swapped)
    assert torch.equal(one.theta, other.theta.flip(0)) and torch.equal(one.tft, other.tft)


@pytest.mark.parametrize("name", RUNS)
def test_the_same_command_twice_gives_the_same_bits(name):
    _, start, first, _ = three(name)
    exp = experiment(RUNS[name], 3)
    second, _ = run_through(exp, exp.start())
    assert torch.equal(first.theta, second.theta) and not torch.equal(first.theta, start.theta)


probability = st.floats(0, 1)


@settings(max_examples=60)
@given(st.lists(probability, min_size=10, max_size=10), st.floats(0, 0.99))
def test_visits_are_a_discounted_distribution(numbers, gamma):
    x, y = torch.tensor(numbers, dtype=torch.float64).view(2, 5, 1)
    visits = discounted_visits(x, y, gamma)
    assert (visits >= -1e-9).all() and torch.allclose(
        visits.sum(), torch.tensor(1 / (1 - gamma), dtype=torch.float64)
    )
    mirrored = discounted_visits(y[[0, 2, 1, 3, 4]], x[[0, 2, 1, 3, 4]], gamma)
    assert torch.allclose(mirrored[[0, 2, 1, 3]], visits, atol=1e-9)


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.sampled_from(range(len(POLICIES))))
def test_a_policy_seen_from_the_other_seat_is_the_same_behaviour(seed, number):
    policy = POLICIES[number]
    theta = torch.tensor(draw_parameters(policy, 2, seed, 1.0)[0])
    own = probabilities(policy.logits(theta))
    seen = probabilities(policy.seen_across().logits(policy.swap_seats(theta)))
    assert torch.allclose(seen, own[[0, 2, 1, 3, 4]], atol=1e-12)
    assert torch.equal(policy.swap_seats(policy.swap_seats(theta)), theta)


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(0, 2), st.integers(0, 2**31))
def test_packed_nets_compute_what_pytorch_s_layers_do(hidden, extra, seed):
    net = Net(hidden, extra)
    theta = net.draw(np.random.default_rng(seed), 0.1)
    assert len(theta) == net.n_parameters
    widths = [6, *[hidden] * (1 + extra), 1]
    layers = [torch.nn.Linear(*pair, dtype=torch.float64) for pair in itertools.pairwise(widths)]
    packed = net.pack([part.detach().numpy() for layer in layers for part in (layer.weight, layer.bias)])
    last_moves = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)]
    out = torch.cat([torch.eye(3)[[own, other]].reshape(1, 6) for own, other in last_moves]).double()
    for layer in layers[:-1]:
        out = torch.tanh(layer(out))
    expected = layers[-1](out)[:, 0]
    np.testing.assert_allclose(net.logits(torch.tensor(packed)[:, None])[:, 0], expected.detach(), atol=1e-12)
    assert np.abs(theta[: 6 * hidden]).max() <= 1 / np.sqrt(6)


def test_a_run_draws_its_own_numbers_whatever_their_number():
    few, many = (draw_parameters(Tabular(), runs, 5, 0.1) for runs in (2, 7))
    np.testing.assert_array_equal(few, many[..., :2])
    assert len(np.unique(many)) == many.size
    assert not np.array_equal(few, draw_parameters(Tabular(), 2, 6, 0.1))
    assert not np.array_equal(few, draw_parameters(Tabular(), 2, 5, 0.1, stream=1))
    assert abs(draw_parameters(Tabular(), 4000, 1, 0.1).std() - 0.1) < 0.002


@pytest.mark.parametrize(("number", "tolerance"), [("1", 1e-7), ("2", 1e-7), ("3", 1e-7), ("4", 1e-4)])
def test_published_nets_cooperate_half_of_the_time(number, tolerance):
    net = Net(2)
    drawn = draw_parameters(net, 1, 1, 0.1, PUBLISHED_NETS[number])
    for agent in drawn:
        p = probabilities(net.logits(torch.tensor(agent)))
        assert (p - 0.5).abs().max() <= tolerance


def test_the_two_matrices():
    """Logits are theta less twice the one of the named column, in every other state."""
    theta = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])[:, None]
    assert preconditioned("dd").logits(theta)[:, 0].tolist() == [1, 0, 1, 2, 3]
    assert preconditioned("opponent-defects").logits(theta)[:, 0].tolist() == [-5, -4, 3, -2, -1]
    seen = preconditioned("opponent-defects").seen_across()
    assert [row.index(-2.0) for row in seen.matrix if -2.0 in row] == [1] * 4 and CD == 2
    with pytest.raises(KeyError):
        preconditioned("other")


def test_a_recording_gives_the_bits_of_the_function_that_it_records():
    def step(varying, fixed):
        theta, (scale,) = varying[0], fixed
        gradient = light_grad(lambda t: (torch.sigmoid(t) * scale).sum() + (t.tanh() ** 2).sum())(theta)
        return [theta - 0.1 * gradient, torch.ones_like(theta) * theta]

    theta, scale = torch.randn(3, BLOCK), torch.randn(3, BLOCK)
    traced = Traced(step, [theta], [scale])
    for _ in range(3):
        expected = step([theta], [scale])
        for ours, eager in zip(traced.bind([scale])(theta), expected, strict=True):
            assert torch.equal(ours, eager.detach())
        theta = expected[0].detach()


def test_a_recording_refuses_what_it_could_not_replay():
    with pytest.raises(NotImplementedError, match="in place"):
        Traced(lambda varying, fixed: [varying[0].mul_(2)], [torch.ones(3)], [])


def test_light_grad_is_torch_func_grad():
    function = lambda t: (torch.sin(t) * t).sum()  # noqa: E731
    nested = lambda grad: grad(lambda t: (grad(function)(t) ** 2).sum())  # noqa: E731
    x = torch.randn(7)
    assert torch.equal(light_grad(function)(x).detach(), torch.func.grad(function)(x))
    assert torch.equal(nested(light_grad)(x).detach(), nested(torch.func.grad)(x))


def test_a_loop_counts_and_freezes_each_lane_by_itself():
    def step(varying, fixed):
        active, count, x = varying
        new = x - active
        return [active * torch.gt(new[0], fixed[0][0]).to(x.dtype), count + active, new]

    starts, floors = torch.tensor([[5.0, 3.0, 100.0]]), torch.zeros(1, 3)
    (end,), count = Loop(step).run([starts], [floors], 50)
    assert end.tolist() == [[0.0, 0.0, 50.0]] and count.tolist() == [5, 3, 50]


def test_saturated_lola_stays_finite():
    """The paper's step sizes drive logits past what float32 probabilities resolve; the released program lost these runs."""
    exp = experiment(
        "--lr_policies_inner 3 --lr_policies_outer 25 --num_epochs 30 --base_cf_no_scale 1.6", 20
    )
    state, _ = run_through(exp, exp.start())
    outcome = exp.outcome(state)
    assert torch.isfinite(outcome.values).all() and state.tft.all() and outcome.policies.max() == 1.0
