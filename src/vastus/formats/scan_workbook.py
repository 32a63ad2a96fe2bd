"""``results.xlsx`` of one scan: its tables, one sheet a question; numbers are numbers, their units in the headers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from vastus.anatomy import GROUPS, SIDES, Side, StructureTable
from vastus.io.stops import Stops, stops_of_record
from vastus.io.tables import ALL, BOTH_SIDES, CONFIDENCE
from vastus.io.workbook import Column, Sheet, stop_sheet, write_workbook
from vastus.measuring import MeasuredScan
from vastus.morphometry.rows import MeasureRow


class _Unit(NamedTuple):
    """How a unit of ``measures.csv`` is shown: its name in a header, and by what a value is multiplied."""

    shown: str
    factor: float = 1.0


_UNITS: Final = {
    "mm3": _Unit("cm³", 1e-3),
    "mm2": _Unit("cm²", 1e-2),
    "mm": _Unit("mm"),
    "HU": _Unit("HU"),
    "%": _Unit("%"),
    "1": _Unit(""),
    "degree": _Unit("°"),
}
_MEANINGS: Final = {
    "volume": "Visible volume; only a part where the scan's edge cuts the structure.",
    "mean_hu": "Mean density inside the label.",
    "sd_hu": "Standard deviation of the density over the voxels.",
    "lean_volume": "Part with the density of muscle.",
    "low_attenuation_volume": "Part with the density of muscle that holds fat.",
    "fat_volume": "Part with the density of fat.",
    "fat_fraction": "Fat volume divided by volume, 0 to 1.",
    "length": "Extent along the body.",
    "max_area": "Largest cross-section among the slices.",
    "max_area_position": "Where that cross-section lies, from the lower end of the structure.",
    "max_area_percent": "The same in percent of its length.",
    CONFIDENCE: "Mean probability that the network gave its label, 0 to 1: a reason to look, no measure of quality.",
}
_PERCENTILE: Final = "Percentile of the density inside the label."
_OTHER: Final = "See the reference of measures."

_WHO: Final = (
    Column("structure", meaning="Name of the muscle or bone."),
    Column("key", meaning="Its name in the tables and label maps."),
    Column("group", meaning="Muscle group, or bone."),
)
_CUT: Final = Column("cut by the scan", meaning="Yes where the edge of the scan cuts it: the values are of a part.")
_FRAGMENT: Final = Column("fragment", meaning="Yes where what is labelled is too small to be the structure.")
_WRONG: Final = Column(
    "likely wrong", meaning="Yes where the numbers are not to be used before somebody has looked at the pictures."
)
_SIDES_WRONG: Final = Column("likely wrong", meaning="Sides whose numbers are likely wrong; the difference is too.")


def write_scan_workbook(path: Path, measured: MeasuredScan, record: Mapping[str, Any]) -> None:
    """Write the results of one scan as an Excel workbook, atomically.

    Sheets: STOP (only where something must stop a reader), structures, sides, groups, levels, flags (with the alarms
    and warnings of ``record``), about, dictionary. Rows of which no number is to be used are red.

    Args:
        path: of the ``.xlsx`` file.
        measured: what ``measure_to_folder`` gave.
        record: as in ``run.json``.

    Raises:
        OutputError: the file can't be written.
    """
    table, stops = measured.found.table, stops_of_record(record)
    write_workbook(
        path,
        (
            *([stop_sheet(stops)] if stops.alarms else []),
            _structures(measured.rows, table, stops),
            _sides(measured, stops),
            _groups(measured.rows, table, stops),
            _levels(measured),
            _flags(measured, record["warnings"], stops),
            _about(record),
        ),
    )


def _structures(rows: Sequence[MeasureRow], table: StructureTable, stops: Stops) -> Sheet:
    """One row a structure and side, right first; one column a measure."""
    of_structures = [row for row in rows if _is_structure(row, table)]

    def who(row: MeasureRow) -> tuple[Any, ...]:
        structure = table.by_key[row.structure]
        return structure.english, structure.key, structure.group.value, row.side

    sheet = _pivot("structures", of_structures, (*_WHO, _side_column()), who)
    lines = [tuple(line) for line in sheet.rows]
    wrong = [stops.unusable or (line[1], line[3]) in stops.wrong for line in lines]
    told = [(*line, _yes(one)) for line, one in zip(lines, wrong, strict=True)]
    return Sheet(sheet.name, (*sheet.columns, _WRONG), told, frozenset(np.flatnonzero(wrong).tolist()))


def _is_structure(row: MeasureRow, table: StructureTable) -> bool:
    return row.structure in table.by_key and row.side in _SIDE_NAMES


def _groups(rows: Sequence[MeasureRow], table: StructureTable, stops: Stops) -> Sheet:
    """What is of no single structure: muscle groups, all muscles, fat, both thighs."""
    columns = (
        Column("of", meaning="All muscles of the group, or what else is measured."),
        Column("group", meaning="Muscle group; all: of the whole scan."),
        _side_column(),
    )
    rest = [row for row in rows if not _is_structure(row, table)]
    sheet = _pivot("groups", rest, columns, lambda row: (_words(row.structure), _words(row.group), row.side))
    lines = list(sheet.rows)
    return Sheet(sheet.name, sheet.columns, lines, range(len(lines)) if stops.unusable else ())


_SIDE_NAMES: Final = tuple(side.value for side in (*SIDES, Side.MIDLINE))


def _side_column() -> Column:
    return Column("side", meaning="The patient's side.")


def _pivot(name: str, rows: Sequence[MeasureRow], first: tuple[Column, ...], key: Any) -> Sheet:
    """Turn rows of one value each into a row a thing, with its flags last."""
    measures = {row.measure: row.unit for row in rows}
    table: dict[tuple[Any, ...], dict[str, float | None]] = {}
    flags: dict[tuple[Any, ...], tuple[bool, bool]] = {}
    for row in rows:
        who = key(row)
        table.setdefault(who, {})[row.measure] = _scaled(row.value, row.unit)
        was_cut, was_fragment = flags.get(who, (False, False))
        flags[who] = was_cut or row.truncated, was_fragment or row.fragment
    columns = (*first, *(_measure_column(measure, unit) for measure, unit in measures.items()), _CUT, _FRAGMENT)
    lines = [
        (*who, *(values.get(measure) for measure in measures), *map(_yes, flags[who])) for who, values in table.items()
    ]
    return Sheet(name, columns, lines)


def _sides(measured: MeasuredScan, stops: Stops) -> Sheet:
    """Right and left beside each other: volume, density, and the difference of the volumes."""
    columns = (
        *_WHO,
        _with_unit("volume right", "cm³", _MEANINGS["volume"]),
        _with_unit("volume left", "cm³", _MEANINGS["volume"]),
        _with_unit("difference", "%", "Right minus left in percent of their mean; empty where a side is not whole."),
        _with_unit("mean right", "HU", _MEANINGS["mean_hu"]),
        _with_unit("mean left", "HU", _MEANINGS["mean_hu"]),
        _SIDES_WRONG,
    )
    found = {(row.structure, row.side): row for row in measured.volumes}
    differences = {row.structure: row.value for row in measured.rows if row.measure == "asymmetry"}
    lines = []
    for structure in (s for s in measured.found.table.rows if s.paired):
        sides = [found.get((structure.key, side)) for side in SIDES]
        volumes = [None if row is None else _scaled(row.volume_mm3, "mm3") for row in sides]
        means = [None if row is None else row.mean_hu for row in sides]
        who = (structure.english, structure.key, structure.group.value)
        wrong = [s.value for s in SIDES if stops.unusable or (structure.key, s.value) in stops.wrong]
        lines.append((*who, *volumes, differences.get(structure.key), *means, " and ".join(wrong) or None))
    return Sheet("sides", columns, lines, frozenset(n for n, line in enumerate(lines) if line[-1]))


def _levels(measured: MeasuredScan) -> Sheet:
    """Cross-sections perpendicular to the femur."""
    columns = (
        Column("level", meaning="Name of the level along the femur."),
        _side_column(),
        _with_unit("position", "mm", "Along the femur, from its lower end."),
        _with_unit("position", "%", "The same in percent of its length; empty where the scan cuts the femur."),
        Column("of", meaning="Structure, muscle group or fat."),
        Column("group", meaning="Muscle group, bone or fat."),
        _with_unit("area", "cm²", "Cross-section; 0 where it does not reach the level, empty where it is absent."),
        _CUT,
    )
    by_key = measured.found.table.by_key
    lines = [
        (
            _words(area.level.name),
            area.side.value,
            area.level.position_mm,
            area.level.percent,
            by_key[area.name].english if area.name in by_key else _words(area.name),
            "" if area.group is None else area.group.value,
            _scaled(area.area_mm2, "mm2"),
            _yes(area.truncated),
        )
        for area in measured.found.areas
    ]
    return Sheet("levels", columns, lines)


def _flags(measured: MeasuredScan, warnings: Iterable[str], stops: Stops) -> Sheet:
    """What to look at before a number is used."""
    columns = (
        Column("flag", meaning="STOP, warning, likely wrong, missed, cut by the scan, fragment, or not found."),
        Column("structure", meaning="Which structure it is about; empty: the scan."),
        _side_column(),
        Column("text", meaning="What it means."),
    )
    lines: list[tuple[Any, ...]] = [("STOP", None, None, text) for text in stops.alarms]
    lines += [("warning", None, None, text) for text in warnings if text not in stops.alarms]
    for row in measured.volumes:
        who = (measured.found.table.by_key[row.structure].english, row.side.value)
        if (row.structure, row.side.value) in stops.wrong and not row.fragment:
            lines.append(("likely wrong", *who, "Do not use its numbers before you have looked at the pictures."))
        if (row.structure, row.side.value) in stops.missed:
            lines.append(("missed", *who, "It should be in the scan: do not take its volume for small."))
        if row.fragment:
            lines.append(("fragment", *who, "Too small to be the structure: it counts nowhere."))
        elif row.truncated:
            lines.append(("cut by the scan", *who, "Only the visible part is measured."))
        elif row.volume_mm3 is None and row.side is not Side.UNKNOWN:
            lines.append(("not found", *who, "Nothing is labelled."))
    red = ("STOP", "likely wrong", "missed")
    return Sheet("flags", columns, lines, frozenset(n for n, line in enumerate(lines) if line[0] in red))


def _about(record: Mapping[str, Any]) -> Sheet:
    """Where the results come from. No header value of a patient is in it."""
    weights = record["weights"]
    lines = [
        ("subject", record["subject"]),
        ("weights", f"{weights['name']} ({weights['sha256'][:12]})"),
        ("trained on", weights["trained_on"]),
        ("device", record["device"]),
        ("program", f"Vastus {record['versions']['vastus']}"),
        ("use", "For research only. Not a medical device: nothing here may guide the care of a patient."),
    ]
    return Sheet("about", (Column("what", meaning="What is told."), Column("value", meaning="The answer.")), lines)


def _measure_column(measure: str, unit: str) -> Column:
    meaning = _MEANINGS.get(measure, _PERCENTILE if measure.endswith("_hu") else _OTHER)
    return _with_unit(_words(measure.removesuffix("_hu")), _UNITS.get(unit, _Unit(unit)).shown, meaning)


def _with_unit(name: str, unit: str, meaning: str) -> Column:
    return Column(f"{name} ({unit})" if unit else name, unit, meaning)


def _scaled(value: float | None, unit: str) -> float | None:
    return None if value is None else value * _UNITS.get(unit, _Unit(unit)).factor


def _words(name: str) -> str:
    known = {ALL: "all muscles", BOTH_SIDES: "both", **{group.value: group.value for group in GROUPS}}
    return known.get(name, name.replace("_", " "))


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"
