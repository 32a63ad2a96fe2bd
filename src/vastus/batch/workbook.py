"""A batch as one workbook: a row a patient on the sheets of patients, structures, sides and density; flags below."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Final

from vastus.anatomy import SIDES, Side, StructureTable
from vastus.io.csv_tables import VolumeRow, read_volume_rows
from vastus.io.stops import Stops, read_stops
from vastus.io.structure_tables import table_in
from vastus.io.tables import LEVEL_COLUMNS, LEVELS_FILE, RECORD_FILE, SCANS_FOLDER, SUBJECT, VOLUMES_FILE, WORKBOOK_FILE
from vastus.io.workbook import STOP, Column, Sheet, write_workbook

_UNITS_OF_LEVELS: Final = {"position_mm": "mm", "percent": "%", "x_mm": "mm", "y_mm": "mm", "z_mm": "mm"}
_PATIENT: Final = Column(SUBJECT, "", "The scan as it is called in every table.")

_WRONG: Final = "likely wrong"
_MISSED: Final = "missed"

_Rows = dict[tuple[str, Side], VolumeRow]


def write_batch_workbook(folder: Path) -> Path:
    """Write ``results.xlsx`` from the tables of a batch folder; atomically.

    Args:
        folder: the output of ``vastus batch``.

    Returns:
        The file.

    Raises:
        MissingInputError: there is no ``volumes.csv`` in the folder.
        OutputError: it can't be written, or Excel can't hold so many rows.
    """
    patients: dict[str, _Rows] = defaultdict(dict)
    table = table_in(folder)
    for row in read_volume_rows(folder / VOLUMES_FILE, table):
        patients[row.subject][row.structure, row.side] = row
    path = folder / WORKBOOK_FILE
    stops = {name: read_stops(folder / SCANS_FOLDER / name / RECORD_FILE) for name in patients}
    stopped = {name: stop for name, stop in stops.items() if stop.alarms}
    write_workbook(path, chain(_stop_sheets(stopped), _sheets(patients, folder, table, stops)))
    return path


def _stop_sheets(stopped: dict[str, Stops]) -> Iterator[Sheet]:
    """A sheet before all others, if any patient has something that must stop a reader; scans of no use come first."""
    lines = [(name, stop.title.upper(), text) for name, stop in stopped.items() for text in stop.alarms]
    lines.sort(key=lambda line: not stopped[line[0]].unusable)
    if lines:
        columns = (_PATIENT, Column(STOP, "", "What is wrong."), Column("why", "", "And what to do."))
        yield Sheet(STOP, columns, lines, range(len(lines)))


def _sheets(
    patients: dict[str, _Rows], folder: Path, table: StructureTable, stops: dict[str, Stops]
) -> Iterator[Sheet]:
    useless = frozenset(n for n, name in enumerate(patients) if stops[name].unusable)
    yield Sheet(
        "patients",
        (
            _PATIENT,
            *(
                Column(f"muscles {side.value}", "cm³", "Sum of the whole muscles of this side that the scan shows.")
                for side in SIDES
            ),
            Column("whole", "", f"Labels (of {len(table.whole_labels)}) that are there, not cut off and no fragment."),
            Column("cut", "", "Labels cut off by the edge of the scan."),
            Column("fragments", "", "Labels far too small to be the structure; they count nowhere."),
            Column("likely wrong", "", "Labels whose numbers are not to be used before somebody has looked at them."),
            Column("stop", "", "yes: no number of this scan is to be used; see the sheet STOP."),
        ),
        [
            (name, *_sums(rows, table), *_counts(rows.values()), *_told(rows, stops[name]))
            for name, rows in patients.items()
        ],
        useless,
    )
    yield Sheet(
        "structures",
        (
            _PATIENT,
            *(
                Column(
                    s.key,
                    "cm³",
                    f"{s.english}{', both sides; empty unless both are' if s.paired else '; empty unless'} whole.",
                )
                for s in table.rows
            ),
        ),
        [(name, *(_together(rows, s.key, paired=s.paired) for s in table.rows)) for name, rows in patients.items()],
        useless,
    )
    for sheet in (
        _by_side("sides", "cm³", "visible volume; flags says where it is cut off", patients, table),
        _by_side("density", "HU", "mean density", patients, table),
    ):
        yield replace(sheet, red=useless)
    yield Sheet("levels", _level_columns(), _level_rows(patients, folder))
    flags = [
        (name, row.structure, row.side.value, flag)
        for name, rows in patients.items()
        for row in rows.values()
        for flag, holds in (
            ("cut", row.truncated),
            ("fragment", row.fragment),
            (_WRONG, _is_wrong(row, stops[name])),
            (_MISSED, (row.structure, row.side.value) in stops[name].missed),
        )
        if holds
    ]
    meaning = "cut: by the scan's edge; fragment; likely wrong; missed: it should be in the scan."
    red = frozenset(n for n, line in enumerate(flags) if line[-1] in (_WRONG, _MISSED))
    yield Sheet("flags", (_PATIENT, Column("structure"), Column("side"), Column("flag", "", meaning)), flags, red)


def _is_wrong(row: VolumeRow, stops: Stops) -> bool:
    return (row.structure, row.side.value) in stops.wrong and not row.fragment


def _told(rows: _Rows, stops: Stops) -> tuple[int, str | None]:
    return sum(_is_wrong(row, stops) for row in rows.values()), "yes" if stops.unusable else None


def _by_side(name: str, unit: str, meaning: str, patients: dict[str, _Rows], table: StructureTable) -> Sheet:
    labels = [(s, side) for s in table.rows for side in (SIDES if s.paired else (Side.MIDLINE,))]
    columns = [Column(f"{s.key}_{side.value}", unit, f"{s.english}, {side.value}: {meaning}.") for s, side in labels]
    return Sheet(
        name,
        (_PATIENT, *columns),
        [
            (patient, *(_shown(rows.get((s.key, side)), density=unit == "HU") for s, side in labels))
            for patient, rows in patients.items()
        ],
    )


def _shown(row: VolumeRow | None, *, density: bool) -> float | None:
    if row is None or row.volume_mm3 is None:
        return None
    return row.mean_hu if density else row.volume_mm3 / 1000.0


def _whole(row: VolumeRow | None) -> float | None:
    return None if row is None or row.truncated or row.fragment else _shown(row, density=False)


def _together(rows: _Rows, key: str, *, paired: bool) -> float | None:
    """Both sides of a structure, or what lies in the midline; None unless it is whole."""
    if not paired:
        return _whole(rows.get((key, Side.MIDLINE)))
    right, left = (_whole(rows.get((key, side))) for side in SIDES)
    return None if right is None or left is None else right + left


def _sums(rows: _Rows, table: StructureTable) -> tuple[float | None, ...]:
    sums = []
    for side in SIDES:
        known = [v for muscle in table.muscles if (v := _whole(rows.get((muscle.key, side)))) is not None]
        sums.append(sum(known) if known else None)
    return tuple(sums)


def _counts(rows: Iterable[VolumeRow]) -> tuple[int, int, int]:
    there = [row for row in rows if row.volume_mm3 is not None]
    return (
        sum(not row.truncated and not row.fragment for row in there),
        sum(row.truncated for row in there),
        sum(row.fragment for row in there),
    )


def _level_columns() -> tuple[Column, ...]:
    units = {**_UNITS_OF_LEVELS, "area_mm2": "mm²"}
    return (_PATIENT, *(Column(c, units.get(c, ""), "As in levels.csv.") for c in LEVEL_COLUMNS if c != SUBJECT))


def _level_rows(patients: Iterable[str], folder: Path) -> Iterator[tuple[object, ...]]:
    for name in patients:
        file = folder / SCANS_FOLDER / name / LEVELS_FILE
        if not file.is_file():
            continue
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                yield (name, *(_number(row.get(column) or "") for column in LEVEL_COLUMNS if column != SUBJECT))


def _number(cell: str) -> object:
    """A number where the cell holds one, else the text; None where it is empty."""
    try:
        return float(cell)
    except ValueError:
        return cell or None
