"""One pass over a scan and its label map: everything that is counted voxel by voxel, compiled with numba.

The arrays are walked in memory order, whatever axis that is; reversed and permuted views cost no copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.blocks import in_blocks
from vastus.errors import LabelError
from vastus.morphometry import kernels

HU_FIRST, HU_LAST = -1024, 3071
"""Ends of the HU histogram; values beyond are counted in the end bins (mean and SD use the values as they are)."""


def row_of_value(table: StructureTable = BUILT_IN) -> NDArray[np.int16]:
    """Label value -> row in all per-label tables (the order of ``table.labels``); -1 where there is no such label."""
    rows = np.full(256, -1, dtype=np.int16)
    rows[[label.value for label in table.labels]] = np.arange(len(table.labels))
    return rows


@dataclass(frozen=True, slots=True, eq=False)
class MemoryOrder:
    """How the axes of an array lie in memory: ``axes[0]`` is the slowest; reversed ones are listed in ``flipped``."""

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    @classmethod
    def of(cls, array: NDArray[Any]) -> MemoryOrder:
        """Find the memory order of one array."""
        a, b, c = (int(i) for i in np.argsort([-abs(s) for s in array.strides], kind="stable"))
        first, second, third = (s < 0 for s in array.strides)
        return cls((a, b, c), (first, second, third))

    def line_up(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a C-contiguous array with the slowest axis first; a view if the array has this order."""
        reversed_axes = tuple(axis for axis in range(3) if self.flipped[axis])
        straight = np.flip(array, reversed_axes) if reversed_axes else array
        return np.ascontiguousarray(straight.transpose(self.axes))


@dataclass(frozen=True, slots=True, eq=False)
class LabelTally:
    """Counts of every label, rows as in ``table.labels`` (87 of the built-in table).

    Attributes:
        voxels: (87,) int64.
        hu_voxels: (87,) int64, voxels with a HU value (NaN is none); 0 without a CT.
        hu_sum, hu_square_sum: (87,) float64.
        histogram: (87, 4096) int64, one bin a HU from ``HU_FIRST``.
        first, last: (87, 3) int64, box of the label in voxels, ``last`` included; meaningless where ``voxels`` is 0.
        row_of_value: (256,), row of each label value.
        table: of the structures.
    """

    voxels: NDArray[np.int64]
    hu_voxels: NDArray[np.int64]
    hu_sum: NDArray[np.float64]
    hu_square_sum: NDArray[np.float64]
    histogram: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    row_of_value: NDArray[np.int16]
    table: StructureTable = BUILT_IN


def tally_labels(labels: NDArray[np.uint8], ct: NDArray[Any] | None, table: StructureTable = BUILT_IN) -> LabelTally:
    """Count everything that needs no geometry.

    Args:
        labels: shape (I, J, K), label values of the table and 0.
        ct: same shape, HU, or None.
        table: of the structures.

    Raises:
        LabelError: a value that the table does not know.
    """
    order = MemoryOrder.of(labels)
    lined_up = order.line_up(labels)
    hu = _as_hu(order, ct) if ct is not None else np.zeros((1, 1, 1), np.int16)
    unknown, known = len(table.labels), row_of_value(table)
    row_of = np.where(known < 0, unknown, known).astype(np.int16)
    rows = unknown + 1
    found = in_blocks(len(lined_up), lambda a, b: kernels.tally(lined_up, hu, ct is not None, row_of, (rows, a, b)))
    voxels, moments, histogram = (np.sum([part[i] for part in found], axis=0) for i in range(3))
    first, last = np.min([part[3] for part in found], axis=0), np.max([part[4] for part in found], axis=0)
    if voxels[unknown]:
        present = np.flatnonzero(np.bincount(lined_up.ravel(), minlength=256))
        odd = [int(v) for v in present if v and int(v) not in table.by_value]
        raise LabelError(f"The label map holds unknown values: {odd}.", remedy="See `vastus classes`.")
    box_first, box_last = np.empty_like(first), np.empty_like(last)
    for position, axis in enumerate(order.axes):
        low, high = first[:, position], last[:, position]
        top = labels.shape[axis] - 1
        box_first[:, axis], box_last[:, axis] = (top - high, top - low) if order.flipped[axis] else (low, high)
    n = unknown
    return LabelTally(
        voxels[:n],
        moments[:n, 0].astype(np.int64),
        moments[:n, 1],
        moments[:n, 2],
        histogram[:n],
        box_first[:n],
        box_last[:n],
        known,
        table,
    )


def _as_hu(order: MemoryOrder, ct: NDArray[Any]) -> NDArray[Any]:
    """Bring the CT to the memory order of the labels, as int16 or float32 (the types of the compiled kernels)."""
    if ct.dtype not in (np.int16, np.float32):
        ct = ct.astype(np.float32)
    return order.line_up(ct)


@dataclass(frozen=True, slots=True, eq=False)
class AxisMap:
    """Positions along a straight line: voxel (i, j, k) lies at ``offset_mm + step_mm @ (i, j, k)``."""

    offset_mm: float
    step_mm: NDArray[np.float64]

    @property
    def footprint_mm(self) -> float:
        """Extent of one voxel along the line, by its longest side there."""
        return float(np.abs(self.step_mm).max())


@dataclass(frozen=True, slots=True, eq=False)
class Profiles:
    """Voxels along a line, per class.

    Attributes:
        start_mm, bin_mm: the first bin begins at ``start_mm``.
        voxels: (classes, bins) float64, a voxel spread evenly over its footprint.
        lowest_mm, highest_mm: (classes,) extent, voxel footprint included; inf and -inf where the class is absent.
    """

    start_mm: float
    bin_mm: float
    voxels: NDArray[np.float64]
    lowest_mm: NDArray[np.float64]
    highest_mm: NDArray[np.float64]


def profile_labels(
    labels: NDArray[np.uint8],
    lines: tuple[AxisMap, ...],
    line_of_value: NDArray[np.int8],
    table: StructureTable = BUILT_IN,
) -> tuple[Profiles, ...]:
    """Compute the profiles of all labels in one pass, each along the line of its side.

    Args:
        labels: shape (I, J, K).
        lines: the lines.
        line_of_value: (256,) index of the line of each label value; -1 for values to leave out.
        table: of the structures.

    Returns:
        One ``Profiles`` a line, rows as in ``table.labels`` (rows of other lines are zero).
    """
    order = MemoryOrder.of(labels)
    offsets, steps, starts, bins = _line_tables(order, labels.shape, lines)
    lined_up = order.line_up(labels)
    tables, shape, row_of = (offsets, steps, starts), (len(table.labels), bins), row_of_value(table)
    found = _gather(
        in_blocks(len(lined_up), lambda a, b: kernels.profile(lined_up, row_of, line_of_value, tables, (*shape, a, b)))
    )
    return _as_profiles(lines, starts, found, [line_of_value[label.value] for label in table.labels])


def profile_fat(
    arrays: tuple[NDArray[np.uint8], NDArray[Any]],
    fat_hu: tuple[float, float],
    zones: tuple[NDArray[np.uint8], tuple[NDArray[np.int64], ...]],
    line: AxisMap,
    reach_mm: tuple[float, float],
) -> Profiles:
    """Compute the fat outside all labels, per zone, along a line.

    Args:
        arrays: labels and CT, same shape (I, J, K).
        fat_hu: lowest and highest HU of fat, both included.
        zones: a coarse map of zone numbers (0: none), and for each axis the coarse index of every voxel index.
        line: the line.
        reach_mm: only voxels whose centre lies between these positions count.

    Returns:
        Profiles whose rows are the zone numbers.
    """
    labels, ct = arrays
    order = MemoryOrder.of(labels)
    coarse, index = zones
    offsets, steps, starts, bins = _line_tables(order, labels.shape, (line,))
    lined_index = [index[axis][::-1] if order.flipped[axis] else index[axis] for axis in order.axes]
    a, b, c = (np.ascontiguousarray(i) for i in lined_index)
    rows = int(coarse.max(initial=0)) + 1
    lined_up = order.line_up(labels)
    hu, limits = _as_hu(order, ct), np.array([*fat_hu, *reach_mm], dtype=np.float64)
    lined_zones = np.ascontiguousarray(coarse.transpose(order.axes))
    lookup = (lined_zones, a, b, c, _spans(lined_zones, c))
    table = (offsets[0], steps[0], starts[0])
    found = _gather(
        in_blocks(
            len(lined_up),
            lambda start, stop: kernels.profile_fat((lined_up, hu), lookup, limits, table, (rows, bins, start, stop)),
        )
    )
    return _as_profiles((line,), starts, found, [0] * rows)[0]


def _spans(zones: NDArray[np.uint8], index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find the first and last + 1 voxel of the last axis that can lie in a zone, for every coarse row: (A, B, 2).

    Args:
        zones: coarse map of zone numbers.
        index: coarse index of every voxel of the last axis; it only rises or only falls, and no index is left out.
    """
    used = zones > 0
    low, high = np.full(zones.shape[2], len(index)), np.zeros(zones.shape[2], np.int64)
    np.minimum.at(low, index, np.arange(len(index)))
    np.maximum.at(high, index, np.arange(len(index)) + 1)
    ends = used.argmax(axis=2), used.shape[2] - 1 - used[:, :, ::-1].argmax(axis=2)
    spans = np.stack([np.minimum(low[ends[0]], low[ends[1]]), np.maximum(high[ends[0]], high[ends[1]])], axis=2)
    spans[~used.any(axis=2)] = 0
    return spans.astype(np.int64)


def _gather(found: list[Any]) -> tuple[Any, Any, Any]:
    """Add up counts, lowest and highest positions of the blocks."""
    counts, low, high = zip(*found, strict=True)
    return np.sum(counts, axis=0), np.min(low, axis=0), np.max(high, axis=0)


_BIN_MM = 1.0


def _line_tables(
    order: MemoryOrder, shape: tuple[int, ...], lines: tuple[AxisMap, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], int]:
    """Compute offsets, steps (in memory axes), starts of the bins, and the number of bins that holds every voxel."""
    offsets, steps, starts, bins = [], [], [], 1
    size = np.array(shape)
    for line in lines:
        flipped = np.array(order.flipped)
        offsets.append(line.offset_mm + float(((size - 1) * line.step_mm)[flipped].sum()))
        steps.append(np.where(flipped, -line.step_mm, line.step_mm)[list(order.axes)])
        reach = (size - 1) * line.step_mm
        low = line.offset_mm + np.minimum(reach, 0).sum() - line.footprint_mm
        high = line.offset_mm + np.maximum(reach, 0).sum() + line.footprint_mm
        starts.append(np.floor(low / _BIN_MM) * _BIN_MM)
        bins = max(bins, int(np.ceil((high - starts[-1]) / _BIN_MM)) + 1)
    return np.array(offsets), np.array(steps), np.array(starts), bins


def _as_profiles(
    lines: tuple[AxisMap, ...], starts: NDArray[np.float64], found: tuple[Any, Any, Any], line_of_row: list[Any]
) -> tuple[Profiles, ...]:
    counts, low, high = found
    result = []
    for number, line in enumerate(lines):
        mine = np.array([line_number == number for line_number in line_of_row])
        half = line.footprint_mm / 2
        lowest = np.where(mine, low - half, np.inf)
        highest = np.where(mine, high + half, -np.inf)
        result.append(Profiles(float(starts[number]), _BIN_MM, np.where(mine[:, None], counts, 0.0), lowest, highest))
    return tuple(result)
