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
Box = tuple[slice, slice, slice]
_WORD = 8
_EACH = np.uint64(0x0101010101010101)
# Positions that a list of border voxels has room for at first.
_ROOM = 1 << 14


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


def foreground_box(maps: PairedMaps) -> Box:
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


def joint_histogram(maps: PairedMaps) -> NDArray[np.int64]:
    """Count voxels, shape (256, 256): entry [p, r] counts voxels with prediction p and reference r."""
    flat = maps.prediction.reshape(-1), maps.reference.reshape(-1)
    first, second = (_words(of_map) for of_map in flat)
    blocks = in_blocks(len(first), lambda start, stop: _joint_histogram(*flat, first, second, start, stop))
    counts: NDArray[np.int64] = np.sum(blocks, axis=0)
    rest = slice(len(first) * _WORD, None)
    np.add.at(counts, (flat[0][rest], flat[1][rest]), 1)
    return counts


def _words(flat: ByteMap) -> NDArray[np.uint64]:
    """Look at eight voxels as one number; what is left at the end is not in it."""
    return np.require(flat[: flat.size // _WORD * _WORD].view(np.uint64), requirements="A")


def borders(labels: ByteMap, box: Box | None = None) -> Borders:
    """Find the border voxels of every label.

    Args:
        labels: the map, C-ordered; its faces count as outside.
        box: holds every labelled voxel; the whole map where it is not given.
    """
    low, shape = _corner_and_shape(box or _whole(labels))
    marked = np.empty(shape, np.uint8)
    words = _words(marked.reshape(-1))  # of the same memory: new arrays are aligned
    blocks = in_blocks(shape[0], lambda a, b: _mark_borders(labels, low, marked, words, a, b))
    counts = np.array([of_block for _, of_block in blocks])
    start = np.zeros(VALUE_COUNT + 1, np.int64)
    np.cumsum(counts.sum(axis=0), out=start[1:])
    first = start[:-1] + np.cumsum(counts, axis=0) - counts
    index = np.empty(start[-1], np.int64)
    flat = marked.reshape(-1)
    in_blocks(len(blocks), lambda a, b: [_group(flat, blocks[n][0], first[n], index) for n in range(a, b)])
    return Borders(marked, index, start)


def _whole(labels: ByteMap) -> Box:
    a, b, c = labels.shape
    return slice(0, a), slice(0, b), slice(0, c)


def _corner_and_shape(box: Box) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    (a, b, c) = box
    return (a.start, b.start, c.start), (a.stop - a.start, b.stop - b.start, c.stop - c.start)


@njit(cache=True, nogil=True)
def _joint_histogram(prediction, reference, first, second, start, stop):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Count eight voxels at a time where they are all alike: nearly everywhere."""
    counts = np.zeros((256, 256), np.int64)
    background = 0
    for word in range(start, stop):
        if first[word] | second[word] == 0:
            background += _WORD
            continue
        p, r = prediction[_WORD * word], reference[_WORD * word]
        if first[word] == _EACH * np.uint64(p) and second[word] == _EACH * np.uint64(r):
            counts[p, r] += _WORD
        else:
            for voxel in range(_WORD * word, _WORD * word + _WORD):
                counts[prediction[voxel], reference[voxel]] += 1
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
def _mark_borders(labels, low, marked, words, first, last):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Mark the borders of some planes; return the flat positions of what is marked, and their number by label."""
    _, n_b, n_c = marked.shape
    flat = marked.reshape(-1)
    counts = np.zeros(VALUE_COUNT, np.int64)
    found = np.empty(_ROOM, np.int64)
    n = 0
    for a in range(first, last):
        for b in range(n_b):
            _mark_row(labels, low, marked, a, b)
        # While the plane is in the processor's cache. Few voxels are marked: eight are looked at at a time.
        place, stop = a * n_b * n_c, (a + 1) * n_b * n_c
        while place < stop:
            width = 1
            if place % _WORD == 0 and place + _WORD <= stop:
                width = _WORD
                while place + _WORD <= stop and words[place // _WORD] == 0:
                    place += _WORD
                if place + _WORD > stop:
                    continue
            if n + width > len(found):
                longer = np.empty(2 * len(found), np.int64)
                longer[:n] = found[:n]
                found = longer
            for position in range(place, place + width):
                if flat[position]:
                    counts[flat[position]] += 1
                    found[n] = position
                    n += 1
            place += width
    return found[:n], counts


@njit(cache=True, nogil=True)
def _mark_row(labels, low, marked, a, b):  # type: ignore[no-untyped-def]  # pragma: no cover
    n_a, n_b, n_c = marked.shape
    low_a, low_b, low_c = low[0] + a, low[1] + b, low[2]
    out = marked[a, b]
    here = labels[low_a, low_b, low_c : low_c + n_c]
    if a == 0 or a == n_a - 1 or b == 0 or b == n_b - 1 or n_c < 3:
        out[:] = here
        return
    left, right = labels[low_a, low_b - 1, low_c : low_c + n_c], labels[low_a, low_b + 1, low_c : low_c + n_c]
    under, above = labels[low_a - 1, low_b, low_c : low_c + n_c], labels[low_a + 1, low_b, low_c : low_c + n_c]
    out[0] = here[0]
    out[n_c - 1] = here[n_c - 1]
    # Without a branch: the compiler takes many voxels at a time.
    for c in range(1, n_c - 1):
        v = here[c]
        differs = (
            (here[c - 1] ^ v) | (here[c + 1] ^ v) | (left[c] ^ v) | (right[c] ^ v) | (under[c] ^ v) | (above[c] ^ v)
        )
        out[c] = v if differs else np.uint8(0)


@njit(cache=True, nogil=True)
def _group(marked, found, places, index):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Write positions to where those of their label begin, in their order."""
    place = places.copy()
    for position in found:
        v = marked[position]
        index[place[v]] = position
        place[v] += 1
