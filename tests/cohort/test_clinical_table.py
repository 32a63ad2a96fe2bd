import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vastus.cohort.clinical_table import read_clinical_table
from vastus.cohort.columns import STANDARD, standard_column, standard_word
from vastus.cohort.problems import ProblemKind
from vastus.errors import MissingInputError, SettingsError, UnreadableScanError


def read(folder, text, encoding="utf-8"):
    path = folder / "clinical.csv"
    path.write_bytes(text.encode(encoding))
    return read_clinical_table(path)


def kinds(table):
    return [p.kind for p in table.problems]


def test_plain(tmp_path):
    table = read(tmp_path, "subject,sex,age,height_cm\nA,F,80,151.5\nB,male,71,165\n")
    assert list(table.frame["sex"]) == ["F", "M"]
    assert list(table.frame["height_cm"]) == [151.5, 165]
    assert list(table.frame["scan"]) == ["A", "B"]
    assert table.given == ("subject", "sex", "age_years", "height_cm")
    assert table.problems == ()


def test_bom_semicolons_decimal_commas_blank_rows(tmp_path):
    text = "\ufeffPatient ID;Geschlecht;Sex;Height (cm);SMI [kg/m²]\n\nA;x;w;151,5;5,21\n;;;;\nB;x;M;165,0;7,30\n\n"
    table = read(tmp_path, text)
    assert list(table.frame["subject"]) == ["A", "B"]
    assert list(table.frame["height_cm"]) == [151.5, 165]
    assert list(table.frame["smi_kg_m2"]) == [5.21, 7.30]
    assert "Geschlecht" in table.frame


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp949", "utf-16"])
def test_korean(tmp_path, encoding):
    text = (
        "환자번호,성별,나이,신장(cm),체중(kg),골격근지수,악력(kg),보행속도(m/s),골절측,골절유형,촬영일\n"
        "P1,여,81,150.2,48,5.1,14.5,0.7,우측,대퇴경부,2023년 3월 5일\nP2,남자,77,166,60,6.2,24,0.8,왼쪽,전자간,"
        "2023.04.01\n"
    )
    frame = read(tmp_path, text, encoding).frame
    assert list(frame["sex"]) == ["F", "M"]
    assert list(frame["fracture_side"]) == ["right", "left"]
    assert list(frame["fracture_type"]) == ["femoral neck", "intertrochanteric"]
    assert list(frame["grip_kg"]) == [14.5, 24]
    assert list(frame["scan_date"]) == [pd.Timestamp(2023, 3, 5), pd.Timestamp(2023, 4, 1)]


def test_unit_is_converted_only_when_the_name_says_it(tmp_path):
    assert list(read(tmp_path, "id,sex,height_m\nA,F,1.52\n").frame["height_cm"]) == [152]
    table = read(tmp_path, "id,sex,height\nA,F,1.52\nB,F,152\n")
    assert np.isnan(table.frame["height_cm"][0])
    assert "metres" in table.problems[0].what
    assert (table.problems[0].subject, table.problems[0].row) == ("A", 2)


def test_all_problems_come_together_and_the_rest_stays(tmp_path):
    text = (
        "subject,sex,age,grip,scan_date\n"
        "A,F,80,15,2023-01-02\n"
        "B,?,80,15,\n"  # unknown sex is missing
        "C,3,80,15,\n"  # not a word we know
        "D,F,eighty,15,\n"
        "E,F,80,150,\n"  # out of range
        "F,F,80,15,01/02/2023\n"  # day or month first?
        ",F,80,15,\n"
        "G,F,80,15,,extra\n"
        "H,F,80,15,\nH,F,81,15,\n"
        "A,F,80,15,2023-01-02\n"
    )
    table = read(tmp_path, text)
    assert list(table.frame["subject"]) == ["A", "B", "C", "D", "E", "F"]
    found = {(p.kind, p.row) for p in table.problems}
    assert found == {
        (ProblemKind.BAD_VALUE, 4),
        (ProblemKind.BAD_VALUE, 5),
        (ProblemKind.BAD_VALUE, 6),
        (ProblemKind.BAD_VALUE, 7),
        (ProblemKind.BAD_ROW, 8),
        (ProblemKind.BAD_ROW, 9),
        (ProblemKind.DUPLICATE_ROW, 10),
        (ProblemKind.DUPLICATE_ROW, 11),
        (ProblemKind.DUPLICATE_ROW, 12),
    }
    assert "H" in table.subjects
    assert not any("150" in p.what or "eighty" in p.what for p in table.problems)


def test_several_scans_of_one_person(tmp_path):
    table = read(tmp_path, "subject,scan,date,sex\nA,A_1,20230102,F\nA,A_2,3.7.2023,F\n")
    assert list(table.frame["scan"]) == ["A_1", "A_2"]
    assert table.frame["scan_date"][1] == pd.Timestamp(2023, 7, 3)
    assert table.problems == ()


def test_second_column_of_one_meaning_is_named(tmp_path):
    table = read(tmp_path, "id,sex,age,나이\nA,F,80,90\n")
    assert table.frame["age_years"][0] == 80
    assert kinds(table) == [ProblemKind.BAD_COLUMN]


def test_refusals(tmp_path):
    with pytest.raises(SettingsError, match="sex"):
        read(tmp_path, "subject,age\nA,80\n")
    with pytest.raises(MissingInputError):
        read(tmp_path, "subject,sex\n\n")
    with pytest.raises(MissingInputError):
        read_clinical_table(tmp_path / "none.csv")
    (tmp_path / "x.csv").write_bytes(b"PK\x03\x04rest")
    with pytest.raises(UnreadableScanError, match="Excel"):
        read_clinical_table(tmp_path / "x.csv")


def test_excel_separator_line_and_quotes(tmp_path):
    table = read(tmp_path, 'sep=;\n"subject";"sex";"note"\n"A";"F";"one; two"\n')
    assert table.frame["note"][0] == "one; two"


def test_no_is_a_word_and_na_is_missing(tmp_path):
    frame = read(tmp_path, "id,sex,amputation,fracture side\nA,F,none,없음\nB,F,n/a,-\nC,F,Yes,both\n").frame
    assert frame["amputation"].tolist()[0] == "no"
    assert pd.isna(frame["amputation"][1])
    assert list(frame["fracture_side"][[0, 2]]) == ["none", "both"]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(STANDARD), st.sampled_from([str.upper, str.title, lambda s: s.replace("_", " ")]))
def test_every_standard_name_is_its_own_variant(name, change):
    assert standard_column(change(name)) == (name, 1.0)


def test_grip_in_newtons():
    assert standard_column("Grip (N)") == ("grip_kg", pytest.approx(1 / 9.80665))
    assert standard_word("sex", "Ｆ") == "F"


def test_5000_rows_take_seconds(tmp_path):
    rows = "".join(
        f"S{i};{'FM'[i % 2]};{60 + i % 30};15{i % 10},5;5,{i % 100:02d};2{i % 8},1;0,8;12,5\n" for i in range(5000)
    )
    start = time.perf_counter()
    table = read(tmp_path, "subject;sex;age;height;smi;grip;gait;chair stand\n" + rows)
    seconds = time.perf_counter() - start
    assert len(table.frame) == 5000
    assert seconds < 30  # a quiet machine needs less than five
