from __future__ import annotations

import datetime
import math

import numpy as np
import pytest
from openpyxl import load_workbook

from vastus.errors import OutputError
from vastus.io import workbook
from vastus.io.workbook import Column, Sheet, write_workbook


def test_numbers_stay_numbers_and_text_stays_text(tmp_path):
    rows = [("p1", 12.5, np.float64(3.25), np.int64(4), True), ("=1+1", math.nan, None, math.inf, False), ("#N/A",)]
    columns = tuple(Column(name, "cm³") for name in "abcde")
    write_workbook(tmp_path / "r.xlsx", [Sheet("structures", columns, rows)])
    cells = list(load_workbook(tmp_path / "r.xlsx")["structures"].iter_rows(min_row=2))
    assert [c.value for c in cells[0]] == ["p1", 12.5, 3.25, 4, True]
    assert [c.data_type for c in cells[0]] == ["s", "n", "n", "n", "b"]
    assert cells[1][0].value == "=1+1" and cells[1][0].data_type == "s"  # no formula from a patient's name
    assert cells[2][0].value == "#N/A" and cells[2][0].data_type == "s"
    assert [c.value for c in cells[1]][1:] == [None, None, None, False]


def test_a_dictionary_tells_every_column(tmp_path):
    sheets = [
        Sheet("a", (Column("x", "mm", "Length."), Column("y")), [(1.0, 2.0)]),
        Sheet("b", (Column("z", "HU", "Mean."),), []),
    ]
    write_workbook(tmp_path / "r.xlsx", sheets)
    book = load_workbook(tmp_path / "r.xlsx")
    assert book.sheetnames == ["a", "b", "dictionary"]
    assert list(book["dictionary"].values)[1:] == [
        ("a", "x", "mm", "Length."),
        ("a", "y", None, None),
        ("b", "z", "HU", "Mean."),
    ]
    assert book["a"].freeze_panes == "B2"


def test_names_are_what_excel_bears(tmp_path):
    sheets = [Sheet(name, (Column("x"),), []) for name in ("a/b:c", "A b c", "n" * 40, "n" * 40)]
    write_workbook(tmp_path / "r.xlsx", sheets)
    names = load_workbook(tmp_path / "r.xlsx").sheetnames
    assert names[:2] == ["a b c", "A b c 2"]
    assert [len(name) for name in names[2:4]] == [31, 31]
    assert len({name.casefold() for name in names}) == 5


def test_control_characters_and_times_do_not_stop_it(tmp_path):
    day, noon = datetime.date(2024, 5, 1), datetime.datetime(2024, 5, 1, 12)
    rows = [("a\x00b", day, datetime.datetime.combine(day, datetime.time()), noon)]
    write_workbook(tmp_path / "r.xlsx", [Sheet("s", tuple(map(Column, "wxyz")), rows)])
    shown = list(load_workbook(tmp_path / "r.xlsx")["s"].values)[1]
    assert shown == ("ab", "2024-05-01", "2024-05-01", "2024-05-01T12:00:00")


def test_more_rows_than_excel_reads_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(workbook, "_MOST_ROWS", 2)
    with pytest.raises(OutputError, match="3 rows"):
        write_workbook(tmp_path / "r.xlsx", [Sheet("s", (Column("x"),), [(1,), (2,), (3,)])])
    assert list(tmp_path.iterdir()) == []
