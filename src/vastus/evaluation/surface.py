"""Distances between surfaces, in mm, exact, for one pair of masks or for every label of two label maps.

Definitions (``docs/reference-metrics.md`` says where others differ):

- The surface of an object is its border voxels: those with a face neighbour outside it; the world beyond the image
  counts as outside. Distances run from voxel centre to voxel centre, with the spacing of each axis.
- ``assd``: mean of the distances from both surfaces, pooled. ``hausdorff``: the largest. ``hd95``: the larger of the
  two directed 95th percentiles (linear interpolation). ``surface_dice``: share of border voxels of both surfaces that
  lie within the tolerance of the other.

Sources: Heimann 2009, doi 10.1109/TMI.2009.2013851 (ASSD); Huttenlocher 1993, doi 10.1109/34.232073 (Hausdorff);
Nikolov 2021, doi 10.2196/26151 (surface Dice).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.blocks import in_blocks
from vastus.errors import LabelError
from vastus.evaluation import kernels
from vastus.evaluation.distances import DEFAULT_TOLERANCE_MM, Distances, SurfaceDistances
from vastus.evaluation.nearest import nearest_mm
from vastus.evaluation.scan import Borders, PairedMaps, borders, foreground_box, paired_maps

# Offsets tried around a border voxel before it is searched farther away: most voxels of a usable result are found.
_SHELL_OFFSETS = 900


def surface_distances(
    prediction: NDArray[Any], reference: NDArray[Any], spacing_mm: tuple[float, float, float]
) -> SurfaceDistances:
    """Compute the distances between the surfaces of two masks.

    Args:
        prediction, reference: bool (or 0/1), shape (I, J, K), the same grid, neither empty.
        spacing_mm: voxel size along I, J, K.

    Raises:
        GeometryError: shapes differ or the spacing is not positive.
        LabelError: a mask is empty: there is no surface. What that means for a table is decided by ``policy``.
    """
    maps = paired_maps(prediction != 0, reference != 0, spacing_mm)
    for found in label_surface_distances(maps):
        return found[1]
    raise LabelError("A mask is empty: it has no surface to measure from.")


def assd(prediction: NDArray[Any], reference: NDArray[Any], spacing_mm: tuple[float, float, float]) -> float:
    """Compute the average symmetric surface distance in mm; arguments and errors of ``surface_distances``."""
    return surface_distances(prediction, reference, spacing_mm).assd_mm


def hausdorff(prediction: NDArray[Any], reference: NDArray[Any], spacing_mm: tuple[float, float, float]) -> float:
    """Compute the Hausdorff distance in mm; arguments and errors of ``surface_distances``."""
    return surface_distances(prediction, reference, spacing_mm).hausdorff_mm


def hd95(prediction: NDArray[Any], reference: NDArray[Any], spacing_mm: tuple[float, float, float]) -> float:
    """Compute the larger of the two directed 95th percentiles in mm; arguments and errors of ``surface_distances``."""
    return surface_distances(prediction, reference, spacing_mm).hd95_mm


def surface_dice(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    spacing_mm: tuple[float, float, float],
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
) -> float:
    """Compute the normalised surface Dice, 0..1; other arguments and errors as ``surface_distances``.

    Args:
        prediction, reference: masks, (X, Y, Z).
        spacing_mm: spacing of their grid.
        tolerance_mm: largest distance that counts as within.

    Returns:
        The share, 0..1.

    Raises:
        The errors of ``surface_distances`` and ``SurfaceDistances.surface_dice``.
    """
    return surface_distances(prediction, reference, spacing_mm).surface_dice(tolerance_mm)


def label_surface_distances(maps: PairedMaps) -> Iterator[tuple[int, SurfaceDistances]]:
    """Compute the surface distances of every label that is present in both maps, in the order of the values."""
    box = foreground_box(maps)
    first, second = borders(maps.prediction, box), borders(maps.reference, box)
    offsets, lengths_mm = _shell(maps.spacing_mm, first.marked.shape)
    near_first = _near(first, second, offsets, lengths_mm)
    near_second = _near(second, first, offsets, lengths_mm)
    shared = [value for value in range(1, 256) if len(first.of(value)) and len(second.of(value))]

    def complete(start: int, stop: int) -> list[SurfaceDistances]:
        return [
            SurfaceDistances(
                _complete(value, first, second, near_first, maps.spacing_mm),
                _complete(value, second, first, near_second, maps.spacing_mm),
            )
            for value in shared[start:stop]
        ]

    found = chain.from_iterable(in_blocks(len(shared), complete))
    return zip(shared, found, strict=True)


def _near(here: Borders, there: Borders, offsets: NDArray[np.int64], lengths_mm: Distances) -> Distances:
    """Find the distance of every border voxel to the nearest one of its label in the other map; -1 beyond the shell."""
    distances = np.full(len(here.index), -1.0)
    in_blocks(
        len(here.index),
        lambda a, b: kernels.shell_search(
            here.index[a:b], here.marked, there.marked, offsets, lengths_mm, distances[a:b]
        ),
    )
    return distances


def _complete(
    value: int, here: Borders, there: Borders, near_mm: Distances, spacing_mm: tuple[float, float, float]
) -> Distances:
    """Complete the distances of one label: those beyond the shell are searched for farther away."""
    distances: Distances = near_mm[here.start[value] : here.start[value + 1]]
    far = np.flatnonzero(distances < 0)
    if len(far):
        distances[far] = nearest_mm(_voxels(here, here.of(value)[far]), _voxels(there, there.of(value)), spacing_mm)
    return distances


def _voxels(found: Borders, index: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.stack(np.unravel_index(index, found.marked.shape), axis=1)


def _shell(
    spacing_mm: tuple[float, float, float], shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """List the voxel offsets nearest to a voxel, sorted by length in mm; complete up to the last length."""
    radius_mm = (_SHELL_OFFSETS * np.prod(spacing_mm) * 3 / (4 * np.pi)) ** (1 / 3)
    reach = [min(int(radius_mm / s), n - 1) for s, n in zip(spacing_mm, shape, strict=True)]
    grid = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    lengths_mm = np.sqrt(((grid * np.array(spacing_mm)) ** 2).sum(axis=1))
    order = np.argsort(lengths_mm, kind="stable")
    order = order[lengths_mm[order] <= radius_mm]
    return np.ascontiguousarray(grid[order]), lengths_mm[order]
