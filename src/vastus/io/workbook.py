"""Plain tables as an Excel workbook: numbers stay numbers, text stays text; the last sheet explains the columns."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vastus.errors import OutputError
from vastus.io.atomic import atomic_path
from vastus.io.stops import STOP_RED, Stops

DICTIONARY: Final = "dictionary"
"""Name of the sheet that explains the columns of the others."""

STOP: Final = "STOP"
"""Name of the sheet that stops a reader."""

_MOST_ROWS = 1_048_575
"""Of a sheet, below its header: Excel reads no more."""
_LONGEST_NAME = 31
_NOT_IN_NAMES = re.compile(r"[\[\]:*?/\\]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_NOT_TAKEN_AS_TEXT = ("=", "#")
"""First letters of what would become a formula, or an error value like #N/A."""
_EPOCH = datetime.datetime(2000, 1, 1)
"""Date of every workbook, so that two runs over the same scans give the same file."""
_MOST_WIDTH, _LEAST_WIDTH, _LOOKED_AT = 60, 7, 200


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a sheet: its name, the unit of its numbers (empty: none) and what it means in a sentence."""

    name: str
    unit: str = ""
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table: a row a thing, ``None`` (or NaN) where a value is not known; then the cell stays empty, never 0.

    Attributes:
        red: numbers of the rows, from 0, that must stop a reader: bold and red, and so is the tab of the sheet.
    """

    name: str
    columns: tuple[Column, ...]
    rows: Iterable[Sequence[Any]]
    red: Collection[int] = ()


def stop_sheet(stops: Stops) -> Sheet:
    """Make the sheet that stands before all others where something must stop a reader."""
    lines = [stops.title.upper(), *stops.alarms]
    return Sheet(
        STOP,
        (Column(STOP, meaning="What to know before any number is used."),),
        [(x,) for x in lines],
        range(len(lines)),
    )


def write_workbook(path: Path, sheets: Iterable[Sheet]) -> None:
    """Write sheets and a dictionary of their columns, atomically; the header stays in view and can be filtered.

    Args:
        path: of the ``.xlsx`` file.
        sheets: in their order; names are cut to what Excel bears.

    Raises:
        OutputError: the file can't be written, or a sheet has more rows than Excel reads.
    """
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    book.properties.created = book.properties.modified = _EPOCH
    book.properties.creator = "Vastus"
    taken: set[str] = set()
    dictionary_rows: list[tuple[str, str, str, str]] = []
    for sheet in sheets:
        name = _sheet_name(sheet.name, taken)
        rows = [tuple(_value(cell) for cell in row) for row in sheet.rows]
        if len(rows) > _MOST_ROWS:
            raise OutputError(
                f"The sheet {name} would have {len(rows)} rows; Excel reads {_MOST_ROWS}.",
                path=path,
                remedy="Use the CSV or parquet tables, or write fewer scans into one workbook.",
            )
        _fill(book.create_sheet(name), tuple(column.name for column in sheet.columns), rows, sheet.red)
        dictionary_rows += [(name, column.name, column.unit, column.meaning) for column in sheet.columns]
    _fill(book.create_sheet(_sheet_name(DICTIONARY, taken)), ("sheet", "column", "unit", "meaning"), dictionary_rows)
    with atomic_path(path) as temporary:
        book.save(temporary)


def _fill(target: Any, header: tuple[str, ...], rows: list[tuple[Any, ...]], red: Collection[int] = ()) -> None:
    """Write one sheet: bold header that stays in view, columns as wide as their contents, some rows red."""
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Font
    from openpyxl.utils import get_column_letter

    if red:
        target.sheet_properties.tabColor = STOP_RED
    target.freeze_panes = "B2"
    target.auto_filter.ref = f"A1:{get_column_letter(max(len(header), 1))}{len(rows) + 1}"
    for position, title in enumerate(header, start=1):
        seen = [title, *(_shown(row[position - 1]) for row in rows[:_LOOKED_AT] if position <= len(row))]
        width = max(_LEAST_WIDTH, min(_MOST_WIDTH, max(map(len, seen)) + 2))
        target.column_dimensions[get_column_letter(position)].width = width
    titles = [_text_cell(WriteOnlyCell, target, title) for title in header]
    for cell in titles:
        cell.font = Font(bold=True)
    target.append(titles)
    alarming = Font(bold=True, color=STOP_RED)
    for number, row in enumerate(rows):
        # Names of patients and files come from outside: they must stay text.
        cells = [
            _text_cell(WriteOnlyCell, target, v) if isinstance(v, str) and v.startswith(_NOT_TAKEN_AS_TEXT) else v
            for v in row
        ]
        if number in red:
            cells = [_in_font(WriteOnlyCell, target, cell, alarming) for cell in cells]
        target.append(cells)


def _in_font(make: Any, target: Any, value: Any, font: Any) -> Any:
    cell = value if hasattr(value, "font") else make(target, value=value)
    cell.font = font
    return cell


def _text_cell(make: Any, target: Any, text: str) -> Any:
    cell = make(target, value=text)
    cell.data_type = "s"
    return cell


def _value(cell: Any) -> Any:
    """Return a value that Excel can hold: Python numbers, no NaN, no control characters, at most 32,767 letters."""
    if type(cell) is not str and hasattr(cell, "item"):
        cell = cell.item()
    if cell is None or isinstance(cell, bool | int):
        return cell
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else None
    if isinstance(cell, datetime.date):  # a date with time too; pandas' "no time" says NaT
        cell = cell.isoformat().removesuffix("T00:00:00")
    text = _CONTROL.sub("", str(cell))[:32_767]
    return None if text in ("<NA>", "NaT") else text


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else str(value)


def _sheet_name(given_name: str, taken: set[str]) -> str:
    """Give a name that Excel takes and no other sheet has (Excel does not tell capitals apart)."""
    plain = _NOT_IN_NAMES.sub(" ", given_name).strip("' ") or "sheet"
    name, number = plain[:_LONGEST_NAME], 1
    while name.casefold() in taken:
        number += 1
        name = f"{plain[: _LONGEST_NAME - len(str(number)) - 1]} {number}"
    taken.add(name.casefold())
    return name
