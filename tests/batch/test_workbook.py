from __future__ import annotations

import json

import pytest
from openpyxl import load_workbook

from vastus.anatomy import LABELS, SIDES
from vastus.batch.workbook import write_batch_workbook
from vastus.errors import MissingInputError
from vastus.io.csv_tables import VolumeRow, write_volume_rows
from vastus.io.tables import LEVEL_COLUMNS


def rows_of(name: str, **flags: bool) -> list[VolumeRow]:
    return [
        VolumeRow(
            name,
            label.structure.key,
            label.structure.group,
            label.side,
            100_000.0,
            50.0,
            label.name == "psoas_left" and flags.get("cut", False),
            label.name == "gracilis_right" and flags.get("fragment", False),
        )
        for label in LABELS
        if label.side in SIDES
    ]


def test_a_row_a_patient_and_flags_apart(tmp_path):
    write_volume_rows([*rows_of("0012"), *rows_of("p2", cut=True, fragment=True)], tmp_path / "volumes.csv")
    levels = tmp_path / "scans" / "p2" / "levels.csv"
    levels.parent.mkdir(parents=True)
    levels.write_text(",".join(LEVEL_COLUMNS) + "\np2,right,mid_thigh,10.5,50,1,2,3,all,all,9000.5,false\n")
    book = load_workbook(write_batch_workbook(tmp_path))
    assert book.sheetnames == ["patients", "structures", "sides", "density", "levels", "flags", "dictionary"]
    patients = list(book["patients"].values)
    assert patients[1] == ("0012", 2700, 2700, 58, 0, 0, 0, None)
    assert patients[2] == ("p2", 2600, 2600, 56, 1, 1, 0, None)
    structures = [dict(zip(next(book["structures"].values), row, strict=True)) for row in book["structures"].values][1:]
    assert (structures[0]["psoas"], structures[1]["psoas"], structures[1]["femur"]) == (200, None, 200)
    assert list(book["flags"].values)[1:] == [
        ("p2", "gracilis", "right", "fragment"),
        ("p2", "psoas", "left", "cut"),
    ]
    assert next(iter(list(book["levels"].values)[1:]))[:4] == ("p2", "right", "mid_thigh", 10.5)
    units = {(sheet, column): unit for sheet, column, unit, _ in book["dictionary"].values}
    assert units["sides", "psoas_left"] == "cm³" and units["density", "psoas_left"] == "HU"


def test_without_a_table_it_is_refused(tmp_path):
    with pytest.raises(MissingInputError):
        write_batch_workbook(tmp_path)


def test_patients_that_must_stop_a_reader_stand_on_the_first_sheet(tmp_path):
    write_volume_rows([*rows_of("p1"), *rows_of("p2"), *rows_of("p3")], tmp_path / "volumes.csv")
    wrong = {"gracilis": {"left": {"expected": 0.4, "low": 0.2, "high": 0.6, "wrong": 0.9}}}
    for name, record in (
        ("p1", {"warnings": [], "alarms": ["Gracilis is likely wrong."], "agreement": {"structures": wrong}}),
        ("p2", {"warnings": ["Turned over."], "alarms": ["Turned over."]}),
    ):
        (tmp_path / "scans" / name).mkdir(parents=True)
        (tmp_path / "scans" / name / "run.json").write_text(json.dumps(record))
    book = load_workbook(write_batch_workbook(tmp_path))
    assert list(book["STOP"].values) == [
        ("subject", "STOP", "why"),
        ("p2", "STOP: USE NO NUMBER OF THIS SCAN", "Turned over."),
        ("p1", "STOP: LIKELY WRONG", "Gracilis is likely wrong."),
    ]
    told = {row[0]: row[-2:] for row in list(book["patients"].values)[1:]}
    assert told == {"p1": (1, None), "p2": (0, "yes"), "p3": (0, None)}
    assert list(book["flags"].values)[1:] == [("p1", "gracilis", "left", "likely wrong")]
    red = [row[0].value for row in book["structures"].iter_rows(min_row=2) if row[0].font.b]
    assert red == ["p2"]
