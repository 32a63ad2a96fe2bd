"""Correct p values for the number of tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray


def holm(p_values: NDArray[Any]) -> NDArray[np.float64]:
    """Correct by Holm's step-down method (Scand J Stat 1979; 6: 65-70), which holds the chance of any false finding.

    Args:
        p_values: any shape; ``nan`` stays and is not counted as a test.

    Returns:
        Corrected values of the same shape, at most 1.
    """
    return _of_known(p_values, _step_down)


def benjamini_hochberg(p_values: NDArray[Any]) -> NDArray[np.float64]:
    """Correct by Benjamini and Hochberg (J R Stat Soc B 1995; 57: 289-300), which holds the share of false findings.

    Args:
        p_values: any shape; ``nan`` stays and is not counted as a test.

    Returns:
        Corrected values of the same shape, at most 1.
    """
    from scipy.stats import false_discovery_control

    return _of_known(p_values, partial(false_discovery_control, method="bh"))


def _of_known(
    p_values: NDArray[Any], correct: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    p = np.asarray(p_values, dtype=float)
    corrected = np.full(p.shape, np.nan)
    known = np.isfinite(p)
    if known.any():
        corrected[known] = correct(p[known])
    return corrected


def _step_down(values: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    back = np.empty(len(values))
    back[order] = np.minimum(stepped, 1.0)
    return back
