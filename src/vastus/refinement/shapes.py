"""Lines, polygons and discs on the voxels of a slice."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from vastus.refinement.outline import Polyline

Mask = NDArray[np.bool_]
_ON_POINT = 1e-12


def disc(radius: int) -> Mask:
    """The voxels not further than ``radius`` from the middle one, shape (2 r + 1, 2 r + 1)."""
    across = np.arange(-radius, radius + 1)
    return np.asarray(across[:, None] ** 2 + across**2 <= radius**2)


def lines_mask(lines: Iterable[Polyline], shape: tuple[int, ...], *, finer: int = 1) -> Mask:
    """Rasterise lines (Bresenham); what lies outside the slice is left away.

    Args:
        lines: in voxels of the slice.
        shape: of the result, in its own voxels.
        finer: how many voxels of the result lie along one voxel of the slice.
    """
    mask = np.zeros(shape, bool)
    for line in lines:
        points = np.rint((np.array(line, float) + 0.5) * finer - 0.5).astype(np.int64)
        ends = points[1:] if len(points) > 1 else points
        for start, stop in zip(points, ends, strict=False):
            i, j = _segment(start, stop)
            inside = (i >= 0) & (j >= 0) & (i < shape[0]) & (j < shape[1])
            mask[i[inside], j[inside]] = True
    return mask


def _segment(start: NDArray[np.int64], stop: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The voxels of a straight line: Bresenham's errors in closed form."""
    length, sign = np.abs(stop - start), np.where(stop > start, 1, -1)
    major = 0 if length[0] > length[1] else 1
    minor = 1 - major
    step = np.arange(length[major] + 1)
    aside = (2 * length[minor] * step + length[major]) // (2 * length[major]) if length[major] else step
    voxels = [step, step]
    voxels[major] = start[major] + sign[major] * step
    voxels[minor] = start[minor] + sign[minor] * aside
    return voxels[0], voxels[1]


def polygon_mask(points: Polyline, shape: tuple[int, ...]) -> Mask:
    """The voxels whose centre lies in a polygon or on its border (even-odd rule)."""
    corners = np.array(points, float)
    mask = np.zeros(shape, bool)
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, shape)
    if (low >= high).any():
        return mask
    i, j = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]), indexing="ij")
    right, left, corner = np.zeros(i.shape, bool), np.zeros(i.shape, bool), np.zeros(i.shape, bool)
    for (a_i, a_j), (b_i, b_j) in zip(corners, np.roll(corners, 1, axis=0), strict=True):
        y0, y1, x0, x1 = a_i - i, b_i - i, a_j - j, b_j - j
        corner |= (np.abs(x0) < _ON_POINT) & (np.abs(y0) < _ON_POINT)
        if a_i == b_i:
            continue
        crossing = (x0 * y1 - x1 * y0) / (y1 - y0)
        right ^= ((y0 > 0) != (y1 > 0)) & (crossing > 0)
        left ^= ((y0 < 0) != (y1 < 0)) & (crossing < 0)
    # Where the two counts differ the voxel lies on an edge.
    mask[low[0] : high[0], low[1] : high[1]] = corner | (right != left) | right
    return mask
