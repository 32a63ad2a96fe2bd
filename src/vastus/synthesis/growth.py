"""Structures that compete for space: each grows or shrinks by an offset of its signed distance until volumes fit.

A voxel belongs to the movable structure with the smallest ``distance - offset`` if that is negative; a neighbour that
shrinks leaves fat, one that grows takes. Bones, vessels and implants (fixed) come first, the abdominal cavity last.
Labels can't overlap by construction.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from vastus.synthesis.atlas import UNIT_MM, Part
from vastus.synthesis.deformation import NodeMap
from vastus.synthesis.kernels import CANDIDATES, NO_PART, count_voxels, find_nearest, paint_winners
from vastus.synthesis.tissues import Tissue

__all__ = [
    "CANDIDATES",
    "NO_PART",
    "Grid",
    "Offsets",
    "Packed",
    "Rank",
    "fit_offsets",
    "nearest_parts",
    "pack",
    "paint",
    "rank_of",
]


class Rank(IntEnum):
    """Who gives way to whom."""

    FIXED = 0
    MOVABLE = 1
    LAST = 2


def rank_of(part: Part) -> Rank:
    """Bones, vessels, tendons, organs and metal stay; muscles move; the cavity takes what is left."""
    if part.tissue == Tissue.BOWEL:
        return Rank.LAST
    movable = part.tissue in (Tissue.OTHER_MUSCLE, Tissue.CALF_MUSCLE) or (1 <= part.tissue <= 27)
    return Rank.MOVABLE if movable else Rank.FIXED


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """All parts in flat arrays for compiled code."""

    values: NDArray[np.int8]
    starts: NDArray[np.int64]
    shapes: NDArray[np.int32]
    origins: NDArray[np.float32]
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
        packed.values, packed.starts, packed.shapes, packed.origins, packed.ranks, node_map.source_mm, node_map.stretch,
        node_map.origin_mm.astype(np.float32), grid.origin_mm.astype(np.float32),
        np.array(grid.spacing_mm, np.float32), np.array(grid.shape), slope.slope, slope.centre_z_mm,
    )  # fmt: skip


def paint(
    packed: Packed, node_map: NodeMap, grid: Grid, offsets: Offsets
) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """The winner at every voxel of any grid.

    Returns:
        part number (``NO_PART``: none) and its depth: distance minus offset in ``UNIT_MM``, negative inside.
    """
    return paint_winners(
        packed.values, packed.starts, packed.shapes, packed.origins, packed.ranks, node_map.source_mm, node_map.stretch,
        node_map.origin_mm.astype(np.float32), grid.origin_mm.astype(np.float32),
        np.array(grid.spacing_mm, np.float32), np.array(grid.shape), offsets.middle_mm, offsets.slope,
        offsets.centre_z_mm,
    )  # fmt: skip


def fit_offsets(
    candidates: tuple[NDArray[np.uint8], NDArray[np.int8]],
    packed: Packed,
    start: Offsets,
    target_mm3: NDArray[np.float64],
    spacing_mm: tuple[float, float, float],
) -> tuple[Offsets, NDArray[np.float64]]:
    """Find the offsets with which every movable part reaches its target volume.

    Args:
        candidates: of ``nearest_parts``.
        packed: the parts.
        start: first guess; slopes are kept.
        target_mm3: per part; NaN leaves the offset as it is.
        spacing_mm: of the candidates' grid.

    Returns:
        The offsets, and the volumes reached in mm3.
    """
    parts, distances = candidates
    offset = start.middle_mm.astype(np.float64).copy()
    voxel = float(np.prod(spacing_mm))
    reach = float(np.cbrt(voxel))
    wanted = np.isfinite(target_mm3)
    volume = np.zeros(len(offset))
    for step in range(24):
        units = (offset / UNIT_MM).astype(np.float32)
        inside, shell = count_voxels(parts, distances, packed.ranks, units, reach / UNIT_MM, len(offset))
        volume = inside * voxel
        area = np.maximum(shell * voxel / reach, 50.0)
        miss = np.where(wanted, target_mm3 - volume, 0.0)
        if (np.abs(miss)[wanted] < 0.004 * target_mm3[wanted]).all():
            break
        gain = 1.0 if step < 10 else 0.6
        offset += np.clip(gain * miss / area, -2.5, 2.5)
        offset = np.clip(offset, -12.0, 12.0)
    return Offsets(offset.astype(np.float32), start.slope, start.centre_z_mm), volume
