"""Which point of one person is which point of the other: a smooth map between two atlases.

Both people are brought to one size and laid knee on knee and hip on hip; then the map is bent until the surfaces of
every measured structure lie on each other: Gauss-Newton steps on the signed distances of all structures at once,
smoothed and composed as in diffeomorphic demons (Vercauteren et al. 2009, NeuroImage 45), first for what is far and
then for what is near.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from vastus.anatomy import SIDES, Side
from vastus.errors import GeometryError
from vastus.synthesis.atlas import UNIT_MM, Anatomy, Part
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
_FADE_NODES = 25.0
"""Downwards, the map comes back to the first guess at the knee; over at least so many nodes (150 mm)."""
_EDGE_NODES = 2
"""So many of the last known slices are left out when the map is continued: their neighbours pull at nothing."""
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
_UNKNOWN_MM = 1e6
"""Distance where nobody knows: it pulls at nothing."""


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


Group = tuple[str, ...]
"""Names of the parts that are matched as one: of one structure, or of several that one of the two shows as one."""


def find_correspondence(a: Anatomy, b: Anatomy) -> Correspondence:
    """Match two people. About two minutes of one core.

    Raises:
        GeometryError: the map folds: the two are too different.
    """
    mean_leg = (a.landmarks.leg_mm + b.landmarks.leg_mm) / 2
    frames = [CommonFrame(person_origin(x), mean_leg / x.landmarks.leg_mm) for x in (a, b)]
    names = sorted({p.name for p in _measured(a)} & {p.name for p in _measured(b)})
    groups = [(name,) for name in names]
    return _match((a, b), frames, (groups, groups), (-np.inf, np.inf))


def match_partly(
    a: Anatomy, b: Anatomy, groups: tuple[Sequence[Group], Sequence[Group]], seen_mm: tuple[float, float]
) -> Correspondence:
    """Match a whole person with one of whom only a range of heights is known. The common frame has the size of ``b``.

    Args:
        a: the whole person.
        b: the other one.
        groups: which parts of ``a``, and which of ``b``, are the same.
        seen_mm: from which height to which ``b`` is known, in b's own frame. Beyond it the map goes on smoothly:
            upwards unchanged; downwards it comes back to the knee.

    Raises:
        GeometryError: the map folds: the two are too different.
    """
    frames = [CommonFrame(person_origin(x), b.landmarks.leg_mm / x.landmarks.leg_mm) for x in (a, b)]
    bottom, top = (float(z - frames[1].origin_mm[2]) for z in seen_mm)
    return _match((a, b), frames, groups, (bottom, top))


def _match(
    people: tuple[Anatomy, Anatomy],
    frames: list[CommonFrame],
    groups: tuple[Sequence[Group], Sequence[Group]],
    seen_mm: tuple[float, float],
) -> Correspondence:
    corners = np.concatenate([_corners(x, frame) for x, frame in zip(people, frames, strict=True)])
    lowest = corners.min(axis=0) - _PAD_MM
    lowest[2] = max(lowest[2], -_BELOW_KNEE_MM)
    low = np.floor(lowest / STEP_MM) * STEP_MM
    shape = tuple(int(n) for n in np.ceil((corners.max(axis=0) + _PAD_MM - low) / STEP_MM) + 1)
    moving, fixed = (
        _distances(x, frame, names, low, (shape[0], shape[1], shape[2]))
        for x, frame, names in zip(people, frames, groups, strict=True)
    )
    heights = low[2] + STEP_MM * np.arange(shape[2])
    seen = (heights >= seen_mm[0]) & (heights <= seen_mm[1])
    fixed[:, :, ~seen] = _UNKNOWN_MM
    first = shift = _from_landmarks(people, frames, low, moving.shape[:3])
    before = _miss(moving, fixed, shift)
    for stage in _STAGES:
        for _ in range(stage.steps):
            step = match_distances(moving, fixed, shift, np.float32(stage.reach_mm), np.float32(STEP_MM))
            shift = _smooth(_composed(shift, _bounded(_smooth(step, stage.step_nodes))), stage.map_nodes)
    after = _miss(moving, fixed, shift)
    if not seen.all():
        ends = np.flatnonzero(seen)[[0, -1]]
        shift = first + _continued(shift - first, ends, _leg_axes(people[1], frames[1], low, shape))
    if smallest_stretch(shift) <= 0:
        raise GeometryError("The map between the two people folds.", remedy="Their anatomy must be of the same kind.")
    return Correspondence(frames[0], frames[1], shift, low, (before, after))


def _leg_axes(
    person: Anatomy, frame: CommonFrame, low: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[Nodes, float]:
    """How far the leg goes aside from node to node upwards, (X, 2) in nodes, and at which node the knee is."""
    x = low[0] + STEP_MM * np.arange(shape[0])
    right = smoothstep((x / _MIDLINE_MM + 0.5).astype(np.float32))[:, None]
    marks = person.landmarks
    way = {side: np.array(marks.head_mm[side]) - np.array(marks.knee_mm[side]) for side in SIDES}
    slope = {side: (v[:2] / v[2]).astype(np.float32) for side, v in way.items()}
    knee = float(np.mean([frame.from_person(np.array(k))[2] for k in marks.knee_mm.values()]))
    return right * slope[Side.RIGHT] + (1 - right) * slope[Side.LEFT], (knee - low[2]) / STEP_MM


def _continued(beyond: Nodes, ends: NDArray[np.int64], axes: tuple[Nodes, float]) -> Nodes:
    """What the map adds to the first guess, continued from the last known slices: upwards, and along the legs down."""
    slope, knee = axes
    last = _EDGE_NODES if ends[1] - ends[0] > 2 * _EDGE_NODES else 0
    lower, upper = int(ends[0]) + last, int(ends[1]) - last
    result = beyond.copy()
    result[:, :, upper + 1 :] = beyond[:, :, upper : upper + 1]
    fade = max(lower - knee, _FADE_NODES)
    i, j = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in beyond.shape[:2]), indexing="ij")
    for k in range(lower):
        share = np.float32(smoothstep(np.array([1 - (lower - k) / fade], np.float32))[0])
        at = [i + slope[:, :1] * (lower - k), j + slope[:, 1:] * (lower - k)]
        for axis in range(3):
            result[:, :, k, axis] = share * map_coordinates(beyond[:, :, lower, axis], at, order=1, mode="nearest")
    return result


def _from_landmarks(
    people: tuple[Anatomy, Anatomy], frames: list[CommonFrame], low: NDArray[np.float64], shape: tuple[int, ...]
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


def _measured(atlas: Anatomy) -> list[Part]:
    return [part for part in atlas.parts if not part.procedural]


def _corners(atlas: Anatomy, frame: CommonFrame) -> NDArray[np.float64]:
    both = ((p, end) for p in _measured(atlas) for end in ((0, 0, 0), p.distance.shape))
    ends = [part.origin_mm + np.array(end) * np.array(part.voxel_mm) for part, end in both]
    return frame.from_person(np.array(ends))


def _distances(
    atlas: Anatomy, frame: CommonFrame, groups: Sequence[Group], low: NDArray[np.float64], shape: tuple[int, int, int]
) -> Nodes:
    """(X, Y, Z, groups) signed distance in common mm to each structure or group of them, both sides as one."""
    result = np.empty((*shape, len(groups)), np.float32)
    lines = [(low[axis] + STEP_MM * np.arange(n)) / frame.scale + frame.origin_mm[axis] for axis, n in enumerate(shape)]
    for channel, group in enumerate(groups):
        near = np.full(shape, np.float32(_WIDEST_MM))
        for part in _measured(atlas):
            if part.name in group:
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
