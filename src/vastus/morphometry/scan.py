"""``measure_scan``: everything about one scan and its label map, in seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import (
    BUILT_IN,
    SIDES,
    THIGH_GROUPS,
    Group,
    Side,
    Structure,
    StructureTable,
)
from vastus.blocks import in_blocks
from vastus.errors import GeometryError
from vastus.io.csv_tables import VolumeRow
from vastus.io.tables import ALL_MUSCLES, INTERMUSCULAR_FAT, SUBCUTANEOUS_FAT
from vastus.morphometry.fat import INTERMUSCULAR, SUBCUTANEOUS, ThighFat, measure_thigh_fat
from vastus.morphometry.field_of_view import Truncation, find_field_of_view, find_truncations
from vastus.morphometry.landmarks import Leg, Level, find_leg
from vastus.morphometry.settings import MeasureSettings
from vastus.morphometry.structures import HuStatistics, StructureExtent, StructureMeasures, hu_statistics
from vastus.morphometry.voxels import LabelTally, Profiles, profile_labels, row_of_value, tally_labels
from vastus.muscle_volumes import find_fragments
from vastus.volume import Volume, place_on, to_ras

_PLATEAU = 0.999


@dataclass(frozen=True, slots=True)
class GroupMeasures:
    """A muscle group on one side (``group`` None: all muscles).

    Attributes:
        volume_mm3: sum of the members that are there, without fragments; None when none is.
        truncated: a member is cut by the edge of the scan, absent or a fragment: the sum is not the whole group.
        hu: of the same members together.
    """

    group: Group | None
    side: Side
    volume_mm3: float | None
    truncated: bool
    hu: HuStatistics | None


@dataclass(frozen=True, slots=True)
class LevelArea:
    """A cross-section perpendicular to the femur at a level.

    ``name`` is a structure's key, a group's name, ``all_muscles``, ``subcutaneous_fat`` or ``intermuscular_fat``.
    ``area_mm2`` is None where the structure is absent from the scan, 0 where it does not reach the level.
    """

    side: Side
    level: Level
    name: str
    group: Group | None
    area_mm2: float | None
    truncated: bool


@dataclass(frozen=True, slots=True)
class FatVolumes:
    """Fat of one thigh, between the ends that ``ThighFat`` gives.

    ``truncated`` is true where the scan lacks an end of the thigh or cuts its sides.
    """

    side: Side
    from_mm: float
    to_mm: float
    subcutaneous_mm3: float
    subcutaneous_truncated: bool
    intermuscular_mm3: float
    intermuscular_truncated: bool
    muscle_mm3: float


@dataclass(frozen=True, slots=True)
class Asymmetry:
    """``percent`` = 100 * (right - left) / mean of both; None when a side is absent, cut or a fragment."""

    name: str
    group: Group | None
    percent: float | None


@dataclass(frozen=True, slots=True)
class GroupRatio:
    """Volume of the posterior / volume of the anterior thigh; None when one of the groups is not whole."""

    side: Side
    posterior_to_anterior: float | None


@dataclass(frozen=True, slots=True, eq=False)
class ScanMeasures:
    """All measures of one scan.

    ``structures`` always holds all structures with sides (58 of the built-in table), the right side first, then those
    of the midline.
    """

    subject: str
    structures: tuple[StructureMeasures, ...]
    groups: tuple[GroupMeasures, ...]
    legs: tuple[Leg, ...]
    areas: tuple[LevelArea, ...]
    fat: tuple[FatVolumes, ...]
    asymmetries: tuple[Asymmetry, ...]
    ratios: tuple[GroupRatio, ...]
    table: StructureTable = BUILT_IN

    def structure(self, key: str, side: Side) -> StructureMeasures:
        """Return the measures of one structure."""
        return next(s for s in self.structures if s.structure.key == key and s.side is side)

    def femur_length_mm(self, side: Side) -> float | None:
        """Return the length of the femur of one side in mm; None if unknown."""
        return next((leg.length_mm for leg in self.legs if leg.side is side), None)

    def thigh_muscle_to_femur(self, side: Side | None = None) -> float | None:
        """Compute volume of the thigh muscles / volume of the femur, of one side or of both together (None).

        None unless all muscles of the anterior, medial and posterior group and the femur are whole.
        """
        if not self.table.has_whole_thigh or "femur" not in self.table.by_key:
            return None
        sides = SIDES if side is None else (side,)
        muscles = [_whole(g) for g in self.groups if g.side in sides and g.group in THIGH_GROUPS]
        femora = [_whole(self.structure("femur", each)) for each in sides]
        muscle_mm3 = [volume for volume in muscles if volume is not None]
        femur_mm3 = [volume for volume in femora if volume is not None]
        if len(muscle_mm3) < len(THIGH_GROUPS) * len(sides) or len(femur_mm3) < len(sides):
            return None
        return sum(muscle_mm3) / sum(femur_mm3)

    @property
    def present(self) -> frozenset[int]:
        """Label values of the structures that have a voxel."""
        return frozenset(s.structure.label_value(s.side) for s in self.structures if s.volume_mm3 is not None)

    def volume_rows(self) -> list[VolumeRow]:
        """Return the rows of ``volumes.csv``."""
        return [_volume_row(self.subject, s) for s in self.structures]


def measure_scan(
    ct: Volume | None,
    labels: Volume,
    subject: str,
    settings: MeasureSettings | None = None,
    table: StructureTable = BUILT_IN,
) -> ScanMeasures:
    """Measure one scan.

    Args:
        ct: in HU; None if there is only a label map (then HU and fat are not measured).
        labels: label values of the table and 0, any orientation, same grid as ``ct``.
        subject: name of the scan in the tables.
        settings: thresholds and levels; None: the defaults.
        table: of the structures.

    Returns:
        All measures: volumes in mm3, areas in mm2, lengths in mm, density in HU.

    Raises:
        GeometryError: CT and label map lie on different grids.
        LabelError: unknown values in the label map.
    """
    settings = settings or MeasureSettings()
    upright, upright_ct = _upright(ct, labels)
    hu = None if upright_ct is None else upright_ct.array
    tally = tally_labels(upright.array, hu, table)
    view = find_field_of_view(upright.shape, hu)
    truncations = find_truncations(upright, tally, view)
    legs = _legs(upright, tally, truncations, settings)
    profiles = _leg_profiles(upright, legs, table)
    structures = _structures(tally, upright.voxel_volume_mm3, truncations, (legs, profiles), settings)
    groups = _groups(tally, upright.voxel_volume_mm3, structures, settings)
    with_fat = upright_ct is not None and table.has_whole_thigh
    fat = measure_thigh_fat(upright_ct, upright, legs, view, settings) if with_fat and upright_ct else ()
    voxel_mm3 = upright.voxel_volume_mm3
    return ScanMeasures(
        subject=subject,
        structures=structures,
        groups=groups,
        legs=legs,
        areas=tuple(_areas(legs, profiles, fat, structures, _Slab(voxel_mm3, settings.slab_mm), table)),
        fat=tuple(_fat_volumes(legs, profiles, fat, voxel_mm3, table)),
        asymmetries=_asymmetries(structures, groups, table),
        ratios=_ratios(groups, table),
        table=table,
    )


def measure_volumes(ct: Volume | None, labels: Volume, subject: str) -> list[VolumeRow]:
    """Measure only the rows of ``volumes.csv``: volume, mean HU and truncation of all 58 structures, in one pass.

    Args:
        ct: scan in HU, or None; then HU and the circle of the reconstruction are unknown.
        labels: label map on the grid of the scan.
        subject: name of the scan.

    Returns:
        A row for each structure and side.

    Raises:
        GeometryError, LabelError: as ``measure_scan``.
    """
    upright, upright_ct = _upright(ct, labels)
    hu = None if upright_ct is None else upright_ct.array
    tally = tally_labels(upright.array, hu)
    truncations = find_truncations(upright, tally, find_field_of_view(upright.shape, hu))
    found = _structures(tally, upright.voxel_volume_mm3, truncations, ((), ()), MeasureSettings())
    return [_volume_row(subject, s) for s in found]


def _volume_row(subject: str, measured: StructureMeasures) -> VolumeRow:
    structure, mean = measured.structure, None if measured.hu is None else measured.hu.mean_hu
    return VolumeRow(
        subject,
        structure.key,
        structure.group,
        measured.side,
        measured.volume_mm3,
        mean,
        measured.truncated,
        measured.fragment,
    )


def _upright(ct: Volume | None, labels: Volume) -> tuple[Volume, Volume | None]:
    """Return label map (uint8) and CT in RAS order, as views."""
    if ct is not None:
        placed = place_on(labels, ct)
        if placed is None:
            raise GeometryError(
                f"CT and label map do not lie on the same grid: {ct.difference_to(labels)}.",
                remedy="Resample one onto the other.",
            )
        labels = placed
    if labels.array.dtype != np.uint8:
        labels = labels.with_array(labels.array.astype(np.uint8))
    return to_ras(labels), None if ct is None else to_ras(ct)


def _legs(
    upright: Volume, tally: LabelTally, truncations: tuple[Truncation, ...], settings: MeasureSettings
) -> tuple[Leg, ...]:
    """Find the femora, the right one first; both sides are searched at the same time."""
    found = in_blocks(len(SIDES), lambda a, b: [find_leg(upright, tally, s, truncations, settings) for s in SIDES[a:b]])
    return tuple(leg for part in found for leg in part if leg is not None)


def _leg_profiles(upright: Volume, legs: tuple[Leg, ...], table: StructureTable) -> tuple[Profiles, ...]:
    """Compute the profiles of every label of a side along the femur of that side."""
    if not legs:
        return ()
    line_of_value = np.full(256, -1, dtype=np.int8)
    for label in table.labels:
        for number, leg in enumerate(legs):
            if label.side is leg.side:
                line_of_value[label.value] = number
    lines = tuple(leg.axis_map(upright.affine) for leg in legs)
    return profile_labels(upright.array, lines, line_of_value, table)


_Legs = tuple[tuple[Leg, ...], tuple[Profiles, ...]]


def _structures(
    tally: LabelTally, voxel_mm3: float, truncations: tuple[Truncation, ...], along: _Legs, settings: MeasureSettings
) -> tuple[StructureMeasures, ...]:
    result = []
    for row, label in enumerate(tally.table.labels):
        voxels = int(tally.voxels[row])
        if voxels == 0:
            if label.side is not Side.UNKNOWN:
                result.append(StructureMeasures(label.structure, label.side, None, False))
            continue
        extent = None
        for leg, profile in zip(*along, strict=True):
            if leg.side is label.side:
                extent = _extent(leg, profile, row, _Slab(voxel_mm3, settings.slab_mm))
        statistics = hu_statistics(tally, [row], voxel_mm3, settings)
        volume = voxels * voxel_mm3
        result.append(StructureMeasures(label.structure, label.side, volume, truncations[row].any, statistics, extent))
    return _with_fragments(result)


def _with_fragments(structures: list[StructureMeasures]) -> tuple[StructureMeasures, ...]:
    there = {(s.structure.key, s.side): s.volume_mm3 for s in structures if s.volume_mm3 is not None}
    fragments = find_fragments(there, [(s.structure.key, s.side) for s in structures if s.truncated])
    return tuple(replace(s, fragment=True) if (s.structure.key, s.side) in fragments else s for s in structures)


@dataclass(frozen=True, slots=True)
class _Slab:
    """Over what an area is averaged: volume of a voxel, and thickness along the femur."""

    voxel_mm3: float
    thickness_mm: float


def _area_curve(voxels: NDArray[np.float64], bin_mm: float, slab: _Slab) -> NDArray[np.float64]:
    """Compute the area in mm2 at the centre of every bin: volume in a slab around it, divided by its thickness."""
    width = slab.thickness_mm / bin_mm
    reach = int(np.ceil((width - 1) / 2))
    offsets = np.arange(-reach, reach + 1)
    share = np.clip((width / 2 + 0.5) - np.abs(offsets), 0.0, 1.0)
    return np.convolve(voxels, share, mode="same") * slab.voxel_mm3 / slab.thickness_mm


def _extent(leg: Leg, profile: Profiles, row: int, slab: _Slab) -> StructureExtent:
    curve = _area_curve(profile.voxels[row], profile.bin_mm, slab)
    # The middle of the plateau: with voxels, the largest area is often reached over several bins.
    plateau = np.flatnonzero(curve >= _PLATEAU * curve.max())
    position = profile.start_mm + (float(plateau.mean()) + 0.5) * profile.bin_mm
    return StructureExtent(
        length_mm=float(profile.highest_mm[row] - profile.lowest_mm[row]),
        max_area_mm2=float(curve.max()),
        max_area_position_mm=position,
        max_area_percent=None if leg.length_mm is None else 100 * position / leg.length_mm,
    )


def _members(group: Group | None, table: StructureTable) -> tuple[Structure, ...]:
    """The muscles of a group (None: all) that a side has."""
    return tuple(s for s in table.muscles if s.paired and group in (None, s.group))


def _groups_of(table: StructureTable) -> tuple[Group | None, ...]:
    """The groups that a side has muscles of, then None for all muscles."""
    return (*(group for group in table.muscle_groups if _members(group, table)), None)


def _groups(
    tally: LabelTally, voxel_mm3: float, structures: tuple[StructureMeasures, ...], settings: MeasureSettings
) -> tuple[GroupMeasures, ...]:
    by_label = {(s.structure.key, s.side): s for s in structures}
    result = []
    for side in SIDES:
        for group in _groups_of(tally.table):
            members = [by_label[s.key, side] for s in _members(group, tally.table)]
            counted = [m for m in members if not m.fragment]
            present = [m.volume_mm3 for m in counted if m.volume_mm3 is not None]
            partial = bool(present) and not all(m.is_whole for m in members)
            rows = [int(tally.row_of_value[m.structure.label_value(side)]) for m in counted]
            result.append(
                GroupMeasures(
                    group,
                    side,
                    sum(present) if present else None,
                    partial,
                    hu_statistics(tally, rows, voxel_mm3, settings),
                )
            )
    return tuple(result)


def _areas(
    legs: tuple[Leg, ...],
    profiles: tuple[Profiles, ...],
    fat: tuple[ThighFat, ...],
    structures: tuple[StructureMeasures, ...],
    slab: _Slab,
    table: StructureTable,
) -> list[LevelArea]:
    by_label = {(s.structure.key, s.side): s for s in structures}
    fat_of = {f.side: f for f in fat}
    paired, row_of = [s for s in table.rows if s.paired], row_of_value(table)
    result = []
    for leg, profile in zip(legs, profiles, strict=True):
        curves = {}
        for structure in paired:
            row = int(row_of[structure.label_value(leg.side)])
            curves[structure.key] = _area_curve(profile.voxels[row], profile.bin_mm, slab)
        for level in leg.levels:
            at = {key: _at(curve, profile, level) for key, curve in curves.items()}
            for structure in paired:
                measured = by_label[structure.key, leg.side]
                area = None if measured.volume_mm3 is None else at[structure.key]
                result.append(LevelArea(leg.side, level, structure.key, structure.group, area, measured.truncated))
            for group in _groups_of(table):
                here = [by_label[s.key, leg.side] for s in _members(group, table)]
                counted = [m for m in here if m.volume_mm3 is not None and not m.fragment]
                total = sum(at[m.structure.key] for m in counted)
                cut = any((m.truncated or m.fragment) and at[m.structure.key] > 0 for m in here)
                name = ALL_MUSCLES if group is None else group.value
                result.append(LevelArea(leg.side, level, name, group, total if counted else None, cut))
            result.extend(_fat_areas(fat_of.get(leg.side), level, slab))
    return result


def _fat_areas(fat: ThighFat | None, level: Level, slab: _Slab) -> list[LevelArea]:
    """Compute fat areas, only at levels whose whole slab lies in the thigh."""
    if fat is None or not fat.from_mm + slab.thickness_mm / 2 <= level.position_mm <= fat.to_mm - slab.thickness_mm / 2:
        return []
    result = []
    for name, row in ((SUBCUTANEOUS_FAT, SUBCUTANEOUS), (INTERMUSCULAR_FAT, INTERMUSCULAR)):
        area = 0.0
        if row < len(fat.profiles.voxels):
            curve = _area_curve(fat.profiles.voxels[row], fat.profiles.bin_mm, slab)
            area = _at(curve, fat.profiles, level)
        result.append(LevelArea(fat.side, level, name, None, area, fat.cut[row - 1]))
    return result


def _at(curve: NDArray[np.float64], profile: Profiles, level: Level) -> float:
    centres = profile.start_mm + (np.arange(len(curve)) + 0.5) * profile.bin_mm
    return float(np.interp(level.position_mm, centres, curve))


def _fat_volumes(
    legs: tuple[Leg, ...],
    profiles: tuple[Profiles, ...],
    fat: tuple[ThighFat, ...],
    voxel_mm3: float,
    table: StructureTable,
) -> list[FatVolumes]:
    profile_of = {leg.side: profile for leg, profile in zip(legs, profiles, strict=True)}
    result, row_of = [], row_of_value(table)
    for thigh in fat:
        counts = np.zeros(3)
        counts[: len(thigh.profiles.voxels)] = thigh.profiles.voxels.sum(axis=1)
        profile = profile_of[thigh.side]
        rows = [int(row_of[s.label_value(thigh.side)]) for s in table.muscles]
        lower = profile.start_mm + np.arange(profile.voxels.shape[1]) * profile.bin_mm
        share = np.clip(np.minimum(lower + profile.bin_mm, thigh.to_mm) - np.maximum(lower, thigh.from_mm), 0, None)
        muscle = float((profile.voxels[rows].sum(axis=0) * share).sum() / profile.bin_mm)
        result.append(
            FatVolumes(
                thigh.side,
                thigh.from_mm,
                thigh.to_mm,
                float(counts[SUBCUTANEOUS]) * voxel_mm3,
                thigh.cut[0] or not thigh.complete,
                float(counts[INTERMUSCULAR]) * voxel_mm3,
                thigh.cut[1] or not thigh.complete,
                muscle * voxel_mm3,
            )
        )
    return result


def _whole(measured: StructureMeasures | GroupMeasures) -> float | None:
    is_fragment = isinstance(measured, StructureMeasures) and measured.fragment
    return None if measured.truncated or is_fragment else measured.volume_mm3


def _asymmetries(
    structures: tuple[StructureMeasures, ...], groups: tuple[GroupMeasures, ...], table: StructureTable
) -> tuple[Asymmetry, ...]:
    volumes: dict[tuple[str, Side], float | None] = {(s.structure.key, s.side): _whole(s) for s in structures}
    names: list[tuple[str, Group | None]] = [(s.key, s.group) for s in table.rows if s.paired]
    for measured in groups:
        name = ALL_MUSCLES if measured.group is None else measured.group.value
        volumes[name, measured.side] = _whole(measured)
    names += [(ALL_MUSCLES if g is None else g.value, g) for g in _groups_of(table)]
    result = []
    for name, group in names:
        right, left = volumes[name, Side.RIGHT], volumes[name, Side.LEFT]
        known = right is not None and left is not None
        result.append(Asymmetry(name, group, 200 * (right - left) / (right + left) if known else None))  # type: ignore[operator]
    return tuple(result)


def _ratios(groups: tuple[GroupMeasures, ...], table: StructureTable) -> tuple[GroupRatio, ...]:
    """Of both sides; none where the groups are not those of the built-in table."""
    if not table.has_whole_thigh:
        return ()
    whole = {(g.group, g.side): _whole(g) for g in groups}
    result = []
    for side in SIDES:
        posterior, anterior = whole[Group.POSTERIOR, side], whole[Group.ANTERIOR, side]
        ratio = None if posterior is None or anterior is None else posterior / anterior
        result.append(GroupRatio(side, ratio))
    return tuple(result)
