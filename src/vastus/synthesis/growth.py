"""Structures that compete for space: each grows or shrinks by an offset of its signed distance until volumes fit.

A voxel belongs to the movable structure with the smallest ``distance - offset`` if that is negative; a neighbour that
shrinks leaves fat, one that grows takes. Bones, vessels and implants (fixed) come first, the abdominal cavity last.
Labels can't overlap by construction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import CLASS_COUNT
from vastus.synthesis.atlas import UNIT_MM, Part
from vastus.synthesis.components import Crumb, crumbs_and_splits
from vastus.synthesis.deformation import NodeMap
from vastus.synthesis.kernels import CANDIDATES, NO_PART, find_nearest, paint_winners, soft_volumes, undecided, winners
from vastus.synthesis.tissues import Tissue, is_muscle

__all__ = [
    "CANDIDATES",
    "NO_PART",
    "Fit",
    "Grid",
    "Offsets",
    "Packed",
    "Rank",
    "fit_offsets",
    "nearest_parts",
    "pack",
    "paint",
    "rank_of",
    "whole_parts",
]

_STEPS = 40
_GOOD_ENOUGH = 0.003
"""Relative error of a volume at which fitting stops."""
_LEAST_MM, _MOST_MM = -14.0, 24.0
"""An offset goes no further. The distance blocks end after 14 mm, so nothing grows further into fat. But between two
muscles only the difference of their offsets counts: a thin one between grown ones needs more than they have."""
_FAR_UNITS = 127
_BAND = 0.4
"""Share of a voxel's edge over which a surface is smeared when volumes are counted."""
_STEPS_AHEAD = 2.0
"""Voxels are looked at that can change within so many steps as long as the last one."""
_LEAST_REACH_MM = 0.25


class Rank(IntEnum):
    """Who gives way to whom."""

    FIXED = 0
    MOVABLE = 1
    LAST = 2


def rank_of(part: Part) -> Rank:
    """Bones, vessels, tendons, organs and metal stay; muscles move; the cavity and soft tissue take what is left."""
    if part.tissue in (Tissue.BOWEL, Tissue.SOFT):
        return Rank.LAST
    return Rank.MOVABLE if is_muscle(part.tissue) else Rank.FIXED


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """All parts in flat arrays for compiled code."""

    values: NDArray[np.int8]
    starts: NDArray[np.int64]
    shapes: NDArray[np.int32]
    origins: NDArray[np.float32]
    voxels: NDArray[np.float32]
    ranks: NDArray[np.uint8]
    tissues: NDArray[np.uint8]


def pack(parts: tuple[Part, ...]) -> Packed:
    """Lay the distance blocks one after the other."""
    sizes = [p.distance.size for p in parts]
    return Packed(
        np.concatenate([np.ascontiguousarray(p.distance).ravel() for p in parts]),
        np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64),
        np.array([p.distance.shape for p in parts], np.int32),
        np.array([p.origin_mm for p in parts], np.float32),
        np.array([p.voxel_mm for p in parts], np.float32),
        np.array([rank_of(p) for p in parts], np.uint8),
        np.array([p.tissue for p in parts], np.uint8),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """An axis-aligned grid in the subject's frame."""

    origin_mm: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]

    @property
    def affine(self) -> NDArray[np.float64]:
        """RAS+ affine: the subject's frame is the world."""
        affine = np.diag([*self.spacing_mm, 1.0])
        affine[:3, 3] = self.origin_mm
        return affine


@dataclass(frozen=True, slots=True, eq=False)
class Offsets:
    """How far each part grows, in mm: at its middle, and in addition per mm of height from there (up to the ends)."""

    middle_mm: NDArray[np.float32]
    slope: NDArray[np.float32]
    centre_z_mm: NDArray[np.float32]


def nearest_parts(
    packed: Packed, node_map: NodeMap, grid: Grid, slope: Offsets
) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """The few parts next to every voxel, with their distances (slope applied, offsets not).

    Returns:
        part numbers and distances in ``UNIT_MM``, both (X, Y, Z, CANDIDATES); ``NO_PART`` where there are fewer. A
        voxel inside a fixed part has only that one.
    """
    return find_nearest(
        *_parts_on_grid(packed, node_map, grid),
        slope.slope,
        slope.centre_z_mm,
    )


def _parts_on_grid(packed: Packed, node_map: NodeMap, grid: Grid) -> tuple[NDArray[Any], ...]:
    """What both loops over a grid take first: the parts, where they lie in the body, and the grid."""
    return (
        packed.values,
        packed.starts,
        packed.shapes,
        packed.origins,
        packed.voxels,
        packed.ranks,
        node_map.source_mm,
        node_map.stretch,
        node_map.origin_mm.astype(np.float32),
        grid.origin_mm.astype(np.float32),
        np.array(grid.spacing_mm, np.float32),
        np.array(grid.shape),
    )


def paint(
    packed: Packed, node_map: NodeMap, grid: Grid, offsets: Offsets
) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """The winner at every voxel of any grid.

    Returns:
        part number (``NO_PART``: none) and its depth: distance minus offset in ``UNIT_MM``, negative inside.
    """
    return paint_winners(
        *_parts_on_grid(packed, node_map, grid),
        offsets.middle_mm,
        offsets.slope,
        offsets.centre_z_mm,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """What ``fit_offsets`` found.

    Attributes:
        offsets: of every part.
        volume_mm3: of every part, as a much finer grid would count it.
        miss: of every part with a target, the relative error; 0 for the others.
        split: numbers of the parts that are in more than one piece.
        closed: numbers of the parts whose crumbs were not counted; a body is painted without these.
    """

    offsets: Offsets
    volume_mm3: NDArray[np.float64]
    miss: NDArray[np.float64]
    split: frozenset[int]
    closed: frozenset[int] = frozenset()


def fit_offsets(
    candidates: tuple[NDArray[np.uint8], NDArray[np.int8]],
    packed: Packed,
    start: Offsets,
    target_mm3: NDArray[np.float64],
    spacing_mm: tuple[float, float, float],
) -> Fit:
    """Find the offsets with which every movable part reaches its target volume in one piece.

    Crumbs that come off are closed to their part, and the rest is fitted again.

    Args:
        candidates: of ``nearest_parts``.
        packed: the parts.
        start: first guess; slopes are kept.
        target_mm3: per part; NaN leaves the offset as it is.
        spacing_mm: of the candidates' grid.
    """
    shape = candidates[0].shape[:3]
    where = np.flatnonzero(candidates[0][..., 0] != NO_PART)
    parts = candidates[0].reshape(-1, CANDIDATES)[where]
    distances = candidates[1].reshape(-1, CANDIDATES)[where]
    whole = whole_parts(packed)
    # The table has an entry for NO_PART too, so that no loop needs to ask.
    ranks = np.append(packed.ranks, np.full(256 - len(packed.ranks), Rank.LAST, np.uint8))
    offset = start.middle_mm.astype(np.float64)
    untouched = distances
    split: set[int] = set()
    closed: set[int] = set()
    volume = np.zeros(len(offset))
    for last in (False, False, True):
        offset, volume = _newton((parts, distances), ranks, offset, target_mm3, spacing_mm)
        part = np.full(int(np.prod(shape)), NO_PART, np.uint8)
        part[where] = winners(parts, distances, ranks, (offset / UNIT_MM).astype(np.float32))
        crumbs, split = crumbs_and_splits(part.reshape(shape), whole)
        if last or not crumbs:
            break
        if untouched is distances:
            distances = distances.copy()
        closed |= {number for number, _, _ in crumbs}
        _close_to_crumbs(crumbs, where, shape, (parts, distances))
    if closed:
        # A body is painted on distances without anything closed: what was a crumb may be a piece by now.
        part[where] = winners(parts, untouched, ranks, (offset / UNIT_MM).astype(np.float32))
        split |= crumbs_and_splits(part.reshape(shape), whole, closed)[1]
    has_target = np.isfinite(target_mm3)
    miss = np.where(has_target, volume / np.where(has_target, target_mm3, 1.0) - 1.0, 0.0)
    found = Offsets(offset.astype(np.float32), start.slope, start.centre_z_mm)
    return Fit(found, volume, miss, frozenset(split), frozenset(closed))


def whole_parts(packed: Packed) -> NDArray[np.bool_]:
    """By part number (256): structures and other muscles should be one piece each."""
    table = np.zeros(256, bool)
    table[: len(packed.ranks)] = (packed.ranks == Rank.MOVABLE) | (packed.tissues < CLASS_COUNT)
    return table


def _newton(
    candidates: tuple[NDArray[np.uint8], NDArray[np.int8]],
    ranks: NDArray[np.uint8],
    offset_mm: NDArray[np.float64],
    target_mm3: NDArray[np.float64],
    spacing_mm: tuple[float, float, float],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Offsets and the volumes reached; every part takes its own step, its neighbours answer in the next."""
    voxel = float(np.prod(spacing_mm))
    width = _BAND * float(np.cbrt(voxel)) / UNIT_MM
    has_target = np.isfinite(target_mm3)
    offset = offset_mm.copy()
    step_mm = np.full(len(offset), 2.5)
    before = np.zeros(len(offset))
    counter = _VolumeCounter(candidates, ranks, width)
    for step in range(_STEPS + 1):
        volume, growth = counter.count(offset)
        miss = np.where(has_target, target_mm3 - volume * voxel, 0.0)
        if step == _STEPS or (np.abs(miss)[has_target] < _GOOD_ENOUGH * target_mm3[has_target]).all():
            break
        # Neighbours that take from each other in turns would swing for ever: a change of direction halves the step.
        step_mm[before * miss < 0] *= 0.5
        before = miss
        area_mm2 = np.maximum(growth * voxel / UNIT_MM, 50.0)
        offset = np.clip(offset + np.clip(miss / area_mm2, -step_mm, step_mm), _LEAST_MM, _MOST_MM)
    return offset, volume * voxel


class _VolumeCounter:
    """``soft_volumes`` of offsets that change little from call to call: it looks only at voxels that can change."""

    def __init__(
        self, candidates: tuple[NDArray[np.uint8], NDArray[np.int8]], ranks: NDArray[np.uint8], width: float
    ) -> None:
        self._all, self._ranks, self._width = candidates, ranks, width
        self._near = candidates
        self._settled: NDArray[np.float64] | float = 0.0
        self._centre = self._last = np.zeros(0)
        self._reach_mm = math.inf

    def count(self, offset_mm: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Volume of every part in voxels, and how it grows per ``UNIT_MM``."""
        if len(self._last):
            self._look_where_needed(offset_mm, float(np.abs(offset_mm - self._last).max()))
        self._last = offset_mm
        units = (offset_mm / UNIT_MM).astype(np.float32)
        volume, growth = soft_volumes(*self._near, self._ranks, units, self._width, len(units))
        return volume + self._settled, growth

    def _look_where_needed(self, offset_mm: NDArray[np.float64], moved_mm: float) -> None:
        """Choose voxels again where offsets left the range chosen for, or move so little that a narrow one does."""
        wanted_mm = max(_STEPS_AHEAD * moved_mm, _LEAST_REACH_MM)
        inside = len(self._centre) and np.abs(offset_mm - self._centre).max() <= self._reach_mm
        if inside and self._reach_mm <= 3 * wanted_mm:
            return
        self._centre, self._reach_mm = offset_mm, wanted_mm
        units = (offset_mm / UNIT_MM).astype(np.float32)
        # A little more, for what float32 rounds.
        reach = np.float32(wanted_mm / UNIT_MM + 0.01)
        *near, self._settled = undecided(*self._all, self._ranks, units, reach, self._width, len(units))
        self._near = (near[0], near[1])


def _close_to_crumbs(
    crumbs: list[Crumb],
    where: NDArray[np.int64],
    shape: tuple[int, ...],
    candidates: tuple[NDArray[np.uint8], NDArray[np.int8]],
) -> None:
    """Take crumbs and what is around them out of their part's reach (in place)."""
    parts, distances = candidates
    for number, box, around in crumbs:
        inside = np.argwhere(around) + [s.start for s in box]
        flat = np.ravel_multi_index(tuple(inside.T), shape)
        row = np.searchsorted(where, flat)
        known = row < len(where)
        row = row[known][where[row[known]] == flat[known]]
        there, column = np.nonzero(parts[row] == number)
        distances[row[there], column] = _FAR_UNITS
