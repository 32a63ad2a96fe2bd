from __future__ import annotations

import math
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vastus.errors import SettingsError
from vastus.evaluation.agreement import (
    Band,
    bland_altman,
    icc_2_1,
    icc_3_1,
    koo_li_band,
    lin_ccc,
    pearson,
)

# Shrout & Fleiss 1979 (doi 10.1037/0033-2909.86.2.420), Table 2: six targets rated by four judges.
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
# Bland & Altman 1986 (doi 10.1016/S0140-6736(86)90837-8), Table 1: peak expiratory flow of 17 people in l/min, first
# reading of the large Wright meter and of the mini meter.
WRIGHT = np.array([494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427])
MINI = np.array([512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451])


def test_icc_of_shrout_and_fleiss_as_published():
    # Published: ICC(2,1) = .29, ICC(3,1) = .71 (Table 4).
    assert icc_2_1(SHROUT_FLEISS).value == pytest.approx(0.29, abs=0.005)
    assert icc_3_1(SHROUT_FLEISS).value == pytest.approx(0.71, abs=0.005)


def test_icc_of_shrout_and_fleiss_as_r_psych_prints_it():
    # psych::ICC(lmer = FALSE), written down here so that the check runs without R too.
    two, three = icc_2_1(SHROUT_FLEISS), icc_3_1(SHROUT_FLEISS)
    assert (two.value, two.low, two.high) == pytest.approx((0.289764, 0.0187865, 0.761084), abs=1e-6)
    assert (three.value, three.low, three.high) == pytest.approx((0.714841, 0.3424648, 0.945858), abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_icc_as_pingouin_has_it(seed):
    pingouin = pytest.importorskip("pingouin")
    import pandas as pd

    rng = np.random.default_rng(seed)
    ratings = rng.normal(0, 2, (9, 1)) + rng.normal(0, 1, (1, 3)) + rng.normal(0, 0.7, (9, 3))
    long = pd.DataFrame(
        [(t, r, ratings[t, r]) for t in range(9) for r in range(3)], columns=["target", "rater", "rating"]
    )
    table = pingouin.intraclass_corr(long, targets="target", raters="rater", ratings="rating")["ICC"].to_numpy()
    assert icc_2_1(ratings).value == pytest.approx(table[1], abs=1e-9)
    assert icc_3_1(ratings).value == pytest.approx(table[2], abs=1e-9)


def _r(script):
    if shutil.which("Rscript") is None:
        pytest.skip("R is not installed")
    done = subprocess.run(["Rscript", "-e", script], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"R package missing: {done.stderr[-200:]}")
    return np.array([float(word) for word in done.stdout.split()])


def _r_matrix(ratings):
    return f"matrix(c({','.join(repr(float(v)) for v in ratings.ravel())}), nrow={len(ratings)}, byrow=TRUE)"


def test_icc_as_r_psych_computes_it():
    ratings = np.random.default_rng(3).normal(0, 2, (12, 1)) + np.random.default_rng(4).normal(0.5, 1, (12, 2))
    expected = _r(
        f"suppressMessages(library(psych)); t <- ICC({_r_matrix(ratings)}, lmer=FALSE)$results;"
        "cat(format(c(t$ICC[2:3], t$`lower bound`[2:3], t$`upper bound`[2:3]), digits=15))"
    )
    two, three = icc_2_1(ratings), icc_3_1(ratings)
    found = [two.value, three.value, two.low, three.low, two.high, three.high]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_icc_as_r_irr_computes_it():
    ratings = SHROUT_FLEISS.astype(float)
    expected = _r(
        f"library(irr); a <- icc({_r_matrix(ratings)}, model='twoway', type='agreement', unit='single');"
        f"c <- icc({_r_matrix(ratings)}, model='twoway', type='consistency', unit='single');"
        "cat(format(c(a$value, a$lbound, a$ubound, c$value, c$lbound, c$ubound), digits=15))"
    )
    two, three = icc_2_1(ratings), icc_3_1(ratings)
    np.testing.assert_allclose([two.value, two.low, two.high, three.value, three.low, three.high], expected, atol=1e-6)


def test_bias_of_a_rater_lowers_agreement_and_not_consistency():
    truth = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    ratings = np.stack([truth, truth + 1.0], axis=1)
    assert icc_3_1(ratings).value == pytest.approx(1.0)
    # MSR = 5, MSC = 2.5, MSE = 0: 5 / (5 + 2 x 2.5 / 5).
    assert icc_2_1(ratings).value == pytest.approx(5 / 6)


def test_perfect_and_undefined_agreement():
    same = np.tile(np.arange(4.0)[:, None], (1, 2))
    assert icc_2_1(same).value == icc_2_1(same).low == icc_3_1(same).high == 1.0
    for nothing in (np.ones((5, 2)), np.ones((1, 2)), np.empty((0, 2))):
        assert math.isnan(icc_2_1(nothing).value)
        assert math.isnan(icc_3_1(nothing).value)
    with pytest.raises(SettingsError):
        icc_2_1(np.array([[1.0, np.nan], [2.0, 3.0]]))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 50), st.floats(-100, 100))
def test_icc_does_not_depend_on_unit_origin_or_order(seed, scale, shift):
    rng = np.random.default_rng(seed)
    ratings = rng.normal(0, 2, (7, 1)) + rng.normal(0, 1, (7, 2))
    for icc in (icc_2_1, icc_3_1):
        before, after = icc(ratings), icc(scale * ratings[::-1, ::-1] + shift)
        assert after.value == pytest.approx(before.value, abs=1e-8)
        assert after.low == pytest.approx(before.low, abs=1e-7)
        assert before.low <= before.value <= before.high


@pytest.mark.parametrize(
    ("value", "band"),
    [
        (0.49, Band.POOR),
        (0.5, Band.MODERATE),
        (0.74, Band.MODERATE),
        (0.75, Band.GOOD),
        (0.9, Band.GOOD),
        (0.91, Band.EXCELLENT),
        (-0.3, Band.POOR),
        (math.nan, Band.UNDEFINED),
    ],
)
def test_bands_of_koo_and_li(value, band):
    assert koo_li_band(value) is band


def test_bland_and_altman_1986_as_published():
    found = bland_altman(WRIGHT, MINI)
    # Published: mean difference -2.1 (95% CI -22.0 to 17.8), SD 38.8; with 2 SD the limits are -79.7 and 75.5, their
    # standard error sqrt(3 s2 / n) = 16.3, t = 2.12.
    assert found.bias.value == pytest.approx(-2.1, abs=0.05)
    assert found.sd == pytest.approx(38.8, abs=0.05)
    assert (found.bias.low, found.bias.high) == pytest.approx((-22.0, 17.8), abs=0.1)
    assert found.bias.value - 2 * found.sd == pytest.approx(-79.7, abs=0.1)
    assert found.lower_limit.value == pytest.approx(-2.12 - 1.96 * 38.77, abs=0.05)
    assert found.upper_limit.high - found.upper_limit.value == pytest.approx(2.12 * 16.3, abs=0.1)
    assert pearson(WRIGHT, MINI).value == pytest.approx(0.94, abs=0.005)


def test_bland_altman_with_few_cases_says_what_it_can():
    one = bland_altman(np.array([3.0]), np.array([1.0]))
    assert one.bias.value == 2.0
    assert math.isnan(one.sd)
    assert math.isnan(one.upper_limit.value)
    assert math.isnan(bland_altman(np.empty(0), np.empty(0)).bias.value)


def test_pearson_as_scipy_has_it():
    from scipy.stats import pearsonr

    expected = pearsonr(WRIGHT, MINI)
    found = pearson(WRIGHT, MINI)
    assert found.value == pytest.approx(expected.statistic)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert math.isnan(pearson(np.ones(5), np.arange(5)).value)
    assert pearson(np.arange(5), 2 * np.arange(5) + 1).value == pytest.approx(1.0)
    with pytest.raises(SettingsError):
        pearson(np.arange(4), np.arange(5))


def test_lins_concordance():
    found = lin_ccc(WRIGHT, MINI)
    # 2 s_xy / (s_x2 + s_y2 + (difference of means)2), by numpy's own covariance.
    matrix = np.cov(WRIGHT, MINI, ddof=0)
    expected = 2 * matrix[0, 1] / (matrix[0, 0] + matrix[1, 1] + (WRIGHT.mean() - MINI.mean()) ** 2)
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high
    x = np.arange(6.0)
    assert lin_ccc(x, x).value == 1.0
    # Var 35/12 each, shift 1: (2 x 35/12) / (2 x 35/12 + 1).
    assert lin_ccc(x, x + 1).value == pytest.approx(35 / 41)


def test_limits_of_lins_concordance_hold_the_truth_about_95_times_of_100():
    rng = np.random.default_rng(0)
    truth, inside = 2 * 0.8 / (1 + 1 + 0.5**2), 0
    for _ in range(400):
        x, y = rng.multivariate_normal([0, 0.5], [[1, 0.8], [0.8, 1]], size=40).T
        found = lin_ccc(x, y)
        inside += found.low <= truth <= found.high
    assert 0.91 <= inside / 400 <= 0.985


def test_targets_that_do_not_differ_leave_the_icc_undefined() -> None:
    # A structure of one size in every case, missed in every case.
    ratings = np.array([[0.0, 500.0], [0.0, 500.0], [0.0, 500.0]])
    assert np.isnan(icc_2_1(ratings).value)
    assert np.isnan(icc_3_1(ratings).value)
