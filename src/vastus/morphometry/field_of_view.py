"""What a scan shows: its first and last slice, its sides, and the circle that a scanner reconstructs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.morphometry.voxels import LabelTally
from vastus.volume import Volume

_SAMPLED_SLICES = 48
_CIRCLE_RESIDUAL_PIXELS = 1.5
_RING_PIXELS = 2
_SMALLEST_RADIUS = 0.45
"""Of the image's shorter side: a round leg in noise-free air is smaller than the circle of a scanner."""


@dataclass(frozen=True, slots=True)
class Truncation:
    """Where the edge of the scan cuts a structure."""

    below: bool = False
    above: bool = False
    in_plane: bool = False

    @property
    def any(self) -> bool:
        """Whether a part may be missing."""
        return self.below or self.above or self.in_plane


@dataclass(frozen=True, slots=True, eq=False)
class FieldOfView:
    """Extent of the image data in an upright (RAS) scan.

    Attributes:
        first_slice, last_slice: first and last slice that hold data (slices of one constant value are padding).
        edge: (I, J) bool: padding outside the reconstruction circle with two pixels of its rim, and the image border.
    """

    first_slice: int
    last_slice: int
    edge: NDArray[np.bool_]


def find_field_of_view(shape: tuple[int, int, int], ct: NDArray[Any] | None) -> FieldOfView:
    """Find the field of view of an upright scan; without a CT it is the whole grid.

    The circle is found as pixels that hold one constant value in all slices, if their rim is a circle. A scan whose
    padding was overwritten, or whose air is as constant as padding, has no such rim: then only the image border counts.
    """
    from scipy.ndimage import binary_dilation

    edge = np.zeros(shape[:2], dtype=bool)
    first, last = 0, shape[2] - 1
    if ct is not None:
        while first < last and _constant(ct[:, :, first]):
            first += 1
        while last > first and _constant(ct[:, :, last]):
            last -= 1
        outside = _outside_circle(ct[:, :, first : last + 1])
        if outside is not None:
            edge |= binary_dilation(outside, iterations=_RING_PIXELS)
    edge[[0, -1], :] = True
    edge[:, [0, -1]] = True
    return FieldOfView(first, last, edge)


def find_truncations(labels: Volume, tally: LabelTally, view: FieldOfView) -> tuple[Truncation, ...]:
    """Find which labels the edge of the scan cuts, in the order of ``tally.table.labels``; absent ones are uncut.

    Args:
        labels: label map in RAS order.
        tally: its counts, with the box of each label.
        view: the field of view of the scan.

    Returns:
        For each label, whether the scan cuts it below, above or at the side.
    """
    at_edge = np.bincount(labels.array[view.edge].ravel(), minlength=256) > 0
    result = []
    for row, label in enumerate(tally.table.labels):
        present = tally.voxels[row] > 0
        below = present and tally.first[row, 2] <= view.first_slice
        above = present and tally.last[row, 2] >= view.last_slice
        result.append(Truncation(bool(below), bool(above), bool(at_edge[label.value])))
    return tuple(result)


def _constant(image: NDArray[Any]) -> bool:
    return bool(image.min() == image.max())


def _outside_circle(ct: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Find the pixels outside the reconstruction circle; None if there are none."""
    corners = ct[[0, 0, -1, -1], [0, -1, 0, -1], :]
    padded = [corner[0] for corner in corners if (corner == corner[0]).all()]
    if not padded:
        return None
    outside = np.ones(ct.shape[:2], dtype=bool)
    for k in np.unique(np.linspace(0, ct.shape[2] - 1, _SAMPLED_SLICES).round().astype(int)):
        outside &= ct[:, :, k] == padded[0]
    rim = np.zeros_like(outside)
    for axis in (0, 1):
        for shift in (1, -1):
            neighbour = np.roll(outside, shift, axis)
            border = [slice(None), slice(None)]
            border[axis] = slice(0, 1) if shift == 1 else slice(-1, None)
            neighbour[tuple(border)] = False  # what np.roll brought in from the other side
            rim |= ~outside & neighbour
    points = np.argwhere(rim).astype(np.float64)
    if len(points) < 64 or np.linalg.matrix_rank(points - points.mean(0)) < 2:
        return None
    # A circle through the rim, by linear least squares: x^2 + y^2 = 2 a x + 2 b y + c.
    system = np.column_stack([2 * points, np.ones(len(points))])
    a, b, c = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0]
    radius = np.sqrt(max(c + a * a + b * b, 0.0))
    residual = np.hypot(points[:, 0] - a, points[:, 1] - b) - radius
    is_circle = np.sqrt((residual**2).mean()) < _CIRCLE_RESIDUAL_PIXELS and radius > _SMALLEST_RADIUS * min(
        ct.shape[:2]
    )
    return outside if is_circle else None
