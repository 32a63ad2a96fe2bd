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

from vastus.anatomy import Side
from vastus.morphometry.bone import Bone, StraightLine, Vector, find_bone
from vastus.morphometry.field_of_view import Truncation
from vastus.morphometry.settings import MeasureSettings
from vastus.morphometry.voxels import AxisMap, LabelTally
from vastus.volume import Volume

ISCHIAL_TUBEROSITY = "ischial_tuberosity"
LESSER_TROCHANTER = "lesser_trochanter"
MID_THIGH = "mid_thigh"

_SHORTEST_FEMUR_MM = 60.0
_SHAFT_AREA_RATIO = 1.6
_SHAFT_END_MM = 15.0
_SECTION_MM = 5.0
_TROCHANTER_BELOW_TOP_MM = (50.0, 120.0)
_TROCHANTER_PROMINENCE_MM = 3.0
_TROCHANTER_SHARE_BELOW_TOP = 0.17


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
    origin_mm: Vector
    direction: Vector
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
        """Return a level by its name."""
        return next((level for level in self.levels if level.name == name), None)

    def axis_map(self, affine: Vector) -> AxisMap:
        """Return the positions of the voxels of a grid on the axis."""
        return AxisMap(float(self.direction @ (affine[:3, 3] - self.origin_mm)), self.direction @ affine[:3, :3])


def find_leg(
    upright: Volume, tally: LabelTally, side: Side, truncations: tuple[Truncation, ...], settings: MeasureSettings
) -> Leg | None:
    """Find the femur of one side with its levels; None if less than 60 mm of it are labelled, or the table has none.

    Args:
        upright: label map in RAS order.
        tally, truncations: of that map.
        side: right or left.
        settings: which percentages are wanted.
    """
    femur = _value_of("femur", side, tally)
    if femur is None:
        return None
    bone = find_bone(upright, tally, femur)
    if bone is None:
        return None
    centre, direction = _shaft_axis(bone)
    low, high = bone.extent_mm(StraightLine(centre, direction))
    footprint = float(np.abs(direction @ upright.affine[:3, :3]).max())
    low, high = low - footprint / 2, high + footprint / 2
    if high - low < _SHORTEST_FEMUR_MM:
        return None
    origin = centre + low * direction
    leg = Leg(side, origin, direction, high - low, truncations[tally.row_of_value[femur]], ())
    hip = _value_of("hip_bone", side, tally)
    found = [_lesser_trochanter(leg, bone)]
    if hip is not None:
        cut = truncations[tally.row_of_value[hip]]
        found.insert(0, _ischial_tuberosity(leg, find_bone(upright, tally, hip), cut, footprint))
    found += [_percentage(leg, percent) for percent in sorted({50.0, *settings.levels_percent})]
    levels = [_level(leg, *entry) for entry in found if entry is not None]
    inside = tuple(sorted((lv for lv in levels if _in_grid(upright, lv)), key=lambda lv: lv.position_mm))
    return Leg(side, origin, direction, leg.visible_mm, leg.truncation, inside)


def _value_of(key: str, side: Side, tally: LabelTally) -> int | None:
    """The label value of a bone on one side; None where the table of structures has no such pair."""
    bone = tally.table.by_key.get(key)
    return bone.label_value(side) if bone is not None and bone.paired else None


def _shaft_axis(bone: Bone) -> tuple[Vector, Vector]:
    """Compute a point and the direction of the line through the centres of the shaft's cross-sections.

    The shaft is where the cross-section is at most 1.6 times that of the thinnest tenth; the line through it does not
    depend on how much of the head or the condyles the scan shows. Where too little shaft is seen, the longest axis.
    """
    centre, covariance = bone.centre_and_covariance()
    _, axes = np.linalg.eigh(covariance)
    direction = axes[:, -1] * (1.0 if axes[2, -1] >= 0 else -1.0)
    for _ in range(2):
        sections = bone.sections(StraightLine(centre, direction), _SECTION_MM)
        ends = round(_SHAFT_END_MM / _SECTION_MM)
        inner = slice(ends, len(sections.count) - ends)
        counts = sections.count[inner]
        if len(counts) < 12:
            break
        shaft = (counts > 0) & (counts <= _SHAFT_AREA_RATIO * np.percentile(counts, 10))
        if shaft.sum() < 12:
            break
        line = sections.centre_mm[inner][shaft]
        centre = line.mean(axis=0)
        direction = np.linalg.svd(line - centre)[2][0]
        direction = direction * (1.0 if direction[2] >= 0 else -1.0)
    return centre, direction


_Found = tuple[str, float, str]


def _ischial_tuberosity(leg: Leg, hip: Bone | None, cut: Truncation, footprint: float) -> _Found | None:
    if hip is None or cut.below or cut.in_plane:
        return None
    lowest = hip.extent_mm(StraightLine(leg.origin_mm, leg.direction))[0] - footprint / 2
    return ISCHIAL_TUBEROSITY, lowest, "lowest point of the hip bone"


def _lesser_trochanter(leg: Leg, bone: Bone) -> _Found | None:
    if leg.truncation.above or leg.truncation.in_plane:
        return None
    top = leg.visible_mm
    low, high = top - _TROCHANTER_BELOW_TOP_MM[1], top - _TROCHANTER_BELOW_TOP_MM[0]
    to_middle = -1.0 if leg.side is Side.RIGHT else 1.0
    inwards = np.array([to_middle, -1.0, 0.0])
    inwards -= (inwards @ leg.direction) * leg.direction
    inwards /= np.linalg.norm(inwards)
    reach = bone.farthest_mm(StraightLine(leg.origin_mm, leg.direction), inwards, (low, high))
    seen = np.flatnonzero(np.isfinite(reach))
    if len(seen) > 10:
        filled = np.interp(np.arange(len(reach)), seen, reach[seen])
        smooth = np.convolve(np.pad(filled, 2, mode="edge"), np.full(5, 0.2), mode="valid")
        best = most_prominent_peak(smooth, _TROCHANTER_PROMINENCE_MM)
        if best is not None:
            return LESSER_TROCHANTER, low + float(best) + 0.5, "postero-medial peak of the femur"
    if leg.truncation.any:
        return None
    share = f"{100 * _TROCHANTER_SHARE_BELOW_TOP:.0f}% of the femur below its upper end"
    return LESSER_TROCHANTER, top * (1 - _TROCHANTER_SHARE_BELOW_TOP), share


def most_prominent_peak(curve: Vector, least: float) -> int | None:
    """Find the most prominent peak, of at least ``least``: the middle of a plateau, the first of equals.

    The same as ``scipy.signal.find_peaks`` gives, whose import alone takes longer than all measuring.
    """
    best, best_prominence = None, least
    start = 1
    while start < len(curve) - 1:
        end = start
        while end < len(curve) - 1 and curve[end + 1] == curve[start]:
            end += 1
        if curve[start - 1] < curve[start] and end < len(curve) - 1 and curve[end + 1] < curve[start]:
            higher = np.flatnonzero(curve > curve[start])
            left, right = higher[higher < start], higher[higher > end]
            base_left = curve[(left[-1] if len(left) else 0) : start].min()
            base_right = curve[end + 1 : (right[0] if len(right) else len(curve))].min()
            prominence = float(curve[start] - max(base_left, base_right))
            if prominence > best_prominence or (best is None and prominence == best_prominence):
                best, best_prominence = (start + end) // 2, prominence
        start = end + 1
    return best


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
