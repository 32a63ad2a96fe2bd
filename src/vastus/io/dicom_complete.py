"""Is this the whole series, and does every slice say its scale? What the headers of the slices tell together."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Final

import numpy as np

from vastus.errors import GeometryError, UnsupportedScanError
from vastus.io.dicom_headers import SliceHeader

_GAP: Final = 1.5
_STRIDE_TOLERANCE: Final = 0.2
_SHOWN: Final = 3
_LEAST_SET: Final = 3
_MOST_CHANGES: Final = 2


def check_rescale(slices: list[SliceHeader]) -> tuple[str, ...]:
    """Check that each slice says how its values become HU.

    Returns:
        A warning where slices say it differently.

    Raises:
        UnsupportedScanError: it is missing in some slices only, or is no scale.
    """
    for header in slices:
        if not (math.isfinite(header.slope) and math.isfinite(header.intercept)) or header.slope <= 0:
            raise UnsupportedScanError(
                f"RescaleSlope {header.slope:g} and RescaleIntercept {header.intercept:g} are no scale of HU.",
                path=header.path,
                remedy="Export the series again.",
            )
    silent = [header for header in slices if not header.rescaled]
    if silent and len(silent) < len(slices):
        raise UnsupportedScanError(
            f"{len(silent)} of {len(slices)} slices lack RescaleSlope or RescaleIntercept, which the others have: their"
            " values are not in HU.",
            path=silent[0].path,
            remedy="Export the series again.",
        )
    scales = Counter((header.slope, header.intercept) for header in slices)
    if len(scales) == 1:
        return ()
    shown = "; ".join(f"slope {s:g}, intercept {i:g} in {n} slices" for (s, i), n in scales.most_common(_SHOWN))
    return (f"The rescale values differ between slices ({shown}); each slice was read by its own.",)


def check_complete(slices: list[SliceHeader]) -> tuple[str, ...]:
    """Look for signs that slices are missing although the existing ones are evenly spaced.

    Args:
        slices: in order, one a height.

    Returns:
        Warnings.

    Raises:
        GeometryError: numbers, thickness and distance agree that slices between these are missing.
    """
    warnings = []
    step = abs(float(np.linalg.norm(np.subtract(slices[-1].position_mm, slices[0].position_mm)))) / (len(slices) - 1)
    thick = [s.thickness_mm for s in slices if s.thickness_mm and math.isfinite(s.thickness_mm)]
    thickness = float(np.median(thick)) if thick else 0.0
    numbers = [s.number for s in slices if s.number is not None]
    if len(numbers) == len(slices) == len(set(numbers)):
        warnings += _told_by_numbers(slices, numbers, step, thickness)
    if thickness > 0 and step > _GAP * thickness:
        warnings.append(
            f"The slices are {thickness:g} mm thick but lie {step:.2f} mm apart: slices between them may be missing,"
            " and what lies between is not measured."
        )
    announced = {s.announced for s in slices if s.announced}
    if len(announced) == 1 and (count := announced.pop()) > len(slices) == len({s.path for s in slices}):
        warnings.append(f"The header speaks of {count} images, but {len(slices)} slices are here: some may be missing.")
    return tuple(warnings)


def _told_by_numbers(slices: list[SliceHeader], numbers: list[int], step: float, thickness: float) -> list[str]:
    low, high = min(numbers), max(numbers)
    strides = {abs(b - a) for a, b in itertools.pairwise(numbers)}
    stride = strides.pop() if len(strides) == 1 else 0
    if stride > 1 and thickness > 0 and abs(step / (stride * thickness) - 1) < _STRIDE_TOLERANCE:
        raise GeometryError(
            f"Only every {stride}. slice is here: their numbers run {low}, {low + stride} ... {high}, they are"
            f" {thickness:g} mm thick and lie {step:.2f} mm apart.",
            path=slices[0].path,
            remedy="Export the complete series again.",
        )
    signs = []
    lacking = high - low + 1 - len(numbers)
    if lacking:
        signs.append(
            f"The slices are numbered {low} to {high}, but there are {len(numbers)}: {lacking} may be missing."
        )
    if low > 1 and stride:
        signs.append(f"The numbers of the slices begin at {low}: slices may be missing at one end.")
    return signs


def check_one_acquisition(slices: list[SliceHeader]) -> None:
    """Refuse slices of two scans that lie between each other, as two phases of contrast or two voltages do.

    Args:
        slices: in order, one a height.

    Raises:
        GeometryError: by their numbers of acquisition, their voltages, or their own numbers, two sets alternate.
    """
    by_acquisition = _alternating([s.acquisition for s in slices])
    if by_acquisition or _two_counts([s.number for s in slices]):
        raise GeometryError(
            "The series mixes two scans whose slices lie between each other: "
            + (
                "their numbers of acquisition or their voltages alternate."
                if by_acquisition
                else "their numbers count twice through the body."
            ),
            path=slices[1].path,
            remedy="Export each scan as its own series.",
        )


def _alternating(keys: list[tuple[str, str]]) -> bool:
    """Tell whether sets of three and more change places all the time; sets that follow each other do not."""
    sets = Counter(keys)
    if len(sets) < 2 or min(sets.values()) < _LEAST_SET:
        return False
    changes = sum(a != b for a, b in itertools.pairwise(keys))
    return changes > _MOST_CHANGES * len(sets)


def _two_counts(numbers: list[int | None]) -> bool:
    """Tell whether every second slice counts on in one range of numbers, and the others in another one."""
    if len(numbers) < 2 * _LEAST_SET or None in numbers:
        return False
    known = [n for n in numbers if n is not None]
    halves = known[::2], known[1::2]
    steps = [{b - a for a, b in itertools.pairwise(half)} for half in halves]
    if steps[0] != steps[1] or len(steps[0]) != 1 or 0 in steps[0]:
        return False
    return max(halves[0]) < min(halves[1]) or max(halves[1]) < min(halves[0])
