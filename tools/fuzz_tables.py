"""Fuzz what reads tables that people edit: ``pip install atheris``, then

    nice -n 10 python tools/fuzz_tables.py CORPUS -max_total_time=1800 -max_len=2000 -timeout=20 -rss_limit_mb=3000

The first byte says whether the rest is a table as it is, or choices of how a known table is saved: encoding, separator,
decimal sign, quotes, workbook. Each is read as a table, as a clinical table, as volumes and as a list of scans. Of a
known table the cells must come back, and its numbers. A named refusal (``VastusError``) is right for any other. Every
other exception is a finding, as is what takes 20 s or 3 GB.
"""

from __future__ import annotations

import csv
import io
import math
import random
import unicodedata
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=[
        "vastus.io.edited_tables",
        "vastus.io.csv_tables",
        "vastus.cohort.clinical_table",
        "vastus.cohort.columns",
        "vastus.cohort.volumes_table",
        "vastus.batch.inputs",
    ]
):
    from vastus.batch.inputs import _in_list
    from vastus.cohort import columns
    from vastus.cohort.clinical_table import read_clinical_table
    from vastus.cohort.volumes_table import read_volumes
    from vastus.errors import VastusError
    from vastus.io.csv_tables import read_volume_rows
    from vastus.io.edited_tables import decimal_comma, read_edited_table, read_number

import pandas as pd
from fuzz_choices import Choices, Target, fuzz
from openpyxl import Workbook

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "cp949", "cp1252")
SEPARATORS = ",;\t|"
NAMES = ("P1", "007", "김민준", "Müller", "a, b", 'say "x"', "1.10", "P 2", "é", "=1+1", "n/a", "-")
NUMBERS = (78788.1, 12.5, 0.5, 1234567.25, -3.0, 170.0, 65.25, 1000.0, 0.001)
HEADERS = ("subject", "sex", "age", "height_cm", "height [m]", "weight_kg", "BMI", "grip_kg", "scan", "scan_date", "")
WORDS = (
    "F",
    "M",
    "f",
    "male",
    "1",
    "2",
    "여",
    "045Y",
    "45",
    "1.70",
    "170",
    "1,70",
    "2020-01-02",
    "02.01.2020",
    "",
    "inf",
)
VOLUMES = ("subject", "structure", "group", "side", "volume_mm3", "mean_hu", "truncated", "fragment")
VOLUME_CELLS = (
    "P1",
    "sartorius",
    "anterior",
    "left",
    "right",
    "unknown",
    "78788.1",
    "78,788",
    "inf",
    "nan",
    "true",
    "",
)


def known_table(choices: Choices) -> tuple[list[list[str]], list[float]]:
    """A table of names and numbers, without its header's numbers; numbers are filled in when it is saved."""
    rows = [[choices.of(NAMES)] for _ in range(1 + choices.below(5))]
    return [["name", "value"], *rows], [choices.of(NUMBERS) for _ in rows]


def saved(rows: list[list[str]], choices: Choices, encoding: str) -> bytes:
    """The bytes of a table as a spreadsheet would save it."""
    stream = io.StringIO()
    quoting = csv.QUOTE_ALL if choices.yes() else csv.QUOTE_MINIMAL
    end = choices.of(["\r\n", "\n"])
    separator = choices.of(SEPARATORS)
    csv.writer(stream, delimiter=separator, quoting=quoting, lineterminator=end).writerows(rows)
    text = stream.getvalue()
    if choices.yes():
        text = f"sep={separator}{end}{text}"
    return text.encode(encoding)


def as_text(number: float, choices: Choices, comma: bool) -> str:
    """A number with its decimal sign, and with signs between its thousands or without."""
    text = f"{number:,.3f}" if choices.yes() else f"{number:.3f}"
    return text.translate(str.maketrans(",.", ".,")) if comma else text


class TableTarget:
    """The readers under test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, data: bytes) -> None:
        """Fail on anything but the same cells, or a named refusal."""
        kind = data[0] % 4 if data else 0
        choices = Choices(data[1:])
        if kind == 0:
            self._read_all(data[1:], choices.of([".csv", ".xlsx", ".tsv"]))
        elif kind == 1:
            self._round_trip(choices)
        else:
            header, words = (HEADERS, (*WORDS, *NAMES)) if kind == 2 else (VOLUMES, VOLUME_CELLS)
            width = 1 + choices.below(len(header) + 2)
            rows = [[choices.of(header) for _ in range(width)] if choices.yes() else list(header)]
            rows += [[choices.of(words) for _ in range(width)] for _ in range(choices.below(6))]
            encoding = choices.of(ENCODINGS)
            with suppress(UnicodeEncodeError):
                self._read_all(saved(rows, choices, encoding), ".csv")

    def _read_all(self, data: bytes, suffix: str) -> None:
        path = self._folder / f"table{suffix}"
        path.write_bytes(data)
        with suppress(VastusError):
            read_edited_table(path)
        with suppress(VastusError):
            table = read_clinical_table(path)
            for column in columns.NUMBERS:
                assert not (table.frame[column].abs() == math.inf).any(), "an infinite value"
        with suppress(VastusError):
            volumes = read_volumes(path).sides_mm3
            assert not (volumes.abs() == math.inf).any().any(), "an infinite volume"
            assert not (volumes <= 0).any().any(), "a volume that is none"
        with suppress(VastusError):
            list(_in_list(path))
        with suppress(VastusError):
            read_volume_rows(path)

    def _round_trip(self, choices: Choices) -> None:
        rows, numbers = known_table(choices)
        path = self._folder / "known.csv"
        if choices.yes():
            book = Workbook()
            sheet = book.worksheets[0]
            for row in [rows[0], *([*row, number] for row, number in zip(rows[1:], numbers, strict=True))]:
                sheet.append(row)
            for cell in sheet["A"]:  # a text that begins with "=" is a formula otherwise
                cell.data_type = "s"
            path = self._folder / "known.xlsx"
            book.save(path)
            comma = False
        else:
            comma, encoding = choices.yes(), choices.of(ENCODINGS)
            full = [rows[0], *([*r, as_text(n, choices, comma)] for r, n in zip(rows[1:], numbers, strict=True))]
            try:
                content = saved(full, choices, encoding)
            except UnicodeEncodeError:
                return
            if encoding in ("cp949", "cp1252") and not content.isascii():
                return  # nothing says which of the two it is
            path.write_bytes(content)
        table = read_edited_table(path)
        assert table.header == ("name", "value"), table.header
        names = [unicodedata.normalize("NFC", row[0]) for row in rows[1:]]
        assert [unicodedata.normalize("NFC", cell) for cell in table.column(0)] == names, table.column(0)
        cells = table.column(1)
        said = decimal_comma(cells)
        found = [read_number(cell, comma=said and "," in cell) for cell in cells]
        for cell, value, number in zip(cells, found, numbers, strict=True):
            assert value is not None and abs(value - number) < 0.001, f"{cell} was read as {value}"


def seeds() -> dict[str, bytes]:
    """Choices of every kind."""
    dice = random.Random(3)
    found = {f"table{n:03d}": bytes([n % 4]) + dice.randbytes(40) for n in range(120)}
    frame = pd.DataFrame({"subject": ["P1", "P2"], "sex": ["F", "M"], "age": ["70", "71,5"]})
    return found | {
        "comma": b"\0" + frame.to_csv(index=False).encode(),
        "semicolon": b"\0" + frame.to_csv(index=False, sep=";").encode("utf-16"),
        "list": b"\0path,name,series\n/a/b,c,1.2.3\n",
        "volumes": b"\0" + ",".join(VOLUMES).encode() + b"\nP1,sartorius,anterior,left,78788.1,50,false,false\n",
    }


def make_target(folder: Path) -> Target:
    """The target."""
    return TableTarget(folder)


if __name__ == "__main__":
    fuzz(make_target, seeds)
