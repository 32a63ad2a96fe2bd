"""Points of a new body on which soft tissue is hung: symphysis, ischium, end of the spine, heads of the femora."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_KEY, SIDES, Side
from vastus.synthesis.atlas import Atlas, Part
from vastus.synthesis.deformation import NodeMap
from vastus.synthesis.kernels import NODE_MM

_INNERMOST = 0.04
"""Share of the hip bone's voxels, nearest to the midline, that are taken for the symphysis."""
_LOWEST = 0.04
_COARSE = 3
"""Nodes are looked through in steps of so many at first."""
_USUAL_LEG_MM = 420.0


@dataclass(frozen=True, slots=True)
class Anchors:
    """Places in mm of the body's frame.

    Attributes:
        unit: size of the body, 1 for a leg of 420 mm from knee joint to femoral head.
        symphysis_front_mm: y of its front.
        symphysis_back_mm: y of its back.
        symphysis_z_mm: lower and upper end.
        ischium_mm: (x, y, z) of the lowest point of the hip bone, by side.
        tail_mm: y and z of the end of sacrum and coccyx.
        head_mm: centre of the femoral head, by side.
    """

    unit: float
    symphysis_front_mm: float
    symphysis_back_mm: float
    symphysis_z_mm: tuple[float, float]
    ischium_mm: dict[Side, tuple[float, float, float]]
    tail_mm: tuple[float, float]
    head_mm: dict[Side, tuple[float, float, float]]

    @property
    def ischium_z_mm(self) -> float:
        """Mean height of the lowest points of the hip bones."""
        return float(np.mean([p[2] for p in self.ischium_mm.values()]))


def find_anchors(atlas: Atlas, node_map: NodeMap, length_mm: float) -> Anchors:
    """Find the anchors of a person, and where a new body has them."""
    marks = atlas.landmarks
    ends, ischium = [], {}
    for side in SIDES:
        bone = _points_of([p for p in atlas.select(BY_KEY["hip_bone"].class_id) if p.side is side])
        inner = np.abs(bone[:, 0] - marks.midline_x_mm)
        near = bone[inner <= np.quantile(inner, _INNERMOST)]
        ends.append(near)
        low = bone[bone[:, 2] <= np.quantile(bone[:, 2], _LOWEST)]
        ischium[side] = moved_point(node_map, low.mean(axis=0))
    joint = np.concatenate(ends)
    middle = joint.mean(axis=0)
    middle[0] = marks.midline_x_mm
    centre = moved_point(node_map, middle)
    (y0, z0), (y1, z1) = np.quantile(joint[:, 1:], [0.03, 0.97], axis=0) - middle[1:]
    tail = _points_of([p for p in atlas.parts if p.name in ("sacrum", "coccyx")])
    tail = tail[tail[:, 2] <= tail[:, 2].min() + 6.0].mean(axis=0)
    _, tail_y, tail_z = moved_point(node_map, tail)
    unit = length_mm / _USUAL_LEG_MM
    along = length_mm / marks.leg_mm
    return Anchors(
        unit,
        centre[1] + along * float(y1),
        centre[1] + along * float(y0),
        (centre[2] + along * float(z0), centre[2] + along * float(z1)),
        ischium,
        (tail_y, tail_z),
        {side: moved_point(node_map, np.array(marks.head_mm[side])) for side in SIDES},
    )


def _points_of(parts: Sequence[Part]) -> NDArray[np.float64]:
    """Places of every third voxel inside, in mm of the person."""
    return np.concatenate(
        [p.origin_mm + 3 * np.array(p.voxel_mm) * np.argwhere(p.distance[::3, ::3, ::3] < 0) for p in parts]
    )


def moved_point(node_map: NodeMap, point_mm: NDArray[np.float64]) -> tuple[float, float, float]:
    """Where a point of the person lies in the new body: the nearest node, and a step from there."""
    source, wanted = node_map.source_mm, point_mm.astype(np.float32)
    shape = source.shape[:3]
    # First among every third node: the map is smooth.
    coarse = _nearest(source[::_COARSE, ::_COARSE, ::_COARSE], wanted)
    first = [max(_COARSE * n - _COARSE - 1, 0) for n in coarse]
    near = source[tuple(slice(f, f + 2 * _COARSE + 3) for f in first)]
    nearest = [f + n for f, n in zip(first, _nearest(near, wanted), strict=True)]
    at = node_map.origin_mm + NODE_MM * np.array(nearest)
    rows = []
    for axis in range(3):
        low, high = list(nearest), list(nearest)
        low[axis], high[axis] = max(nearest[axis] - 1, 0), min(nearest[axis] + 1, shape[axis] - 1)
        rows.append((source[tuple(high)] - source[tuple(low)]) / (NODE_MM * (high[axis] - low[axis])))
    i, j, k = nearest
    try:
        move = np.linalg.solve(np.array(rows, np.float64).T, (wanted - source[i, j, k]).astype(np.float64))
    except np.linalg.LinAlgError:
        move = np.zeros(3)
    x, y, z = at + np.clip(move, -NODE_MM, NODE_MM)
    return float(x), float(y), float(z)


def _nearest(source_mm: NDArray[np.float32], point_mm: NDArray[np.float32]) -> list[int]:
    """Index of the node nearest to a point."""
    away = source_mm - point_mm
    found = int(np.einsum("...i,...i->...", away, away).argmin())
    return [int(n) for n in np.unravel_index(found, source_mm.shape[:3])]
