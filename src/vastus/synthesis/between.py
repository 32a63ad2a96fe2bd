"""A person between two: the anatomy of one, bent part of the way to the other's.

Two people are few. Every structure of one has its place in the other (``correspondence``), so that points can be moved
a share of the way: at 0 it is the person, at 1 it has the other's shapes. The skin is bent along; what is modelled
(abdominal wall, back, organs) is modelled anew on the bent bones and muscles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from vastus.anatomy import BY_KEY, SIDES, Side
from vastus.errors import GeometryError, SettingsError
from vastus.synthesis.atlas import FEMORAL_HEAD_RADIUS_MM, UNIT_MM, Atlas, Landmarks, Part, part_from_mask
from vastus.synthesis.correspondence import STEP_MM, CommonFrame, Correspondence, smallest_stretch
from vastus.synthesis.growth import Grid
from vastus.synthesis.kernels import VOXEL_MM
from vastus.synthesis.outline import sample_nodes
from vastus.synthesis.procedural import GRID_MM, add_procedural

_PACES = ((30, 0.5), (60, 0.2), (120, 0.06))
"""How a map is inverted: rounds, and which share of what is missing each makes up. More at once would overshoot where
the map stretches most; few points need the slow rounds."""
_NEAR_MM = 0.05
_ILIOPSOAS = ("iliopsoas", "psoas", "iliacus")
_SHANK_MM = 260.0
"""How far below the knee the new frame reaches."""

Points = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Bent:
    """The backward map of a new person: where person A has the nodes of the new frame.

    Attributes:
        source_mm: (X, Y, Z, 3) in A's own frame.
        origin_mm: of node (0, 0, 0) in the new frame, which is the common one.
    """

    source_mm: Points
    origin_mm: NDArray[np.float64]

    def sources(self, grid: Grid) -> Points:
        """(3, *grid.shape): A's coordinates of all voxels of a grid of the new frame."""
        return np.stack([sample_nodes(self.source_mm[..., axis], self.origin_mm, grid) for axis in range(3)])


def person_between(a: Atlas, b: Atlas, match: Correspondence, share: float) -> Atlas:
    """Bend ``a`` towards ``b``. About two minutes of one core.

    Args:
        a: whose structures they are.
        b: whose shapes they take on.
        match: of these two, in this order.
        share: how far, between 0 and 1.

    Raises:
        SettingsError: the share lies outside.
        GeometryError: the map folds.
    """
    if not 0 < share < 1:
        raise SettingsError(f"A person between two needs a share between 0 and 1, got {share}.")
    bent = _bend(match, share)
    marks = _landmarks(a, b, match, share)
    parts = [_moved(part, match, bent, share) for part in a.parts if not part.procedural]
    parts = list(cut_anew(parts, marks))
    skin, origin = _skin(a, match.a, bent)
    return add_procedural(a.person, parts, marks, skin, origin)


def bent_onto(
    a: Atlas, match: Correspondence
) -> tuple[list[Part], tuple[NDArray[np.bool_], NDArray[np.float64]], Bent]:
    """All measured parts of ``a`` on their places in ``b`` of the match; its skin (mask and origin); and the map."""
    bent = _bend(match, 1.0)
    parts = [_moved(part, match, bent, 1.0) for part in a.parts if not part.procedural]
    return parts, _skin(a, match.a, bent), bent


def _bend(match: Correspondence, share: float) -> Bent:
    low = match.origin_mm.copy()
    low[2] = min(low[2], -_SHANK_MM)
    high = match.origin_mm + STEP_MM * np.array(match.shift_mm.shape[:3])
    shape = np.ceil((high - low) / STEP_MM).astype(int) + 1
    axes = [low[axis] + STEP_MM * np.arange(shape[axis]) for axis in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).astype(np.float32).reshape(-1, 3)
    # A point p of the new person is y in B and y + shift(y) in A, and p = y + (1 - share) * shift(y).
    y = solve(points, match, 1 - share)
    in_a = (y + match.shift_at(y)).reshape(*shape, 3)
    if smallest_stretch(in_a - points.reshape(*shape, 3)) <= 0:
        raise GeometryError(f"The person at {share} folds.", remedy="Their anatomy must be of the same kind.")
    return Bent(match.a.to_person(in_a), low)


def solve(points: Points, match: Correspondence, part_of_shift: float) -> Points:
    """The ``y`` of B for which ``y + part_of_shift * shift(y)`` is the given point, (n, 3)."""
    y = points.copy()
    open_ = np.arange(len(points))
    for rounds, pace in _PACES:
        for _ in range(rounds):
            missing = points[open_] - np.float32(part_of_shift) * match.shift_at(y[open_]) - y[open_]
            far = np.abs(missing).max(axis=1) > _NEAR_MM
            open_ = open_[far]
            y[open_] += np.float32(pace) * missing[far]
    return y


def _forward(points_mm: NDArray[np.float64], match: Correspondence, share: float) -> NDArray[np.float64]:
    """Points of A (n, 3) in the new frame."""
    s = match.a.from_person(points_mm).astype(np.float32)
    y = solve(s, match, 1.0)
    return np.asarray((1 - share) * s + share * y, np.float64)


def _landmarks(a: Atlas, b: Atlas, match: Correspondence, share: float) -> Landmarks:
    def mixed(of_a: object, of_b: object) -> NDArray[np.float64]:
        first, second = match.a.from_person(np.array(of_a)), match.b.from_person(np.array(of_b))
        return np.asarray((1 - share) * first + share * second)

    def point(of_a: object, of_b: object) -> tuple[float, float, float]:
        x, y, z = (float(v) for v in mixed(of_a, of_b))
        return x, y, z

    first, second = a.landmarks, b.landmarks
    crest = mixed((0, 0, first.crest_z_mm), (0, 0, second.crest_z_mm))[2]
    head = {side: point(first.head_mm[side], second.head_mm[side]) for side in SIDES}
    knee = {side: point(first.knee_mm[side], second.knee_mm[side]) for side in SIDES}
    return Landmarks(head, knee, float(crest), float(np.mean([h[0] for h in head.values()])))


def grid_around(points: NDArray[np.float64], margin_mm: float) -> Grid:
    """The voxels of an atlas around points (n, 3), on multiples of their size."""
    low = np.floor((points.min(axis=0) - margin_mm) / VOXEL_MM) * VOXEL_MM
    n_x, n_y, n_z = (int(n) for n in np.ceil((points.max(axis=0) + margin_mm - low) / VOXEL_MM) + 1)
    return Grid(low, (VOXEL_MM,) * 3, (n_x, n_y, n_z))


def _moved(part: Part, match: Correspondence, bent: Bent, share: float) -> Part:
    """A part where its surface has gone."""
    near = np.argwhere(np.abs(part.distance[::2, ::2, ::2]) * UNIT_MM < 2.0 * VOXEL_MM) * 2
    grid = grid_around(_forward(part.origin_mm + np.array(part.voxel_mm) * near, match, share), 3 * VOXEL_MM)
    at = (bent.sources(grid) - part.origin_mm[:, None, None, None].astype(np.float32)) / np.float32(VOXEL_MM)
    distance = map_coordinates(part.distance.astype(np.float32), at, order=1, mode="constant", cval=127.0)
    return part_from_mask(part.name, part.tissue, part.side, distance < 0, grid.origin_mm, procedural=False)


def cut_anew(parts: list[Part], marks: Landmarks) -> Iterator[Part]:
    """Iliopsoas below the top of the femoral head, psoas and iliacus above it: bent cuts are made level again."""
    cut = float(np.mean([h[2] for h in marks.head_mm.values()])) + FEMORAL_HEAD_RADIUS_MM
    yield from (part for part in parts if part.name not in _ILIOPSOAS)
    for side in SIDES:
        own = {part.name: part for part in parts if part.name in _ILIOPSOAS and part.side is side}
        ends = [p.origin_mm + VOXEL_MM * np.array(end) for p in own.values() for end in ((0, 0, 0), p.distance.shape)]
        grid = grid_around(np.array(ends), 0.0)
        inside = {name: _inside(part, grid) for name, part in own.items()}
        whole = np.logical_or.reduce(list(inside.values()))
        above = grid.origin_mm[2] + VOXEL_MM * np.arange(grid.shape[2]) >= cut
        yield _named("iliopsoas", side, whole & ~above, grid)
        free = inside["iliopsoas"] & above
        nearer = _distance(own["psoas"], grid) < _distance(own["iliacus"], grid)
        yield _named("psoas", side, (inside["psoas"] | (free & nearer)) & above, grid)
        yield _named("iliacus", side, (inside["iliacus"] | (free & ~nearer)) & above & ~inside["psoas"], grid)


def _named(name: str, side: Side, mask: NDArray[np.bool_], grid: Grid) -> Part:
    return part_from_mask(name, BY_KEY[name].class_id, side, mask, grid.origin_mm, procedural=False)


def _distance(part: Part, grid: Grid) -> NDArray[np.int8]:
    """The block of a part on another grid of the same voxels."""
    result = np.full(grid.shape, 127, np.int8)
    start = np.round((part.origin_mm - grid.origin_mm) / VOXEL_MM).astype(int)
    window = tuple(slice(max(s, 0), s + n) for s, n in zip(start, part.distance.shape, strict=True))
    room = result[window].shape
    result[window] = part.distance[tuple(slice(max(-s, 0), max(-s, 0) + w) for s, w in zip(start, room, strict=True))]
    return result


def _inside(part: Part, grid: Grid) -> NDArray[np.bool_]:
    return np.asarray(_distance(part, grid) < 0)


def _skin(a: Atlas, frame: CommonFrame, bent: Bent) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """What lies under A's skin, bent; voxels of ``VOXEL_MM``."""
    low = bent.origin_mm
    bottom, top = (
        frame.from_person(np.array([0, 0, z]))[2]
        for z in (a.skin.origin_mm[2], a.skin.origin_mm[2] + a.skin.voxel_mm * (a.skin.values.shape[2] - 1))
    )
    n_x, n_y = (int(n * STEP_MM / GRID_MM) - 1 for n in bent.source_mm.shape[:2])
    first = max(bottom, low[2])
    last = min(top, low[2] + STEP_MM * (bent.source_mm.shape[2] - 1))
    grid = Grid(np.array([low[0], low[1], first]), (GRID_MM,) * 3, (n_x, n_y, int((last - first) / GRID_MM)))
    at = (bent.sources(grid) - a.skin.origin_mm[:, None, None, None].astype(np.float32)) / np.float32(a.skin.voxel_mm)
    outline = map_coordinates(a.skin.values, at, order=1, mode="nearest")
    mask = np.repeat(np.repeat(np.repeat(outline < 0, 2, 0), 2, 1), 2, 2)
    return mask, grid.origin_mm - (GRID_MM - VOXEL_MM) / 2
