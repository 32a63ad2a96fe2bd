"""The compiled loop of the label check: one pass over a scan gathers all that the detectors ask for."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vastus.loops import njit

LEAST_TISSUE_HU: Final = -250.0
"""No tissue is less dense."""


class Counts(NamedTuple):
    """Tables that ``survey`` fills; R rows (structures), I columns, K slices.

    Attributes:
        joint: (R, R) voxels labelled r that the model calls m.
        slices: (R, K, 4) voxels, sums of i and j, voxels that the next slice has too.
        said: (R, K, 2) of the model's labels: voxels, and voxels that the next slice has too.
        columns: (R, I) voxels in each plane across the body.
        contact: (R, R, 3) faces between two rows along each axis, lower row first.
        outwards: (R, 3) faces to the background in the slice, not to air: number, sum of HU inside and of HU outside.
        centre: (R, 4) of the model's labels: voxels, sums of i, j, k.
    """

    joint: NDArray[np.int64]
    slices: NDArray[np.float64]
    said: NDArray[np.float64]
    columns: NDArray[np.int64]
    contact: NDArray[np.int64]
    outwards: NDArray[np.float64]
    centre: NDArray[np.float64]


def empty_counts(rows: int, shape: tuple[int, int, int]) -> Counts:
    """Tables of zeros."""
    return Counts(
        np.zeros((rows, rows), np.int64),
        np.zeros((rows, shape[2], 4)),
        np.zeros((rows, shape[2], 2)),
        np.zeros((rows, shape[0]), np.int64),
        np.zeros((rows, rows, 3), np.int64),
        np.zeros((rows, 3)),
        np.zeros((rows, 4)),
    )


def survey(
    labels: NDArray[np.uint8],
    model: NDArray[np.uint8],
    hu: NDArray[Any],
    row_of: NDArray[np.int64],
    rows: int,
) -> Counts:
    """Count everything in one walk.

    Args:
        labels, model: (I, J, K) label values.
        hu: same shape.
        row_of: row of each of the 256 values; 0 background.
        rows: how many there are.
    """
    counts = empty_counts(rows, (labels.shape[0], labels.shape[1], labels.shape[2]))
    _survey(labels, model, hu, row_of, counts)
    return counts


@njit(cache=True, nogil=True)
def _survey(labels, model, hu, row_of, counts):  # type: ignore[no-untyped-def]  # pragma: no cover
    joint, slices, said_in, columns, contact, outwards, centre = counts
    n_i, n_j, n_k = labels.shape
    for k in range(n_k):
        for j in range(n_j):
            for i in range(n_i):
                own, model_row = row_of[labels[i, j, k]], row_of[model[i, j, k]]
                joint[own, model_row] += 1
                if model_row:
                    centre[model_row, 0] += 1
                    centre[model_row, 1] += i
                    centre[model_row, 2] += j
                    centre[model_row, 3] += k
                    said_in[model_row, k, 0] += 1
                    if k + 1 < n_k and model[i, j, k + 1] == model[i, j, k]:
                        said_in[model_row, k, 1] += 1
                if own:
                    columns[own, i] += 1
                    slices[own, k, 0] += 1
                    slices[own, k, 1] += i
                    slices[own, k, 2] += j
                    if k + 1 < n_k and labels[i, j, k + 1] == labels[i, j, k]:
                        slices[own, k, 3] += 1
                for axis in range(3):
                    x, y, z = i + (axis == 0), j + (axis == 1), k + (axis == 2)
                    if x < n_i and y < n_j and z < n_k and labels[x, y, z] != labels[i, j, k]:
                        other = row_of[labels[x, y, z]]
                        contact[min(own, other), max(own, other), axis] += 1
                        if axis < 2 and (own == 0 or other == 0):
                            here, there = float(hu[i, j, k]), float(hu[x, y, z])
                            inside, outside = (there, here) if own == 0 else (here, there)
                            # What lies on the skin of a thin person is no wrong boundary.
                            if outside > LEAST_TISSUE_HU:
                                outwards[own + other, 0] += 1
                                outwards[own + other, 1] += inside
                                outwards[own + other, 2] += outside
