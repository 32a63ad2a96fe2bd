from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vastus.errors import MissingInputError, UnreadableScanError
from vastus.io.edited_tables import decimal_comma, likeness, plain_name, read_edited_table, read_number

CELLS = (("path", "name"), ("a.nii.gz", "홍길동"), ("b.nii.gz", "x"))


def _text(separator: str) -> str:
    return "\n".join(separator.join(row) for row in CELLS) + "\n"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949"])
def test_every_common_form_gives_the_same_cells(tmp_path: Path, separator: str, encoding: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(_text(separator).encode(encoding))
    table = read_edited_table(path)
    assert (table.header, *(row.cells for row in table.rows)) == CELLS
    assert [row.line for row in table.rows] == [2, 3]


def test_a_workbook_gives_the_same_cells_and_whole_numbers_without_a_point(tmp_path: Path) -> None:
    import datetime

    import openpyxl

    book = openpyxl.Workbook()
    for row in CELLS:
        book.active.append(row)
    book.active.append([7.0, 1.5, datetime.datetime(2024, 3, 5), True, None])
    book.save(tmp_path / "t.xlsx")
    table = read_edited_table(tmp_path / "t.xlsx")
    assert [row.cells[:2] for row in table.rows[:2]] == list(CELLS[1:])
    assert table.rows[2].cells == ("7", "1.5", "2024-03-05", "true", "")


def test_what_is_no_table_is_refused_by_name(tmp_path: Path) -> None:
    for name, data, error in (
        ("old.xls", b"\xd0\xcf\x11\xe0rest", UnreadableScanError),
        ("broken.xlsx", b"PK\x03\x04rest", UnreadableScanError),
        ("binary.csv", b"a,b\n\0\0\0", UnreadableScanError),
        ("empty.csv", b"\n\n", MissingInputError),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(error, match="list"):
            read_edited_table(tmp_path / name, "list")
    with pytest.raises(MissingInputError):
        read_edited_table(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("text", "comma", "value"),
    [
        ("78,788.1", False, 78788.1),
        ("1,234,567", False, 1234567.0),
        ("78.788,1", True, 78788.1),
        ("1.234.567", True, 1234567.0),
        ("78 788,1", True, 78788.1),
        ("78\u00a0788.1", False, 78788.1),
        ("1'234.5", False, 1234.5),
        ("151,5", True, 151.5),
        ("-3", False, -3.0),
        ("1e3", False, 1000.0),
        ("12,34,5", False, None),
        ("1,23", False, None),
        ("abc", False, None),
        ("1.2.3", True, None),
        ("", True, None),
    ],
)
def test_numbers(text: str, comma: bool, value: float | None) -> None:
    assert read_number(text, comma=comma) == value


def test_the_decimal_sign_is_told_from_the_cells_that_leave_no_doubt() -> None:
    assert decimal_comma(["78,788", "8,788.1"]) is False
    assert decimal_comma(["78,788", "8.788,1"]) is True
    assert decimal_comma(["1.5", "2"]) is False
    assert decimal_comma(["151,5", "160"]) is True


@settings(deadline=None)  # the first call on a busy machine takes long
@given(st.floats(0.01, 9e8).map(lambda v: round(v, 2)))
def test_a_number_is_read_back_as_any_country_writes_it(value: float) -> None:
    english = f"{value:,.2f}"
    assert read_number(english, comma=False) == pytest.approx(value)
    german = english.replace(",", "_").replace(".", ",").replace("_", ".")
    assert read_number(german, comma=True) == pytest.approx(value)
    assert read_number(german.replace(".", "\u202f"), comma=True) == pytest.approx(value)


def test_names_that_look_the_same_are_the_same() -> None:
    import unicodedata

    name = "홍길동 é"
    assert plain_name(unicodedata.normalize("NFD", f" {name}  ")) == name
    assert plain_name("A  1") == "A 1"
    assert plain_name("001") != plain_name("1")


def test_likeness() -> None:
    assert len({likeness(n) for n in ("001", "1", "1.0", " 1 ")}) == 1
    assert len({likeness(n) for n in ("P-007", "p 7", "P007", "p_7")}) == 1
    assert likeness("10") != likeness("1")
    assert likeness("100") != likeness("1")


@pytest.mark.parametrize("text", ["1e999", "-1e999", "inf", "nan", "9" * 400])
def test_what_is_too_large_for_a_number_is_none(text: str) -> None:
    assert read_number(text, comma=False) is None


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("被験者,性別\n山田,男\n佐藤,女\n", "cp932"),
        ("CT番号,なまえ\n1,たなか\n", "cp932"),
        ("대상자,성별\n김철수,남\n박영희,여\n", "cp949"),
        ("subject,sex\n이순신,M\n", "cp949"),
        ("Größe,Name\n170,Müller\n", "cp1252"),
        ("sujet,prénom\n1,Andrée\n2,Zoë\n", "cp1252"),
    ],
)
def test_the_countries_of_an_encoding_are_told_apart(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    table = read_edited_table(tmp_path / "t.csv")
    assert (table.header, *(row.cells for row in table.rows)) == tuple(tuple(r.split(",")) for r in text.split())


@pytest.mark.parametrize("rows", ['a,"one\nb,two\nc,three\n', 'a,"one\nb,two\nc,"three"\n'])
def test_rows_that_an_open_quote_swallows_are_refused(tmp_path: Path, rows: str) -> None:
    (tmp_path / "t.csv").write_text(f"scan,name\n{rows}")
    with pytest.raises(UnreadableScanError, match="a quote is not closed"):
        read_edited_table(tmp_path / "t.csv")


def test_quotes_that_lose_nothing_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('scan,note\na,5\'6"\nb,"two\nlines"\nc,"with, comma"\n')
    assert [row.cells[1] for row in read_edited_table(tmp_path / "t.csv").rows] == [
        "5'6\"",
        "two\nlines",
        "with, comma",
    ]


def workbook(path: Path, *sheets: list[list[object]]) -> Path:
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.active)
    for number, rows in enumerate(sheets):
        sheet = book.create_sheet(f"s{number}")
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_rows_on_a_second_sheet_do_not_vanish(tmp_path: Path) -> None:
    rows: list[list[object]] = [["scan", "name"], ["a", "x"]]
    with pytest.raises(UnreadableScanError, match="2 sheets"):
        read_edited_table(workbook(tmp_path / "a.xlsx", rows, rows))
    other = workbook(tmp_path / "b.xlsx", rows, [["what the columns mean"]], [])
    assert len(read_edited_table(other).rows) == 1


def test_formulas_without_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableScanError, match="formulas without their results"):
        read_edited_table(workbook(tmp_path / "a.xlsx", [["scan", "height"], ["a", "=100+65"]]))
