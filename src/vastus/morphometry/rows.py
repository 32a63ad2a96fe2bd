"""The measures as tidy rows, and their files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vastus.anatomy import BUILT_IN, SIDES, Group, StructureTable
from vastus.io.atomic import write_text
from vastus.io.tables import (
    ALL,
    ALL_MUSCLES,
    BOTH_SIDES,
    CONFIDENCE,
    INTERMUSCULAR_FAT,
    LEVEL_COLUMNS,
    MEASURE_COLUMNS,
    SUBCUTANEOUS_FAT,
)
from vastus.morphometry.scan import GroupMeasures, LevelArea, ScanMeasures
from vastus.morphometry.settings import MeasureSettings
from vastus.morphometry.structures import HuStatistics, StructureExtent, StructureMeasures

_FAT = "fat"


@dataclass(frozen=True, slots=True)
class MeasureRow:
    """One value: a row of ``measures.csv``. ``value`` None is not known, or needs what the scan cuts off."""

    subject: str
    structure: str
    group: str
    side: str
    measure: str
    value: float | None
    unit: str
    truncated: bool
    fragment: bool = False


@dataclass(frozen=True, slots=True)
class _Of:
    """What a value is of."""

    subject: str
    structure: str
    group: str
    side: str
    truncated: bool
    fragment: bool = False

    def row(self, measure: str, value: float | None, unit: str) -> MeasureRow:
        return MeasureRow(
            self.subject,
            self.structure,
            self.group,
            self.side,
            measure,
            value,
            unit,
            self.truncated,
            self.fragment,
        )


def measure_rows(measures: ScanMeasures, settings: MeasureSettings | None = None) -> list[MeasureRow]:
    """Make the rows of all measures except areas at levels, one for each value; the same rows for every scan.

    Args:
        measures: of one scan.
        settings: those it was measured with (they name the percentiles).
    """
    percentiles = (settings or MeasureSettings()).percentiles
    rows: list[MeasureRow] = []
    for structure in measures.structures:
        rows.extend(_structure_rows(measures.subject, structure, percentiles))
    for group in measures.groups:
        rows.extend(_group_rows(measures.subject, group, percentiles))
    for leg in measures.legs:
        of = _Of(measures.subject, "femur", Group.BONE.value, leg.side.value, leg.truncation.any)
        rows.append(of.row("femur_length", leg.length_mm, "mm"))
        rows.append(of.row("femur_tilt", leg.tilt_degrees, "degree"))
    for fat in measures.fat:
        under_skin = _Of(measures.subject, SUBCUTANEOUS_FAT, _FAT, fat.side.value, fat.subcutaneous_truncated)
        between = _Of(measures.subject, INTERMUSCULAR_FAT, _FAT, fat.side.value, fat.intermuscular_truncated)
        whole = fat.intermuscular_mm3 + fat.muscle_mm3
        share = None if fat.intermuscular_truncated or whole == 0 else fat.intermuscular_mm3 / whole
        rows.append(under_skin.row("volume", fat.subcutaneous_mm3, "mm3"))
        rows.append(between.row("volume", fat.intermuscular_mm3, "mm3"))
        rows.append(between.row("share_of_fat_and_muscle", share, "1"))
    for asymmetry in measures.asymmetries:
        is_group = asymmetry.group is None or asymmetry.name == asymmetry.group.value
        structure_name = ALL if is_group else asymmetry.name
        of = _Of(measures.subject, structure_name, _group_name(asymmetry.group), BOTH_SIDES, False)
        rows.append(of.row("asymmetry", asymmetry.percent, "%"))
    for ratio in measures.ratios:
        of = _Of(measures.subject, ALL, Group.POSTERIOR.value, ratio.side.value, False)
        rows.append(of.row("posterior_to_anterior", ratio.posterior_to_anterior, "1"))
    with_femur = "femur" in measures.table.by_key
    for side, name in (*((side, side.value) for side in SIDES), (None, BOTH_SIDES)) if with_femur else ():
        of = _Of(measures.subject, "femur", Group.BONE.value, name, False)
        rows.append(of.row("thigh_muscle_to_femur", measures.thigh_muscle_to_femur(side), "1"))
    return rows


def confidence_rows(
    subject: str, labels: Mapping[int, float], scan: float | None, table: StructureTable = BUILT_IN
) -> list[MeasureRow]:
    """Make the rows for ``measures.csv`` on how sure the network was: the scan, then all structures with sides.

    Args:
        subject: as in the other rows.
        labels: label value -> confidence (``Segmentation.confidence.labels``); what is not in it is absent.
        scan: of the whole scan.
        table: of the structures.
    """
    rows = [_Of(subject, ALL, ALL, BOTH_SIDES, False).row(CONFIDENCE, scan, "1")]
    for label in table.whole_labels:
        of = _Of(subject, label.structure.key, label.structure.group.value, label.side.value, False)
        rows.append(of.row(CONFIDENCE, labels.get(label.value), "1"))
    return rows


def _group_name(group: Group | None) -> str:
    return ALL if group is None else group.value


def _structure_rows(subject: str, measured: StructureMeasures, percentiles: tuple[float, ...]) -> Iterator[MeasureRow]:
    structure = measured.structure
    flags = (measured.truncated, measured.fragment)
    of = _Of(subject, structure.key, structure.group.value, measured.side.value, *flags)
    yield of.row("volume", measured.volume_mm3, "mm3")
    yield from _hu_rows(of, measured.hu, percentiles)
    extent = measured.extent
    yield of.row("length", _field(extent, "length_mm"), "mm")
    yield of.row("max_area", _field(extent, "max_area_mm2"), "mm2")
    yield of.row("max_area_position", _field(extent, "max_area_position_mm"), "mm")
    yield of.row("max_area_percent", _field(extent, "max_area_percent"), "%")


def _group_rows(subject: str, measured: GroupMeasures, percentiles: tuple[float, ...]) -> Iterator[MeasureRow]:
    of = _Of(subject, ALL, _group_name(measured.group), measured.side.value, measured.truncated)
    yield of.row("volume", measured.volume_mm3, "mm3")
    yield from _hu_rows(of, measured.hu, percentiles)


def _hu_rows(of: _Of, hu: HuStatistics | None, percentiles: tuple[float, ...]) -> Iterator[MeasureRow]:
    yield of.row("mean_hu", _field(hu, "mean_hu"), "HU")
    yield of.row("sd_hu", _field(hu, "sd_hu"), "HU")
    values = dict(hu.percentiles_hu) if hu else {}
    for percent in percentiles:
        yield of.row(f"p{percent:g}_hu", values.get(percent), "HU")
    yield of.row("lean_volume", _field(hu, "lean_mm3"), "mm3")
    yield of.row("low_attenuation_volume", _field(hu, "low_attenuation_mm3"), "mm3")
    yield of.row("fat_volume", _field(hu, "fat_mm3"), "mm3")
    yield of.row("fat_fraction", _field(hu, "fat_fraction"), "1")


def _field(of: HuStatistics | StructureExtent | None, name: str) -> float | None:
    value: float | None = None if of is None else getattr(of, name)
    return value


def write_measure_rows(rows: Iterable[MeasureRow], path: Path) -> None:
    """Write ``measures.csv`` atomically; an unknown value is an empty cell."""
    lines = [
        [
            r.subject,
            r.structure,
            r.group,
            r.side,
            r.measure,
            _cell(r.value),
            r.unit,
            _flag(r.truncated),
            _flag(r.fragment),
        ]
        for r in rows
    ]
    _write(path, MEASURE_COLUMNS, lines)


def write_level_rows(subject: str, areas: Iterable[LevelArea], path: Path) -> None:
    """Write ``levels.csv`` atomically.

    Args:
        subject: name of the scan.
        areas: areas at levels, in mm2.
        path: file to write.
    """
    lines = []
    for area in areas:
        level = area.level
        is_group = area.name == ALL_MUSCLES or (area.group is not None and area.name == area.group.value)
        group = _FAT if area.name.endswith("_fat") else _group_name(area.group)
        lines.append(
            [
                subject,
                area.side.value,
                level.name,
                _cell(level.position_mm),
                _cell(level.percent),
                *(_cell(v) for v in level.point_mm),
                ALL if is_group else area.name,
                group,
                _cell(area.area_mm2),
                _flag(area.truncated),
            ]
        )
    _write(path, LEVEL_COLUMNS, lines)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.8g}"


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _write(path: Path, columns: tuple[str, ...], lines: list[list[str]]) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)
    write_text(path, stream.getvalue())
