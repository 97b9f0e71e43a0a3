import pytest

from common.verdicts import EXIT_CODES, Claim, Measurement, overall


def _claim(**expect):
    return Claim("c", "text", "0.5 (Figure 1)", expect)


@pytest.mark.parametrize(
    ("expect", "value", "status"),
    [
        ({"at_least": 0.5}, 0.5, "reproduced"),
        ({"at_least": 0.5}, 0.499, "not reproduced"),
        ({"at_most": 0.5}, 0.51, "not reproduced"),
        ({"between": [0.1, 0.2]}, 0.15, "reproduced"),
        ({"between": [0.1, 0.2]}, 0.25, "not reproduced"),
        ({"near": 1.0, "tolerance": 0.1}, 0.91, "reproduced"),
        ({"near": 1.0, "tolerance": 0.1}, 0.89, "not reproduced"),
        ({"at_least": 0.5}, float("nan"), "incomplete"),
    ],
)
def test_each_form_of_expectation(expect, value, status):
    assert _claim(**expect).judge(Measurement(value))["status"] == status


def test_three_combined_standard_errors_widen_the_tolerance_but_never_narrow_it():
    claim = _claim(near=0.5, tolerance=0.05, reference_se=0.03)
    assert claim.bounds(se=0.04) == pytest.approx((0.35, 0.65))  # 3 * hypot(0.03, 0.04) = 0.15
    assert _claim(near=0.5, tolerance=0.2, reference_se=0.01).bounds(se=0.0) == pytest.approx((0.3, 0.7))


def test_without_a_measurement_a_claim_is_incomplete():
    row = _claim(at_least=1).judge(None)
    assert row["status"] == "incomplete" and row["value"] is None


def test_an_expectation_that_nobody_reads_is_refused():
    with pytest.raises(ValueError, match="expect"):
        _claim(at_leest=1)


@pytest.mark.parametrize(
    ("statuses", "worst", "code"),
    [
        (["reproduced", "reproduced"], "reproduced", 0),
        (["reproduced", "not reproduced"], "not reproduced", 1),
        (["incomplete", "not reproduced"], "incomplete", 2),
        ([], "not judged", 0),
    ],
)
def test_the_overall_verdict_is_the_worst(statuses, worst, code):
    assert overall(statuses) == worst and EXIT_CODES[worst] == code
