"""Statistics against numbers computed by hand or taken from printed tables."""

import math

import numpy as np
import pytest

from common import stats


def test_normal_band_is_polas():
    """1, 2, 3, 4: mean 2.5, population sd sqrt(1.25), half width 1.96 * 1.118034 / 2 = 1.095673."""
    mean, low, high = stats.mean_interval([1, 2, 3, 4])
    assert (mean, low, high) == pytest.approx((2.5, 2.5 - 1.0956733, 2.5 + 1.0956733), abs=1e-6)


def test_student_interval():
    """1, 2, 3, 4: sample sd sqrt(5/3), t(0.975, 3) = 3.182446, half width 3.182446 * 1.290994 / 2 = 2.054259."""
    mean, low, high = stats.mean_interval([1, 2, 3, 4], kind="student")
    assert (mean, low, high) == pytest.approx((2.5, 0.445741, 4.554259), abs=1e-5)


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.7062), (2, 4.30265), (4, 2.77645), (9, 2.26216), (30, 2.04227)]
)
def test_student_quantiles_of_the_printed_table(freedom, quantile):
    x = np.arange(freedom + 1.0)
    mean, _, high = stats.mean_interval(x, kind="student")
    assert (high - mean) / (x.std(ddof=1) / math.sqrt(x.size)) == pytest.approx(quantile, rel=1e-5)


def test_a_deviation():
    assert stats.mean_interval([1, 3], kind="deviation") == (2, 1, 3)


def test_intervals_work_on_curves_and_let_nan_through():
    mean, low, high = stats.mean_interval([[0, 1, np.nan], [2, 1, 0]])
    np.testing.assert_allclose(mean, [1, 1, np.nan])
    np.testing.assert_allclose(high - low, [2 * 1.96 / math.sqrt(2), 0, np.nan])
    assert np.isnan(stats.mean_interval([[1.0, 2.0]], kind="student").low).all()


def test_wilson_by_hand():
    """z^2 = 3.8416. 0 of 20: high = z^2 / (20 + z^2) = 0.161130. 10 of 20: half = z sqrt(20 + z^2) / (2 (20 + z^2))."""
    assert stats.wilson(0, 20) == pytest.approx((0, 3.8416 / 23.8416))
    assert stats.wilson(20, 20) == pytest.approx((20 / 23.8416, 1))
    half = 1.96 / (2 * math.sqrt(23.8416))
    assert stats.wilson(10, 20) == pytest.approx((0.5 - half, 0.5 + half))
    assert stats.wilson(8, 10) == pytest.approx((0.490162, 0.943318), abs=1e-5)


def test_proportion_of_successful_seeds():
    share = stats.success_proportion([True] * 8 + [False] * 2)
    assert share[:3] == (8, 10, 0.8)
    assert share[3:] == stats.wilson(8, 10)


def test_first_time_to_threshold():
    x, y = [0, 100, 200, 300, 400, 500], [0.0, 0.3, 0.1, 0.3, 0.4, np.nan]
    assert stats.first_time_to_threshold(x, y, 0.3) == 100
    assert stats.first_time_to_threshold(x, y, 0.5) is None
    assert stats.first_time_to_threshold([], [], 0.5) is None


def test_several_strict_conditions():
    """LOQA's rule: each other > 0.2 and against always-defect > -0.2."""
    each, against = np.array([0.1, 0.2, 0.3, 0.3]), np.array([-0.1, -0.1, -0.3, -0.1])
    assert stats.first_time_to_threshold(np.arange(4) * 1.5, (each > 0.2) & (against > -0.2), 1) == 4.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stats.mean_interval([]), "at least one score"),
        (lambda: stats.mean_interval([1, 2], kind="sem"), "normal, student or deviation"),
        (lambda: stats.wilson(3, 2), "successes <= n"),
        (lambda: stats.wilson(0, 0), "n >= 1"),
        (lambda: stats.first_time_to_threshold([1, 2], [1], 0), "must be 1-D and alike"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
