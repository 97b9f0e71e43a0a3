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
    ("freedom", "level", "quantile"),
    [
        (1, 0.95, 12.7062),
        (2, 0.95, 4.30265),
        (4, 0.95, 2.77645),
        (9, 0.95, 2.26216),
        (9, 0.99, 3.24984),
        (30, 0.9, 1.69726),
    ],
)
def test_student_quantiles_of_the_printed_table(freedom, level, quantile):
    x = np.arange(freedom + 1.0)
    mean, _, high = stats.mean_interval(x, level, kind="student")
    assert (high - mean) / (x.std(ddof=1) / math.sqrt(x.size)) == pytest.approx(quantile, rel=1e-5)


def test_deviation_and_other_levels():
    assert stats.mean_interval([1, 3], kind="deviation") == (2, 1, 3)
    mean, _, high = stats.mean_interval([1, 2, 3, 4], level=0.9)
    assert high - mean == pytest.approx(1.6448536 * math.sqrt(1.25) / 2)


def test_intervals_work_on_curves_and_let_nan_through():
    mean, low, high = stats.mean_interval([[0, 1, np.nan], [2, 1, 0]])
    np.testing.assert_allclose(mean, [1, 1, np.nan])
    np.testing.assert_allclose(high - low, [2 * 1.96 / math.sqrt(2), 0, np.nan])
    assert np.isnan(stats.mean_interval([[1.0, 2.0]], kind="student").low).all()


def test_iqm_by_hand():
    """Eight scores: two go at each end, the mean of 3, 4, 5, 6 stays; five scores: one goes at each end."""
    assert stats.iqm([100, 1, 2, 3, 4, 5, 6, -50]) == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert stats.iqm([5, 1, 2, 3, 100]) == pytest.approx((2 + 3 + 5) / 3)
    assert stats.iqm({"a": [1, 2], "b": [3, 100]}) == stats.iqm([[1, 2], [3, 100]]) == 2.5


def test_bootstrap_keeps_the_strata():
    """Constant tasks have no spread within, so resampling within tasks gives none; resampling the pool would."""
    scores = [[0.0] * 5, [1.0] * 5]
    assert stats.stratified_bootstrap(scores, np.mean, n_resamples=50) == (0.5, 0.5, 0.5)


def test_bootstrap_of_a_coin_has_the_binomial_interval():
    """The mean of 20 draws from half ones: binomial quantiles 2.5 % and 97.5 % are 6/20 and 14/20."""
    value, low, high = stats.stratified_bootstrap([[0.0, 1.0] * 10], np.mean, n_resamples=4000, seed=3)
    assert value == 0.5
    assert low == pytest.approx(0.3, abs=0.051) and high == pytest.approx(0.7, abs=0.051)


def test_bootstrap_of_a_difference_between_unequal_groups_repeats_itself():
    scores = {"a": [1.0, 2, 3], "b": [0.0, 0, 1, 1, 1]}

    def difference(sample):
        assert {name: len(values) for name, values in sample.items()} == {"a": 3, "b": 5}
        return sample["a"].mean() - sample["b"].mean()

    first = stats.stratified_bootstrap(scores, difference, n_resamples=200, seed=7)
    assert first == stats.stratified_bootstrap(scores, difference, n_resamples=200, seed=7)
    assert first != stats.stratified_bootstrap(scores, difference, n_resamples=200, seed=8)
    assert first.value == pytest.approx(1.4) and first.low < 1.4 < first.high


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
    assert stats.first_time_to_threshold(x, y, 0.3, sustained=2) == 300
    assert stats.first_time_to_threshold(x, y, 0.3, sustained=3) is None
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
        (lambda: stats.mean_interval([1, 2], level=95), "level must lie between"),
        (lambda: stats.iqm([]), "at least one score"),
        (lambda: stats.stratified_bootstrap({"a": []}), "scores must be"),
        (lambda: stats.stratified_bootstrap(np.zeros((2, 3, 4))), "scores must be"),
        (lambda: stats.wilson(3, 2), "successes <= n"),
        (lambda: stats.wilson(0, 0), "n >= 1"),
        (lambda: stats.first_time_to_threshold([1, 2], [1], 0), "must be 1-D and alike"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
