"""Reading a clinical table as people keep it: any common encoding, separator, decimal sign and header."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vastus.cohort import columns
from vastus.cohort.problems import Problem, ProblemKind
from vastus.errors import MissingInputError, SettingsError
from vastus.io.edited_tables import TableRow, decimal_comma, plain_name, read_edited_table, read_number

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN_SEX = "sex is not a known word"
"""How a problem about the sex begins."""
ROW = "row"
"""Column of the frame: line in the file as a spreadsheet counts it."""

_DATE_FORMS = (
    re.compile(r"^(?P<y>\d{4})[-./년]\s*(?P<m>\d{1,2})[-./월]\s*(?P<d>\d{1,2})[.일]?(?:[ T].*)?$"),
    re.compile(r"^(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})$"),
    re.compile(r"^(?P<d>\d{1,2})\.\s*(?P<m>\d{1,2})\.\s*(?P<y>\d{4})$"),
)


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


def read_clinical_table(path: Path, sex_codes: Mapping[str, str] | None = None) -> ClinicalTable:
    """Read a clinical table.

    Args:
        path: what ``vastus.io.edited_tables`` reads: CSV in any common form, or .xlsx.
        sex_codes: what the table's own words for the sex mean: word -> F or M. Without it only known words count: a
            code such as 1 and 2 is never guessed.

    Raises:
        MissingInputError: no such file, or no rows.
        UnreadableScanError: neither text nor .xlsx.
        SettingsError: no column for the subject or the sex.
    """
    table = read_edited_table(path, "clinical table")
    if not table.rows:
        raise MissingInputError("The clinical table holds no rows.", path=path)
    problems: list[Problem] = []
    header, names, factors = _header(list(table.header), path, problems)
    rows, numbers = _fitting_rows(table.rows, header, problems)
    codes = {columns.squash(word): sex for word, sex in (sex_codes or {}).items()}
    return _standardise(rows, numbers, _Meaning(names, factors, codes), problems)


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What the cells mean: column name -> position, column name -> factor into its unit, word for the sex -> F or M."""

    names: dict[str, int]
    factors: dict[str, float]
    sex_codes: dict[str, str]


def _header(
    cells: list[str], path: Path, problems: list[Problem]
) -> tuple[list[str], dict[str, int], dict[str, float]]:
    """Read the header: as given; name -> position (standard names where known); name -> factor."""
    names: dict[str, int] = {}
    factors: dict[str, float] = {}
    for position, cell in enumerate(cells):
        known = columns.standard_column(cell)
        name, factor = known if known else (cell, 1.0)
        if not cell:
            continue
        if name in names:
            problems.append(
                Problem(ProblemKind.BAD_COLUMN, f"a second column for this: {cell!r} is not used", row=1, column=name)
            )
            continue
        names[name], factors[name] = position, factor
    lacking = [name for name in columns.REQUIRED if name not in names]
    if lacking:
        raise SettingsError(
            f"The clinical table has no column for: {', '.join(lacking)}.",
            path=path,
            remedy=f"Name them so in the first line; found: {', '.join(c for c in cells if c)[:200]}.",
        )
    return cells, names, factors


def _fitting_rows(
    lines: Sequence[TableRow], header: list[str], problems: list[Problem]
) -> tuple[list[list[str]], list[int]]:
    """Bring rows to the width of the header: fill up shorter ones, leave out longer ones (their cells have shifted)."""
    rows, numbers = [], []
    for line in lines:
        number, cells = line.line, list(line.cells)
        if len(cells) > len(header) and any(cells[len(header) :]):
            problems.append(Problem(ProblemKind.BAD_ROW, "more cells than the header; left out", row=number))
            continue
        rows.append((cells + [""] * len(header))[: len(header)])
        numbers.append(number)
    return rows, numbers


def _standardise(
    rows: list[list[str]],
    numbers: list[int],
    meaning: _Meaning,
    problems: list[Problem],
) -> ClinicalTable:
    import pandas as pd

    names = meaning.names
    subjects = [plain_name(row[names[columns.SUBJECT]]) for row in rows]
    data: dict[str, list[object]] = {}
    for name in (*columns.STANDARD, *(n for n in names if n not in columns.STANDARD)):
        if name not in names:
            data[name] = [None] * len(rows)
            continue
        read = _reader_of(name, meaning, [row[names[name]] for row in rows])
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


class _Name:
    """A name of a person or a scan, in one form."""

    def __call__(self, text: str) -> tuple[object, str]:
        return (None if columns.is_missing(text) else plain_name(text)), ""


@dataclass(frozen=True, slots=True)
class _Sex:
    """A word for the sex: one of the table's own codes, or a known word."""

    codes: dict[str, str]

    def __call__(self, text: str) -> tuple[object, str]:
        word = self.codes.get(columns.squash(text)) or columns.standard_word(columns.SEX, text)
        if word is not None or columns.is_missing(text):
            return word, ""
        return None, f"{UNKNOWN_SEX}: {text[:20]!r}; taken as missing"


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
    """A number in human range; ``comma``: whether the comma is the decimal sign of the column."""

    column: str
    factor: float
    comma: bool

    def __call__(self, text: str) -> tuple[object, str]:
        from vastus.errors import ImplausibleValueError
        from vastus.sarcopenia import check_human_range

        if columns.is_missing(text):
            return None, ""
        number = read_number(text, comma=self.comma and "," in text)
        if number is None:
            return None, f"{self.column} is not a number; taken as missing"
        value = number * self.factor
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


def _reader_of(name: str, meaning: _Meaning, cells: list[str]) -> Callable[[str], tuple[object, str]]:
    if name in columns.NUMBERS:
        return _Number(name, meaning.factors[name], decimal_comma(cells))
    if name == columns.SEX:
        return _Sex(meaning.sex_codes)
    if name in columns.WORDS:
        return _Word(name)
    if name in (columns.SUBJECT, columns.SCAN):
        return _Name()
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
