"""``Volume``: an array and its place in space, with one convention.

Convention, everywhere in Vastus: ``array[i, j, k]`` sits at ``affine @ (i, j, k, 1)`` in millimetres of the RAS+
world of NIfTI: x to the patient's right, y to the front, z to the head. DICOM's LPS is converted on reading and
on writing, nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.errors import GeometryError

Affine = NDArray[np.float64]
AnyArray = NDArray[Any]

_GRID_TOLERANCE = 0.25
"""Of a voxel, at the corners: what rounding of sizes and directions makes; a shift that matters is half a voxel."""


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A three-dimensional array with its affine.

    Attributes:
        array: shape (I, J, K), any dtype; HU for a CT, label values for a label map.
        affine: shape (4, 4), float64; voxel index -> RAS+ millimetres.
    """

    array: AnyArray
    affine: Affine

    def __post_init__(self) -> None:
        """Check the shapes; refuse a singular affine."""
        if self.array.ndim != 3:
            raise GeometryError(f"A volume has three dimensions, this array has {self.array.ndim}.")
        affine = np.asarray(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError("The affine must be a finite 4x4 matrix.")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise GeometryError("The affine is singular: two image axes point the same way.")
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along the three axes."""
        i, j, k = self.array.shape
        return i, j, k

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along the three axes, in mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm3; right for sheared affines too."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def same_grid(self, other: Volume) -> bool:
        """Tell whether both shapes are equal and no voxel lies more than a quarter of its size from its partner.

        Programs round sizes and directions when they save, so that a long scan may differ by more than a short one.
        """
        return self.shape == other.shape and self._corners_apart(other) < _GRID_TOLERANCE

    def difference_to(self, other: Volume) -> str:
        """Describe how the grid of another volume differs: voxels, size, direction, place. Empty for the same grid."""
        if self.same_grid(other):
            return ""
        if self.shape != other.shape:
            return f"{_by(self.shape)} voxels against {_by(other.shape)}"
        sizes = self.spacing_mm, other.spacing_mm
        if max(abs(a - b) / min(a, b) for a, b in zip(*sizes, strict=True)) > 1e-3:
            return f"voxels of {_by(sizes[0])} mm against {_by(sizes[1])} mm"
        cosine = min(
            float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b))
            for a, b in zip(self.affine[:3, :3].T, other.affine[:3, :3].T, strict=True)
        )
        degrees = float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
        if degrees > 0.05:
            return f"axes that run {'opposite ways' if degrees > 179 else f'{degrees:.1f} degrees apart'}"
        shift = (other.affine - self.affine) @ np.array([*((n - 1) / 2 for n in self.shape), 1.0])
        return (
            f"a place {float(np.linalg.norm(shift[:3])):.2f} mm away ({_by(shift[:3])} mm to the right, front and top)"
        )

    def _corners_apart(self, other: Volume) -> float:
        """Compute the largest distance between the corners of the two grids, in voxels of this one."""
        corners = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
        corners[:, :3] *= np.array(self.shape) - 1
        away = np.linalg.inv(self.affine) @ (self.affine - other.affine) @ corners.T
        return float(np.abs(away[:3]).max())

    def with_array(self, array: AnyArray) -> Volume:
        """Return a volume with another array on the same grid."""
        if array.shape != self.array.shape:
            raise GeometryError(f"Array of shape {array.shape} does not fit the grid {self.array.shape}.")
        return Volume(array, self.affine)


def _by(values: Iterable[float]) -> str:
    return " x ".join(f"{float(v):.5g}" for v in values)


@dataclass(frozen=True, slots=True)
class AxisOrder:
    """How the axes of a volume lie in RAS+: axis ``source[w]`` runs along world axis w, reversed if ``flipped[w]``."""

    source: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]


def axis_order(affine: Affine) -> AxisOrder:
    """Find the world axis of each array axis; for an oblique scan, the nearest one.

    Each world axis gets a different array axis; of the six assignments the one with the largest sum of absolute
    direction cosines is taken, so that 45-degree scans can't map two axes onto one.
    """
    from itertools import permutations

    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    best = max(permutations(range(3)), key=lambda p: sum(abs(cosines[w, p[w]]) for w in range(3)))
    flipped = tuple(bool(cosines[w, best[w]] < 0) for w in range(3))
    return AxisOrder((best[0], best[1], best[2]), (flipped[0], flipped[1], flipped[2]))


def to_ras(volume: Volume) -> Volume:
    """Permute and reverse axes so that they run to the patient's right, front and head (nearest, for oblique scans).

    No voxel is resampled; the array is a view. ``from_ras`` undoes it.
    """
    order = axis_order(volume.affine)
    array = volume.array.transpose(order.source)
    affine = volume.affine.copy()
    affine[:, :3] = volume.affine[:, list(order.source)]
    for axis in range(3):
        if order.flipped[axis]:
            array = np.flip(array, axis)
            affine[:, 3] += affine[:, axis] * (array.shape[axis] - 1)
            affine[:, axis] = -affine[:, axis]
    return Volume(array, affine)


def from_ras(array: AnyArray, original: Volume) -> Volume:
    """Bring an array on the grid of ``to_ras(original)`` back to the axis order of ``original``."""
    order = axis_order(original.affine)
    axes = tuple(axis for axis in range(3) if order.flipped[axis])
    unflipped = np.flip(array, axes) if axes else array
    return original.with_array(unflipped.transpose(np.argsort(order.source)))


def crop(volume: Volume, start: tuple[int, int, int], stop: tuple[int, int, int]) -> Volume:
    """Cut out the box from ``start`` (included) to ``stop`` (excluded), in voxels; the affine follows.

    Args:
        volume: array of any type.
        start, stop: first voxel, and the one after the last, on each axis.

    Returns:
        The part of the volume, as a view.

    Raises:
        GeometryError: the box is empty or does not lie inside the grid.
    """
    if any(a < 0 or b > n or a >= b for a, b, n in zip(start, stop, volume.shape, strict=True)):
        raise GeometryError(f"Box {start}..{stop} does not lie inside the grid {volume.shape}.")
    affine = volume.affine.copy()
    affine[:3, 3] = (volume.affine @ np.array([*start, 1.0]))[:3]
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    return Volume(volume.array[window], affine)


def paste(array: AnyArray, shape: tuple[int, int, int], start: tuple[int, int, int]) -> AnyArray:
    """Put a cropped array back into zeros of the full shape: the inverse of ``crop``.

    Args:
        array: the cropped array.
        shape: full shape in voxels.
        start: first voxel of the array in the full shape.

    Returns:
        A new array of the full shape and the same type.
    """
    full = np.zeros(shape, dtype=array.dtype)
    window = tuple(slice(a, a + n) for a, n in zip(start, array.shape, strict=True))
    full[window] = array
    return full


def place_on(labels: Volume, target: Volume) -> Volume | None:
    """Put labels onto another grid by whole voxels; each labelled voxel must be a voxel of that grid.

    Flipped, transposed, cropped and padded ones find their place; nothing is resampled.

    Args:
        labels: any integers; 0 is background.
        target: gives shape and affine; its array is not read.

    Returns:
        The labels on the grid of ``target``; None where voxels of the two do not coincide, or a labelled one lies
        outside.
    """
    if labels.same_grid(target):
        return Volume(labels.array, target.affine)
    to_target = np.linalg.inv(target.affine) @ labels.affine
    exact = np.rint(to_target)
    turn = exact[:3, :3].astype(int)
    if not ((np.abs(turn).sum(axis=0) == 1).all() and (np.abs(turn).sum(axis=1) == 1).all()):
        return None
    corners = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    corners[:, :3] *= np.array(labels.shape) - 1
    if np.abs(corners @ (to_target - exact)[:3].T).max() >= _GRID_TOLERANCE:
        return None
    source = [int(np.flatnonzero(turn[axis])[0]) for axis in range(3)]
    signs = [int(turn[axis, source[axis]]) for axis in range(3)]
    moved = labels.array.transpose(source)[tuple(slice(None, None, sign) for sign in signs)]
    first = (corners @ exact[:3].T).min(axis=0).astype(int)
    here = tuple(slice(max(0, a), min(n, a + m)) for a, n, m in zip(first, target.shape, moved.shape, strict=True))
    if any(part.start >= part.stop for part in here):
        return None
    there = tuple(slice(part.start - a, part.stop - a) for part, a in zip(here, first, strict=True))
    if np.count_nonzero(moved) != np.count_nonzero(moved[there]):
        return None
    result = np.zeros(target.shape, labels.array.dtype, order="F")
    result[here] = moved[there]
    return Volume(result, target.affine)


def centred_affine(affine: Affine, shape: tuple[int, int, int], new_shape: tuple[int, int, int]) -> Affine:
    """Compute the affine of a grid with ``new_shape`` voxels over the same box as ``shape`` voxels of ``affine``.

    The outer faces of the two grids coincide (not the centres of the outer voxels).

    Args:
        affine: (4, 4) in mm.
        shape: voxels of the grid of ``affine``.
        new_shape: voxels of the new grid.

    Returns:
        Affine of the new grid, (4, 4) in mm.
    """
    scale = np.array(shape, dtype=np.float64) / np.array(new_shape, dtype=np.float64)
    result = affine.copy()
    result[:3, :3] = affine[:3, :3] * scale
    result[:3, 3] = affine[:3, 3] + affine[:3, :3] @ ((scale - 1.0) / 2.0)
    return result


def shape_for_spacing(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], new_spacing_mm: tuple[float, float, float]
) -> tuple[int, int, int]:
    """Compute the number of voxels (at least one for each axis) that comes closest to the new spacing.

    Args:
        shape: voxels of the grid.
        spacing_mm: its spacing.
        new_spacing_mm: spacing of the new grid.

    Returns:
        Voxels of the new grid on each axis.
    """
    i, j, k = (max(1, round(n * old / new)) for n, old, new in zip(shape, spacing_mm, new_spacing_mm, strict=True))
    return i, j, k


def resample_like(volume: Volume, target: Volume, *, order: int, outside: float = 0.0) -> Volume:
    """Resample onto the grid of another volume, whatever the directions of the two are.

    Args:
        volume: what to resample.
        target: gives shape and affine; its array is not read.
        order: 0 nearest (labels), 1 linear.
        outside: value where ``target`` lies outside ``volume``.

    Returns:
        A volume on the grid of ``target`` with the dtype of ``volume``.
    """
    from scipy.ndimage import affine_transform

    index = np.linalg.inv(volume.affine) @ target.affine
    result = affine_transform(
        volume.array,
        index[:3, :3],
        offset=index[:3, 3],
        output_shape=target.shape,
        order=order,
        mode="grid-constant",
        cval=outside,
        prefilter=False,
    )  # "constant" would lose the outermost voxels to rounding errors of 1e-12
    return Volume(result, target.affine)
