"""Tails: where a muscle has ended, but the network goes on calling it in a few voxels of each slice.

A muscle may end in a thin tip. A thin trail far beyond its last proper section is tendon, or belongs to a neighbour.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.inference.islands import Parts, dissolve

PROPER_SECTION_MM2: Final = 100.0
"""A section of a muscle (one slice, one side) of this area is a proper one. Of the drawn sections of real-thigh's
training patients, 0.9% are smaller."""

PROPER_SHARE: Final = 0.5
"""A section of at least this share of the muscle's median section is a proper one, too: some muscles are thin
everywhere."""

TIP_MM: Final = 8.0
"""So far beyond a proper section, thin sections are the tip of the muscle and stay. This and the two numbers above were
chosen on training patients of real-thigh and on Pelvic-Ref-005, with weights that had not seen them."""


def dissolve_tails(
    labels: NDArray[np.uint8], muscles: NDArray[np.bool_], *, voxel_mm2: float, slice_mm: float
) -> NDArray[np.uint8]:
    """Give the tails of muscles the label that surrounds most of each of their sections, background included.

    Args:
        labels: label values with sides, (X, Y, Z), z along the body.
        muscles: (256,), which label values are muscles.
        voxel_mm2: area of a voxel in a slice.
        slice_mm: distance from slice to slice.

    Returns:
        A new map, x fastest in memory; the same map if there are no tails.
    """
    voxels = _section_voxels(labels)
    areas_mm2 = voxels * voxel_mm2
    proper = (areas_mm2 > 0) & (areas_mm2 >= _least_proper_mm2(areas_mm2))
    tails = (areas_mm2 > 0) & muscles & ~_widened(proper, round(TIP_MM / slice_mm))
    if not tails.any():
        return labels
    sections = _as_parts(labels, np.where(tails, voxels, 0))
    gone = sections.value > 0
    return dissolve(labels, sections, gone, into_own=False)


def _as_parts(labels: NDArray[np.uint8], voxels: NDArray[np.int64]) -> Parts:
    """Number sections, as if each were one part.

    Args:
        labels: label values, (X, Y, Z).
        voxels: (Z, 256), of the sections to number; 0 for all others.
    """
    slices, values = np.nonzero(voxels)
    number_of = np.zeros(voxels.shape, np.uint32)
    number_of[slices, values] = np.arange(1, len(values) + 1)
    index = np.zeros(labels.shape, np.uint32, order="F")
    for z in np.unique(slices):
        index[:, :, z] = number_of[z][labels[:, :, z]]
    size = np.concatenate(([0], voxels[slices, values]))
    return Parts(index, np.concatenate(([0], values)).astype(np.uint8), size)


def _section_voxels(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the voxels of each value in each slice, (Z, 256)."""
    return np.stack([np.bincount(plane.ravel(order="K"), minlength=256) for plane in np.moveaxis(labels, 2, 0)])


def _least_proper_mm2(areas_mm2: NDArray[np.floating]) -> NDArray[np.float64]:
    """Find the area of the smallest proper section of each value, (256,).

    Args:
        areas_mm2: (Z, 256).
    """
    present = (areas_mm2 > 0).any(axis=0)
    median = np.zeros(areas_mm2.shape[1])
    found = areas_mm2[:, present]
    median[present] = np.nanmedian(np.where(found > 0, found, np.nan), axis=0)
    return np.minimum(PROPER_SECTION_MM2, PROPER_SHARE * median)


def _widened(marked: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """Mark also the slices up to ``steps`` beside a marked one, for each value; (Z, 256)."""
    wide = marked.copy()
    for step in range(1, steps + 1):
        wide[step:] |= marked[:-step]
        wide[:-step] |= marked[step:]
    return wide
