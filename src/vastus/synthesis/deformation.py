"""From the grid of a new subject back to a person of the atlas: pose, size, girth and smooth random change.

All maps here run backward (subject -> person), so that signed distances are sampled without holes.

Frame of a subject: mm, RAS; origin on the midline at knee height, below the middle of the femoral heads.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from vastus.anatomy import SIDES, Side
from vastus.synthesis.atlas import Anatomy
from vastus.synthesis.kernels import NODE_MM

_RIGID_RADIUS_MM = 17.0
"""Inside this distance from the femur's axis girth does not scale: bone keeps its size."""

_NECK_MM = (40.0, 35.0)
"""From the centre of the femoral head to the junction of neck and shaft: outwards, downwards."""
_PELVIS_MM, _PELVIS_WIDTH_MM = 80.0, 55.0
"""How much lower the leg starts at the midline than at the hip joint, and over which width: pubis and ischium belong to
the pelvis though they lie below the joint."""

Points = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pose:
    """Angles of one leg in degrees: positive flexion lifts the thigh forward, abduction moves it outwards."""

    hip_flexion_deg: float = 0.0
    hip_abduction_deg: float = 0.0
    hip_rotation_deg: float = 0.0
    knee_flexion_deg: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Girth:
    """Radial scale of a thigh about the femur's axis: varies along the thigh and around it.

    Attributes:
        along: factors at the knee, mid-thigh, hip and iliac crest.
        around: amplitude and phase (rad) of the first and second angular harmonics, relative to 1.
    """

    along: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    around: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 0.0), (0.0, 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class Deformation:
    """Everything that turns a person of the atlas into a new body.

    Attributes:
        scale: size relative to the person along x, y, z.
        pose, girth: for each side.
        wave_mm: (sigma, amplitude) in mm of smooth random displacement on several scales.
        seed: of those displacements.
        neck_deg: by how much the angle between neck and shaft of the femur exceeds the person's own, for each side.
    """

    scale: tuple[float, float, float]
    pose: dict[Side, Pose]
    girth: dict[Side, Girth]
    wave_mm: tuple[tuple[float, float], ...]
    seed: int
    neck_deg: dict[Side, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class NodeMap:
    """Backward map on coarse nodes.

    Attributes:
        source_mm: (X, Y, Z, 3) float32, the person's coordinates of every node.
        stretch: (X, Y, Z) float32, how much the girth grew there; scales distances sampled from the person.
        gap_mm: (X, Y, Z) float32, how far the two legs moved apart there: widens the space between them.
        origin_mm: of node (0, 0, 0) in the subject's frame; nodes are ``NODE_MM`` apart.
    """

    source_mm: Points
    stretch: NDArray[np.float32]
    gap_mm: NDArray[np.float32]
    origin_mm: NDArray[np.float64]


def person_origin(person: Anatomy) -> NDArray[np.float64]:
    """Point of the person's frame that becomes the origin of a subject."""
    marks = person.landmarks
    head_y = np.mean([marks.head_mm[s][1] for s in SIDES])
    knee_z = np.mean([marks.knee_mm[s][2] for s in SIDES])
    return np.array([marks.midline_x_mm, head_y, knee_z])


def backward_map(
    atlas: Anatomy, deformation: Deformation, low_mm: NDArray[np.float64], high_mm: NDArray[np.float64]
) -> NodeMap:
    """Evaluate the map on nodes that cover the box ``low_mm`` .. ``high_mm`` of the subject's frame."""
    origin = np.asarray(low_mm, dtype=np.float64) - NODE_MM
    shape = np.ceil((high_mm - origin) / NODE_MM).astype(int) + 2
    axes = [origin[a] + NODE_MM * np.arange(shape[a]) for a in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).astype(np.float32)
    points += _waves(points.shape[:3], deformation)
    points /= np.array(deformation.scale, np.float32)
    points += person_origin(atlas).astype(np.float32)
    right = smoothstep((points[..., 0] - atlas.landmarks.midline_x_mm) / 30.0 + 0.5)
    result = np.zeros_like(points)
    stretch = np.zeros(points.shape[:3], np.float32)
    gap = np.zeros(points.shape[:3], np.float32)
    for side, share in ((Side.RIGHT, right), (Side.LEFT, 1.0 - right)):
        straight = _unbend(points, atlas, side, deformation.pose[side])
        moved, factor = _unstretch(straight, atlas, side, deformation.girth[side])
        _turn_neck_back(moved, atlas, side, deformation.neck_deg.get(side, 0.0))
        beyond = _keep_to_side(moved, points, atlas, side)
        result += share[..., None] * moved
        stretch += share * factor
        gap += share * beyond
    return NodeMap(result, stretch * np.float32(np.mean(deformation.scale[:2])), gap, origin)


def _keep_to_side(points: Points, before: Points, atlas: Anatomy, side: Side) -> NDArray[np.float32]:
    """Stop points that pose and girth carried over the midline in place, lest the other side is seen twice.

    Args:
        points: where the nodes of this side's map ended; changed in place.
        before: the same nodes before pose and girth.
        atlas, side: whose.

    Returns:
        By how much they were held back below the crotch: the legs moved apart.
    """
    outwards = 1.0 if side is Side.RIGHT else -1.0
    middle = atlas.landmarks.midline_x_mm
    crotch = atlas.landmarks.head_mm[side][2] - 45.0
    weight = smoothstep((crotch - points[..., 2]) / 50.0)
    limit = np.minimum((before[..., 0] - middle) * outwards, 0.0) * (1.0 - weight)
    beyond = np.maximum(0.0, limit - (points[..., 0] - middle) * outwards).astype(np.float32)
    points[..., 0] += outwards * beyond
    return np.asarray(beyond * weight, np.float32)


def _below_hip_mm(points: Points, atlas: Anatomy, side: Side) -> NDArray[np.float32]:
    """How far a point lies down the leg from the hip joint; towards the midline the leg starts lower."""
    outwards = 1.0 if side is Side.RIGHT else -1.0
    head = atlas.landmarks.head_mm[side]
    inwards = (head[0] - points[..., 0]) * outwards
    return np.asarray(head[2] - points[..., 2] - _PELVIS_MM * smoothstep(inwards / _PELVIS_WIDTH_MM), np.float32)


def _turn_neck_back(points: Points, atlas: Anatomy, side: Side, neck_deg: float) -> None:
    """Undo another angle of the femoral neck (in place).

    The head stays in its socket, the shaft keeps its direction: the neck turns about the head, and all that lies beyond
    its junction with the shaft moves along with the junction.
    """
    if not neck_deg:
        return
    outwards = 1.0 if side is Side.RIGHT else -1.0
    out, down = _NECK_MM
    turn = np.radians(neck_deg)
    shift_out = out * np.cos(turn) - down * np.sin(turn) - out
    shift_down = down * np.cos(turn) + out * np.sin(turn) - down
    away = np.maximum((points[..., 0] - atlas.landmarks.head_mm[side][0]) * outwards, -20.0)
    along = (away * out + _below_hip_mm(points, atlas, side) * down) / (out * out + down * down)
    share = np.clip(along, 0.0, 1.0)
    points[..., 0] -= outwards * np.float32(shift_out) * share
    points[..., 2] += np.float32(shift_down) * share


def smoothstep(t: NDArray[np.float32]) -> NDArray[np.float32]:
    """0 below 0, 1 above 1, and a smooth rise between (3 t^2 - 2 t^3)."""
    t = np.clip(t, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _waves(shape: tuple[int, ...], deformation: Deformation) -> Points:
    rng = np.random.default_rng(deformation.seed)
    total = np.zeros((*shape, 3), np.float32)
    for sigma, amplitude in deformation.wave_mm:
        # Long waves are made on few nodes and enlarged; the result is the same and costs little.
        step = max(1, int(sigma / NODE_MM / 2))
        small = [n // step + 8 for n in shape]
        for axis in range(3):
            noise = gaussian_filter(rng.standard_normal(small, dtype=np.float32), sigma / NODE_MM / step, mode="wrap")
            noise *= amplitude / max(float(noise.std()), 1e-6)
            total[..., axis] += _enlarge(noise, step, shape)
    return total


def _enlarge(small: NDArray[np.float32], step: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if step == 1:
        return small[tuple(slice(0, n) for n in shape)]
    result = small
    for axis in range(3):
        position = np.arange(shape[axis]) / step
        first = np.floor(position).astype(int)
        weight = (position - first).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        result = np.take(result, first, axis) * (1 - weight) + np.take(result, first + 1, axis) * weight
    return result


def _rotation(x_deg: NDArray[np.float32], y_deg: NDArray[np.float32], z_deg: NDArray[np.float32], v: Points) -> Points:
    """Rotate vectors by small-to-moderate angles that differ from point to point: about x, then y, then z."""
    a, b, c = (np.radians(d) for d in (x_deg, y_deg, z_deg))
    x, y, z = v[..., 0], v[..., 1], v[..., 2]
    y, z = y * np.cos(a) - z * np.sin(a), y * np.sin(a) + z * np.cos(a)
    x, z = x * np.cos(b) + z * np.sin(b), -x * np.sin(b) + z * np.cos(b)
    x, y = x * np.cos(c) - y * np.sin(c), x * np.sin(c) + y * np.cos(c)
    return np.stack([x, y, z], axis=-1)


def _unbend(points: Points, atlas: Anatomy, side: Side, pose: Pose) -> Points:
    outwards = 1.0 if side is Side.RIGHT else -1.0
    head = np.array(atlas.landmarks.head_mm[side], np.float32)
    knee = np.array(atlas.landmarks.knee_mm[side], np.float32)
    weight = smoothstep((_below_hip_mm(points, atlas, side) + 25.0) / 130.0)
    # Lifting the thigh forward turns -z towards +y: a positive angle about x. The map runs backward: signs reversed.
    vector = _rotation(
        -pose.hip_flexion_deg * weight,
        outwards * pose.hip_abduction_deg * weight,
        outwards * pose.hip_rotation_deg * weight,
        points - head,
    )
    straight = vector + head
    if pose.knee_flexion_deg:
        below = smoothstep((knee[2] + 15.0 - straight[..., 2]) / 70.0)
        zero = np.zeros_like(below)
        straight = _rotation(pose.knee_flexion_deg * below, zero, zero, straight - knee) + knee
    return straight.astype(np.float32)


def _unstretch(points: Points, atlas: Anatomy, side: Side, girth: Girth) -> tuple[Points, NDArray[np.float32]]:
    marks = atlas.landmarks
    head, knee = marks.head_mm[side], marks.knee_mm[side]
    outwards = 1.0 if side is Side.RIGHT else -1.0
    z = points[..., 2]
    levels = [knee[2] - 200, knee[2], (knee[2] + head[2]) / 2, head[2], marks.crest_z_mm, marks.crest_z_mm + 60]
    low, middle, hip, crest = girth.along
    factor = np.interp(z, levels, [low, low, middle, hip, crest, 1.0])
    axis_z = [knee[2] - 300, knee[2], knee[2] + 0.75 * (head[2] - knee[2]), head[2] + 5, marks.crest_z_mm]
    lateral = head[0] + outwards * 22.0
    axis_x = np.interp(z, axis_z, [knee[0], knee[0], lateral, head[0] + outwards * 10, head[0] + outwards * 12])
    axis_y = np.interp(z, axis_z, [knee[1] - 12, knee[1], head[1] - 4, head[1] - 2, head[1] - 10])
    dx, dy = points[..., 0] - axis_x, points[..., 1] - axis_y
    radius = np.hypot(dx, dy)
    angle = np.arctan2(dy, dx * outwards)
    (a1, p1), (a2, p2) = girth.around
    near_leg = smoothstep(((head[2] + 60 - z) / 120.0).astype(np.float32))
    factor = factor * (1.0 + near_leg * (a1 * np.cos(angle - p1) + a2 * np.cos(2 * (angle - p2))))
    # Above the crotch what lies at the midline stays where it is: the pubic bones keep their size.
    below_pubis = smoothstep(((head[2] - 50.0 - z) / 50.0).astype(np.float32))
    free = np.maximum(below_pubis, smoothstep((np.abs(points[..., 0] - marks.midline_x_mm) / 70.0).astype(np.float32)))
    factor = 1.0 + (factor - 1.0) * free
    rigid = _RIGID_RADIUS_MM + 22.0 * (1.0 - near_leg)
    source = np.where(radius > rigid, rigid + (radius - rigid) / factor, radius)
    ratio = np.where(radius > 1e-3, source / np.maximum(radius, 1e-3), 1.0)
    moved = points.copy()
    moved[..., 0] = axis_x + dx * ratio
    moved[..., 1] = axis_y + dy * ratio
    return moved, factor.astype(np.float32)
