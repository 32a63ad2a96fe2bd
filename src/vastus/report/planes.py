"""Which planes of a scan to show, and where to crop them: chosen by the femora, found on a coarse look at the arrays.

Everything works on ``to_ras`` views, so every orientation of the same scan gives the same picture, and on strided
views, so a 512 x 512 x 450 scan is surveyed in a few milliseconds without a copy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, LARGEST_CLASS_ID, SIDES, Side, StructureTable
from vastus.errors import GeometryError
from vastus.volume import Volume, to_ras

_SURVEY_LABELS_MM = 4.0
_SURVEY_BODY_MM = 6.0
_BODY_HU = -300.0
_PART_OF_BODY = 0.15
_MARGIN_XY_MM = 60.0
_MARGIN_Z_MM = 30.0
_SAME_PLANE_MM = 12.0
_BEHIND_FEMUR_MM = 45.0
_STRAY_PERCENT = 0.1
_MOST_LEVELS = 13
_FEWER_LEVELS = 12
_SHORTEST_FEMUR_MM = 150.0
_AS_LONG = 0.8
"""Femora whose visible lengths differ by less are averaged."""

Index3 = tuple[int, int, int]


class View(Enum):
    """How a plane cuts the body; ``value`` is the RAS axis that it is perpendicular to."""

    SAGITTAL = 0
    CORONAL = 1
    AXIAL = 2


@dataclass(frozen=True, slots=True)
class Plane:
    """One plane of the RAS view: its voxel index along ``view``'s axis and what to write beside it."""

    view: View
    index: int
    title: str
    detail: str


@dataclass(frozen=True, slots=True)
class Extent:
    """A box of RAS voxels, ``start`` included and ``stop`` excluded, and the median position inside."""

    start: Index3
    stop: Index3
    middle: Index3


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A CT and its label map turned to RAS, with the box worth showing and what was found in it.

    ``labels`` is ``None`` for a CT alone. ``femora`` and ``sides`` hold what is in the label map, nothing else.
    """

    ct: Volume
    labels: Volume | None
    frame: Extent
    labelled: Extent | None
    femora: dict[Side, Extent]
    sides: dict[Side, Extent]
    table: StructureTable = BUILT_IN

    def where(self, axis: int, index: int) -> str:
        """World coordinate of a plane at the middle of the frame in words: x, y or z in mm, RAS+."""
        position = np.array([*self.frame.middle, 1.0])
        position[axis] = index
        millimetres = f"{(self.ct.affine @ position)[axis]:z.0f}".replace("-", "−")
        return f"{'xyz'[axis]} {millimetres} mm"


def make_scene(ct: Volume, labels: Volume | None, table: StructureTable = BUILT_IN) -> Scene:
    """Turn to RAS and look through the whole array once.

    Raises:
        GeometryError: the label map is not on the grid of the CT.
    """
    if labels is not None and not ct.same_grid(labels):
        raise GeometryError(
            f"The label map is not on the grid of the CT: {ct.difference_to(labels)}.",
            remedy="Give labels made from this very CT.",
        )
    ct = to_ras(ct)
    if labels is None:
        return Scene(ct, None, _body(ct, (0, ct.shape[2])), None, {}, {})
    labels = to_ras(labels)
    steps = _steps(labels, _SURVEY_LABELS_MM)
    coarse = labels.array[:: steps[0], :: steps[1], :: steps[2]].copy(order="K")  # looked at many times
    labelled = _extent(coarse > 0, steps, labels.shape)
    femur = table.by_key.get("femur")
    femora: dict[Side, Extent] = {}
    sides: dict[Side, Extent] = {}
    for side in (*SIDES, Side.UNKNOWN):
        if femur is not None:
            bone = _extent(coarse == femur.label_value(side), steps, labels.shape, outliers=_STRAY_PERCENT)
            if bone is not None:
                femora[side] = bone
        within = (coarse > side.offset) & (coarse <= side.offset + LARGEST_CLASS_ID)
        half = _extent(within, steps, labels.shape)
        if half is not None:
            sides[side] = half
    frame = _frame(ct, labelled)
    return Scene(ct, labels, frame, labelled, femora, sides, table)


def axial_planes(scene: Scene, count: int | None = None) -> tuple[Plane, ...]:
    """Axial planes from the hip down to the knee.

    With a femur: every tenth of its visible length (5 %, 15 % ... from the knee) and on upwards in the same step as
    far as anything is labelled; at most 13, else spread evenly. Without one: evenly over what is labelled, or the scan.

    Args:
        scene: what to show.
        count: exactly that many (where the scan has as many slices) instead.
    """
    low, high = _labelled_heights(scene)
    ends = femur_ends(scene)
    if ends is None:
        heights = _even(low, high, count or _FEWER_LEVELS)
    else:
        knee, length = ends[0], ends[1] - ends[0]
        fractions = np.arange(0.05, (high - knee) / length, 0.10)
        heights = [float(knee + f * length) for f in fractions]
        if count is not None or len(heights) > _MOST_LEVELS:
            heights = _even(min(low, knee), high, count or _FEWER_LEVELS)
    indices = sorted({_clip(round(h), low, high) for h in heights}, reverse=True)
    planes = []
    for k in indices:
        z = scene.where(2, k)
        if ends is None:
            planes.append(Plane(View.AXIAL, k, z, ""))
        else:
            planes.append(Plane(View.AXIAL, k, f"{100 * (k - ends[0]) / (ends[1] - ends[0]):.0f} %", z))
    return tuple(planes)


def coronal_planes(scene: Scene) -> tuple[Plane, ...]:
    """Coronal planes: through the femora (one plane each where they lie at different depths) and one behind them."""
    spacing = scene.ct.spacing_mm[1]
    low, high = scene.frame.start[1], scene.frame.stop[1] - 1
    depths = {side: box.middle[1] for side, box in scene.femora.items()}
    if not depths:
        middle = (scene.labelled or scene.frame).middle[1]
        return (_plane(scene, View.CORONAL, middle, "middle of what is labelled" if scene.labelled else "middle"),)
    if (max(depths.values()) - min(depths.values())) * spacing > _SAME_PLANE_MM:
        planes = [
            _plane(scene, View.CORONAL, depth, f"through the {side.value} femur")
            for side, depth in sorted(depths.items(), key=lambda item: SIDES.index(item[0]) if item[0] in SIDES else 2)
        ]
    else:
        name = "femora" if len(depths) > 1 else "femur"
        planes = [_plane(scene, View.CORONAL, round(float(np.mean(list(depths.values())))), f"through the {name}")]
    behind = round(min(depths.values()) - _BEHIND_FEMUR_MM / spacing)
    if low < behind < high:
        planes.append(_plane(scene, View.CORONAL, behind, f"{_BEHIND_FEMUR_MM:.0f} mm behind"))
    return tuple(planes)


def sagittal_planes(scene: Scene) -> tuple[Plane, ...]:
    """One sagittal plane a leg: through its femur, else through the middle of what is labelled on that side."""
    found = {side: (box, "through the femur") for side, box in scene.femora.items()}
    for side, box in scene.sides.items():
        found.setdefault(side, (box, "middle of what is labelled"))
    if any(side in found for side in SIDES):
        found.pop(Side.UNKNOWN, None)
    if not found:
        return (_plane(scene, View.SAGITTAL, scene.frame.middle[0], "middle"),)
    names = {Side.RIGHT: "Right leg, ", Side.LEFT: "Left leg, ", Side.UNKNOWN: ""}
    return tuple(
        _plane(scene, View.SAGITTAL, found[side][0].middle[0], names[side] + found[side][1])
        for side in names
        if side in found
    )


def _plane(scene: Scene, view: View, index: int, title: str) -> Plane:
    axis = view.value
    inside = _clip(index, scene.frame.start[axis], scene.frame.stop[axis] - 1)
    return Plane(view, inside, title[:1].upper() + title[1:], scene.where(axis, inside))


def _labelled_heights(scene: Scene) -> tuple[int, int]:
    box = scene.labelled or scene.frame
    return box.start[2], box.stop[2] - 1


def femur_ends(scene: Scene) -> tuple[float, float] | None:
    """Mean index of the lower and the upper end of the femora; ``None`` where too little is seen to tell levels by.

    A femur of which much less is seen than of the other tells nothing about the levels.
    """
    if not scene.femora:
        return None
    longest = max(b.stop[2] - b.start[2] for b in scene.femora.values())
    boxes = [b for b in scene.femora.values() if b.stop[2] - b.start[2] >= _AS_LONG * longest]
    knee, hip = float(np.mean([b.start[2] for b in boxes])), float(np.mean([b.stop[2] - 1 for b in boxes]))
    return (knee, hip) if (hip - knee) * scene.ct.spacing_mm[2] > _SHORTEST_FEMUR_MM else None


def _even(low: float, high: float, count: int) -> list[float]:
    """``count`` heights in the middles of as many equal parts, so that no picture shows the very edge."""
    return [low + (high - low) * (n + 0.5) / count for n in range(count)]


def _clip(value: int, low: int, high: int) -> int:
    return max(low, min(high, value))


def _steps(volume: Volume, wanted_mm: float) -> Index3:
    x, y, z = (max(1, round(wanted_mm / s)) for s in volume.spacing_mm)
    return x, y, z


def _extent(mask: NDArray[np.bool_], steps: Index3, shape: Index3, outliers: float = 0.0) -> Extent | None:
    """Box of a coarse mask in full voxels; ``outliers`` percent at either end don't count (stray islands)."""
    where = np.nonzero(mask)
    if where[0].size == 0:
        return None
    low, high, middle = [], [], []
    for axis in range(3):
        first, half, last = np.percentile(where[axis], [outliers, 50, 100 - outliers], method="nearest")
        low.append(int(first) * steps[axis])
        high.append(min(shape[axis], (int(last) + 1) * steps[axis]))
        middle.append(min(shape[axis] - 1, int(half) * steps[axis]))
    return Extent(_three(low), _three(high), _three(middle))


def _three(values: Iterable[Any]) -> Index3:
    i, j, k = (int(v) for v in values)
    return i, j, k


def _body(ct: Volume, heights: tuple[int, int]) -> Extent:
    """Box of the body between two heights: what is denser than -300 HU and not a small part like a table's edge."""
    from scipy.ndimage import label

    steps = _steps(ct, _SURVEY_BODY_MM)
    whole = Extent(
        (0, 0, heights[0]),
        (ct.shape[0], ct.shape[1], heights[1]),
        (ct.shape[0] // 2, ct.shape[1] // 2, sum(heights) // 2),
    )
    coarse = ct.array[:: steps[0], :: steps[1], heights[0] : heights[1] : steps[2]] > _BODY_HU
    parts, count = label(coarse)
    if count == 0:
        return whole
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    body = _extent((sizes >= _PART_OF_BODY * sizes.max())[parts], steps, ct.shape)
    if body is None:
        return whole
    start = [max(0, body.start[axis] - steps[axis]) for axis in range(2)]
    stop = [min(ct.shape[axis], body.stop[axis] + steps[axis]) for axis in range(2)]
    return Extent(
        (start[0], start[1], heights[0]),
        (stop[0], stop[1], heights[1]),
        (body.middle[0], body.middle[1], sum(heights) // 2),
    )


def _frame(ct: Volume, labelled: Extent | None) -> Extent:
    """The box to show: the body around what is labelled, with a margin; the whole body where nothing is."""
    if labelled is None:
        return _body(ct, (0, ct.shape[2]))
    margins = [mm / s for mm, s in zip((_MARGIN_XY_MM, _MARGIN_XY_MM, _MARGIN_Z_MM), ct.spacing_mm, strict=True)]
    start = [max(0, int(labelled.start[axis] - margins[axis])) for axis in range(3)]
    stop = [min(ct.shape[axis], int(np.ceil(labelled.stop[axis] + margins[axis]))) for axis in range(3)]
    body = _body(ct, (start[2], stop[2]))
    for axis in range(2):
        start[axis] = min(labelled.start[axis], max(start[axis], body.start[axis]))
        stop[axis] = max(labelled.stop[axis], min(stop[axis], body.stop[axis]))
    return Extent(_three(start), _three(stop), labelled.middle)
