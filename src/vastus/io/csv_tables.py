"""``volumes.csv``: one row a structure and side, written and read without pandas."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vastus.anatomy import BUILT_IN, Group, Side, StructureTable
from vastus.errors import MissingInputError, SettingsError
from vastus.io.atomic import write_text
from vastus.io.tables import FRAGMENT, VOLUME_COLUMNS, VOLUMES_FILE


@dataclass(frozen=True, slots=True)
class VolumeRow:
    """A row of ``volumes.csv``.

    Attributes:
        subject: as the scan is called.
        structure: its key in the table of the structures.
        group, side: of the structure.
        volume_mm3: visible volume; None when the structure is absent.
        mean_hu: mean HU inside; None when absent.
        truncated: whether the edge of the scan cuts the structure.
        fragment: whether what is labelled is too small to be the structure.
    """

    subject: str
    structure: str
    group: Group
    side: Side
    volume_mm3: float | None
    mean_hu: float | None
    truncated: bool
    fragment: bool = False


def write_volume_rows(rows: Iterable[VolumeRow], path: Path) -> None:
    """Write ``volumes.csv`` atomically; volumes with 1 decimal, HU with 2, an absent structure with empty cells."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(VOLUME_COLUMNS)
    for row in rows:
        volume, mean = _cell(row.volume_mm3, 1), _cell(row.mean_hu, 2)
        flags = ["true" if flag else "false" for flag in (row.truncated, row.fragment)]
        writer.writerow([row.subject, row.structure, row.group.value, row.side.value, volume, mean, *flags])
    write_text(path, stream.getvalue())


def read_volume_rows(path: Path, table: StructureTable = BUILT_IN) -> tuple[VolumeRow, ...]:
    """Read what ``write_volume_rows`` wrote, from one subject or many; without ``fragment`` nothing is one.

    Args:
        path: of the file.
        table: of the structures; a row of any other is refused.

    Raises:
        MissingInputError: no such file.
        SettingsError: a missing column, or a cell that can't be right, named with its line.
    """
    if not path.is_file():
        raise MissingInputError(f"There is no {VOLUMES_FILE} here.", path=path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError("The table is not UTF-8 text.", path=path) from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = [column for column in VOLUME_COLUMNS if column not in (*(reader.fieldnames or ()), FRAGMENT)]
    if missing:
        raise SettingsError(f"Columns are missing: {', '.join(missing)}.", path=path)
    return tuple(_row(cells, line, path, table) for line, cells in enumerate(reader, start=2))


def _cell(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"


def _row(cells: dict[str, str | None], line: int, path: Path, table: StructureTable) -> VolumeRow:
    subject, structure, group, side, volume, mean, truncated, fragment = (
        (cells.get(column) or "").strip() for column in VOLUME_COLUMNS
    )
    flags = {"true": True, "false": False}
    try:
        if structure not in table.by_key:
            which = (
                "no built-in structure, and this command knows no others" if table.is_built_in else "not in the table"
            )
            raise ValueError(f"{structure!r} is {which}; it")
        known = table.by_key[structure]
        if known.group.value != group:
            raise ValueError(f"{structure} does not belong to the group {group!r}")
        return VolumeRow(
            subject,
            structure,
            known.group,
            Side(side),
            _number(volume),
            _number(mean),
            flags[truncated.lower()],
            flags[fragment.lower() or "false"],
        )
    except (KeyError, ValueError) as error:
        raise SettingsError(f"Line {line}: {error} is not valid here.", path=path) from error


def _number(cell: str) -> float | None:
    if not cell:
        return None
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError(cell)
    return value
