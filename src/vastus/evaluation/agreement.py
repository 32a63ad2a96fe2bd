"""Agreement of two series of measurements (volumes of a structure over cases): closed forms on numpy.

Intraclass correlations, of two or more series, are in ``vastus.evaluation.icc``.
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
CONFIDENCE = 0.95
TAIL = 0.5 + CONFIDENCE / 2


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
    """Name the band of Koo & Li: below 0.5 poor, up to 0.75 moderate, up to 0.9 good, above 0.9 excellent."""
    if math.isnan(icc):
        return Band.UNDEFINED
    if icc < 0.5:
        return Band.POOR
    if icc < 0.75:
        return Band.MODERATE
    return Band.GOOD if icc <= 0.9 else Band.EXCELLENT


def pearson(first: NDArray[Any], second: NDArray[Any]) -> Estimate:
    """Compute Pearson's r; the CI by Fisher's z needs four cases.

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


def lin_ccc(first: NDArray[Any], second: NDArray[Any]) -> Estimate:
    """Compute Lin's concordance correlation coefficient with the z-transformed CI.

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
    """Compute bias and limits of agreement of ``first - second``.

    Bland & Altman 1986, doi 10.1016/S0140-6736(86)90837-8: limits with 1.96 SD (the paper's example rounds to 2), CI
    of the bias from SD / sqrt(n), of a limit from sqrt(3 / n) SD, with Student's t.
    """
    x, y = _columns(first, second)
    n = len(x)
    if n == 0:
        return BlandAltman(UNDEFINED, math.nan, UNDEFINED, UNDEFINED)
    difference = x - y
    bias = float(difference.mean())
    if n < 2:
        return BlandAltman(Estimate(bias, math.nan, math.nan), math.nan, UNDEFINED, UNDEFINED)
    # Not scipy.stats, which calls the same function: it takes a second to import.
    from scipy.special import stdtrit

    sd = float(difference.std(ddof=1))
    reach = float(stdtrit(n - 1, TAIL)) * sd / math.sqrt(n)

    def around(value: float, half: float) -> Estimate:
        return Estimate(value, value - half, value + half)

    half_limit = reach * math.sqrt(3.0)
    return BlandAltman(
        around(bias, reach), sd, around(bias - 1.96 * sd, half_limit), around(bias + 1.96 * sd, half_limit)
    )


def _fisher(value: float, standard_error: float) -> Estimate:
    from scipy.special import ndtri

    if abs(value) >= 1.0:
        return Estimate(value, value, value)
    z, half = math.atanh(value), float(ndtri(TAIL)) * standard_error
    return Estimate(value, math.tanh(z - half), math.tanh(z + half))


def _columns(first: NDArray[Any], second: NDArray[Any]) -> tuple[Series, Series]:
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise SettingsError("Two finite series of the same length are needed.")
    return x, y
