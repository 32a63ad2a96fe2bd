"""Agreement of two or more series of measurements (volumes of a structure over cases): closed forms on numpy.

The intraclass correlations are written out here, not taken from pingouin: its column names changed between releases
and its confidence limits are rounded to two digits. The tests hold them against pingouin, R's psych and the published
table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.errors import SettingsError

Series = NDArray[np.float64]
_CONFIDENCE = 0.95
_TAIL = 0.5 + _CONFIDENCE / 2


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95% confidence limits; ``nan`` where there are too few cases or no variance."""

    value: float
    low: float
    high: float


UNDEFINED = Estimate(math.nan, math.nan, math.nan)


class Band(Enum):
    """How to read an ICC: Koo & Li 2016, doi 10.1016/j.jcm.2016.02.012."""

    POOR = "poor"
    MODERATE = "moderate"
    GOOD = "good"
    EXCELLENT = "excellent"
    UNDEFINED = "undefined"


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """Bias (mean of first minus second) and 95% limits of agreement (bias -/+ 1.96 SD), each with its 95% CI."""

    bias: Estimate
    sd: float
    lower_limit: Estimate
    upper_limit: Estimate


def koo_li_band(icc: float) -> Band:
    """Below 0.5 poor, to 0.75 moderate, to 0.9 good, above 0.9 excellent."""
    if math.isnan(icc):
        return Band.UNDEFINED
    if icc < 0.5:
        return Band.POOR
    if icc < 0.75:
        return Band.MODERATE
    return Band.GOOD if icc <= 0.9 else Band.EXCELLENT


def pearson(first: NDArray[Any], second: NDArray[Any]) -> Estimate:
    """Pearson's r; the CI by Fisher's z needs four cases.

    Args:
        first, second: shape (n,), finite, the same cases in the same order.

    Raises:
        SettingsError: shapes differ or values are not finite (so in every function here).
    """
    x, y = _columns(first, second)
    n = len(x)
    sx, sy = x - x.mean() if n else x, y - y.mean() if n else y
    scale = math.sqrt(float((sx**2).sum() * (sy**2).sum())) if n else 0.0
    if n < 3 or scale == 0.0:
        return UNDEFINED
    r = float(np.clip((sx * sy).sum() / scale, -1.0, 1.0))
    if n < 4:
        return Estimate(r, math.nan, math.nan)
    return _fisher(r, 1.0 / math.sqrt(n - 3))


def icc_2_1(ratings: NDArray[Any]) -> Estimate:
    """ICC(2,1): two-way random effects, absolute agreement, single rater. Raters' bias lowers it.

    Shrout & Fleiss 1979, doi 10.1037/0033-2909.86.2.420; CI of McGraw & Wong 1996, doi 10.1037/1082-989X.1.1.30,
    case A,1.

    Args:
        ratings: shape (n targets, k raters), finite; n and k at least 2.
    """
    anova = _two_way(ratings)
    if anova is None:
        return UNDEFINED
    n, k = anova.targets, anova.raters
    msr, msc, mse = anova.between_targets, anova.between_raters, anova.residual
    icc = (msr - mse) / (msr + (k - 1) * mse + k * (msc - mse) / n)
    if msc == 0.0 and mse == 0.0:
        return Estimate(1.0, 1.0, 1.0)
    # Satterthwaite's degrees of freedom; numerator and denominator multiplied by (1 - icc), so that icc = 1 is no pole.
    a, b = k * icc / n * msc, ((1 - icc) + k * icc * (n - 1) / n) * mse
    freedom = (a + b) ** 2 / (a**2 / (k - 1) + b**2 / ((n - 1) * (k - 1)))
    above, below = _f(n - 1, freedom), _f(freedom, n - 1)
    rest = k * msc + (k * n - k - n) * mse
    low = n * (msr - above * mse) / (above * rest + n * msr)
    high = n * (below * msr - mse) / (rest + n * below * msr)
    return Estimate(float(icc), float(low), float(high))


def icc_3_1(ratings: NDArray[Any]) -> Estimate:
    """ICC(3,1): two-way mixed effects, consistency, single rater. A constant bias of a rater does not lower it.

    Sources and arguments as ``icc_2_1`` (case C,1).
    """
    anova = _two_way(ratings)
    if anova is None:
        return UNDEFINED
    n, k = anova.targets, anova.raters
    msr, mse = anova.between_targets, anova.residual
    icc = (msr - mse) / (msr + (k - 1) * mse)
    if mse == 0.0:
        return Estimate(1.0, 1.0, 1.0)
    low = msr / mse / _f(n - 1, (n - 1) * (k - 1))
    high = msr / mse * _f((n - 1) * (k - 1), n - 1)
    return Estimate(float(icc), float((low - 1) / (low + k - 1)), float((high - 1) / (high + k - 1)))


def lin_ccc(first: NDArray[Any], second: NDArray[Any]) -> Estimate:
    """Lin's concordance correlation coefficient with the z-transformed CI.

    Lin 1989, doi 10.2307/2532051 (variances with 1/n), standard error as corrected in Biometrics 2000;56:324.
    """
    x, y = _columns(first, second)
    n = len(x)
    if n < 3 or (np.ptp(x) == 0.0 and np.ptp(y) == 0.0):
        return UNDEFINED
    spread = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    ccc = float(2 * ((x - x.mean()) * (y - y.mean())).mean() / spread)
    r = pearson(x, y).value
    if math.isnan(r) or r == 0.0:
        return Estimate(ccc, math.nan, math.nan)
    if ccc >= 1.0 - 1e-15:
        return Estimate(1.0, 1.0, 1.0)
    shift2 = (x.mean() - y.mean()) ** 2 / math.sqrt(x.var() * y.var())
    variance = (
        (1 - r**2) * ccc**2 / ((1 - ccc**2) * r**2)
        + 2 * ccc**3 * (1 - ccc) * shift2 / (r * (1 - ccc**2) ** 2)
        - ccc**4 * shift2**2 / (2 * r**2 * (1 - ccc**2) ** 2)
    ) / (n - 2)
    return _fisher(ccc, math.sqrt(max(0.0, float(variance))))


def bland_altman(first: NDArray[Any], second: NDArray[Any]) -> BlandAltman:
    """Bias and limits of agreement of ``first - second``.

    Bland & Altman 1986, doi 10.1016/S0140-6736(86)90837-8: limits with 1.96 SD (the paper's example rounds to 2), CI
    of the bias from SD / sqrt(n), of a limit from sqrt(3 / n) SD, with Student's t.
    """
    from scipy.stats import t

    x, y = _columns(first, second)
    n = len(x)
    if n == 0:
        return BlandAltman(UNDEFINED, math.nan, UNDEFINED, UNDEFINED)
    difference = x - y
    bias = float(difference.mean())
    if n < 2:
        return BlandAltman(Estimate(bias, math.nan, math.nan), math.nan, UNDEFINED, UNDEFINED)
    sd = float(difference.std(ddof=1))
    reach = float(t.ppf(_TAIL, n - 1)) * sd / math.sqrt(n)

    def around(value: float, half: float) -> Estimate:
        return Estimate(value, value - half, value + half)

    half_limit = reach * math.sqrt(3.0)
    return BlandAltman(
        around(bias, reach), sd, around(bias - 1.96 * sd, half_limit), around(bias + 1.96 * sd, half_limit)
    )


@dataclass(frozen=True, slots=True)
class _TwoWay:
    targets: int
    raters: int
    between_targets: float
    between_raters: float
    residual: float


def _two_way(ratings: NDArray[Any]) -> _TwoWay | None:
    """Mean squares of the two-way analysis of variance without replication; None where it says nothing."""
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 or not np.isfinite(table).all():
        raise SettingsError("Ratings must be a finite table of targets by raters.")
    n, k = table.shape
    if n < 2 or k < 2 or np.ptp(table) == 0.0:
        return None
    centred = table - table.mean()
    rows, columns = centred.mean(axis=1), centred.mean(axis=0)
    residual = centred - rows[:, None] - columns[None, :]
    if not rows.any() and not residual.any():
        # Targets do not differ and raters only by a constant: there is no share of variance to speak of.
        return None
    return _TwoWay(
        n,
        k,
        float(k * (rows**2).sum() / (n - 1)),
        float(n * (columns**2).sum() / (k - 1)),
        float((residual**2).sum() / ((n - 1) * (k - 1))),
    )


def _f(numerator: float, denominator: float) -> float:
    from scipy.stats import f

    return float(f.ppf(_TAIL, numerator, denominator))


def _fisher(value: float, standard_error: float) -> Estimate:
    from scipy.stats import norm

    if abs(value) >= 1.0:
        return Estimate(value, value, value)
    z, half = math.atanh(value), float(norm.ppf(_TAIL)) * standard_error
    return Estimate(value, math.tanh(z - half), math.tanh(z + half))


def _columns(first: NDArray[Any], second: NDArray[Any]) -> tuple[Series, Series]:
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise SettingsError("Two finite series of the same length are needed.")
    return x, y
