"""Intraclass correlation of any number of readers: the six forms of Shrout & Fleiss, with 95% limits.

Written out here, not taken from a package: the one that has them is under the GPL, renamed its columns between
releases, and rounds its limits to two digits. The tests hold these against the published tables, R's psych and
pingouin.

Sources: Shrout & Fleiss 1979, doi 10.1037/0033-2909.86.2.420 (estimates; limits of the forms 1 and 3); McGraw & Wong
1996, doi 10.1037/1082-989X.1.1.30 (limits of form 2, with Satterthwaite's degrees of freedom).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.errors import SettingsError
from vastus.evaluation.agreement import TAIL, UNDEFINED, Estimate

_NAMED = 10


class IccForm(Enum):
    """Which intraclass correlation. The second number is 1 for a single reading, k for the mean of all readers."""

    ONE_WAY_SINGLE = "ICC(1,1)"
    TWO_WAY_RANDOM_SINGLE = "ICC(2,1)"
    TWO_WAY_MIXED_SINGLE = "ICC(3,1)"
    ONE_WAY_MEAN = "ICC(1,k)"
    TWO_WAY_RANDOM_MEAN = "ICC(2,k)"
    TWO_WAY_MIXED_MEAN = "ICC(3,k)"


class MissingCells(Enum):
    """What happens to a case that a reader did not measure."""

    REFUSE = "refuse"
    LISTWISE = "listwise"


@dataclass(frozen=True, slots=True, eq=False)
class CompleteRatings:
    """Ratings without gaps.

    Attributes:
        table: (cases, readers), finite.
        left_out: names of the cases that had a gap.
    """

    table: NDArray[np.float64]
    left_out: tuple[str, ...]


def complete_ratings(
    ratings: NDArray[Any], cases: Sequence[str], readers: Sequence[str], missing: MissingCells = MissingCells.REFUSE
) -> CompleteRatings:
    """Return ratings in which every reader measured every case.

    Args:
        ratings: shape (n cases, k readers); NaN where a reader did not measure a case.
        cases, readers: their names, for messages.
        missing: whether cases with a gap are refused or left out as a whole.

    Raises:
        SettingsError: a cell is missing and ``missing`` is ``REFUSE``: says whose; or a cell is infinite.
    """
    table = np.asarray(ratings, dtype=np.float64)
    if table.shape != (len(cases), len(readers)):
        raise SettingsError(f"{len(cases)} cases and {len(readers)} readers do not fit a table of {table.shape}.")
    if np.isinf(table).any():
        raise SettingsError("A measurement is infinite.")
    gaps = np.isnan(table)
    incomplete = np.asarray(gaps.any(axis=1))
    lacking = [case for case, gap in zip(cases, incomplete, strict=True) if gap]
    if lacking and missing is MissingCells.REFUSE:
        gap_names = [
            f"{case} by {reader}"
            for case, row in zip(cases, gaps, strict=True)
            for reader, gap in zip(readers, row, strict=True)
            if gap
        ]
        shown = ", ".join(gap_names[:_NAMED]) + (
            f" and {len(gap_names) - _NAMED} more" if len(gap_names) > _NAMED else ""
        )
        raise SettingsError(
            f"{len(gap_names)} measurements are missing: {shown}.",
            remedy="Add them, or leave these cases out of the agreement of the readers (listwise).",
        )
    return CompleteRatings(table[~incomplete], tuple(lacking))


def icc(ratings: NDArray[Any], form: IccForm) -> Estimate:
    """Compute one form of the intraclass correlation, with its 95% limits.

    Args:
        ratings: shape (n cases, k readers), finite; n and k at least 2, else it is undefined.
        form: which.

    Raises:
        SettingsError: a value is missing or infinite.
    """
    squares = _mean_squares(ratings)
    return UNDEFINED if squares is None else _FORMS[form](squares)


def icc_2_1(ratings: NDArray[Any]) -> Estimate:
    """Compute ICC(2,1): two-way random effects, absolute agreement, single reader. A bias of a reader lowers it."""
    return icc(ratings, IccForm.TWO_WAY_RANDOM_SINGLE)


def icc_3_1(ratings: NDArray[Any]) -> Estimate:
    """Compute ICC(3,1): two-way mixed effects, consistency, single reader. A constant bias does not lower it."""
    return icc(ratings, IccForm.TWO_WAY_MIXED_SINGLE)


@dataclass(frozen=True, slots=True)
class _MeanSquares:
    """Of the analyses of variance without replication, one-way (``within``) and two-way.

    Attributes:
        cases, readers: n and k.
        between_cases, between_readers, residual: BMS, JMS, EMS of Shrout & Fleiss.
        within: WMS, of the readings of one case.
    """

    cases: int
    readers: int
    between_cases: float
    between_readers: float
    residual: float
    within: float


def _mean_squares(ratings: NDArray[Any]) -> _MeanSquares | None:
    """Compute the mean squares; None if the table says nothing."""
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 or not np.isfinite(table).all():
        raise SettingsError("Ratings must be a finite table of cases by readers.")
    n, k = table.shape
    if n < 2 or k < 2 or np.ptp(table) == 0.0:
        return None
    centred = table - table.mean()
    rows, columns = centred.mean(axis=1), centred.mean(axis=0)
    residual = centred - rows[:, None] - columns[None, :]
    if not rows.any() and not residual.any():
        # Cases do not differ and readers only by a constant: there is no share of variance to speak of.
        return None
    of_readers, left = float(n * (columns**2).sum()), float((residual**2).sum())
    return _MeanSquares(
        n,
        k,
        float(k * (rows**2).sum() / (n - 1)),
        of_readers / (k - 1),
        left / ((n - 1) * (k - 1)),
        (of_readers + left) / (n * (k - 1)),
    )


def _one_way_single(squares: _MeanSquares) -> Estimate:
    return _from_ratio(squares, squares.within, squares.cases * (squares.readers - 1))


def _two_way_mixed_single(squares: _MeanSquares) -> Estimate:
    return _from_ratio(squares, squares.residual, (squares.cases - 1) * (squares.readers - 1))


def _from_ratio(squares: _MeanSquares, error: float, freedom: int) -> Estimate:
    """Compute the forms 1 and 3: the F ratio of the mean squares of cases and error, with exact limits."""
    n, k, between = squares.cases, squares.readers, squares.between_cases
    value = (between - error) / (between + (k - 1) * error)
    if error == 0.0:
        return Estimate(1.0, 1.0, 1.0)
    low, high = between / error / _f(n - 1, freedom), between / error * _f(freedom, n - 1)
    return Estimate(float(value), float((low - 1) / (low + k - 1)), float((high - 1) / (high + k - 1)))


def _two_way_random_single(squares: _MeanSquares) -> Estimate:
    n, k = squares.cases, squares.readers
    msr, msc, mse = squares.between_cases, squares.between_readers, squares.residual
    value = (msr - mse) / (msr + (k - 1) * mse + k * (msc - mse) / n)
    if msc == 0.0 and mse == 0.0:
        return Estimate(1.0, 1.0, 1.0)
    # Numerator and denominator of the degrees of freedom are multiplied by (1 - value), so that 1 is no pole.
    a, b = k * value / n * msc, ((1 - value) + k * value * (n - 1) / n) * mse
    freedom = (a + b) ** 2 / (a**2 / (k - 1) + b**2 / ((n - 1) * (k - 1)))
    above, below = _f(n - 1, freedom), _f(freedom, n - 1)
    rest = k * msc + (k * n - k - n) * mse
    low = n * (msr - above * mse) / (above * rest + n * msr)
    high = n * (below * msr - mse) / (rest + n * below * msr)
    return Estimate(float(value), float(low), float(high))


def _of_mean(single: Estimate, squares: _MeanSquares) -> Estimate:
    """Compute the reliability of the mean of k readers from one (Spearman and Brown); NaN from the pole down."""
    k = squares.readers

    def stepped(value: float) -> float:
        below = 1 + (k - 1) * value
        return k * value / below if below > 0 else math.nan

    return Estimate(stepped(single.value), stepped(single.low), stepped(single.high))


_FORMS: Final[Mapping[IccForm, Callable[[_MeanSquares], Estimate]]] = {
    IccForm.ONE_WAY_SINGLE: _one_way_single,
    IccForm.TWO_WAY_RANDOM_SINGLE: _two_way_random_single,
    IccForm.TWO_WAY_MIXED_SINGLE: _two_way_mixed_single,
    IccForm.ONE_WAY_MEAN: lambda squares: _of_mean(_one_way_single(squares), squares),
    IccForm.TWO_WAY_RANDOM_MEAN: lambda squares: _of_mean(_two_way_random_single(squares), squares),
    IccForm.TWO_WAY_MIXED_MEAN: lambda squares: _of_mean(_two_way_mixed_single(squares), squares),
}


def _f(numerator: float, denominator: float) -> float:
    from scipy.special import fdtri

    return float(fdtri(numerator, denominator, TAIL))
