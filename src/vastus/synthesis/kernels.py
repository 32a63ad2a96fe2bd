"""Compiled loops of the synthesis. They take plain arrays; the modules that call them say what the arrays mean.

``values, starts, shapes, origins, voxels, ranks`` are the fields of ``growth.Packed``; ``source, stretch,
node_origin`` those of ``deformation.NodeMap``; distances are in steps of 1/8 mm, coordinates in mm.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from vastus.loops import njit

CANDIDATES = 4
"""How many parts are kept next to a voxel while volumes are fitted."""
NO_PART = 255
NODE_MM = 6.0
"""Distance of the nodes of a backward map."""
VOXEL_MM = 1.5
"""Voxel of the atlas' distance blocks."""
AIR, FAT, SKIN, OTHER, BONE, FEMUR, BOWEL = range(7)
"""How a tissue is painted, and whether it counts as a neighbour: the values of ``tissues.KIND_OF_TISSUE``. Ids of
structures come as arguments, since compiled code on disk is made again only when this very file changes."""
_CELL = 8
_FAR = 127
_REACH = 126.0
"""Further out than this no part grows, whatever its offset: where volumes are fitted, and where a body is painted."""


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
def _person_point(source, stretch, at):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Person's coordinates and stretch of a point given in mm from the first node."""
    u, v, w = at[0] / np.float32(NODE_MM), at[1] / np.float32(NODE_MM), at[2] / np.float32(NODE_MM)
    i = min(max(int(u), 0), source.shape[0] - 2)
    j = min(max(int(v), 0), source.shape[1] - 2)
    k = min(max(int(w), 0), source.shape[2] - 2)
    n, f = (i, j, k), (u - i, v - j, w - k)
    return _node(source, n, f, 0), _node(source, n, f, 1), _node(source, n, f, 2), stretch[i, j, k]


@njit(inline="always")
def _sample(values, start, shape, origin, voxel, point):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Distance of one part at a point, trilinear; ``_FAR`` outside its block."""
    x = (point[0] - origin[0]) / voxel[0]
    y = (point[1] - origin[1]) / voxel[1]
    z = (point[2] - origin[2]) / voxel[2]
    if x < 0 or y < 0 or z < 0 or x >= shape[0] - 1 or y >= shape[1] - 1 or z >= shape[2] - 1:
        return np.float32(_FAR)
    i, j, k = int(x), int(y), int(z)
    a, b, c = np.float32(x - i), np.float32(y - j), np.float32(z - k)
    n_y, n_z = shape[1], shape[2]
    at = start + (i * n_y + j) * n_z + k
    up = at + n_y * n_z
    low = (values[at] * (1 - c) + values[at + 1] * c) * (1 - b) + (
        values[at + n_z] * (1 - c) + values[at + n_z + 1] * c
    ) * b
    high = (values[up] * (1 - c) + values[up + 1] * c) * (1 - b) + (
        values[up + n_z] * (1 - c) + values[up + n_z + 1] * c
    ) * b
    return np.float32(low * (1 - a) + high * a)


@njit(cache=True)
def _parts_near(shapes, origins, voxels, source, node_origin, low, high):  # type: ignore[no-untyped-def]  # pragma: no cover
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
            if box_high[a] < origins[p, a] or box_low[a] > origins[p, a] + voxels[p, a] * (shapes[p, a] - 1):
                meets = False
        if meets:
            found[count] = p
            count += 1
    return found[:count]


@njit(inline="always")
def _cell_count(shape):  # type: ignore[no-untyped-def]  # pragma: no cover
    cells = (shape + _CELL - 1) // _CELL
    return cells[0] * cells[1] * cells[2]


@njit(inline="always")
def _cell_box(cell, shape):  # type: ignore[no-untyped-def]  # pragma: no cover
    """First voxel of a cell, and the one behind its last."""
    cells = (shape + _CELL - 1) // _CELL
    first = np.array([cell // (cells[1] * cells[2]), cell // cells[2] % cells[1], cell % cells[2]]) * _CELL
    return first, np.minimum(first + _CELL, shape)


@njit(inline="always")
def _from_node(origin, spacing, node_origin, voxel):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Millimetres from the first node to a voxel."""
    return (
        origin[0] + voxel[0] * spacing[0] - node_origin[0],
        origin[1] + voxel[1] * spacing[1] - node_origin[1],
        origin[2] + voxel[2] * spacing[2] - node_origin[2],
    )


@njit(parallel=True, cache=True, fastmath=True, nogil=True)
def find_nearest(  # type: ignore[no-untyped-def] # pragma: no cover
    values,
    starts,
    shapes,
    origins,
    voxels,
    ranks,
    source,
    stretch,
    node_origin,
    origin,
    spacing,
    shape,
    slope,
    centre_z,
):
    """See ``growth.nearest_parts``."""
    out = np.full((shape[0], shape[1], shape[2], CANDIDATES), np.uint8(NO_PART))
    dist = np.full((shape[0], shape[1], shape[2], CANDIDATES), np.int8(_FAR))
    for cell in prange(_cell_count(shape)):
        first, last = _cell_box(cell, shape)
        near = _parts_near(
            shapes, origins, voxels, source, node_origin, origin + first * spacing, origin + last * spacing
        )
        if len(near) == 0:
            continue
        for i in range(first[0], last[0]):
            for j in range(first[1], last[1]):
                for k in range(first[2], last[2]):
                    at = _from_node(origin, spacing, node_origin, (i, j, k))
                    sx, sy, sz, wide = _person_point(source, stretch, at)
                    for index in near:
                        raw = _sample(values, starts[index], shapes[index], origins[index], voxels[index], (sx, sy, sz))
                        if raw > 120:
                            continue
                        if ranks[index] == 0:
                            if raw < 0:
                                out[i, j, k, 0] = index
                                dist[i, j, k, 0] = np.int8(np.rint(max(raw, -127)))
                                for t in range(1, CANDIDATES):
                                    out[i, j, k, t] = NO_PART
                                break
                            continue
                        d = raw * wide - slope[index] * (sz - centre_z[index]) * 8.0
                        if d > _REACH:
                            continue
                        # Rounded, not cut off: a bias of half a step would be 2% of a thin muscle.
                        d = np.rint(max(d, -127.0))
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
def paint_winners(  # type: ignore[no-untyped-def] # pragma: no cover
    values,
    starts,
    shapes,
    origins,
    voxels,
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
    """See ``growth.paint``."""
    out = np.full((shape[0], shape[1], shape[2]), np.uint8(NO_PART))
    depth = np.full((shape[0], shape[1], shape[2]), np.int8(_FAR))
    for cell in prange(_cell_count(shape)):
        first, last = _cell_box(cell, shape)
        near = _parts_near(
            shapes, origins, voxels, source, node_origin, origin + first * spacing, origin + last * spacing
        )
        if len(near) == 0:
            continue
        for i in range(first[0], last[0]):
            for j in range(first[1], last[1]):
                for k in range(first[2], last[2]):
                    at = _from_node(origin, spacing, node_origin, (i, j, k))
                    sx, sy, sz, wide = _person_point(source, stretch, at)
                    best = np.float32(0.0)
                    winner = -1
                    fallback = -1
                    for index in near:
                        raw = _sample(values, starts[index], shapes[index], origins[index], voxels[index], (sx, sy, sz))
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
                        if d < best and d + middle[index] * 8.0 <= _REACH:
                            best = d
                            winner = index
                    if winner < 0 and fallback >= 0:
                        winner = fallback
                        best = np.float32(-127.0)
                    if winner >= 0:
                        out[i, j, k] = winner
                        depth[i, j, k] = np.int8(max(best, np.float32(-127.0)))
    return out, depth


@njit(cache=True, fastmath=True, nogil=True)
def soft_volumes(parts, distances, ranks, offset, width, n):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Volume of each part with the given offsets, in voxels, and how it grows per step of its offset.

    A voxel within ``width`` / 2 (steps) of a surface counts for a share of it, which evens out where the grid
    happens to lie. Much less than a voxel: where a muscle tapers off, a wide band would count what isn't there.
    """
    volume = np.zeros(n, np.float64)
    growth = np.zeros(n, np.float64)
    for v in range(len(parts)):
        if ranks[parts[v, 0]] == 0:
            volume[parts[v, 0]] += 1
            continue
        best = np.float32(1e6)
        second = np.float32(1e6)
        winner = -1
        runner = -1
        for t in range(CANDIDATES):
            index = parts[v, t]
            if index == NO_PART:
                break
            if ranks[index] == 2:
                continue
            d = distances[v, t] - offset[index]
            if d < best:
                second, runner = best, winner
                best, winner = d, index
            elif d < second:
                second, runner = d, index
        if 2 * best >= width:
            continue
        inside = min(np.float32(1.0), np.float32(0.5) - best / width)
        own = min(np.float32(1.0), np.float32(0.5) + (second - best) / (2 * width))
        volume[winner] += inside * own
        if inside < 1:
            growth[winner] += own / width
        if own < 1:
            volume[runner] += inside * (1 - own)
            growth[winner] += inside / (2 * width)
            growth[runner] += inside / (2 * width)
    return volume, growth


@njit(cache=True, nogil=True)
def undecided(parts, distances, ranks, offset, reach, width, n):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Voxels that ``soft_volumes`` must look at while no offset differs from these by more than ``reach`` (steps).

    Returns:
        their candidates, and how often it would count each part for the others, whose share stays 0 or 1.
    """
    near_parts = np.empty(parts.shape, np.uint8)
    near_distances = np.empty(distances.shape, np.int8)
    found = 0
    volume = np.zeros(n, np.float64)
    for v in range(len(parts)):
        if ranks[parts[v, 0]] == 0:
            volume[parts[v, 0]] += 1
            continue
        best = np.float32(1e6)
        second = np.float32(1e6)
        winner = -1
        for t in range(CANDIDATES):
            index = parts[v, t]
            if index == NO_PART:
                break
            if ranks[index] == 2:
                continue
            d = distances[v, t] - offset[index]
            if d < best:
                second = best
                best, winner = d, index
            elif d < second:
                second = d
        if 2 * (best - reach) >= width:
            continue
        if 2 * (best + reach) <= -width and second - best >= 2 * reach + width:
            volume[winner] += 1
            continue
        for t in range(CANDIDATES):
            near_parts[found, t] = parts[v, t]
            near_distances[found, t] = distances[v, t]
        found += 1
    return near_parts[:found], near_distances[:found], volume


@njit(cache=True, nogil=True)
def winners(parts, distances, ranks, offset):  # type: ignore[no-untyped-def]  # pragma: no cover
    """The part that holds each voxel with the given offsets; ``NO_PART`` where none does."""
    out = np.full(len(parts), np.uint8(NO_PART))
    for v in range(len(parts)):
        if ranks[parts[v, 0]] == 0:
            out[v] = parts[v, 0]
            continue
        best = np.float32(0.0)
        for t in range(CANDIDATES):
            index = parts[v, t]
            if index == NO_PART:
                break
            if ranks[index] != 2 and distances[v, t] - offset[index] < best:
                best = distances[v, t] - offset[index]
                out[v] = index
    return out
