"""The box of a mask with a margin: most tools touch a small part of a scan only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]


def box_of(mask: NDArray[np.bool_], margin: tuple[int, int, int] = (0, 0, 0)) -> Box | None:
    """Smallest box around the True voxels, widened by ``margin`` voxels inside the array; None for an empty mask."""
    sides = []
    for axis, extra in enumerate(margin):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(hit):
            return None
        sides.append(slice(max(0, int(hit[0]) - extra), min(mask.shape[axis], int(hit[-1]) + 1 + extra)))
    return sides[0], sides[1], sides[2]


def voxels(margin_mm: float, spacing_mm: tuple[float, float, float]) -> tuple[int, int, int]:
    """A margin in mm as voxels of each axis, at least one."""
    i, j, k = (max(1, int(np.ceil(margin_mm / s))) for s in spacing_mm)
    return i, j, k


def nearest_other(
    labels: NDArray[np.uint8], hole: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> NDArray[np.uint8]:
    """For every voxel of ``hole`` the label of the nearest voxel outside it, in the order of ``labels[hole]``.

    Args:
        labels: a label map, background included as a label.
        hole: same shape; not all True.
        spacing_mm: of the axes.
    """
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(hole, sampling=spacing_mm, return_distances=False, return_indices=True)
    return np.asarray(labels[tuple(index[hole] for index in nearest)])
