"""The voxels of one bone, and the sums over them from which the axis of the femur is found.

A femur of a 512 x 512 x 450 scan has about 700,000 voxels: they are listed once, as whole numbers, and every sum is one
compiled pass over the list. Positions are in mm only where they are summed up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.morphometry import kernels
from vastus.morphometry.voxels import LabelTally, MemoryOrder
from vastus.volume import Affine, Volume

PART_SHARE: Final = 0.05
"""Parts of a bone smaller than this share of it are islands and left out; a broken bone keeps its parts."""

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class StraightLine:
    """A point and a direction in RAS+ mm; positions on it are distances from the point along the direction."""

    origin_mm: Vector
    direction: Vector


@dataclass(frozen=True, slots=True, eq=False)
class Sections:
    """Cross-sections of a bone in steps along a line: voxels, and centres in mm (the origin where there is none)."""

    count: NDArray[np.int64]
    centre_mm: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Bone:
    """Voxels of a bone.

    Attributes:
        index: (N, 3) int32, indices into a box in the order in which the scan lies in memory.
        affine: of that box: index -> RAS+ mm.
    """

    index: NDArray[np.int32]
    affine: Affine

    def centre_and_covariance(self) -> tuple[Vector, NDArray[np.float64]]:
        """Compute mean (3,) in mm and covariance (3, 3) in mm2 of the voxel centres."""
        first, second = kernels.moments(self.index)
        n = len(self.index)
        mean = first / n
        spread = (second - np.outer(first, first) / n) / max(n - 1, 1)
        axes = self.affine[:3, :3]
        return axes @ mean + self.affine[:3, 3], axes @ spread @ axes.T

    def extent_mm(self, line: StraightLine) -> tuple[float, float]:
        """Find the lowest and highest position of a voxel centre on a line, in mm."""
        low, high = kernels.extent(self.index, self._along(line))
        return float(low), float(high)

    def sections(self, line: StraightLine, step_mm: float) -> Sections:
        """Compute the cross-sections of ``step_mm`` each along a line, from the lowest voxel up."""
        along = self._along(line)
        low, high = kernels.extent(self.index, along)
        count, sums = kernels.sections(self.index, along, low, step_mm, int((high - low) / step_mm) + 1)
        centres = sums / np.maximum(count, 1)[:, None]
        return Sections(count, centres @ self.affine[:3, :3].T + self.affine[:3, 3])

    def farthest_mm(self, line: StraightLine, towards: Vector, reach_mm: tuple[float, float]) -> NDArray[np.float64]:
        """Measure how far the bone reaches in a direction, for each mm of a line between two positions (excluded).

        Args:
            line: the line along which the positions run.
            towards: unit vector of the direction.
            reach_mm: the two positions on the line.

        Returns:
            Distance from ``line.origin_mm`` along ``towards``, -inf where there is no voxel.
        """
        low, high = reach_mm
        bins = max(int(high - low), 1) + 1
        across = StraightLine(line.origin_mm, towards)
        return np.asarray(kernels.farthest(self.index, self._along(line), self._along(across), (low, high), bins))

    def _along(self, line: StraightLine) -> tuple[float, float, float, float]:
        """Compute offset and steps per index of the positions on a line."""
        a, b, c = (float(s) for s in line.direction @ self.affine[:3, :3])
        return float(line.direction @ (self.affine[:3, 3] - line.origin_mm)), a, b, c


def find_bone(upright: Volume, tally: LabelTally, value: int) -> Bone | None:
    """Find the voxels of one label without its islands; None if there are none.

    Args:
        upright: label map in RAS order.
        tally: its counts, with the box of each label.
        value: label value of the bone.

    Returns:
        The bone, with the positions of its voxels in mm.
    """
    import cc3d

    row = tally.row_of_value[value]
    if tally.voxels[row] == 0:
        return None
    first, last = tally.first[row], tally.last[row] + 1
    view = upright.array[first[0] : last[0], first[1] : last[1], first[2] : last[2]]
    order = MemoryOrder.of(view)
    box: NDArray[Any] = order.line_up(view)
    affine = _affine_in_memory(upright.affine, first, view.shape, order)
    parts, count = cc3d.connected_components(box == value, connectivity=26, return_N=True, binary_image=True)
    if count > 1:
        sizes = np.bincount(parts.ravel(order="K"))
        sizes[0] = 0
        box, value = (sizes >= PART_SHARE * sizes.sum()).astype(np.uint8)[parts], 1
    return Bone(kernels.collect(box, value, int(tally.voxels[row])), affine)


def _affine_in_memory(affine: Affine, first: NDArray[np.int64], shape: tuple[int, ...], order: MemoryOrder) -> Affine:
    """Compute the affine of a box after ``MemoryOrder.line_up``."""
    result = affine.copy()
    result[:3, 3] += affine[:3, :3] @ first
    for axis in range(3):
        if order.flipped[axis]:
            result[:3, 3] += result[:3, axis] * (shape[axis] - 1)
            result[:3, axis] *= -1
    result[:3, :3] = result[:3, list(order.axes)]
    return result
