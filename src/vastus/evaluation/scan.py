"""One walk over a pair of label maps: joint histogram and border voxels of every label at once.

All kernels see the arrays in memory order (fastest axis last), as ``uint8``; ``paired_maps`` brings them there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.blocks import in_blocks
from vastus.errors import GeometryError, LabelError
from vastus.loops import njit

ByteMap = NDArray[np.uint8]
VALUE_COUNT = 256


@dataclass(frozen=True, slots=True, eq=False)
class PairedMaps:
    """Two label maps in the same memory order.

    Attributes:
        prediction, reference: uint8, shape (A, B, C), fastest axis last.
        spacing_mm: along those axes.
    """

    prediction: ByteMap
    reference: ByteMap
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Borders:
    """Border voxels of every label of one map.

    A voxel is a border voxel of its label if one of its six face neighbours has another value or lies outside the
    image.

    Attributes:
        marked: uint8, the label value at its border voxels, 0 elsewhere; the box that was asked for.
        index: int64, flat positions in ``marked``, grouped by label value.
        start: int64, shape (257,); label v owns ``index[start[v]:start[v + 1]]``.
    """

    marked: ByteMap
    index: NDArray[np.int64]
    start: NDArray[np.int64]

    def of(self, value: int) -> NDArray[np.int64]:
        """Return the flat positions of the border voxels of one label."""
        return self.index[self.start[value] : self.start[value + 1]]


def paired_maps(
    prediction: NDArray[Any], reference: NDArray[Any], spacing_mm: tuple[float, float, float]
) -> PairedMaps:
    """Check two label maps or masks and bring both into the memory order of the reference.

    Args:
        prediction, reference: shape (I, J, K), bool or whole numbers 0..255.
        spacing_mm: along I, J, K; positive.

    Raises:
        GeometryError: the shapes differ, are not 3-D, or a spacing is not positive and finite.
        LabelError: values outside 0..255 or not whole.
    """
    if prediction.ndim != 3 or prediction.shape != reference.shape:
        raise GeometryError(f"Two masks of one 3-D shape are needed, got {prediction.shape} and {reference.shape}.")
    if len(spacing_mm) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing_mm):
        raise GeometryError(f"The spacing must be three positive lengths in mm, got {spacing_mm}.")
    reversed_axes = tuple(a for a in range(3) if reference.strides[a] < 0)
    maps = [np.flip(_bytes(array), reversed_axes) for array in (prediction, reference)]
    order = np.argsort([-s for s in maps[1].strides], kind="stable")
    first, second = (np.ascontiguousarray(m.transpose(order)) for m in maps)
    a, b, c = (float(spacing_mm[axis]) for axis in order)
    return PairedMaps(first, second, (a, b, c))


def _bytes(array: NDArray[Any]) -> ByteMap:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.view(np.uint8)
    small = array.astype(np.uint8)
    if not np.array_equal(small, array):
        raise LabelError("A label map holds whole numbers from 0 to 255.")
    return small


def joint_histogram(maps: PairedMaps) -> NDArray[np.int64]:
    """Count voxels, shape (256, 256): entry [p, r] counts voxels with prediction p and reference r."""
    blocks = in_blocks(
        len(maps.prediction),
        lambda start, stop: _joint_histogram(maps.prediction[start:stop], maps.reference[start:stop]),
    )
    counts: NDArray[np.int64] = np.sum(blocks, axis=0)
    return counts


def foreground_box(maps: PairedMaps) -> tuple[slice, slice, slice]:
    """Find the smallest box that holds every voxel labelled in either map; one voxel if there is none."""
    blocks = in_blocks(
        len(maps.prediction), lambda start, stop: _occupied(maps.prediction[start:stop], maps.reference[start:stop])
    )
    of_a, of_b, of_c = zip(*blocks, strict=True)
    window = []
    for hit in (np.concatenate(of_a), np.any(of_b, axis=0), np.any(of_c, axis=0)):
        where = np.flatnonzero(hit)
        window.append(slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 1))
    return window[0], window[1], window[2]


def borders(labels: ByteMap) -> Borders:
    """Find the border voxels of every label; ``labels`` is C-ordered, its faces count as outside."""
    marked = np.empty(labels.shape, np.uint8)
    counts = np.zeros((len(labels), VALUE_COUNT), np.int64)
    in_blocks(len(labels), lambda a, b: _mark_borders(labels, marked, counts, a, b))
    start = np.zeros(VALUE_COUNT + 1, np.int64)
    np.cumsum(counts.sum(axis=0), out=start[1:])
    first = start[:-1] + np.cumsum(counts, axis=0) - counts
    index = np.empty(start[-1], np.int64)
    in_blocks(len(labels), lambda a, b: _list_borders(marked, first, index, a, b))
    return Borders(marked, index, start)


@njit(cache=True, nogil=True)
def _joint_histogram(prediction, reference):  # type: ignore[no-untyped-def]  # pragma: no cover
    n_a, n_b, n_c = prediction.shape
    counts = np.zeros((256, 256), np.int64)
    background = 0
    for a in range(n_a):
        for b in range(n_b):
            for c in range(n_c):
                p, r = prediction[a, b, c], reference[a, b, c]
                # Most voxels are background in both: a register is faster than memory.
                if p | r:
                    counts[p, r] += 1
                else:
                    background += 1
    counts[0, 0] += background
    return counts


@njit(cache=True, nogil=True)
def _occupied(prediction, reference):  # type: ignore[no-untyped-def]  # pragma: no cover
    n_a, n_b, n_c = prediction.shape
    hit_a, hit_b, columns = np.zeros(n_a, np.bool_), np.zeros(n_b, np.bool_), np.zeros(n_c, np.uint8)
    row = np.empty(n_c, np.uint8)
    for a in range(n_a):
        for b in range(n_b):
            seen = np.uint8(0)
            for c in range(n_c):
                row[c] = prediction[a, b, c] | reference[a, b, c]
                seen |= row[c]
            if seen:
                hit_a[a] = True
                hit_b[b] = True
                for c in range(n_c):
                    columns[c] |= row[c]
    return hit_a, hit_b, columns != 0


@njit(cache=True, nogil=True)
def _mark_borders(labels, marked, counts, first, last):  # type: ignore[no-untyped-def]  # pragma: no cover
    n_a, n_b, n_c = labels.shape
    for a in range(first, last):
        for b in range(n_b):
            edge = a == 0 or a == n_a - 1 or b == 0 or b == n_b - 1 or n_c < 3
            if edge:
                for c in range(n_c):
                    marked[a, b, c] = labels[a, b, c]
            else:
                marked[a, b, 0] = labels[a, b, 0]
                marked[a, b, n_c - 1] = labels[a, b, n_c - 1]
                # Without a branch: the compiler takes many voxels at a time.
                for c in range(1, n_c - 1):
                    v = labels[a, b, c]
                    differs = (
                        (labels[a, b, c - 1] ^ v)
                        | (labels[a, b, c + 1] ^ v)
                        | (labels[a, b - 1, c] ^ v)
                        | (labels[a, b + 1, c] ^ v)
                        | (labels[a - 1, b, c] ^ v)
                        | (labels[a + 1, b, c] ^ v)
                    )
                    marked[a, b, c] = v if differs else np.uint8(0)
            for c in range(n_c):
                if marked[a, b, c]:
                    counts[a, marked[a, b, c]] += 1


@njit(cache=True, nogil=True)
def _list_borders(marked, places, index, first, last):  # type: ignore[no-untyped-def]  # pragma: no cover
    _, n_b, n_c = marked.shape
    for a in range(first, last):
        place = places[a].copy()
        for b in range(n_b):
            row = (a * n_b + b) * n_c
            for c in range(n_c):
                v = marked[a, b, c]
                if v:
                    index[place[v]] = row + c
                    place[v] += 1
