"""The femur's axis, and levels on it, found from the bones of a label map.

- **Axis**: the straight line through the centres of the shaft's cross-sections, upwards. 0 mm is its lower end
  (condyles), its length the extent of the femur along it (condyles to the higher of head and greater trochanter).
- **Ischial tuberosity**: the lowest point of the hip bone of that side along the axis.
- **Lesser trochanter**: the farthest reach of the femur from its axis to the back and the middle (45 degrees) shows a
  peak there, 50 to 120 mm below the upper end. Where no peak of 3 mm stands out, 17% of the length below the upper
  end. Both figures were read from the four femora of the Visible Human atlas (peak 69 to 82 mm below the upper end,
  about 17% of the length), so this is an estimate.
- **Percentages** of the femur's length, the mid-thigh among them, only when both ends are in the scan.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_KEY, Side
from vastus.morphometry.field_of_view import Truncation
from vastus.morphometry.settings import MeasureSettings
from vastus.morphometry.voxels import ROW_OF_VALUE, AxisMap, LabelTally
from vastus.volume import Volume

ISCHIAL_TUBEROSITY = "ischial_tuberosity"
LESSER_TROCHANTER = "lesser_trochanter"
MID_THIGH = "mid_thigh"

_SHORTEST_FEMUR_MM = 60.0
_SHAFT_AREA_RATIO = 1.6
_SHAFT_END_MM = 15.0
_PART_SHARE = 0.05
_TROCHANTER_BELOW_TOP_MM = (50.0, 120.0)
_TROCHANTER_PROMINENCE_MM = 3.0
_TROCHANTER_SHARE_BELOW_TOP = 0.17

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Level:
    """A named height on the axis of the femur.

    Attributes:
        name: ``ischial_tuberosity``, ``lesser_trochanter``, ``mid_thigh`` or ``femur_30_percent`` and the like.
        position_mm: from the lower end of the femur that the scan shows.
        percent: of the femur's length; None when the femur is not complete.
        point_mm: RAS+ millimetres of the world, on the axis.
        method: how it was found.
    """

    name: str
    position_mm: float
    percent: float | None
    point_mm: tuple[float, float, float]
    method: str


@dataclass(frozen=True, slots=True, eq=False)
class Leg:
    """The femur of one side.

    Attributes:
        side: the patient's.
        origin_mm: RAS+ point of the axis at position 0.
        direction: unit vector, upwards.
        visible_mm: extent of what the scan shows.
        truncation: of the femur.
        levels: those that lie in the scan, from the knee up.
    """

    side: Side
    origin_mm: Points
    direction: Points
    visible_mm: float
    truncation: Truncation
    levels: tuple[Level, ...]

    @property
    def length_mm(self) -> float | None:
        """Length of the femur; None when the scan cuts it."""
        return None if self.truncation.any else self.visible_mm

    @property
    def tilt_degrees(self) -> float:
        """Angle between the axis and the long axis of the scan."""
        return float(np.degrees(np.arccos(min(1.0, abs(float(self.direction[2]))))))

    def level(self, name: str) -> Level | None:
        """A level by its name."""
        return next((level for level in self.levels if level.name == name), None)

    def axis_map(self, affine: Points) -> AxisMap:
        """Positions on the axis of the voxels of a grid."""
        return AxisMap(float(self.direction @ (affine[:3, 3] - self.origin_mm)), self.direction @ affine[:3, :3])


def find_leg(
    upright: Volume, tally: LabelTally, side: Side, truncations: tuple[Truncation, ...], settings: MeasureSettings
) -> Leg | None:
    """The femur of one side with its levels; None where less than 60 mm of it are labelled.

    Args:
        upright: label map in RAS order.
        tally, truncations: of that map.
        side: right or left.
        settings: which percentages are wanted.
    """
    femur = BY_KEY["femur"].label_value(side)
    points = _points(upright, tally, femur)
    if points is None:
        return None
    centre, direction = _shaft_axis(points)
    along = (points - centre) @ direction
    footprint = float(np.abs(direction @ upright.affine[:3, :3]).max())
    low, high = float(along.min()) - footprint / 2, float(along.max()) + footprint / 2
    if high - low < _SHORTEST_FEMUR_MM:
        return None
    origin = centre + low * direction
    leg = Leg(side, origin, direction, high - low, truncations[ROW_OF_VALUE[femur]], ())
    hip = BY_KEY["hip_bone"].label_value(side)
    found = [
        _ischial_tuberosity(leg, _points(upright, tally, hip), truncations[ROW_OF_VALUE[hip]], footprint),
        _lesser_trochanter(leg, points),
    ]
    found += [_percentage(leg, percent) for percent in sorted({50.0, *settings.levels_percent})]
    levels = [_level(leg, *entry) for entry in found if entry is not None]
    inside = tuple(sorted((lv for lv in levels if _in_grid(upright, lv)), key=lambda lv: lv.position_mm))
    return Leg(side, origin, direction, leg.visible_mm, leg.truncation, inside)


def _points(upright: Volume, tally: LabelTally, value: int) -> Points | None:
    """Voxel centres of a bone in mm, islands of less than 5% left out (a broken bone keeps its parts)."""
    import cc3d

    row = ROW_OF_VALUE[value]
    if tally.voxels[row] == 0:
        return None
    first, last = tally.first[row], tally.last[row] + 1
    box = upright.array[first[0] : last[0], first[1] : last[1], first[2] : last[2]] == value
    box = np.asfortranarray(box)
    parts, count = cc3d.connected_components(box, connectivity=26, return_N=True)
    if count > 1:
        sizes = np.bincount(parts.ravel(order="K"))
        sizes[0] = 0
        box = (sizes >= _PART_SHARE * sizes.sum())[parts]
    # Walked the way it lies in memory: the first axis is usually the fastest.
    index = np.argwhere(box.T)[:, ::-1] + first
    return index @ upright.affine[:3, :3].T + upright.affine[:3, 3]


def _shaft_axis(points: Points) -> tuple[Points, Points]:
    """A point and the direction of the line through the centres of the shaft's cross-sections.

    The shaft is where the cross-section is at most 1.6 times that of the thinnest tenth; the line through it does not
    depend on how much of the head or the condyles the scan shows. Where too little shaft is seen, the longest axis.
    """
    centre = points.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov((points - centre).T))
    direction = axes[:, -1] * (1.0 if axes[2, -1] >= 0 else -1.0)
    for _ in range(2):
        along = (points - centre) @ direction
        bins = np.floor((along - along.min()) / 5.0).astype(int)
        counts = np.bincount(bins)
        centres = np.stack([np.bincount(bins, points[:, a]) for a in range(3)], axis=1) / np.maximum(counts, 1)[:, None]
        ends = round(_SHAFT_END_MM / 5.0)
        inner = slice(ends, len(counts) - ends)
        if len(counts[inner]) < 12:
            break
        shaft = (counts[inner] > 0) & (counts[inner] <= _SHAFT_AREA_RATIO * np.percentile(counts[inner], 10))
        if shaft.sum() < 12:
            break
        line = centres[inner][shaft]
        centre = line.mean(axis=0)
        direction = np.linalg.svd(line - centre)[2][0]
        direction = direction * (1.0 if direction[2] >= 0 else -1.0)
    return centre, direction


_Found = tuple[str, float, str]


def _ischial_tuberosity(leg: Leg, hip: Points | None, cut: Truncation, footprint: float) -> _Found | None:
    if hip is None or cut.below or cut.in_plane:
        return None
    lowest = float(((hip - leg.origin_mm) @ leg.direction).min()) - footprint / 2
    return ISCHIAL_TUBEROSITY, lowest, "lowest point of the hip bone"


def _lesser_trochanter(leg: Leg, points: Points) -> _Found | None:
    from scipy.signal import find_peaks

    if leg.truncation.above or leg.truncation.in_plane:
        return None
    top = leg.visible_mm
    low, high = top - _TROCHANTER_BELOW_TOP_MM[1], top - _TROCHANTER_BELOW_TOP_MM[0]
    relative = points - leg.origin_mm
    along = relative @ leg.direction
    near = (along > low) & (along < high)
    to_middle = -1.0 if leg.side is Side.RIGHT else 1.0
    inwards = np.array([to_middle, -1.0, 0.0])
    inwards -= (inwards @ leg.direction) * leg.direction
    inwards /= np.linalg.norm(inwards)
    bins = np.floor(along[near] - low).astype(int)
    reach = np.full(max(int(high - low), 1) + 1, -np.inf)
    np.maximum.at(reach, bins, relative[near] @ inwards)
    seen = np.flatnonzero(np.isfinite(reach))
    if len(seen) > 10:
        filled = np.interp(np.arange(len(reach)), seen, reach[seen])
        smooth = np.convolve(np.pad(filled, 2, mode="edge"), np.full(5, 0.2), mode="valid")
        peaks, properties = find_peaks(smooth, prominence=_TROCHANTER_PROMINENCE_MM)
        if len(peaks):
            best = peaks[int(np.argmax(properties["prominences"]))]
            return LESSER_TROCHANTER, low + float(best) + 0.5, "postero-medial peak of the femur"
    if leg.truncation.any:
        return None
    share = f"{100 * _TROCHANTER_SHARE_BELOW_TOP:.0f}% of the femur below its upper end"
    return LESSER_TROCHANTER, top * (1 - _TROCHANTER_SHARE_BELOW_TOP), share


def _percentage(leg: Leg, percent: float) -> _Found | None:
    if leg.length_mm is None:
        return None
    name = MID_THIGH if percent == 50 else f"femur_{percent:g}_percent"
    return name, leg.length_mm * percent / 100, "share of the femur's length"


def _level(leg: Leg, name: str, position_mm: float, method: str) -> Level:
    x, y, z = (float(v) for v in leg.origin_mm + position_mm * leg.direction)
    percent = None if leg.length_mm is None else 100 * position_mm / leg.length_mm
    return Level(name, position_mm, percent, (x, y, z), method)


def _in_grid(upright: Volume, level: Level) -> bool:
    index = np.linalg.inv(upright.affine) @ np.array([*level.point_mm, 1.0])
    return bool(-0.5 <= index[2] <= upright.shape[2] - 0.5)
