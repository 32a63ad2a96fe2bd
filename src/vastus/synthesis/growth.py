"""Structures that compete for space: each grows or shrinks by an offset of its signed distance until volumes fit.

A voxel belongs to the movable structure with the smallest ``distance - offset`` if that is negative; a neighbour that
shrinks leaves fat, one that grows takes. Bones, vessels and implants (fixed) come first, the abdominal cavity last.
Labels can't overlap by construction.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from vastus.synthesis.atlas import UNIT_MM, VOXEL_MM, Part
from vastus.synthesis.deformation import NODE_MM, NodeMap
from vastus.synthesis.tissues import Tissue

CANDIDATES = 4
_CELL = 8
_FAR = 127
NO_PART = 255


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
    return _nearest(
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
    return _paint(
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
        inside, shell = _count(parts, distances, packed.ranks, units, reach / UNIT_MM, len(offset))
        volume = inside * voxel
        area = np.maximum(shell * voxel / reach, 50.0)
        miss = np.where(wanted, target_mm3 - volume, 0.0)
        if (np.abs(miss)[wanted] < 0.004 * target_mm3[wanted]).all():
            break
        gain = 1.0 if step < 10 else 0.6
        offset += np.clip(gain * miss / area, -2.5, 2.5)
        offset = np.clip(offset, -12.0, 12.0)
    return Offsets(offset.astype(np.float32), start.slope, start.centre_z_mm), volume


@njit(inline="always")
def _node(field, node, f, component):  # type: ignore[no-untyped-def]  # pragma: no cover
    i, j, k = node
    a, b, c = f
    low = (field[i, j, k, component] * (1 - c) + field[i, j, k + 1, component] * c) * (1 - b) + (
        field[i, j + 1, k, component] * (1 - c) + field[i, j + 1, k + 1, component] * c
    ) * b
    high = (field[i + 1, j, k, component] * (1 - c) + field[i + 1, j, k + 1, component] * c) * (1 - b) + (
        field[i + 1, j + 1, k, component] * (1 - c) + field[i + 1, j + 1, k + 1, component] * c
    ) * b
    return low * (1 - a) + high * a


@njit(inline="always")
def _sample(values, start, n_y, n_z, x, y, z):  # type: ignore[no-untyped-def]  # pragma: no cover
    i, j, k = int(x), int(y), int(z)
    a, b, c = x - i, y - j, z - k
    at = start + (i * n_y + j) * n_z + k
    up = at + n_y * n_z
    low = (values[at] * (1 - c) + values[at + 1] * c) * (1 - b) + (
        values[at + n_z] * (1 - c) + values[at + n_z + 1] * c
    ) * b
    high = (values[up] * (1 - c) + values[up + 1] * c) * (1 - b) + (
        values[up + n_z] * (1 - c) + values[up + n_z + 1] * c
    ) * b
    return low * (1 - a) + high * a


@njit(cache=True)
def _parts_near(shapes, origins, source, node_origin, low, high):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Parts whose block may hold a point of the cell low..high (subject's frame)."""
    box_low = np.full(3, np.float32(1e9))
    box_high = np.full(3, np.float32(-1e9))
    first = np.empty(3, np.int64)
    last = np.empty(3, np.int64)
    for a in range(3):
        first[a] = min(max(int((low[a] - node_origin[a]) / NODE_MM), 0), source.shape[a] - 1)
        last[a] = min(max(int((high[a] - node_origin[a]) / NODE_MM) + 1, 0), source.shape[a] - 1)
    for i in range(first[0], last[0] + 1):
        for j in range(first[1], last[1] + 1):
            for k in range(first[2], last[2] + 1):
                for a in range(3):
                    box_low[a] = min(box_low[a], source[i, j, k, a])
                    box_high[a] = max(box_high[a], source[i, j, k, a])
    count = 0
    found = np.empty(len(origins), np.int64)
    for p in range(len(origins)):
        meets = True
        for a in range(3):
            if box_high[a] < origins[p, a] or box_low[a] > origins[p, a] + VOXEL_MM * (shapes[p, a] - 1):
                meets = False
        if meets:
            found[count] = p
            count += 1
    return found[:count]


@njit(parallel=True, cache=True, fastmath=True, nogil=True)
def _nearest(  # type: ignore[no-untyped-def]  # noqa: PLR0913  # pragma: no cover
    values, starts, shapes, origins, ranks, source, stretch, node_origin, origin, spacing, shape, slope, centre_z
):
    out = np.full((shape[0], shape[1], shape[2], CANDIDATES), np.uint8(NO_PART))
    dist = np.full((shape[0], shape[1], shape[2], CANDIDATES), np.int8(_FAR))
    cells = (shape + _CELL - 1) // _CELL
    for cell in prange(cells[0] * cells[1] * cells[2]):
        first = np.array([cell // (cells[1] * cells[2]), cell // cells[2] % cells[1], cell % cells[2]]) * _CELL
        last = np.minimum(first + _CELL, shape)
        near = _parts_near(shapes, origins, source, node_origin, origin + first * spacing, origin + last * spacing)
        if len(near) == 0:
            continue
        p = np.empty(3, np.float32)
        node = np.empty(3, np.int64)
        part_of = np.empty(3, np.float32)
        for i in range(first[0], last[0]):
            for j in range(first[1], last[1]):
                for k in range(first[2], last[2]):
                    p[0], p[1], p[2] = i, j, k
                    for a in range(3):
                        at = (origin[a] + p[a] * spacing[a] - node_origin[a]) / np.float32(NODE_MM)
                        node[a] = min(max(int(at), 0), source.shape[a] - 2)
                        part_of[a] = at - node[a]
                    f = (part_of[0], part_of[1], part_of[2])
                    n = (node[0], node[1], node[2])
                    sx = _node(source, n, f, 0)
                    sy = _node(source, n, f, 1)
                    sz = _node(source, n, f, 2)
                    wide = stretch[n[0], n[1], n[2]]
                    for index in near:
                        x = (sx - origins[index, 0]) / VOXEL_MM
                        y = (sy - origins[index, 1]) / VOXEL_MM
                        z = (sz - origins[index, 2]) / VOXEL_MM
                        if (
                            x < 0
                            or y < 0
                            or z < 0
                            or x >= shapes[index, 0] - 1
                            or y >= shapes[index, 1] - 1
                            or z >= shapes[index, 2] - 1
                        ):
                            continue
                        raw = _sample(values, starts[index], shapes[index, 1], shapes[index, 2], x, y, z)
                        if raw > 120:
                            continue
                        if ranks[index] == 0:
                            if raw < 0:
                                out[i, j, k, 0] = index
                                dist[i, j, k, 0] = np.int8(max(raw, -127))
                                for t in range(1, CANDIDATES):
                                    out[i, j, k, t] = NO_PART
                                break
                            continue
                        d = raw * wide - slope[index] * (sz - centre_z[index]) * 8.0
                        d = min(max(d, -127.0), 126.0)
                        if ranks[index] == 2:
                            d = 126.0 if d < 0 else 127.0
                        if d > 126.5:
                            continue
                        if d >= dist[i, j, k, CANDIDATES - 1]:
                            continue
                        t = CANDIDATES - 1
                        while t > 0 and dist[i, j, k, t - 1] > d:
                            dist[i, j, k, t] = dist[i, j, k, t - 1]
                            out[i, j, k, t] = out[i, j, k, t - 1]
                            t -= 1
                        dist[i, j, k, t] = np.int8(d)
                        out[i, j, k, t] = index
    return out, dist


@njit(parallel=True, cache=True, fastmath=True, nogil=True)
def _paint(  # type: ignore[no-untyped-def]  # noqa: PLR0913  # pragma: no cover
    values,
    starts,
    shapes,
    origins,
    ranks,
    source,
    stretch,
    node_origin,
    origin,
    spacing,
    shape,
    middle,
    slope,
    centre_z,
):
    out = np.full((shape[0], shape[1], shape[2]), np.uint8(NO_PART))
    depth = np.full((shape[0], shape[1], shape[2]), np.int8(_FAR))
    cells = (shape + _CELL - 1) // _CELL
    for cell in prange(cells[0] * cells[1] * cells[2]):
        first = np.array([cell // (cells[1] * cells[2]), cell // cells[2] % cells[1], cell % cells[2]]) * _CELL
        last = np.minimum(first + _CELL, shape)
        near = _parts_near(shapes, origins, source, node_origin, origin + first * spacing, origin + last * spacing)
        if len(near) == 0:
            continue
        p = np.empty(3, np.float32)
        node = np.empty(3, np.int64)
        part_of = np.empty(3, np.float32)
        for i in range(first[0], last[0]):
            for j in range(first[1], last[1]):
                for k in range(first[2], last[2]):
                    p[0], p[1], p[2] = i, j, k
                    for a in range(3):
                        at = (origin[a] + p[a] * spacing[a] - node_origin[a]) / np.float32(NODE_MM)
                        node[a] = min(max(int(at), 0), source.shape[a] - 2)
                        part_of[a] = at - node[a]
                    f = (part_of[0], part_of[1], part_of[2])
                    n = (node[0], node[1], node[2])
                    sx = _node(source, n, f, 0)
                    sy = _node(source, n, f, 1)
                    sz = _node(source, n, f, 2)
                    wide = stretch[n[0], n[1], n[2]]
                    best = np.float32(0.0)
                    winner = -1
                    fallback = -1
                    for index in near:
                        x = (sx - origins[index, 0]) / VOXEL_MM
                        y = (sy - origins[index, 1]) / VOXEL_MM
                        z = (sz - origins[index, 2]) / VOXEL_MM
                        if (
                            x < 0
                            or y < 0
                            or z < 0
                            or x >= shapes[index, 0] - 1
                            or y >= shapes[index, 1] - 1
                            or z >= shapes[index, 2] - 1
                        ):
                            continue
                        raw = _sample(values, starts[index], shapes[index, 1], shapes[index, 2], x, y, z)
                        if ranks[index] == 0:
                            if raw < 0:
                                winner = index
                                best = raw
                                break
                            continue
                        if raw > 120:
                            continue
                        if ranks[index] == 2:
                            if raw < 0:
                                fallback = index
                            continue
                        d = raw * wide - (slope[index] * (sz - centre_z[index]) + middle[index]) * 8.0
                        if d < best:
                            best = d
                            winner = index
                    if winner < 0 and fallback >= 0:
                        winner = fallback
                        best = -127.0
                    if winner >= 0:
                        out[i, j, k] = winner
                        depth[i, j, k] = np.int8(max(best, -127.0))
    return out, depth


@njit(cache=True, fastmath=True, nogil=True)
def _count(parts, distances, ranks, offset, reach, n):  # type: ignore[no-untyped-def]  # pragma: no cover
    inside = np.zeros(n, np.int64)
    shell = np.zeros(n, np.int64)
    flat_parts = parts.reshape(-1, CANDIDATES)
    flat_distances = distances.reshape(-1, CANDIDATES)
    for v in range(len(flat_parts)):
        first = flat_parts[v, 0]
        if first == NO_PART:
            continue
        if ranks[first] == 0:
            inside[first] += 1
            continue
        best = np.float32(0.0)
        second = np.float32(0.0)
        winner = -1
        for t in range(CANDIDATES):
            index = flat_parts[v, t]
            if index == NO_PART:
                break
            if ranks[index] == 2:
                continue
            d = flat_distances[v, t] - offset[index]
            if d < best:
                second = best
                best = d
                winner = index
            elif d < second:
                second = d
        if winner >= 0:
            inside[winner] += 1
            # What would be lost if the structure shrank by ``reach``: to fat, or to the runner-up.
            if second - best < reach:
                shell[winner] += 1
    return inside, shell
