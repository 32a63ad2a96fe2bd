from __future__ import annotations

import math

import numpy as np
import pytest

from vastus.errors import SettingsError
from vastus.evaluation.agreement import (
    Band,
    bland_altman,
    koo_li_band,
    lin_ccc,
    pearson,
)

# Bland & Altman 1986 (doi 10.1016/S0140-6736(86)90837-8), Table 1: peak expiratory flow of 17 people in l/min, first
# reading of the large Wright meter and of the mini meter.
WRIGHT = np.array([494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427])
MINI = np.array([512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451])


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
