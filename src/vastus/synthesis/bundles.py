"""Muscles grown together with each other or with a bone: the vasti with the femur, gluteus minimus with the ilium.

On real CT no fat is seen between them (`benchmarks/muscle_boundary_visibility.py`: the border of vastus lateralis and
intermedius is as bright as their inside), however slim the thigh is. If each shrank from its own surface, a ring of
fat would be left around the bone. So their distances are measured anew: how far a point is from the surface of all of
them together, plus how much nearer the nearest of them is than this one. Between them only the difference counts, and
the border between two moves without opening; from outside they give way as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_KEY, SIDES, Side
from vastus.synthesis.atlas import UNIT_MM, Part, quantise
from vastus.synthesis.kernels import VOXEL_MM
from vastus.synthesis.volume_kernels import trilinear

_VASTI: Final = ("vastus_lateralis", "vastus_intermedius", "vastus_medialis")
_ON_THE_HIP_BONE: Final = ("gluteus_minimus", "gluteus_medius", "iliacus", "obturator_internus", "obturator_externus")
_CLOSED_MM: Final = 1.5
"""Gaps up to twice as wide between the meshes count as inside."""
_BENT_MM: Final = 6.0
_BENT_SLOPE: Final = 0.3
"""Deeper than this, distances grow more slowly: int8 ends at 16 mm, and where all were alike a volume would jump."""
_FAR_MM: Final = 127 * UNIT_MM

Distances = NDArray[np.float32]
"""In mm, negative inside."""


def grown_together(parts: Sequence[Part], rectus: frozenset[Side] = frozenset()) -> tuple[Part, ...]:
    """The same parts, some with distances by which no gap opens between them and their neighbours.

    Args:
        parts: of one person.
        rectus: sides on which rectus femoris is grown together with the vasti (in some people no fat is seen there).
    """
    result = list(parts)
    for side in SIDES:
        thigh = (*_VASTI, "rectus_femoris") if side in rectus else _VASTI
        for keys, bone in ((thigh, "femur"), *(((key,), "hip_bone") for key in _ON_THE_HIP_BONE)):
            numbers = [n for key in keys for n in _numbers(parts, key, side)]
            members = [parts[n] for n in (*numbers, *_numbers(parts, bone, side))]
            if numbers and len(members) > 1:
                for number, part in zip(numbers, _bundled(members, len(numbers)), strict=True):
                    result[number] = part
    return tuple(result)


def _numbers(parts: Sequence[Part], key: str, side: Side) -> list[int]:
    tissue = BY_KEY[key].class_id
    return [n for n, p in enumerate(parts) if p.tissue == tissue and p.side is side and not p.procedural]


def _bundled(members: list[Part], count: int) -> list[Part]:
    """The first ``count`` members with their new distances; the others (the bone) only belong to the bundle."""
    muscles = members[:count]
    low = np.min([p.origin_mm for p in muscles], axis=0)
    high = np.max([[line[-1] for line in lines_of(p)] for p in muscles], axis=0)
    grid = [low[axis] + VOXEL_MM * np.arange(int((high[axis] - low[axis]) / VOXEL_MM) + 2) for axis in range(3)]
    own = [resampled(p.distance.astype(np.float32) * np.float32(UNIT_MM), lines_of(p), grid) for p in members]
    nearest = np.minimum.reduce(own)
    common = _depth_of_all(nearest) - nearest
    return [
        replace(part, distance=quantise(resampled(distance + common, grid, lines_of(part))))
        for part, distance in zip(muscles, own, strict=False)
    ]


def lines_of(part: Part) -> list[NDArray[np.float64]]:
    """Coordinates of a part's voxels along each axis, in mm."""
    return [part.origin_mm[a] + part.voxel_mm[a] * np.arange(part.distance.shape[a]) for a in range(3)]


def _depth_of_all(nearest_mm: Distances) -> Distances:
    """Signed distance to the surface of all members together, from the distance to the nearest of them.

    Outside, the nearest is what counts. Inside, the way to the next voxel that is clearly outside, less how far out
    that one lies: true to a fraction of a voxel, and blind to narrow gaps.
    """
    from scipy.ndimage import distance_transform_edt

    inside = nearest_mm < _CLOSED_MM
    way, index = distance_transform_edt(inside, sampling=VOXEL_MM, return_indices=True)
    depth = np.where(inside, np.minimum(nearest_mm[tuple(index)] - way.astype(np.float32), nearest_mm), nearest_mm)
    beyond = np.minimum(depth + np.float32(_BENT_MM), 0)
    return np.asarray(depth - np.float32(1 - _BENT_SLOPE) * beyond, np.float32)


def resampled(
    values: Distances, have: Sequence[NDArray[np.float64]], wanted: Sequence[NDArray[np.float64]]
) -> Distances:
    """Trilinear values of one grid's lines on those of another; far where the first ends."""
    tables, outside = [], []
    for from_mm, to_mm in zip(have, wanted, strict=True):
        at = (to_mm - from_mm[0]) / (from_mm[1] - from_mm[0])
        last = len(from_mm) - 1
        outside.append((at < 0) | (at > last))
        first = np.clip(at.astype(np.int64), 0, last - 1)
        tables.append((first, np.clip(at - first, 0, 1).astype(np.float32)))
    (i, a), (j, b), (k, c) = tables
    result: Distances = trilinear(values, i, a, j, b, k, c)
    result[outside[0]] = _FAR_MM
    result[:, outside[1]] = _FAR_MM
    result[:, :, outside[2]] = _FAR_MM
    return result
