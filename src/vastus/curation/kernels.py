"""The compiled loop of the label check: one pass over a scan gathers all that the detectors ask for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def survey(labels, model, hu, row_of, counted):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill the tables of a scan.

    Args:
        labels: uint8 (I, J, K) label values; model: the same from a network.
        hu: int16 of the same shape.
        row_of: row in the tables for each of the 256 values; 0 background.
        counted: (joint (R, R), slices (R, K, 4), contact (R, R, 3), edge (R, R, 3), centre (R, 4), inner (R, 3)):
            voxels labelled r that the model calls m; for each row and slice the voxels, sums of i and j, and voxels
            whose neighbour in the next slice has the same label; faces between two rows along each axis (lower row
            first); number of those faces in the slice, sum of their HU and of its square; for the model voxels and
            sums of i, j, k; voxels inside a structure (no other label in the slice beside it), sum of their HU and of
            its square.
    """
    joint, slices, contact, edge, centre, inner = counted
    n_i, n_j, n_k = labels.shape
    for k in range(n_k):
        for j in range(n_j):
            for i in range(n_i):
                own, said = row_of[labels[i, j, k]], row_of[model[i, j, k]]
                joint[own, said] += 1
                if said:
                    centre[said, 0] += 1
                    centre[said, 1] += i
                    centre[said, 2] += j
                    centre[said, 3] += k
                if own:
                    slices[own, k, 0] += 1
                    slices[own, k, 1] += i
                    slices[own, k, 2] += j
                    if k + 1 < n_k and labels[i, j, k + 1] == labels[i, j, k]:
                        slices[own, k, 3] += 1
                    if (
                        0 < i < n_i - 1 and 0 < j < n_j - 1
                        and labels[i - 1, j, k] == labels[i, j, k] and labels[i + 1, j, k] == labels[i, j, k]
                        and labels[i, j - 1, k] == labels[i, j, k] and labels[i, j + 1, k] == labels[i, j, k]
                    ):  # fmt: skip
                        value = float(hu[i, j, k])
                        inner[own, 0] += 1
                        inner[own, 1] += value
                        inner[own, 2] += value * value
                for axis in range(3):
                    x, y, z = i + (axis == 0), j + (axis == 1), k + (axis == 2)
                    if x < n_i and y < n_j and z < n_k and labels[x, y, z] != labels[i, j, k]:
                        other = row_of[labels[x, y, z]]
                        a, b = min(own, other), max(own, other)
                        contact[a, b, axis] += 1
                        if axis < 2:
                            value = 0.5 * (float(hu[i, j, k]) + float(hu[x, y, z]))
                            edge[a, b, 0] += 1
                            edge[a, b, 1] += value
                            edge[a, b, 2] += value * value


def tables(rows: int, slices: int) -> tuple[NDArray[Any], ...]:
    """Empty tables for ``survey``."""
    return (
        np.zeros((rows, rows), np.int64), np.zeros((rows, slices, 4)), np.zeros((rows, rows, 3), np.int64),
        np.zeros((rows, rows, 3)), np.zeros((rows, 4)), np.zeros((rows, 3)),
    )  # fmt: skip
