"""Slices in order, their gaps checked, their affine. Only positions and directions count, never instance numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.errors import GeometryError
from vastus.io.dicom_choice import Stack
from vastus.io.dicom_headers import SliceHeader
from vastus.io.padding import AIR_HU
from vastus.volume import Affine

SAME_HEIGHT_MM = 0.01
"""Slices closer than this lie at the same height."""
STEP_TOLERANCE = 0.05
"""Relative deviation of one step from the usual one; scanners round positions."""
DRIFT_TOLERANCE = 0.25
"""Deviation of a slice from even spacing over the whole series, in steps."""
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True, eq=False)
class SliceGrid:
    """Where evenly spaced slices lie.

    Attributes:
        affine: (column, row, slice) -> RAS+ mm, sheared if the gantry was tilted.
        shift_voxels: (slices, 2): how far each slice lies from the straight stack over the first one, in columns
            and rows; None without a tilt.
        straight_affine: of the stack without the shear; the same as ``affine`` without a tilt.
        tilt_degrees: angle between the slices' normal and the way from slice to slice.
    """

    affine: Affine
    shift_voxels: NDArray[np.float64] | None
    straight_affine: Affine
    tilt_degrees: float


def in_order(stack: Stack) -> tuple[list[SliceHeader], NDArray[np.float64]]:
    """Sort the slices by their height along their normal; also return the heights in mm."""
    heights = np.array([float(np.dot(s.position_mm, stack.normal)) for s in stack.slices])
    order = np.argsort(heights, kind="stable")
    return [stack.slices[i] for i in order], heights[order]


def slice_grid(slices: list[SliceHeader]) -> SliceGrid:
    """Compute the grid of sorted slices, one slice for each height.

    Raises:
        GeometryError: directions not orthonormal, slices missing, uneven or displaced sideways; names the files.
    """
    row, column, normal = _directions(slices[0])
    positions = np.array([s.position_mm for s in slices])
    heights = positions @ normal
    _refuse_gaps(slices, heights)
    count = len(slices) - 1
    length = float(heights[-1] - heights[0])
    sideways = positions - positions[0] - np.outer(heights - heights[0], normal)
    between_rows, between_columns = slices[0].pixel_spacing_mm
    slope = sideways[-1] / length
    stray = np.linalg.norm(sideways - np.outer(heights - heights[0], slope), axis=1)
    limit = max(0.1, 0.25 * min(between_rows, between_columns))
    if stray.max() > limit:
        raise GeometryError(
            f"A slice is displaced sideways by {stray.max():.2f} mm from the line of the others.",
            path=slices[int(stray.argmax())].path,
            remedy="Export the series again.",
        )
    affine = np.eye(4)
    affine[:3, 0] = row * between_columns
    affine[:3, 1] = column * between_rows
    affine[:3, 2] = normal * (length / count)
    affine[:3, 3] = positions[0]
    straight = _LPS_TO_RAS @ affine
    if np.linalg.norm(sideways[-1]) <= 0.5 * min(between_rows, between_columns):
        return SliceGrid(straight, None, straight, 0.0)
    affine[:3, 2] = (positions[-1] - positions[0]) / count
    shift = np.stack([sideways @ row / between_columns, sideways @ column / between_rows], axis=1)
    tilt = float(np.degrees(np.arctan(np.linalg.norm(slope))))
    return SliceGrid(_LPS_TO_RAS @ affine, shift, straight, tilt)


def straighten(slices_hu: NDArray[Any], grid: SliceGrid) -> tuple[NDArray[Any], Affine]:
    """Undo a gantry tilt: move every slice within its plane onto the straight stack, linearly interpolated.

    The grid grows sideways so that nothing is lost; new voxels are air.

    Args:
        slices_hu: shape (slices, rows, columns).
        grid: with ``shift_voxels``.

    Returns:
        The same dtype and number of slices, and the affine of (column, row, slice).
    """
    from scipy.ndimage import shift as shifted

    assert grid.shift_voxels is not None
    before = np.floor(np.minimum(grid.shift_voxels.min(axis=0), 0)).astype(int)
    after = np.ceil(np.maximum(grid.shift_voxels.max(axis=0), 0)).astype(int)
    count, rows, columns = slices_hu.shape
    out = np.full((count, rows + after[1] - before[1], columns + after[0] - before[0]), AIR_HU, dtype=slices_hu.dtype)
    padding = ((-before[1], after[1]), (-before[0], after[0]))
    for k in range(count):
        padded = np.pad(slices_hu[k].astype(np.float32), padding, constant_values=AIR_HU)
        offset = grid.shift_voxels[k, ::-1]
        moved = shifted(padded, offset, order=1, mode="nearest", prefilter=False) if np.any(offset) else padded
        out[k] = np.round(moved) if out.dtype.kind == "i" else moved
    affine = grid.straight_affine.copy()
    affine[:3, 3] += affine[:3, 0] * before[0] + affine[:3, 1] * before[1]
    return out, affine


def _directions(header: SliceHeader) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    row, column = np.array(header.orientation).reshape(2, 3)
    if abs(row @ row - 1) > 1e-2 or abs(column @ column - 1) > 1e-2 or abs(row @ column) > 1e-2:
        raise GeometryError(
            f"ImageOrientationPatient {list(header.orientation)} is no pair of unit vectors at right angles.",
            path=header.path,
        )
    row = row / np.linalg.norm(row)
    column = column - row * (row @ column)
    column /= np.linalg.norm(column)
    return row, column, np.cross(row, column)


def _refuse_gaps(slices: list[SliceHeader], heights: NDArray[np.float64]) -> None:
    steps = np.diff(heights)
    usual = float(np.median(steps))
    odd = np.flatnonzero(np.abs(steps - usual) > max(0.02, STEP_TOLERANCE * usual))
    if odd.size:
        place = int(odd[np.argmax(steps[odd])])
        step = float(steps[place])
        missing = round(step / usual) - 1
        where = f"between {slices[place].path.name} and {slices[place + 1].path.name}"
        if missing >= 1 and abs(step - (missing + 1) * usual) <= STEP_TOLERANCE * usual * (missing + 1):
            problem = f"{missing} slice{'s are' if missing > 1 else ' is'} missing {where}"
        else:
            problem = f"The slices are unevenly spaced, e.g. {where}"
        raise GeometryError(
            f"{problem}: {step:.2f} mm apart where {usual:.2f} mm is usual ({odd.size} such places).",
            path=slices[place + 1].path,
            remedy="Export the complete series again.",
        )
    even = np.linspace(heights[0], heights[-1], len(heights))
    drift = np.abs(heights - even)
    if drift.max() > max(0.1, DRIFT_TOLERANCE * usual):
        raise GeometryError(
            f"The distance of the slices changes along the series (up to {drift.max():.2f} mm from even spacing).",
            path=slices[int(drift.argmax())].path,
            remedy="Export the series again with even spacing.",
        )
