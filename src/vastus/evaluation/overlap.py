"""Overlap of two masks, from counts of voxels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.errors import GeometryError


@dataclass(frozen=True, slots=True)
class OverlapCounts:
    """Voxels of one structure: in both masks, only in the prediction, only in the reference.

    A ratio whose denominator is zero is ``nan``; what an empty mask means for a table is decided by ``policy``.
    """

    both: int
    only_prediction: int
    only_reference: int

    @property
    def prediction(self) -> int:
        """Voxels of the prediction."""
        return self.both + self.only_prediction

    @property
    def reference(self) -> int:
        """Voxels of the reference."""
        return self.both + self.only_reference

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN); Dice 1945, doi 10.2307/1932409."""
        return _ratio(2 * self.both, self.prediction + self.reference)

    @property
    def jaccard(self) -> float:
        """TP / (TP + FP + FN), intersection over union."""
        return _ratio(self.both, self.both + self.only_prediction + self.only_reference)

    @property
    def sensitivity(self) -> float:
        """TP / (TP + FN), also called recall."""
        return _ratio(self.both, self.reference)

    @property
    def precision(self) -> float:
        """TP / (TP + FP), also called positive predictive value."""
        return _ratio(self.both, self.prediction)

    @property
    def ravd_signed_percent(self) -> float:
        """100 (V_prediction - V_reference) / V_reference: above zero means too much."""
        return 100.0 * _ratio(self.prediction - self.reference, self.reference)

    @property
    def ravd_absolute_percent(self) -> float:
        """Size of ``ravd_signed_percent``: the relative absolute volume difference."""
        return abs(self.ravd_signed_percent)


def count_overlap(prediction: NDArray[Any], reference: NDArray[Any]) -> OverlapCounts:
    """Count the voxels of two masks.

    Args:
        prediction, reference: bool (or zero / non-zero), the same shape.

    Raises:
        GeometryError: the shapes differ.
    """
    if prediction.shape != reference.shape:
        raise GeometryError(f"Two masks of one shape are needed, got {prediction.shape} and {reference.shape}.")
    inside_p, inside_r = prediction != 0, reference != 0
    both = int(np.count_nonzero(inside_p & inside_r))
    return OverlapCounts(both, int(np.count_nonzero(inside_p)) - both, int(np.count_nonzero(inside_r)) - both)


def label_overlap(histogram: NDArray[np.int64], value: int) -> OverlapCounts:
    """Take the counts of one label from the joint histogram of ``scan.joint_histogram`` (prediction first)."""
    both = int(histogram[value, value])
    return OverlapCounts(both, int(histogram[value].sum()) - both, int(histogram[:, value].sum()) - both)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
