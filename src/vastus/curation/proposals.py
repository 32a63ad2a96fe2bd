"""A correction for each kind of suspicion. A person accepts it or not; nothing is changed by itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_VALUE, Side
from vastus.curation.shapes import across_mm, doubtful_parts
from vastus.curation.suspicion import FindingKind, Suspicion
from vastus.inference.islands import find_parts
from vastus.refinement.between_slices import fill_between
from vastus.refinement.boxes import box_of, nearest_other, voxels
from vastus.refinement.one_structure import replace_structure
from vastus.volume import Volume, crop

Labels = NDArray[np.uint8]
_AROUND_MM = 25.0
_FROM_THE_MODEL = frozenset(
    {
        FindingKind.BOUNDARY,
        FindingKind.EDGE,
        FindingKind.VOLUME,
        FindingKind.ASYMMETRY,
        FindingKind.POSITION,
        FindingKind.NEIGHBOURS,
        FindingKind.MISSING,
    }
)


def propose_labels(
    suspicion: Suspicion, labels: Volume, model: Volume | None, middle_mm: float | None
) -> Labels | None:
    """The corrected label map, or None where there is nothing to propose.

    Args:
        suspicion: what is wrong.
        labels: RAS order.
        model: a model's labels on the same grid, or None.
        middle_mm: x of the body's middle, or None where it is not known.
    """
    kind, value = suspicion.kind, suspicion.value
    result: Labels | None = None
    if kind is FindingKind.SIDES and middle_mm is not None:
        result = _to_own_side(labels, value, middle_mm)
    elif kind is FindingKind.SWAPPED and suspicion.other is not None:
        result = _renamed(labels, value, suspicion.other, model)
    elif kind is FindingKind.ISLAND:
        result = _without_islands(labels, value, model)
    elif kind in (FindingKind.MISSING_SLICES, FindingKind.SLICE_JUMP) and suspicion.slices:
        result = _filled(labels, value, suspicion.slices, kind)
    elif kind in _FROM_THE_MODEL and model is not None:
        mask = model.array == value
        if mask.any():
            result = replace_structure(labels.array, mask, value, labels.spacing_mm, give_way=_giving_way(value))
    return None if result is None or np.array_equal(result, labels.array) else result


def _giving_way(value: int) -> set[int]:
    """Other structures; not the bones to a muscle, as their edges are plain to see for any annotator."""
    muscle = BY_VALUE[value].structure.is_muscle
    return {v for v, label in BY_VALUE.items() if v != value and (label.structure.is_muscle or not muscle)}


def _to_own_side(labels: Volume, value: int, middle_mm: float) -> Labels:
    """Every voxel gets the side on which it lies; ``value`` 0: of all structures."""
    right = across_mm(labels) >= middle_mm
    result = labels.array.copy()
    named = [BY_VALUE[value]] if value else [label for label in BY_VALUE.values() if label.side is not Side.UNKNOWN]
    for label in named:
        both = np.isin(labels.array, [label.structure.label_value(Side.RIGHT), label.structure.label_value(Side.LEFT)])
        result[both & right[:, None, None]] = label.structure.label_value(Side.RIGHT)
        result[both & ~right[:, None, None]] = label.structure.label_value(Side.LEFT)
    return result


def _renamed(labels: Volume, value: int, other: int, model: Volume | None) -> Labels:
    """What carries a wrong name gets the right one; what carries that name and is the first structure, the first's."""
    result = labels.array.copy()
    result[labels.array == value] = other
    if model is not None:
        theirs = labels.array == other
        if (model.array[theirs] == value).mean() > 0.5:
            result[theirs] = value
    return result


def _without_islands(labels: Volume, value: int, model: Volume | None) -> Labels:
    # Only the box of the structure is looked at: a whole scan would take a second for each finding.
    result = labels.array.copy()
    box = box_of(labels.array == value, voxels(_AROUND_MM, labels.spacing_mm))
    if box is None:
        return result
    inner = result[box]
    start, stop = (tuple(getattr(side, end) for side in box) for end in ("start", "stop"))
    first, last = (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])
    alone, seen = crop(labels, first, last), None if model is None else crop(model, first, last)
    alone = alone.with_array(np.where(alone.array == value, value, 0).astype(np.uint8))
    parts = find_parts(alone.array)
    hole = np.isin(parts.index, [s.part for _, found in doubtful_parts(parts, alone, seen) for s in found])
    if hole.any():
        # Where an island lies in another structure it goes there, not back to its own.
        inner[hole] = nearest_other(inner, hole, labels.spacing_mm)
    return result


def _filled(labels: Volume, value: int, slices: tuple[int, ...], kind: FindingKind) -> Labels | None:
    """Interpolate each run of slices from the two around it; None where one of these lies outside the scan."""
    if kind is FindingKind.SLICE_JUMP:
        slices = (slices[0], slices[0] + 1)
    breaks = [n for n in range(1, len(slices)) if slices[n] != slices[n - 1] + 1]
    result = labels.array.copy()
    for first, end in zip([0, *breaks], [*breaks, len(slices)], strict=True):
        low, high = slices[first] - 1, slices[end - 1] + 1
        if low < 0 or high >= labels.shape[2]:
            return None
        slab = result[:, :, low : high + 1].copy()
        gone = slab[:, :, 1:-1]
        gone[gone == value] = 0
        result[:, :, low : high + 1] = fill_between(slab, (0, high - low), 2, labels.spacing_mm, values=(value,))
    return result
