"""What somebody drew in a person, on the voxels of the atlas: a label map made ready to become a body.

Labels are drawn slice by slice, often 3 mm apart: their surfaces have steps. Between two slices each structure's
outline passes smoothly into the next (signed distances of the slices, interpolated; Raya and Udupa 1990, IEEE
Transactions on Medical Imaging 9), and all structures compete for each voxel, so that neighbours stay neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vastus.anatomy import SIDES, Side
from vastus.errors import GeometryError, MissingInputError
from vastus.synthesis.atlas import Atlas, Landmarks, Part, part_from_mask
from vastus.synthesis.bundles import resampled
from vastus.synthesis.correspondence import Group
from vastus.synthesis.kernels import VOXEL_MM
from vastus.synthesis.tissues import Tissue
from vastus.volume import Volume, to_ras

_CLIP_MM = 8.0
"""Distances in a slice count up to here. Where a structure ends it reaches half a slice beyond its last one."""
_SMOOTHING_VOXELS = 0.6
_BESIDE_MM = 90.0
"""So far beside what is drawn the outline of the body is looked for."""
_BEYOND = 12
"""So many slices are added where the drawing ends within a structure: the end of the image is no surface."""
_SOCKET_MM = 8.0
"""The surface of the femur so near the hip bone belongs to the head."""
_HEAD_RADIUS_MM = (14.0, 36.0)
_CONDYLES_MM = 35.0
_SHAFT_SHARE = 0.35
"""The direction of the thigh is read off the shaft so far below the hip, as a share of the leg; less if it ends."""
_OBLIQUE = 0.02

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class DrawnName:
    """What a value of a label map means.

    Attributes:
        value: in the label map.
        parts: names of the atlas' parts that a voxel may be; several where they were drawn as one.
        side: of the patient; ``UNKNOWN`` where both sides share the value.
    """

    value: int
    parts: Group
    side: Side = Side.UNKNOWN


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A label map on the voxels of the atlas.

    Attributes:
        labels: (X, Y, Z) uint8, values of ``names``, 0 for the rest; voxels of ``VOXEL_MM``, axes RAS.
        origin_mm: centre of voxel (0, 0, 0).
        names: what is drawn. A structure that has a name is drawn wherever it is.
        skin: (X, Y, Z) what lies under the skin; None where nobody knows.
    """

    labels: NDArray[np.uint8]
    origin_mm: NDArray[np.float64]
    names: tuple[DrawnName, ...]
    skin: Mask | None = None

    @property
    def seen_mm(self) -> tuple[float, float]:
        """From which height to which there are labels."""
        hit = np.flatnonzero((self.labels > 0).any(axis=(0, 1)))
        low, high = (float(self.origin_mm[2] + VOXEL_MM * k) for k in (hit[0], hit[-1]))
        return low, high

    def groups(self) -> tuple[tuple[DrawnName, ...], ...]:
        """Names that may mean the same part belong together (iliacus or iliopsoas, psoas or iliopsoas)."""
        found: list[list[DrawnName]] = []
        for name in self.names:
            same = [group for group in found if any(set(name.parts) & set(other.parts) for other in group)]
            found = [group for group in found if group not in same]
            found.append([*chain.from_iterable(same), name])
        return tuple(tuple(group) for group in found)

    def mask_of(self, names: Sequence[DrawnName]) -> Mask:
        """The voxels that bear one of some names."""
        table = np.zeros(256, bool)
        table[[name.value for name in names]] = True
        return table[self.labels]

    def part_of(self, names: Sequence[DrawnName], label: str) -> Part | None:
        """One part of all that bears these names; it goes on where the image ends. None where there is nothing."""
        mask = self.mask_of(names)
        if not mask.any():
            return None
        mask = np.pad(mask, ((0, 0), (0, 0), (_BEYOND, _BEYOND)), mode="edge")
        origin = self.origin_mm - np.array([0, 0, VOXEL_MM * _BEYOND])
        return part_from_mask(label, int(Tissue.OTHER_MUSCLE), Side.UNKNOWN, mask, origin, procedural=False)


def drawn_person(labels: Volume, names: Sequence[DrawnName], skin: Volume | None = None) -> Drawn:
    """Bring a label map onto the voxels of the atlas, smooth between its slices.

    Args:
        labels: whole numbers; what has no name counts as nothing.
        names: of its values, below 255.
        skin: on the same grid; above 0 under the skin. What touches no label (arms, hands, couch) is left out.

    Raises:
        GeometryError: an oblique grid.
        MissingInputError: no value of the names occurs.
    """
    upright = to_ras(labels)
    spacing = np.array(upright.spacing_mm)
    if np.abs(upright.affine[:3, :3] - np.diag(spacing)).max() > _OBLIQUE * spacing.min():
        raise GeometryError("The label map is oblique.", remedy="Resample it to axes along the patient's.")
    wanted = np.isin(upright.array, [name.value for name in names])
    if not wanted.any():
        raise MissingInputError("No value of the table of names occurs in the label map.")
    known = np.flatnonzero(wanted.any(axis=(0, 1)))
    box = (*(_box(wanted, axis, spacing, _BESIDE_MM) for axis in range(2)), slice(int(known[0]), int(known[-1]) + 1))
    # Whatever is not named is 0, and so is what lies beside the body.
    array = np.where(wanted[box], upright.array[box], 0).astype(np.uint8)
    origin = upright.affine[:3, 3] + spacing * [s.start for s in box]
    have = [origin[a] + spacing[a] * np.arange(array.shape[a]) for a in range(3)]
    want = [np.arange(np.ceil(h[0] / VOXEL_MM), np.floor(h[-1] / VOXEL_MM) + 1) * VOXEL_MM for h in have]
    best = np.zeros([len(w) for w in want], np.float32)
    smooth = np.zeros(best.shape, np.uint8)
    for value in sorted({name.value for name in names}):
        inside = array == value
        if not inside.any():
            continue
        window = tuple(_box(inside, axis, spacing) for axis in range(3))
        lines = [h[w] for h, w in zip(have, window, strict=True)]
        target = [(w >= line[0]) & (w <= line[-1]) for w, line in zip(want, lines, strict=True)]
        place = tuple(slice(int(np.flatnonzero(t)[0]), int(np.flatnonzero(t)[-1]) + 1) for t in target)
        distance = _between_slices(inside[window], lines, [w[p] for w, p in zip(want, place, strict=True)])
        nearer = distance < best[place]
        best[place][nearer] = distance[nearer]
        smooth[place][nearer] = value
    start = np.array([w[0] for w in want])
    outline = None if skin is None else _skin(to_ras(skin).array[box] > 0, array > 0, have, want)
    return Drawn(smooth, start, tuple(names), outline)


def _box(mask: Mask, axis: int, spacing: NDArray[np.float64], room_mm: float = 1.5 * _CLIP_MM) -> slice:
    """Where a mask is along an axis, with room for the distances."""
    hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
    room = max(int(np.ceil(room_mm / spacing[axis])), 2)
    return slice(max(int(hit[0]) - room, 0), min(int(hit[-1]) + room + 1, mask.shape[axis]))


def _between_slices(
    inside: Mask, have: Sequence[NDArray[np.float64]], want: Sequence[NDArray[np.float64]]
) -> NDArray[np.float32]:
    """Signed distance on other lines, from the distances within each slice."""
    step = [line[1] - line[0] for line in have[:2]]
    distance = np.full(inside.shape, _CLIP_MM, np.float32)
    for k in np.flatnonzero(inside.any(axis=(0, 1))):
        plane = np.pad(inside[..., k], 1, mode="edge")
        outer = ndimage.distance_transform_edt(~plane, sampling=step)
        inner = ndimage.distance_transform_edt(plane, sampling=step)
        # The surface lies half a voxel before the first voxel of the other side.
        half = np.float32(min(step) / 2)
        distance[..., k] = (np.maximum(outer - half, 0) - np.maximum(inner - half, 0))[1:-1, 1:-1]
    np.clip(distance, -_CLIP_MM, _CLIP_MM, out=distance)
    result = resampled(distance, have, want)
    return np.asarray(ndimage.gaussian_filter(result, _SMOOTHING_VOXELS, mode="nearest"), np.float32)


def _skin(skin: Mask, labels: Mask, have: Sequence[NDArray[np.float64]], want: Sequence[NDArray[np.float64]]) -> Mask:
    """The outline on the voxels of the atlas, without what touches no label."""
    kept = np.zeros_like(skin)
    for k in range(skin.shape[2]):
        pieces, _ = ndimage.label(skin[..., k] | labels[..., k])
        touched = np.unique(pieces[labels[..., k]])
        kept[..., k] = ndimage.binary_fill_holes(np.isin(pieces, touched[touched > 0]))
    return np.asarray(_between_slices(kept, have, want) < 0)


def find_landmarks(drawn: Drawn, whole: Atlas) -> Landmarks:
    """Hips and knees of what is drawn. A knee that is not there is put where the whole person would have it.

    Raises:
        MissingInputError: the femora or the hip bones are not drawn, or not on both sides.
    """
    femur, hip_bone = (drawn.mask_of([n for n in drawn.names if n.parts == (key,)]) for key in ("femur", "hip_bone"))
    if not femur.any() or not hip_bone.any():
        raise MissingInputError("The label map has no femur, or no hip bone.", remedy="Both are needed, on both sides.")
    heads = dict(_heads(femur, hip_bone, drawn.origin_mm))
    size = _size(heads, hip_bone, drawn, whole)
    knees = {side: _knee(femurs, heads[side], side, drawn, (whole, size)) for side, femurs in _sides(femur)}
    top = np.flatnonzero(hip_bone.any(axis=(0, 1)))[-1]
    crest = drawn.origin_mm[2] + VOXEL_MM * top
    if top > drawn.labels.shape[2] - 4:
        marks = whole.landmarks
        above = marks.crest_z_mm - np.mean([h[2] for h in marks.head_mm.values()])
        crest = np.mean([h[2] for h in heads.values()]) + size * above
    return Landmarks(heads, knees, float(crest), float(np.mean([h[0] for h in heads.values()])))


def _sides(femur: Mask) -> Iterator[tuple[Side, Mask]]:
    """The two femora; x runs to the patient's right."""
    columns = np.flatnonzero(femur.any(axis=(1, 2)))
    middle = int((columns[0] + columns[-1]) / 2)
    for side in SIDES:
        one = femur.copy()
        one[: middle + 1 if side is Side.RIGHT else 0] = False
        if side is Side.LEFT:
            one[middle + 1 :] = False
        yield side, one


def _heads(
    femur: Mask, hip_bone: Mask, origin_mm: NDArray[np.float64]
) -> Iterator[tuple[Side, tuple[float, float, float]]]:
    way = ndimage.distance_transform_edt(~hip_bone) * VOXEL_MM
    for side, one in _sides(femur):
        surface = one & ~ndimage.binary_erosion(one)
        points = np.argwhere(surface & (way < _SOCKET_MM)) * VOXEL_MM + origin_mm
        centre, radius = np.zeros(3), 0.0
        for _ in range(3):
            if len(points) < 30:
                break
            equations = np.column_stack([2 * points, np.ones(len(points))])
            found = np.linalg.lstsq(equations, (points**2).sum(axis=1), rcond=None)[0]
            centre, radius = found[:3], float(np.sqrt(found[3] + found[:3] @ found[:3]))
            points = points[np.abs(np.linalg.norm(points - centre, axis=1) - radius) < 2.5]
        if not _HEAD_RADIUS_MM[0] < radius < _HEAD_RADIUS_MM[1]:
            raise MissingInputError(
                f"No head of the {side.value} femur is seen in a hip bone.", remedy="Both hips are needed."
            )
        yield side, (float(centre[0]), float(centre[1]), float(centre[2]))


def _size(heads: dict[Side, tuple[float, float, float]], hip_bone: Mask, drawn: Drawn, whole: Atlas) -> float:
    """How large the person is beside the whole one: distance of the hips, and the height of the hip bones."""
    have, other = ([np.array(marks[side]) for side in SIDES] for marks in (heads, whole.landmarks.head_mm))
    ratios = [float(np.linalg.norm(have[0] - have[1]) / np.linalg.norm(other[0] - other[1]))]
    levels = np.flatnonzero(hip_bone.any(axis=(0, 1)))
    if levels[0] > 3 and levels[-1] < drawn.labels.shape[2] - 4:
        bones = [p for p in whole.parts if p.name == "hip_bone"]
        ends = [np.flatnonzero((p.distance < 0).any(axis=(0, 1)))[[0, -1]] for p in bones]
        ratios.append((levels[-1] - levels[0]) / float(np.mean([b - a for a, b in ends])))
    return float(np.exp(np.mean(np.log(ratios))))


def _knee(
    femur: Mask, head: tuple[float, float, float], side: Side, drawn: Drawn, like: tuple[Atlas, float]
) -> tuple[float, float, float]:
    whole, size = like
    theirs = next(p for p in whole.parts if p.name == "femur" and p.side is side)
    their_head, their_knee = (np.array(m[side]) for m in (whole.landmarks.head_mm, whole.landmarks.knee_mm))
    levels = np.flatnonzero(femur.any(axis=(0, 1)))
    if levels[0] > 2:
        # The whole bone is there.
        their_levels = np.flatnonzero((theirs.distance < 0).any(axis=(0, 1)))
        gap = their_knee[2] - (theirs.origin_mm[2] + VOXEL_MM * their_levels[0])
        end = femur[:, :, levels[0] : levels[0] + round(_CONDYLES_MM / VOXEL_MM)]
        where = np.argwhere(end)[:, :2]
        centre = drawn.origin_mm[:2] + VOXEL_MM * (where.min(axis=0) + where.max(axis=0)) / 2
        return float(centre[0]), float(centre[1]), float(drawn.origin_mm[2] + VOXEL_MM * levels[0] + size * gap)
    down = size * (their_knee - their_head)
    lowest = head[2] - (drawn.origin_mm[2] + VOXEL_MM * (levels[0] + 3))
    below = float(min(_SHAFT_SHARE * -down[2], lowest))
    aside = _centre_at(femur, drawn.origin_mm, head[2] - below) - np.array(head[:2])
    expected = size * (_centre_at(theirs.distance < 0, theirs.origin_mm, their_head[2] - below / size) - their_head[:2])
    lean = (aside - expected) / below
    x, y = np.array(head[:2]) + down[:2] - lean * down[2]
    return float(x), float(y), float(head[2] + down[2])


def _centre_at(bone: Mask, origin_mm: NDArray[np.float64], height_mm: float) -> NDArray[np.float64]:
    """Middle of a bone's section, x and y in mm."""
    level = int(np.clip(round((height_mm - origin_mm[2]) / VOXEL_MM), 0, bone.shape[2] - 1))
    return np.asarray(origin_mm[:2] + VOXEL_MM * np.argwhere(bone[..., level]).mean(axis=0))
