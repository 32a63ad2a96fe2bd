"""Boosted trees as plain arrays: fitted elsewhere (scikit-learn), read and followed here without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FIELDS: Final = ("feature", "threshold", "missing_left", "left", "right", "value")


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """A sum of trees.

    Attributes:
        feature: int16, shape (T, M): feature of each node, -1 for a leaf.
        threshold: float64, same shape: at most this goes left.
        missing_left: bool, same shape: where a missing value goes.
        left, right: int16, same shape: the children.
        value: float64, same shape: of a leaf.
        baseline: added to the sum.
    """

    feature: NDArray[np.int16]
    threshold: NDArray[np.float64]
    missing_left: NDArray[np.bool_]
    left: NDArray[np.int16]
    right: NDArray[np.int16]
    value: NDArray[np.float64]
    baseline: float

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over all trees: shape (N,) for values of shape (N, features)."""
        count, trees = len(values), np.arange(len(self.feature))
        at = np.zeros((count, len(trees)), np.int64)
        rows = np.arange(count)[:, None]
        while True:
            feature = self.feature[trees, at]
            inner = feature >= 0
            if not inner.any():
                break
            seen = values[rows, np.maximum(feature, 0)]
            with np.errstate(invalid="ignore"):
                goes_left = np.where(np.isnan(seen), self.missing_left[trees, at], seen <= self.threshold[trees, at])
            at = np.where(inner, np.where(goes_left, self.left[trees, at], self.right[trees, at]), at)
        total: NDArray[np.float64] = self.baseline + self.value[trees, at].sum(axis=1)
        return total

    def to_arrays(self, prefix: str) -> dict[str, Any]:
        """Arrays for ``np.savez``."""
        return {f"{prefix}_{name}": getattr(self, name) for name in (*FIELDS, "baseline")}

    @classmethod
    def from_arrays(cls, prefix: str, arrays: Mapping[str, Any]) -> Trees:
        """Read what ``to_arrays`` gave."""
        fields = {name: arrays[f"{prefix}_{name}"] for name in FIELDS}
        return cls(**fields, baseline=float(arrays[f"{prefix}_baseline"]))
