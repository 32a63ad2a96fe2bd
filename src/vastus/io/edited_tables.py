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
from typing import Final

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
        path: text in UTF-8 (with or without BOM), UTF-16 with BOM, CP949 or Windows-1252, separated by comma,
            semicolon, tab or bar; or the first sheet of an Excel workbook (.xlsx).
        what: the table is called in messages.

    Raises:
        MissingInputError: no such file, or nothing in it.
        UnreadableScanError: it can't be read, or is neither text nor .xlsx.
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
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text))
    try:
        return [TableRow(reader.line_num, tuple(cell.strip() for cell in cells)) for cells in reader]
    except csv.Error as error:
        raise UnreadableScanError(f"The {what} can't be read as CSV ({error}).", path=path) from error


def _decoded(data: bytes, path: Path, what: str) -> str:
    if data[:4] == _OLD_EXCEL:
        raise UnreadableScanError(
            f"The {what} is an old Excel file (.xls).", path=path, remedy="Save it as .xlsx or as CSV (UTF-8)."
        )
    encodings = ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp949", "cp1252")
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise UnreadableScanError(f"The {what} is no text in a known encoding.", path=path, remedy="Save it as UTF-8.")


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
        sheet = book.worksheets[0]
        return [
            TableRow(number, tuple(_cell_text(value) for value in cells))
            for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1)
        ]
    except (InvalidFileException, zipfile.BadZipFile, KeyError, IndexError, ValueError, OSError) as error:
        raise UnreadableScanError(
            f"The {what} can't be read as an Excel workbook.", path=path, remedy="Save it as .xlsx or as CSV (UTF-8)."
        ) from error


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
