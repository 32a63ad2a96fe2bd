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
from vastus.evaluation import kernels
from vastus.evaluation.kernels import VALUE_COUNT, WORD

ByteMap = NDArray[np.uint8]
Box = tuple[slice, slice, slice]


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
        len(maps.prediction),
        lambda start, stop: kernels.occupied(maps.prediction[start:stop], maps.reference[start:stop]),
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
    blocks = in_blocks(len(first), lambda start, stop: kernels.joint_histogram(*flat, first, second, start, stop))
    counts: NDArray[np.int64] = np.sum(blocks, axis=0)
    rest = slice(len(first) * WORD, None)
    np.add.at(counts, (flat[0][rest], flat[1][rest]), 1)
    return counts


def _words(flat: ByteMap) -> NDArray[np.uint64]:
    """Look at eight voxels as one number; what is left at the end is not in it."""
    return np.require(flat[: flat.size // WORD * WORD].view(np.uint64), requirements="A")


def borders(labels: ByteMap, box: Box | None = None) -> Borders:
    """Find the border voxels of every label.

    Args:
        labels: the map, C-ordered; its faces count as outside.
        box: holds every labelled voxel; the whole map where it is not given.
    """
    low, shape = _corner_and_shape(box or _whole(labels))
    marked = np.empty(shape, np.uint8)
    words = _words(marked.reshape(-1))  # of the same memory: new arrays are aligned
    blocks = in_blocks(shape[0], lambda a, b: kernels.mark_borders(labels, low, marked, words, a, b))
    counts = np.array([of_block for _, of_block in blocks])
    start = np.zeros(VALUE_COUNT + 1, np.int64)
    np.cumsum(counts.sum(axis=0), out=start[1:])
    first = start[:-1] + np.cumsum(counts, axis=0) - counts
    index = np.empty(start[-1], np.int64)
    flat = marked.reshape(-1)
    in_blocks(len(blocks), lambda a, b: [kernels.group(flat, blocks[n][0], first[n], index) for n in range(a, b)])
    return Borders(marked, index, start)


def _whole(labels: ByteMap) -> Box:
    a, b, c = labels.shape
    return slice(0, a), slice(0, b), slice(0, c)


def _corner_and_shape(box: Box) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    (a, b, c) = box
    return (a.start, b.start, c.start), (a.stop - a.start, b.stop - b.start, c.stop - c.start)
