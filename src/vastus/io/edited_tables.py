"""Read tables that people edit, as spreadsheets save them: any common encoding, separator and decimal sign, or .xlsx.

One reader for every such table: lists of scans, clinical tables, volumes. It gives text; what a cell means is said by
the room that reads it.
"""

from __future__ import annotations

import csv
import datetime
import io
import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vastus.errors import MissingInputError, UnreadableScanError

TEXT_SUFFIXES: Final = (".csv", ".tsv", ".txt")
WORKBOOK_SUFFIXES: Final = (".xlsx", ".xlsm")
TABLE_SUFFIXES: Final = (*TEXT_SUFFIXES, *WORKBOOK_SUFFIXES)

_ZIP, _OLD_EXCEL = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_SEPARATORS = ";\t,|"
_PLAIN_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_GROUPED = re.compile(r"[+-]?\d{1,3}([ '’.,]\d{3})+([.,]\d+)?")


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row: its line as a spreadsheet counts it (the header is line 1), and its cells without outer spaces."""

    line: int
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EditedTable:
    """A table as text: the cells of its first line, and the rows below that hold anything."""

    header: tuple[str, ...]
    rows: tuple[TableRow, ...]

    def column(self, position: int) -> tuple[str, ...]:
        """Give the cells of a column; empty where a row ends before it."""
        return tuple(row.cells[position] if position < len(row.cells) else "" for row in self.rows)


def read_edited_table(path: Path, what: str = "table") -> EditedTable:
    """Read a table that a person made or a spreadsheet saved.

    Args:
        path: text in UTF-8 (with or without BOM), UTF-16 with BOM, CP949, Shift-JIS or Windows-1252, separated by
            comma, semicolon, tab or bar; or the first sheet of an Excel workbook (.xlsx).
        what: the table is called in messages.

    Raises:
        MissingInputError: no such file, or nothing in it.
        UnreadableScanError: it can't be read, or is neither text nor .xlsx; rows would be lost (a quote that does not
            end, several sheets of one header), or formulas without their results.
    """
    data = _read_bytes(path, what)
    lines = _workbook_lines(data, path, what) if data[:4] == _ZIP else _text_lines(data, path, what)
    filled = [row for row in lines if any(row.cells)]
    if not filled:
        raise MissingInputError(f"The {what} is empty.", path=path)
    return EditedTable(filled[0].cells, tuple(filled[1:]))


def plain_name(text: str) -> str:
    """Bring a name of a person or scan to one form: Unicode composed (NFC), one space between words, none around.

    The two forms look the same on the screen: macOS, and zips made there, decompose Korean letters and accents.
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def likeness(name: str) -> str:
    """Give the key under which two names look alike: without case, spaces, signs, leading zeros and ``.0``."""
    folded = unicodedata.normalize("NFKC", name).casefold().strip()
    folded = re.sub(r"^(\d+)\.0+$", r"\1", folded)
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\W_]+", "", folded))


def decimal_comma(cells: Iterable[str]) -> bool:
    """Tell whether the numbers of a column have a comma as decimal sign, from the cells that leave no doubt.

    ``1.234,5`` and ``12,34`` say yes; ``1,234.5`` and ``1,234,567`` say no. Where only cells such as ``78,788`` occur,
    the comma counts as the decimal sign.
    """
    verdicts = {verdict for cell in cells if (verdict := _comma_verdict(cell)) is not None}
    return verdicts != {False}


def read_number(text: str, *, comma: bool) -> float | None:
    """Read a number with or without signs between its thousands; ``None`` if it is none.

    Args:
        text: for example ``78,788.1``, ``78.788,1``, ``78 788,1``, ``-3``, ``1e3``.
        comma: whether the comma is the decimal sign (see ``decimal_comma``).
    """
    number = _number(text, comma)
    return number if number is not None and math.isfinite(number) else None


def _number(text: str, comma: bool) -> float | None:
    bare = text.strip().replace("\u00a0", " ").replace("\u202f", " ").replace("−", "-")
    if _PLAIN_NUMBER.fullmatch(bare) and not (comma and _GROUPED.fullmatch(bare) and bare.count(".") > 1):
        return float(bare)
    point, other = (",", ".") if comma else (".", ",")
    if bare.count(point) > 1:
        return None
    whole, _, rest = bare.partition(point)
    if re.search(rf"[ '’{re.escape(other)}]", whole) and not _GROUPED.fullmatch(whole):
        return None
    digits = re.sub(rf"[ '’{re.escape(other)}]", "", whole) + (f".{rest}" if rest else "")
    return float(digits) if _PLAIN_NUMBER.fullmatch(digits) else None


def _comma_verdict(cell: str) -> bool | None:
    bare = cell.strip()
    comma, point = bare.rfind(","), bare.rfind(".")
    if comma >= 0 and point >= 0:
        return comma > point
    if bare.count(",") > 1:
        return False
    if bare.count(".") > 1:
        return True
    if comma >= 0 and not re.fullmatch(r"[+-]?\d{1,3},\d{3}", bare):
        return True
    if point >= 0 and _PLAIN_NUMBER.fullmatch(bare):
        return False
    return None


def _read_bytes(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise MissingInputError(f"The {what} does not exist.", path=path) from error
    except OSError as error:
        raise UnreadableScanError(f"The {what} can't be read ({error.strerror}).", path=path) from error


def _text_lines(data: bytes, path: Path, what: str) -> list[TableRow]:
    text = re.sub(r"\A\s*sep=.\s*?\n", "", _decoded(data, path, what))  # a line by which Excel announces the separator
    # A quoted cell may hold a line break, so the reader's own line count is kept.
    separator = _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        rows = [TableRow(reader.line_num, tuple(cell.strip() for cell in cells)) for cells in reader]
    except csv.Error as error:
        raise UnreadableScanError(f"The {what} can't be read as CSV ({error}).", path=path) from error
    if '"' in text:
        _refuse_swallowed_rows(rows, separator, path, what)
    return rows


def _refuse_swallowed_rows(rows: list[TableRow], separator: str, path: Path, what: str) -> None:
    """Refuse a cell that holds whole rows: a quote that is not closed takes all that follows into one cell."""
    width = next((len(row.cells) for row in rows if any(row.cells)), 1)
    for row in rows:
        for cell in row.cells:
            below = cell.splitlines()[1:]
            if any(line.count(separator) >= max(1, width - 1) for line in below) or (width == 1 and below):
                raise UnreadableScanError(
                    f"A cell of the {what} holds whole rows, the last one in line {row.line}: a quote is not closed.",
                    path=path,
                    remedy='Take the quote sign " out, or write it twice.',
                )


def _decoded(data: bytes, path: Path, what: str) -> str:
    if data[:4] == _OLD_EXCEL:
        raise UnreadableScanError(
            f"The {what} is an old Excel file (.xls).", path=path, remedy="Save it as .xlsx or as CSV (UTF-8)."
        )
    legacy = ("cp932", "cp949") if _is_japanese(data) else ("cp949",)
    encodings = ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", *legacy, "cp1252")
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise UnreadableScanError(f"The {what} is no text in a known encoding.", path=path, remedy="Save it as UTF-8.")


def _is_japanese(data: bytes) -> bool:
    """Tell Shift-JIS from CP949 and Windows-1252.

    Every Korean letter read as Shift-JIS begins with a half-width Katakana; an accented letter becomes a Chinese one
    that touches the Latin letters of its word.
    """
    try:
        text = data.decode("cp932")
    except UnicodeDecodeError:
        return False
    if re.search("[\uff61-\uff9f\ue000-\uf8ff]", text):
        return False
    return re.search("[\u3040-\u30ff]", text) is not None or not re.search(
        "[A-Za-z][^\0-\x7f]|[^\0-\x7f][A-Za-z]", text
    )


def _separator(text: str) -> str:
    """Give the separator that the header line holds most, outside quotes."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    bare = re.sub(r'"[^"]*"', "", first)
    return max(_SEPARATORS, key=bare.count)


def _workbook_lines(data: bytes, path: Path, what: str) -> list[TableRow]:
    import zipfile

    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        book = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        first, *others = [_sheet_lines(sheet) for sheet in book.worksheets]
        formulas = load_workbook(io.BytesIO(data), read_only=True).worksheets[0].iter_rows(values_only=True)
        unsaved = [n for n, (row, cells) in enumerate(zip(first, formulas, strict=False), 1) if _lost(row, cells)]
    except (InvalidFileException, zipfile.BadZipFile, KeyError, IndexError, ValueError, OSError) as error:
        raise UnreadableScanError(
            f"The {what} can't be read as an Excel workbook.", path=path, remedy="Save it as .xlsx or as CSV (UTF-8)."
        ) from error
    if unsaved:
        raise UnreadableScanError(
            f"The {what} has formulas without their results, e.g. in row {unsaved[0]}.",
            path=path,
            remedy="Open it in a spreadsheet program and save it, or save it as CSV (UTF-8).",
        )
    twins = sum(_header_of(other) == _header_of(first) != () for other in others)
    if twins:
        raise UnreadableScanError(
            f"The workbook has {twins + 1} sheets with the header of the {what}; only the first would be read.",
            path=path,
            remedy="Put all rows on one sheet.",
        )
    return first


def _sheet_lines(sheet: Any) -> list[TableRow]:
    rows = sheet.iter_rows(values_only=True) if hasattr(sheet, "iter_rows") else ()
    return [TableRow(number, tuple(_cell_text(value) for value in cells)) for number, cells in enumerate(rows, start=1)]


def _header_of(lines: list[TableRow]) -> tuple[str, ...]:
    filled = (row.cells for row in lines if any(row.cells))
    return tuple(cell for cell in next(filled, ()) if cell)


def _lost(row: TableRow, cells: tuple[object, ...]) -> bool:
    """Tell whether a row has a formula whose result nobody saved."""
    return any(
        not text and isinstance(cell, str) and cell.startswith("=")
        for text, cell in zip(row.cells, cells, strict=False)
    )


def _cell_text(value: object) -> str:
    """Write a cell of a workbook as a person would: whole numbers without ``.0``, dates as YYYY-MM-DD."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ")
    return str(value).strip()
