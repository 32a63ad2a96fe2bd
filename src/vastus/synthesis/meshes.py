"""Closed triangle surfaces to voxels and signed distances."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vastus.errors import GeometryError, UnreadableScanError
from vastus.synthesis.volume_kernels import column_crossings, near_squares

# The scan columns are shifted by less than a micrometre's worth of accuracy so that none runs exactly through a vertex.
_JITTER_MM = (3.1e-4, 7.3e-4)
# Smooths the staircase of the voxels; more would make holes in the thin wing of the ilium.
_SMOOTHING_VOXELS = 0.4
_SMOOTHED_VOXELS = 5
"""How much further than the smoothing's window, which is two voxels wide each way, distances are computed."""


def read_mesh(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices (n, 3) in mm and triangles (m, 3) of a PLY or STL file."""
    import trimesh

    try:
        mesh = trimesh.load_mesh(path, process=False)
    except Exception as error:  # trimesh raises many kinds for a damaged file
        raise UnreadableScanError(f"The mesh can't be read ({type(error).__name__}).", path=path) from error
    return np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64)


def voxelise(
    vertices_mm: NDArray[np.float64],
    triangles: NDArray[np.int64],
    origin_mm: NDArray[np.float64],
    voxel_mm: float,
    shape: tuple[int, int, int],
) -> NDArray[np.bool_]:
    """Which voxel centres lie inside a closed surface (parity of crossings along z).

    Args:
        vertices_mm, triangles: the surface, watertight.
        origin_mm: centre of voxel (0, 0, 0).
        voxel_mm: edge of the cubic voxels.
        shape: of the grid.

    Raises:
        GeometryError: the surface has holes: a column crosses it an odd number of times.
    """
    corners = ((vertices_mm - origin_mm) / voxel_mm)[triangles]
    corners[..., 0] += _JITTER_MM[0]
    corners[..., 1] += _JITTER_MM[1]
    toggles = column_crossings(corners, shape[0], shape[1], shape[2])
    inside = np.bitwise_xor.accumulate(toggles, axis=2)
    if inside[:, :, -1].any():
        raise GeometryError("The surface is not closed, or reaches beyond the top of the grid.")
    return np.ascontiguousarray(inside[:, :, :-1].astype(bool))


def signed_distance_mm(inside: NDArray[np.bool_], voxel_mm: float, reach_mm: float) -> NDArray[np.float32]:
    """Distance to the boundary in mm, negative inside; half a voxel is taken off so that zero lies between voxels.

    Args:
        inside: the structure.
        voxel_mm: edge of the cubic voxels.
        reach_mm: up to where it is exact; further away it is at least this.
    """
    from scipy.ndimage import gaussian_filter

    reach = math.ceil(reach_mm / voxel_mm) + _SMOOTHED_VOXELS
    outside, within = (np.sqrt(near_squares(m, reach).astype(float) * voxel_mm**2) for m in (inside, ~inside))
    distance = np.where(inside, -(within - voxel_mm / 2), outside - voxel_mm / 2).astype(np.float32)
    return gaussian_filter(distance, _SMOOTHING_VOXELS)
