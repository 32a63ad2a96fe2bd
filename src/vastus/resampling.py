"""Separable resampling between axis-aligned grids that share their outer faces: the fast path of every scan.

Compiled with numba; arrays are walked in memory order, whatever axis that is. Memory is flat: the input is read
once, slice by slice, in its own dtype.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.blocks import in_blocks
from vastus.resampling_kernels import combine_planes, shrink_planes

_PLANES_AT_ONCE = 16
"""Of the result. A plane of the input that two groups need is shrunk for both."""


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
    if lined_up.strides[2] != lined_up.itemsize or any(s % lined_up.itemsize for s in lined_up.strides):
        lined_up = np.ascontiguousarray(lined_up)
    tables = []
    for axis in order:
        first, weights = axis_weights(array.shape[axis], shape[axis], antialias=antialias)
        if axis in reversed_axes:
            first = (array.shape[axis] - weights.shape[1] - first).astype(np.int32)
            weights = np.ascontiguousarray(weights[:, ::-1])
        tables.append((first, weights))
    (first_a, weights_a), (first_b, weights_b), (first_c, weights_c) = tables
    flat, steps = _flat(lined_up)
    result = np.empty((len(first_a), len(first_b), len(first_c)), np.float32)
    taps_b, taps_c = (first_b, weights_b), (first_c, weights_c)

    def work(start: int, stop: int) -> None:
        # Few planes at once: their memory is used again, which costs less than new memory for all planes.
        for a in range(start, stop, _PLANES_AT_ONCE):
            b = min(stop, a + _PLANES_AT_ONCE)
            low, high = int(first_a[a:b].min()), int(first_a[a:b].max()) + weights_a.shape[1]
            planes = np.empty((high - low, *result.shape[1:]), np.float32)
            shrink_planes(flat[low * steps[0] :], steps, taps_b, taps_c, planes, (0, high - low))
            combine_planes(planes, first_a - np.int32(low), weights_a, result, (a, b))

    in_blocks(len(result), work)
    back = result.transpose(tuple(int(a) for a in np.argsort(order)))
    return np.asfortranarray(back)


def _flat(array: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, int, int]]:
    """A box as the one row of memory it lies in; the steps of its two slower axes in that row, and its fast length.

    A whole scan, a box cut out of it, and one that must not be written to are then of one kind, for which the loop is
    compiled once.
    """
    step_a, step_b = (s // array.itemsize for s in array.strides[:2])
    extent = (array.shape[0] - 1) * step_a + (array.shape[1] - 1) * step_b + array.shape[2]
    row = np.lib.stride_tricks.as_strided(array, (extent,), (array.itemsize,), writeable=False)
    return row, (step_a, step_b, array.shape[2])
