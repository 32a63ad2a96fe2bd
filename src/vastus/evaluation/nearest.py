"""The distance from voxels to the nearest of others, exact, for voxels that lie far from them.

The others are sorted into cells. The nearest one of the last voxel says how far to look for that of the next.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vastus.evaluation import kernels
from vastus.evaluation.distances import Distances


def nearest_mm(
    voxels: NDArray[np.int64], others: NDArray[np.int64], spacing_mm: tuple[float, float, float]
) -> Distances:
    """Find the distance of each voxel to the nearest other one, centre to centre.

    Args:
        voxels: positions in the grid, (N, 3); fastest if neighbours follow each other.
        others: likewise, (M, 3); at least one.
        spacing_mm: of the grid.

    Returns:
        Distances in mm, (N,).
    """
    low = others.min(axis=0)
    counts = (others.max(axis=0) - low) // kernels.CELL + 1
    start, at = kernels.sorted_into_cells(others, low, counts, spacing_mm)
    found: Distances = kernels.nearest(voxels, start, at, low, counts, spacing_mm)
    return found
