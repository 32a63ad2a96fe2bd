"""Which point of one person is which point of the other: a smooth map between two atlases.

Both people are brought to one size and laid knee on knee and hip on hip; then the map is bent until the surfaces of
every measured structure lie on each other: Gauss-Newton steps on the signed distances of all structures at once,
smoothed and composed as in diffeomorphic demons (Vercauteren et al. 2009, NeuroImage 45), first for what is far and
then for what is near.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from vastus.anatomy import Side
from vastus.errors import GeometryError
from vastus.synthesis.atlas import UNIT_MM, Atlas, Part
from vastus.synthesis.bundles import lines_of, resampled
from vastus.synthesis.deformation import person_origin, smoothstep
from vastus.synthesis.volume_kernels import match_distances

STEP_MM = 6.0
"""Distance of the nodes of the map."""
_WIDEST_MM = 60.0
_PAD_MM = 30.0
_BELOW_KNEE_MM = 180.0
"""The map is matched down to here; below, the shank moves as a whole."""
_LONGEST_STEP_MM = 2.4
_MIDLINE_MM = 140.0
"""Over which width the first shifts of the two legs pass into each other."""
_KNOWN_MM = 15.0
"""Blocks of an atlas know distances up to here; beyond, they are counted in nodes."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """One pass: distances count up to ``reach_mm``; steps and map are smoothed by so many nodes; how many steps."""

    reach_mm: float
    step_nodes: float
    map_nodes: float
    steps: int


_STAGES = (
    _Stage(40.0, 3.0, 0.5, 30),
    _Stage(20.0, 2.0, 0.5, 15),
    _Stage(10.0, 1.5, 0.45, 20),
    _Stage(6.0, 1.0, 0.4, 15),
)

Nodes = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class CommonFrame:
    """mm, RAS; origin on the midline at knee height; both people's legs as long as their mean.

    Attributes:
        origin_mm: of that frame in the person's own.
        scale: from the person's size to the common one.
    """

    origin_mm: NDArray[np.float64]
    scale: float

    def to_person(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Points of the common frame in the person's own."""
        return np.asarray(points / self.scale + self.origin_mm, np.float32)

    def from_person(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points of the person in the common frame."""
        return np.asarray((points - self.origin_mm) * self.scale)


@dataclass(frozen=True, slots=True, eq=False)
class Correspondence:
    """Points of person B, and where person A has them.

    Attributes:
        a, b: how the two lie in the common frame.
        shift_mm: (X, Y, Z, 3) from a node (a point of B) to the same point of A, in the common frame.
        origin_mm: of node (0, 0, 0) in the common frame; nodes are ``STEP_MM`` apart.
        miss_mm: mean distance between surfaces that should lie on each other, before and after.
    """

    a: CommonFrame
    b: CommonFrame
    shift_mm: Nodes
    origin_mm: NDArray[np.float64]
    miss_mm: tuple[float, float]

    def shift_at(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """The shift at any points (n, 3) of the common frame, trilinear; beyond the nodes that of the nearest."""
        at = ((points - self.origin_mm) / STEP_MM).T
        return np.stack(
            [map_coordinates(self.shift_mm[..., axis], at, order=1, mode="nearest") for axis in range(3)], axis=-1
        )


def find_correspondence(a: Atlas, b: Atlas) -> Correspondence:
    """Match two people. About two minutes of one core.

    Raises:
        GeometryError: the map folds: the two are too different.
    """
    mean_leg = (a.landmarks.leg_mm + b.landmarks.leg_mm) / 2
    frames = [CommonFrame(person_origin(x), mean_leg / x.landmarks.leg_mm) for x in (a, b)]
    names = sorted({p.name for p in _measured(a)} & {p.name for p in _measured(b)})
    corners = np.concatenate([_corners(x, frame) for x, frame in zip((a, b), frames, strict=True)])
    lowest = corners.min(axis=0) - _PAD_MM
    lowest[2] = max(lowest[2], -_BELOW_KNEE_MM)
    low = np.floor(lowest / STEP_MM) * STEP_MM
    shape = tuple(int(n) for n in np.ceil((corners.max(axis=0) + _PAD_MM - low) / STEP_MM) + 1)
    moving, fixed = (
        _distances(x, frame, names, low, (shape[0], shape[1], shape[2]))
        for x, frame in zip((a, b), frames, strict=True)
    )
    shift = _from_landmarks((a, b), frames, low, moving.shape[:3])
    before = _miss(moving, fixed, shift)
    for stage in _STAGES:
        for _ in range(stage.steps):
            step = match_distances(moving, fixed, shift, np.float32(stage.reach_mm), np.float32(STEP_MM))
            shift = _smooth(_composed(shift, _bounded(_smooth(step, stage.step_nodes))), stage.map_nodes)
    if smallest_stretch(shift) <= 0:
        raise GeometryError("The map between the two people folds.", remedy="Their anatomy must be of the same kind.")
    return Correspondence(frames[0], frames[1], shift, low, (before, _miss(moving, fixed, shift)))


def _from_landmarks(
    people: tuple[Atlas, Atlas], frames: list[CommonFrame], low: NDArray[np.float64], shape: tuple[int, ...]
) -> Nodes:
    """The first guess: hips on hips and knees on knees, straight in between."""
    x, z = (low[axis] + STEP_MM * np.arange(shape[axis]) for axis in (0, 2))
    right = smoothstep((x / _MIDLINE_MM + 0.5).astype(np.float32))
    shift = np.zeros((*shape, 3), np.float32)
    for side, share in ((Side.RIGHT, right), (Side.LEFT, 1 - right)):
        head, knee = (
            [f.from_person(np.array(marks[side])) for f, marks in zip(frames, both, strict=True)]
            for both in ([p.landmarks.head_mm for p in people], [p.landmarks.knee_mm for p in people])
        )
        up = np.clip((z - knee[1][2]) / (head[1][2] - knee[1][2]), 0, 1)[:, None]
        along = (1 - up) * (knee[0] - knee[1]) + up * (head[0] - head[1])
        shift += (share[:, None, None, None] * along[None, None]).astype(np.float32)
    return shift


def _bounded(step: Nodes) -> Nodes:
    """Steps shorter than half a node: one alone can't fold."""
    length = np.linalg.norm(step, axis=-1, keepdims=True)
    return np.asarray(step * np.minimum(1, _LONGEST_STEP_MM / np.maximum(length, 1e-6)), np.float32)


def _composed(shift: Nodes, step: Nodes) -> Nodes:
    """First the step, then the map so far."""
    axes = [np.arange(n, dtype=np.float32) for n in shift.shape[:3]]
    at = np.stack(np.meshgrid(*axes, indexing="ij")) + np.moveaxis(step, -1, 0) / np.float32(STEP_MM)
    return step + np.stack(
        [map_coordinates(shift[..., axis], at, order=1, mode="nearest") for axis in range(3)], axis=-1
    )


def _measured(atlas: Atlas) -> list[Part]:
    return [part for part in atlas.parts if not part.procedural]


def _corners(atlas: Atlas, frame: CommonFrame) -> NDArray[np.float64]:
    both = ((p, end) for p in _measured(atlas) for end in ((0, 0, 0), p.distance.shape))
    ends = [part.origin_mm + np.array(end) * np.array(part.voxel_mm) for part, end in both]
    return frame.from_person(np.array(ends))


def _distances(
    atlas: Atlas, frame: CommonFrame, names: list[str], low: NDArray[np.float64], shape: tuple[int, int, int]
) -> Nodes:
    """(X, Y, Z, names) signed distance in common mm to each structure, both sides as one."""
    result = np.empty((*shape, len(names)), np.float32)
    lines = [(low[axis] + STEP_MM * np.arange(n)) / frame.scale + frame.origin_mm[axis] for axis, n in enumerate(shape)]
    for channel, name in enumerate(names):
        near = np.full(shape, np.float32(_WIDEST_MM))
        for part in _measured(atlas):
            if part.name == name:
                distance_mm = part.distance.astype(np.float32) * np.float32(UNIT_MM)
                np.minimum(near, resampled(distance_mm, lines_of(part), lines), out=near)
        result[..., channel] = _widened(near * np.float32(frame.scale))
    return result


def _widened(near: Nodes) -> Nodes:
    """Distances known near a surface, continued to ``_WIDEST_MM`` by counting nodes."""
    inside = near < 0
    if not inside.any():
        return np.full(near.shape, np.float32(_WIDEST_MM))
    far = (distance_transform_edt(~inside) - distance_transform_edt(inside)).astype(np.float32) * np.float32(STEP_MM)
    known = np.abs(near) < 0.9 * _KNOWN_MM
    return np.clip(np.where(known, near, far), -_WIDEST_MM, _WIDEST_MM).astype(np.float32)


def _smooth(field: Nodes, nodes: float) -> Nodes:
    return np.stack([gaussian_filter(field[..., axis], nodes, mode="nearest") for axis in range(3)], axis=-1)


def _miss(moving: Nodes, fixed: Nodes, shift: Nodes) -> float:
    """Mean of |distance in A| where B has a surface, over the structures."""
    axes = [np.arange(n, dtype=np.float32) for n in fixed.shape[:3]]
    base = np.stack(np.meshgrid(*axes, indexing="ij"))
    found = []
    for channel in range(fixed.shape[-1]):
        surface = np.abs(fixed[..., channel]) < STEP_MM / 2
        if surface.any():
            at = base[:, surface] + shift[surface].T / STEP_MM
            channel_values = map_coordinates(moving[..., channel], at, order=1, mode="nearest")
            found.append(float(np.abs(channel_values - fixed[..., channel][surface]).mean()))
    return float(np.mean(found))


def smallest_stretch(shift: Nodes) -> float:
    """Smallest determinant of the map's derivative; below 0 it folds."""
    rows = [[np.gradient(shift[..., c], STEP_MM, axis=axis) for axis in range(3)] for c in range(3)]
    derivative = np.moveaxis(np.array(rows, np.float32), (0, 1), (-2, -1))
    return float(np.linalg.det(derivative + np.eye(3, dtype=np.float32)).min())
