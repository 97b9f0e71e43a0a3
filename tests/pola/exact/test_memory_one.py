"""Values, visits and their derivatives: by hand, against NumPy's dense solve, and by finite differences."""

import numpy as np
import pytest
import torch

from common.matrix_games import (
    contribution_game,
    discounted_state_visits,
    discounted_values,
)
from pola.exact.divergence import rounded_step_kl, step_kl, summed_kl
from pola.exact.experiment import is_tft, payoffs
from pola.exact.memory_one import (
    discounted_value,
    discounted_visits,
    truncated_value,
    value_gradients,
    value_hessian_product,
)

GAMMA = 0.96


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def random_policies(lanes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, 5, lanes, dtype=torch.float64, generator=generator)


def payoff(cf=1.33):
    return payoffs(torch.tensor([cf], dtype=torch.float64))[0]


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ((1, 1, 1, 1, 1), (1, 1, 1, 1, 1), 0.33 * 25),  # mutual cooperation
        ((0, 0, 0, 0, 0), (0, 0, 0, 0, 0), 0.0),
        ((1, 1, 1, 1, 1), (0, 0, 0, 0, 0), -0.335 * 25),  # exploited for ever
        ((0, 0, 0, 0, 0), (1, 1, 1, 1, 1), 0.665 * 25),
        # Tit-for-tat (states own move first) against always-defect: exploited once.
        ((0, 1, 0, 1, 1), (0, 0, 0, 0, 0), -0.335),
        ((0, 0, 0, 0, 0), (0, 1, 0, 1, 1), 0.665),
    ],
)
def test_values_by_hand(x, y, expected):
    # The second policy is given from its owner's seat; seen from the first one's, DC and CD change places.
    seen = column(*map(float, y))[[0, 2, 1, 3, 4]]
    ours = discounted_value(column(*map(float, x)), seen, payoff(), GAMMA)
    assert ours.item() == pytest.approx(expected, abs=1e-9)


def test_two_alternating_tit_for_tats_by_hand():
    """One starts by cooperating, the other by defecting: CD, DC, CD, ... for ever."""
    first, second = column(0, 1, 0, 1, 1.0), column(0, 1, 0, 1, 0.0)[[0, 2, 1, 3, 4]]
    visits = discounted_visits(first, second, GAMMA)[:, 0]
    even, odd = 1 / (1 - GAMMA**2), GAMMA / (1 - GAMMA**2)
    assert torch.allclose(visits, torch.tensor([0, odd, even, 0], dtype=torch.float64), atol=1e-9)
    ours = discounted_value(first, second, payoff(), GAMMA).item()
    assert ours == pytest.approx(-0.335 * even + 0.665 * odd)


def test_agrees_with_the_dense_solve_of_common():
    x, y = random_policies(20)
    ours = discounted_value(x, y, payoff(1.4).expand(4, 20), GAMMA)
    game = contribution_game(1.4)
    theirs = discounted_values(x.T.numpy(), y.T.numpy(), game, GAMMA)
    np.testing.assert_allclose(ours.numpy(), theirs[:, 0], rtol=1e-11)
    mirrored = [0, 2, 1, 3, 4]
    other_seat = discounted_values(y.T.numpy()[:, mirrored], x.T.numpy()[:, mirrored], game, GAMMA)
    np.testing.assert_allclose(theirs[:, 1], other_seat[:, 0], rtol=1e-11)
    visits = discounted_visits(x, y, GAMMA)
    np.testing.assert_allclose(
        visits.T.numpy(), discounted_state_visits(x.T.numpy(), y.T.numpy(), GAMMA), rtol=1e-11
    )
    np.testing.assert_allclose(visits.sum(0).numpy(), 25.0, rtol=1e-12)


def test_gradients_by_finite_differences():
    x, y = random_policies(4, seed=1)
    r = payoff().expand(4, 4)
    by_x, by_y = value_gradients(x, y, r, GAMMA)
    for s in range(5):
        step = torch.zeros_like(x)
        step[s] = 1e-6
        slope_x = discounted_value(x + step, y, r, GAMMA) - discounted_value(x - step, y, r, GAMMA)
        slope_y = discounted_value(x, y + step, r, GAMMA) - discounted_value(x, y - step, r, GAMMA)
        assert torch.allclose(by_x[s], slope_x / 2e-6, rtol=1e-6, atol=1e-7)
        assert torch.allclose(by_y[s], slope_y / 2e-6, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("which", ["x", "y", "both"])
def test_hessian_products_by_finite_differences(which):
    x, y = random_policies(4, seed=2)
    along = random_policies(4, seed=3) - 0.5
    along_x, along_y = (along[0] if which != "y" else None), (along[1] if which != "x" else None)
    r = payoff().expand(4, 4)
    product = value_hessian_product(x, y, along_x, along_y, r, GAMMA)
    ends = []
    for sign in (1, -1):
        dx = 0 if along_x is None else sign * 1e-6 * along_x
        dy = 0 if along_y is None else sign * 1e-6 * along_y
        ends.append(value_gradients(x + dx, y + dy, r, GAMMA))
    for half, plus, minus in zip(product, *ends, strict=True):
        assert torch.allclose(half, (plus - minus) / 2e-6, rtol=1e-5, atol=1e-6)


def test_autograd_uses_these_forms_twice():
    x, y = random_policies(2, seed=4)
    r = payoff().expand(4, 2)
    function = lambda x, y: discounted_value(x, y, r, GAMMA)  # noqa: E731
    inputs = (x.requires_grad_(), y.requires_grad_())
    assert torch.autograd.gradcheck(function, inputs) and torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50])
def test_truncated_value_is_the_running_sum(steps):
    """Not the last term alone, as in the released program."""
    x, y = random_policies(3, seed=5)
    r = payoff().expand(4, 3)
    outcomes = torch.stack([(1 - x) * (1 - y), (1 - x) * y, x * (1 - y), x * y])
    now, total = outcomes[:, 4], 0.0
    for t in range(steps):
        total = total + GAMMA**t * (now * r).sum(0)
        now = (outcomes[:, :4] * now[None]).sum(1)
    assert torch.allclose(truncated_value(x, y, r, GAMMA, steps), total, rtol=1e-12)


def test_truncated_value_tends_to_the_endless_one():
    x, y = random_policies(3, seed=6)
    r = payoff().expand(4, 3)
    long = truncated_value(x, y, r, GAMMA, 2000)
    assert torch.allclose(long, discounted_value(x, y, r, GAMMA), rtol=1e-9)


def test_divergences():
    a, b = torch.randn(5, 6, dtype=torch.float64), torch.randn(5, 6, dtype=torch.float64)
    p, q = torch.sigmoid(a), torch.sigmoid(b)
    dense = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum(0)
    for kl in (summed_kl, step_kl, rounded_step_kl):
        assert torch.allclose(kl(a, b), dense, rtol=1e-10)
        assert torch.allclose(kl(a, a), torch.zeros(6, dtype=torch.float64), atol=1e-15)


def test_divergences_of_saturated_policies_are_finite_in_float32():
    """The released program's logarithm of a probability that rounds to one or zero made whole runs NaN."""
    a = torch.tensor([[40.0], [-200.0], [17.5], [0.0], [1.0]])
    b = torch.tensor([[-40.0], [-190.0], [18.5], [0.1], [2.0]])
    logits = b.clone().requires_grad_()
    kl = summed_kl(a, logits)
    kl.sum().backward()
    assert torch.isfinite(kl).all() and torch.isfinite(logits.grad).all()
    assert kl.item() == pytest.approx(40.0 + 0.00125 + 0.0826, abs=0.01)
    assert torch.isfinite(step_kl(a, a + 0.1)).all() and torch.isfinite(rounded_step_kl(a, a)).all()


def test_tiny_changes_are_measured_below_the_rounding_of_float32():
    before = torch.linspace(-2, 2, 5)[:, None]
    after = before + 1e-5
    exact = step_kl(before.double(), after.double())
    assert torch.allclose(step_kl(before, after).double(), exact, rtol=0.05)
    assert (rounded_step_kl(before, after).double() - exact).abs() > 10 * exact


def test_tit_for_tat_is_told_by_value_and_by_both_answers_to_defection():
    tft = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0])
    policies = torch.stack([tft, tft])[:, :, None].repeat(1, 1, 4)
    policies[0, 2, 1] = 0.7  # forgives "I cooperated, the other defected"
    policies[1, 0, 2] = 0.7  # cooperates out of mutual defection
    policies[:, 1, 3] = 0.0  # says nothing about "I defected, the other cooperated"
    values = torch.tensor([[8.0, 8.0, 8.0, 8.0], [6.0, 6.0, 6.0, 6.0]])
    assert is_tft(policies, values, 8.25).tolist() == [True, False, False, True]
    assert is_tft(policies, values - 1.0, 8.25).tolist() == [False] * 4
