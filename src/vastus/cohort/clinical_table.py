"""Reading a clinical table as people keep it: any common encoding, separator, decimal sign and header."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vastus.cohort import columns
from vastus.cohort.problems import Problem, ProblemKind
from vastus.errors import MissingInputError, SettingsError, UnreadableScanError

if TYPE_CHECKING:
    import pandas as pd

ROW = "row"
"""Column of the frame: line in the file as a spreadsheet counts it."""

_DATE_FORMS = (
    re.compile(r"^(?P<y>\d{4})[-./년]\s*(?P<m>\d{1,2})[-./월]\s*(?P<d>\d{1,2})[.일]?(?:[ T].*)?$"),
    re.compile(r"^(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})$"),
    re.compile(r"^(?P<d>\d{1,2})\.\s*(?P<m>\d{1,2})\.\s*(?P<y>\d{4})$"),
)
_NUMBER = re.compile(r"^[+-]?(\d+([.,]\d*)?|[.,]\d+)$")


@dataclass(frozen=True, slots=True, eq=False)
class ClinicalTable:
    """A clinical table in standard names and units.

    Attributes:
        frame: all ``columns.STANDARD`` (missing ones empty), then the table's other columns as text, then ``row``.
            One row a scan; ``scan`` is the subject where the table has no such column.
        given: standard columns that the file has.
        subjects: everybody named in the file, also those whose rows were left out.
        problems: everything that was left out or corrected.
    """

    frame: pd.DataFrame
    given: tuple[str, ...]
    subjects: tuple[str, ...]
    problems: tuple[Problem, ...]


def read_clinical_table(path: Path) -> ClinicalTable:
    """Read a clinical CSV.

    Args:
        path: CSV, TSV or semicolon-separated, UTF-8 (with or without BOM), UTF-16 with BOM, CP949 or Windows-1252.

    Raises:
        MissingInputError: no such file, or no rows.
        UnreadableScanError: a spreadsheet file and no text.
        SettingsError: no column for the subject or the sex.
    """
    text = re.sub(r"\A\s*sep=.\s*?\n", "", _read_text(path))  # a line by which Excel announces the separator
    delimiter = _delimiter(text)
    # A quoted cell may hold a line break, so the reader's own line count is kept.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    lines = [(number, cells) for number, cells in lines if any(cells)]
    if len(lines) < 2:
        raise MissingInputError("The clinical table holds no rows.", path=path)
    problems: list[Problem] = []
    header, names, factors = _header(lines[0][1], path, problems)
    rows, numbers = _fitting_rows(lines[1:], header, problems)
    return _standardise(rows, numbers, (names, factors), problems)


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise MissingInputError("The clinical table does not exist.", path=path) from error
    except OSError as error:
        raise UnreadableScanError(f"The clinical table can't be read ({error.strerror}).", path=path) from error
    if data[:4] in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0"):
        raise UnreadableScanError("This is a spreadsheet file.", path=path, remedy="Save it as CSV (UTF-8).")
    encodings = ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp949", "cp1252")
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise UnreadableScanError("The clinical table's encoding is not known.", path=path, remedy="Save it as UTF-8.")


def _delimiter(text: str) -> str:
    """The separator that the header line holds most, outside quotes."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    bare = re.sub(r'"[^"]*"', "", first)
    return max(";\t,|", key=bare.count)


def _header(
    cells: list[str], path: Path, problems: list[Problem]
) -> tuple[list[str], dict[str, int], dict[str, float]]:
    """Header as given; name -> position (standard names where known); name -> factor."""
    names: dict[str, int] = {}
    factors: dict[str, float] = {}
    for position, cell in enumerate(cells):
        known = columns.standard_column(cell)
        name, factor = known if known else (cell, 1.0)
        if not cell:
            continue
        if name in names:
            problems.append(Problem(ProblemKind.BAD_COLUMN, f"a second column for this: {cell!r} is not used",
                                    row=1, column=name))  # fmt: skip
            continue
        names[name], factors[name] = position, factor
    lacking = [name for name in columns.REQUIRED if name not in names]
    if lacking:
        raise SettingsError(
            f"The clinical table has no column for: {', '.join(lacking)}.", path=path,
            remedy=f"Name them so in the first line; found: {', '.join(c for c in cells if c)[:200]}.",
        )  # fmt: skip
    return cells, names, factors


def _fitting_rows(
    lines: list[tuple[int, list[str]]], header: list[str], problems: list[Problem]
) -> tuple[list[list[str]], list[int]]:
    """Rows as wide as the header; shorter ones are filled up, longer ones left out (their cells have shifted)."""
    rows, numbers = [], []
    for number, cells in lines:
        if len(cells) > len(header) and any(cells[len(header) :]):
            problems.append(Problem(ProblemKind.BAD_ROW, "more cells than the header; left out", row=number))
            continue
        rows.append((cells + [""] * len(header))[: len(header)])
        numbers.append(number)
    return rows, numbers


def _standardise(
    rows: list[list[str]],
    numbers: list[int],
    mapping: tuple[dict[str, int], dict[str, float]],
    problems: list[Problem],
) -> ClinicalTable:
    import pandas as pd

    names, factors = mapping
    subjects = [row[names[columns.SUBJECT]] for row in rows]
    data: dict[str, list[object]] = {}
    for name in (*columns.STANDARD, *(n for n in names if n not in columns.STANDARD)):
        if name not in names:
            data[name] = [None] * len(rows)
            continue
        read = _reader_of(name, factors[name])
        data[name] = []
        for row, number, subject in zip(rows, numbers, subjects, strict=True):
            value, fault = read(row[names[name]])
            data[name].append(value)
            if fault:
                problems.append(Problem(ProblemKind.BAD_VALUE, fault, subject, number, name))
    if columns.SCAN not in names:
        data[columns.SCAN] = list(data[columns.SUBJECT])
    frame = pd.DataFrame({**data, ROW: numbers})
    frame = frame.astype(dict.fromkeys(columns.NUMBERS, float))
    frame[columns.SCAN_DATE] = pd.to_datetime(frame[columns.SCAN_DATE])
    frame = _one_row_a_scan(frame, problems)
    given = tuple(name for name in columns.STANDARD if name in names)
    named = tuple(dict.fromkeys(str(subject) for subject in data[columns.SUBJECT] if subject is not None))
    return ClinicalTable(frame.reset_index(drop=True), given, named, tuple(problems))


class _Text:
    """Any text."""

    def __call__(self, text: str) -> tuple[object, str]:
        return (None if columns.is_missing(text) else text), ""


@dataclass(frozen=True, slots=True)
class _Word:
    """A word of a known list."""

    column: str

    def __call__(self, text: str) -> tuple[object, str]:
        word = columns.standard_word(self.column, text)
        return word, "" if word is not None or columns.is_missing(
            text
        ) else f"{self.column} is not a known word; taken as missing"


@dataclass(frozen=True, slots=True)
class _Number:
    """A number in human range, with point or comma."""

    column: str
    factor: float

    def __call__(self, text: str) -> tuple[object, str]:
        from vastus.errors import ImplausibleValueError
        from vastus.sarcopenia import check_human_range

        if columns.is_missing(text):
            return None, ""
        if not _NUMBER.match(text):
            return None, f"{self.column} is not a number; taken as missing"
        value = float(text.replace(",", ".")) * self.factor
        try:
            check_human_range(self.column, value)
        except ImplausibleValueError as error:
            return None, f"{error} Taken as missing."
        return value, ""


class _Date:
    """A date whose order of year, month and day is certain."""

    def __call__(self, text: str) -> tuple[object, str]:
        import datetime

        if columns.is_missing(text):
            return None, ""
        for form in _DATE_FORMS:
            match = form.match(text)
            if match:
                try:
                    return datetime.datetime(int(match["y"]), int(match["m"]), int(match["d"])), ""
                except ValueError:
                    break
        return None, "scan_date is no date as YYYY-MM-DD; taken as missing"


def _reader_of(name: str, factor: float) -> _Text | _Word | _Number | _Date:
    if name in columns.NUMBERS:
        return _Number(name, factor)
    if name in columns.WORDS:
        return _Word(name)
    return _Date() if name == columns.SCAN_DATE else _Text()


def _one_row_a_scan(frame: pd.DataFrame, problems: list[Problem]) -> pd.DataFrame:
    """Leave out rows without a subject, and all rows of a scan given more than once: which one is right is unknown."""
    for row in frame.loc[frame[columns.SUBJECT].isna(), ROW]:
        problems.append(Problem(ProblemKind.BAD_ROW, "no subject; left out", row=int(row)))
    frame = frame[frame[columns.SUBJECT].notna()].copy()
    frame[columns.SCAN] = frame[columns.SCAN].fillna(frame[columns.SUBJECT])
    contents = [c for c in frame.columns if c != ROW]
    copies = frame.duplicated(subset=contents)
    for subject, row in zip(frame.loc[copies, columns.SUBJECT], frame.loc[copies, ROW], strict=True):
        problems.append(Problem(ProblemKind.DUPLICATE_ROW, "an exact copy; used once", subject, int(row)))
    frame = frame[~copies]
    counts = Counter(frame[columns.SCAN])
    twice = frame[columns.SCAN].map(counts) > 1
    for subject, row in zip(frame.loc[twice, columns.SUBJECT], frame.loc[twice, ROW], strict=True):
        what = "several rows with different values for one scan; all left out"
        problems.append(Problem(ProblemKind.DUPLICATE_ROW, what, subject, int(row)))
    return frame[~twice]
