from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook

from vastus.anatomy import BY_KEY, STRUCTURES, Side
from vastus.formats.scan_workbook import write_scan_workbook
from vastus.inference.confidence import Confidence
from vastus.measuring import MeasuredScan, MeasureRequest, measure_to_folder
from vastus.synthesis.phantom import make_phantom

RECORD = {
    "subject": "=p1",
    "weights": {"name": "toy", "sha256": "0123456789abcdef", "trained_on": "nothing"},
    "device": "CPU",
    "versions": {"vastus": "0.1.0"},
    "warnings": ["Look at the left side."],
}
FEMUR_RIGHT = BY_KEY["femur"].label_value(Side.RIGHT)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> MeasuredScan:
    phantom = make_phantom((5.0, 5.0, 6.0))
    folder = tmp_path_factory.mktemp("tables")
    sure = Confidence(0.9, {FEMUR_RIGHT: 0.95})
    return measure_to_folder(MeasureRequest(phantom.ct, phantom.labels, "p1", folder, confidence=sure))


@pytest.fixture(scope="module")
def book(measured: MeasuredScan, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("book") / "results.xlsx"
    write_scan_workbook(path, measured, RECORD)
    return load_workbook(path)


def rows_of(book: Any, sheet: str) -> list[dict[str, Any]]:
    header, *lines = book[sheet].iter_rows(values_only=True)
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_there_is_a_sheet_for_each_question(book: Any) -> None:
    assert book.sheetnames == ["structures", "sides", "groups", "levels", "flags", "about", "dictionary"]


def test_values_are_numbers_with_their_unit_in_the_header(book: Any, measured: MeasuredScan) -> None:
    rows = rows_of(book, "structures")
    assert len(rows) == 2 * len(STRUCTURES)
    shown = {(row["key"], row["side"]): row for row in rows}
    for volume in measured.volumes:
        row = shown[volume.structure, volume.side.value]
        if volume.volume_mm3 is None:
            assert row["volume (cm³)"] is None
        else:
            assert row["volume (cm³)"] == pytest.approx(volume.volume_mm3 / 1000)
            assert row["mean (HU)"] == pytest.approx(volume.mean_hu)
        assert row["cut by the scan"] == ("yes" if volume.truncated else "no")
    assert shown["femur", "right"]["confidence"] == 0.95
    assert shown["femur", "left"]["confidence"] is None
    assert any(row["volume (cm³)"] for row in rows)


def test_sides_stand_beside_each_other(book: Any, measured: MeasuredScan) -> None:
    found = {(row.structure, row.side): row.volume_mm3 for row in measured.volumes}
    for row in rows_of(book, "sides"):
        right, left = (found[row["key"], side] for side in (Side.RIGHT, Side.LEFT))
        assert row["volume right (cm³)"] == (None if right is None else pytest.approx(right / 1000))
        assert row["volume left (cm³)"] == (None if left is None else pytest.approx(left / 1000))
        if row["difference (%)"] is not None:
            assert row["difference (%)"] == pytest.approx(200 * (right - left) / (right + left))


def test_areas_at_levels_are_square_centimetres(book: Any, measured: MeasuredScan) -> None:
    areas = [row["area (cm²)"] for row in rows_of(book, "levels")]
    wanted = [None if area.area_mm2 is None else area.area_mm2 / 100 for area in measured.found.areas]
    assert areas == pytest.approx(wanted)
    assert any(areas)


def test_warnings_and_what_is_cut_are_among_the_flags(book: Any, measured: MeasuredScan) -> None:
    rows = rows_of(book, "flags")
    assert (rows[0]["flag"], rows[0]["text"]) == ("warning", "Look at the left side.")
    cut = sum(row.truncated and not row.fragment for row in measured.volumes)
    assert sum(row["flag"] == "cut by the scan" for row in rows) == cut
    gone = sum(row.volume_mm3 is None for row in measured.volumes)
    assert sum(row["flag"] == "not found" for row in rows) == gone


def test_every_column_is_explained_and_its_unit_named(book: Any) -> None:
    told = {(row["sheet"], row["column"]): row for row in rows_of(book, "dictionary")}
    for name in book.sheetnames[:-1]:
        for cell in next(book[name].iter_rows(max_row=1)):
            row = told[name, cell.value]
            assert row["meaning"], (name, cell.value)
            if "(" in cell.value:
                assert cell.value.endswith(f"({row['unit']})")


def test_no_name_becomes_a_formula(book: Any) -> None:
    cell = book["about"]["B2"]
    assert (cell.value, cell.data_type) == ("=p1", "s")


def test_the_same_results_give_the_same_file(measured: MeasuredScan, tmp_path: Path) -> None:
    for name in ("a.xlsx", "b.xlsx"):
        write_scan_workbook(tmp_path / name, measured, RECORD)
    first, second = (load_workbook(tmp_path / name) for name in ("a.xlsx", "b.xlsx"))
    for sheet in first.sheetnames:
        assert list(first[sheet].values) == list(second[sheet].values)


WRONG = {"expected": 0.4, "low": 0.2, "high": 0.6, "wrong": 0.9}


def stopped_book(measured: MeasuredScan, path: Path, warnings: list[str]) -> Any:
    record = RECORD | {
        "warnings": ["Look at the left side.", *warnings],
        "alarms": [*warnings, "1 structure is likely wrong: femur, left."],
        "agreement": {"structures": {"femur": {"left": WRONG}}},
        "missing": [{"structure": "psoas", "side": "right", "absent_mm": 60}],
    }
    write_scan_workbook(path, measured, record)
    return load_workbook(path)


def is_red(row: Any) -> bool:
    return row[0].font.color is not None and row[0].font.color.rgb == "00C4001D" and row[0].font.b


def test_what_stops_a_reader_is_the_first_sheet_and_stands_at_its_numbers(measured: MeasuredScan, tmp_path: Path):
    book = stopped_book(measured, tmp_path / "a.xlsx", [])
    assert book.sheetnames[0] == "STOP" and book["STOP"].sheet_properties.tabColor.rgb == "00C4001D"
    assert [row[0] for row in book["STOP"].values] == [
        "STOP",
        "STOP: LIKELY WRONG",
        "1 structure is likely wrong: femur, left.",
    ]
    wrong = {(r["key"], r["side"]) for r in rows_of(book, "structures") if r["likely wrong"] == "yes"}
    assert wrong == {("femur", "left")}
    assert [r["key"] for r in rows_of(book, "sides") if r["likely wrong"]] == ["femur"]
    assert [row[1].value for row in book["structures"].iter_rows(min_row=2) if is_red(row)] == ["femur"]
    flags = rows_of(book, "flags")
    assert [r["flag"] for r in flags[:2]] == ["STOP", "warning"]
    assert [(r["structure"], r["side"]) for r in flags if r["flag"] == "likely wrong"] == [("Femur", "left")]
    assert [(r["structure"], r["side"]) for r in flags if r["flag"] == "missed"] == [("Psoas major", "right")]


def test_of_a_scan_of_no_use_every_row_is_red(measured: MeasuredScan, tmp_path: Path):
    book = stopped_book(measured, tmp_path / "a.xlsx", ["The body lies the other way round."])
    assert next(iter(book["STOP"].iter_rows(min_row=2)))[0].value == "STOP: USE NO NUMBER OF THIS SCAN"
    for name in ("structures", "sides", "groups"):
        assert all(is_red(row) for row in book[name].iter_rows(min_row=2))
    assert all(row["likely wrong"] == "yes" for row in rows_of(book, "structures"))


def test_nothing_is_red_where_nothing_stops(book: Any) -> None:
    assert not any(is_red(row) for sheet in book for row in sheet.iter_rows(min_row=2))
