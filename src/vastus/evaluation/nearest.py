"""The distance from voxels to the nearest of others, exact, for voxels that lie far from them.

The others are sorted into cells. The nearest one of the last voxel says how far to look for that of the next.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vastus.evaluation.distances import Distances
from vastus.loops import njit

# Edge of a cell in voxels.
_CELL = 8
# More than squares of distances are off by.
_ROUNDING_MM2 = 1e-6


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
    counts = (others.max(axis=0) - low) // _CELL + 1
    start, at = _sorted_into_cells(others, low, counts, spacing_mm)
    found: Distances = _nearest(voxels, start, at, low, counts, spacing_mm)
    return found


@njit(cache=True, nogil=True)
def _sorted_into_cells(others, low, counts, spacing_mm):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Return positions in mm, sorted by cell, and where those of each cell begin (and those of the last one end)."""
    start = np.zeros(counts[0] * counts[1] * counts[2] + 1, np.int64)
    cells = np.empty(len(others), np.int64)
    for n in range(len(others)):
        cell = (others[n, 0] - low[0]) // _CELL
        cell = cell * counts[1] + (others[n, 1] - low[1]) // _CELL
        cells[n] = cell * counts[2] + (others[n, 2] - low[2]) // _CELL
        start[cells[n] + 1] += 1
    for cell in range(len(start) - 1):
        start[cell + 1] += start[cell]
    place = start[:-1].copy()
    at = np.empty((len(others), 3))
    for n in range(len(others)):
        for axis in range(3):
            at[place[cells[n]], axis] = others[n, axis] * spacing_mm[axis]
        place[cells[n]] += 1
    return start, at


@njit(cache=True, nogil=True)
def _nearest(voxels, start, at, low, counts, spacing_mm):  # type: ignore[no-untyped-def]  # pragma: no cover
    s_a, s_b, s_c = spacing_mm
    low_a, low_b, low_c = low
    n_a, n_b, n_c = counts
    distances = np.empty(len(voxels))
    found = 0
    for n in range(len(voxels)):
        v_a, v_b, v_c = voxels[n, 0], voxels[n, 1], voxels[n, 2]
        x_a, x_b, x_c = v_a * s_a, v_b * s_b, v_c * s_c
        best = (x_a - at[found, 0]) ** 2 + (x_b - at[found, 1]) ** 2 + (x_c - at[found, 2]) ** 2
        reach = np.sqrt(best)
        r_a, r_b, r_c = int(reach / s_a) + 1, int(reach / s_b) + 1, int(reach / s_c) + 1
        for i in range(max(0, (v_a - r_a - low_a) // _CELL), min(n_a - 1, (v_a + r_a - low_a) // _CELL) + 1):
            gap = max(0, low_a + i * _CELL - v_a, v_a - low_a - i * _CELL - _CELL + 1) * s_a
            away_a = gap * gap
            if away_a > best + _ROUNDING_MM2:
                continue
            for j in range(max(0, (v_b - r_b - low_b) // _CELL), min(n_b - 1, (v_b + r_b - low_b) // _CELL) + 1):
                gap = max(0, low_b + j * _CELL - v_b, v_b - low_b - j * _CELL - _CELL + 1) * s_b
                away_b = away_a + gap * gap
                if away_b > best + _ROUNDING_MM2:
                    continue
                for k in range(max(0, (v_c - r_c - low_c) // _CELL), min(n_c - 1, (v_c + r_c - low_c) // _CELL) + 1):
                    cell = (i * n_b + j) * n_c + k
                    if start[cell] == start[cell + 1]:
                        continue
                    gap = max(0, low_c + k * _CELL - v_c, v_c - low_c - k * _CELL - _CELL + 1) * s_c
                    if away_b + gap * gap > best + _ROUNDING_MM2:
                        continue
                    for row in range(start[cell], start[cell + 1]):
                        square = (x_a - at[row, 0]) ** 2 + (x_b - at[row, 1]) ** 2 + (x_c - at[row, 2]) ** 2
                        if square < best:
                            best, found = square, row
        distances[n] = np.sqrt(best)
    return distances
