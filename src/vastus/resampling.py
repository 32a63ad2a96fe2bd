"""Separable resampling between axis-aligned grids that share their outer faces: the fast path of every scan.

Compiled with numba; arrays are walked in memory order, whatever axis that is. Memory is flat: the input is read
once, slice by slice, in its own dtype.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray


def axis_weights(n_in: int, n_out: int, *, antialias: bool) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Taps of one axis: for each output voxel the first input voxel and the weights from there on.

    Args:
        n_in, n_out: voxels before and after; the outer faces coincide.
        antialias: when shrinking, average over the extent of the output voxel with a triangle of that width
            (linear interpolation otherwise).

    Returns:
        ``first`` (n_out,), ``weights`` (n_out, taps), rows summing to 1, edges repeated by renormalising.
    """
    scale = n_in / n_out
    centre = (np.arange(n_out) + 0.5) * scale - 0.5
    reach = max(1.0, scale) if antialias else 1.0
    taps = min(n_in, int(np.ceil(2 * reach)) + 1)
    first = np.clip(np.ceil(centre - reach).astype(np.int64), 0, n_in - taps)
    position = first[:, None] + np.arange(taps)[None, :]
    distance = np.abs(position - np.clip(centre, 0, n_in - 1)[:, None]) / reach
    weights = np.clip(1.0 - distance, 0.0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    return first.astype(np.int32), weights.astype(np.float32)


def resample_box(array: NDArray[Any], shape: tuple[int, int, int], *, antialias: bool) -> NDArray[np.float32]:
    """Linear resampling of a whole box onto ``shape`` voxels that cover the same box.

    Args:
        array: shape (I, J, K), integer or float, any memory layout.
        shape: wanted shape.
        antialias: see ``axis_weights``.

    Returns:
        float32 of ``shape``, F-ordered (first axis fastest).
    """
    # The kernel wants (slow, middle, fast) in C order. A reversed view becomes a reversed table of taps, not a copy.
    reversed_axes = tuple(axis for axis in range(3) if array.strides[axis] < 0)
    straight = np.flip(array, reversed_axes) if reversed_axes else array
    order = tuple(int(a) for a in np.argsort([-s for s in straight.strides], kind="stable"))
    if straight.dtype not in (np.int16, np.float32, np.uint8):
        straight = straight.astype(np.float32)
    lined_up = straight.transpose(order)
    if lined_up.strides[2] != lined_up.itemsize:
        lined_up = np.ascontiguousarray(lined_up)
    tables = []
    for axis in order:
        first, weights = axis_weights(array.shape[axis], shape[axis], antialias=antialias)
        if axis in reversed_axes:
            first = (array.shape[axis] - weights.shape[1] - first).astype(np.int32)
            weights = np.ascontiguousarray(weights[:, ::-1])
        tables.append((first, weights))
    (first_a, weights_a), (first_b, weights_b), (first_c, weights_c) = tables
    planes = _shrink_planes(lined_up, first_b, weights_b, first_c, weights_c)
    result = _combine_planes(planes, first_a, weights_a)
    back = result.transpose(tuple(int(a) for a in np.argsort(order)))
    return np.asfortranarray(back)


@njit(parallel=True, cache=True, fastmath=True, nogil=True)
def _shrink_planes(array, first_b, weights_b, first_c, weights_c):  # type: ignore[no-untyped-def]  # pragma: no cover
    n_a, n_c = array.shape[0], array.shape[2]
    m_b, m_c = len(first_b), len(first_c)
    out = np.empty((n_a, m_b, m_c), np.float32)
    for a in prange(n_a):
        row = np.empty(n_c, np.float32)
        for b in range(m_b):
            row[:] = 0.0
            for t in range(weights_b.shape[1]):
                weight = weights_b[b, t]
                if weight != 0.0:
                    source = array[a, first_b[b] + t]
                    for c in range(n_c):
                        row[c] += weight * source[c]
            for c in range(m_c):
                total = np.float32(0.0)
                start = first_c[c]
                for t in range(weights_c.shape[1]):
                    total += weights_c[c, t] * row[start + t]
                out[a, b, c] = total
    return out


@njit(parallel=True, cache=True, fastmath=True, nogil=True)
def _combine_planes(planes, first_a, weights_a):  # type: ignore[no-untyped-def]  # pragma: no cover
    n_b, n_c = planes.shape[1], planes.shape[2]
    out = np.zeros((len(first_a), n_b, n_c), np.float32)
    for a in prange(len(first_a)):
        for t in range(weights_a.shape[1]):
            weight = weights_a[a, t]
            if weight != 0.0:
                for b in range(n_b):
                    for c in range(n_c):
                        out[a, b, c] += weight * planes[first_a[a] + t, b, c]
    return out
