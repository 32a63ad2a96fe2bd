"""Do all slices of a CT speak the same scale? A slab with a lost rescale value hides in the histogram of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_SAMPLES_A_SLICE: Final = 16_000
_LEAST_SOFT: Final = 0.02
_SHIFT_HU: Final = 50.0
_NAMED: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class OddSlices:
    """Slices that can't be in HU, though others are.

    Attributes:
        numbers: along the slice axis, from 0.
        why: in words, to follow "they".
    """

    numbers: tuple[int, ...]
    why: str

    def told(self, total: int, names: Sequence[str] = ()) -> str:
        """Name the slices in a sentence, by their files if these are known."""
        shown = [names[n] if len(names) == total else str(n) for n in self.numbers[:_NAMED]]
        more = f" and {len(self.numbers) - _NAMED} more" if len(self.numbers) > _NAMED else ""
        listed = ", ".join(shown) + more
        return f"{len(self.numbers)} of {total} slices are not in Hounsfield units ({listed}): they {self.why}"


def odd_slices(array: NDArray[Any], slice_axis: int) -> OddSlices | None:
    """Find slices whose values differ from those of the other slices; None if all agree.

    Args:
        array: HU without padding.
        slice_axis: along which slices follow each other.
    """
    slices = np.moveaxis(array, slice_axis, 0)
    step = max(1, round((slices[0].size / _SAMPLES_A_SLICE) ** 0.5))
    sample = slices[:, ::step, ::step].reshape(len(slices), -1)
    soft = _share(sample, -200, 200)
    if (soft > _LEAST_SOFT).sum() < 2:
        return None
    fat = _share(sample, -200, -20)
    # Most scans have few slices without fat or soft tissue: only these are looked at closer.
    lean, bare = np.flatnonzero(fat < 0.01), np.flatnonzero(soft < 0.02)
    dense, bright = _share(sample[lean], 800, 1300) > 0.05, _share(sample[lean], 200, 3000) > 0.15
    found = (
        (
            "hold values where a CT without its rescale intercept has soft tissue",
            _at(lean[dense | (bright & (soft[lean] < 0.02))], len(sample)),
        ),
        (
            "hold values far below those of fat and muscle",
            _at(bare[_share(sample[bare], -700, -250) > 0.3], len(sample)),
        ),
        ("hold next to no fat or muscle, between slices that do", _holes(soft)),
        ("lie tens of HU above or below their neighbours, air and soft tissue alike", _steps(sample, soft)),
    )
    for why, odd in found:
        if odd.any() and not odd.all():
            return OddSlices(tuple(int(n) for n in np.flatnonzero(odd)), why)
    return None


def _at(numbers: NDArray[np.intp], count: int) -> NDArray[np.bool_]:
    """Mark these of so many slices."""
    marked = np.zeros(count, np.bool_)
    marked[numbers] = True
    return marked


def _share(sample: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    share: NDArray[np.float64] = ((sample > low) & (sample < high)).mean(axis=1)
    return share


def _holes(soft: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Find slices without soft tissue that lie between slices with much of it."""
    empty = soft < 0.1 * np.median(soft[soft > _LEAST_SOFT])
    full = np.flatnonzero(~empty)
    inside = np.zeros(len(soft), bool)
    inside[full[0] : full[-1]] = True
    holes: NDArray[np.bool_] = inside & empty
    return holes


def _steps(sample: NDArray[Any], soft: NDArray[np.float64]) -> NDArray[np.bool_]:
    air, tissue = _level(sample, -1450, -700), _level(sample, -250, 300)
    with np.errstate(invalid="ignore"):
        off = [values - np.nanmedian(values) for values in (air, tissue) if np.isfinite(values).any()]
        if len(off) < 2:
            return np.zeros(len(soft), bool)
        same_way = np.sign(off[0]) == np.sign(off[1])
        both = same_way & (np.abs(off[0]) > _SHIFT_HU) & (np.abs(off[1]) > _SHIFT_HU) & (soft > _LEAST_SOFT)
    result: NDArray[np.bool_] = both
    return result


def _level(sample: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    """Compute the median of each slice within a range; NaN if the slice holds too few voxels of it."""
    levels = np.full(len(sample), np.nan)
    for k, row in enumerate(sample):
        values = row[(row > low) & (row < high)]
        if values.size >= 50:
            levels[k] = np.median(values)
    return levels
