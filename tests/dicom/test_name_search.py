from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from vastus.dicom.name_search import Names, names_of


def _names(name: str, **others: object) -> Names:
    dataset = Dataset()
    dataset.SpecificCharacterSet, dataset.PatientName = "ISO_IR 192", name
    for keyword, value in others.items():
        setattr(dataset, keyword, value)
    return names_of(dataset)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Kim^Gildong=金^吉童=김^길동", "김길동 hip"),
        ("Kim^Gildong=金^吉童=김^길동", "길동김"),
        ("Kim^Gildong=金^吉童=김^길동", "CT of 길동"),
        ("Kim^Gildong=金^吉童=김^길동", "KIMGILDONG"),
        ("Kim^Gildong=金^吉童=김^길동", "gildong-kim"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "山田太郎"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "太郎山田"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "ヤマダタロウ"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "ﾔﾏﾀﾞ ﾀﾛｳ"),
        ("홍길동", "환자 홍길동님"),
        ("홍길동", "길동"),
        ("홍길동", "길동 홍"),
        ("李^明", "李明的腿"),
        ("HONG GILDONG", "GildongHong"),
        ("Li^Na", "LiNa"),
        ("Li^Na", "NA LI"),
        ("Kim^Gil Dong", "gildongkim"),
        ("Müller^Jürgen", "MUELLER"),
        ("Müller^Jürgen", "jurgenmuller"),
        ("Иванов^Пётр", "петриванов"),
        ("محمد^علي", "CTمحمدعلي"),
        ("สมชาย^ใจดี", "ผู้ป่วยสมชาย"),
        ("Doe^Jane", "JDoe"),
        ("Doe^Jane", "doej kernel"),
    ],
)
def test_a_name_is_found_however_it_is_written(name: str, text: str) -> None:
    assert _names(name).are_in(text)


@pytest.mark.parametrize("text", ["B30f", "STANDARD", "SOMATOM Force", "syngo CT VB20A", "Siemens", "", "Li kernel"])
def test_what_names_nobody_stays(text: str) -> None:
    names = _names("Lee^An=李^安=이^안", ReferringPhysicianName="Roe^Jo")
    assert not names.are_in(text)


def test_numbers_and_names_of_others_are_looked_for_too() -> None:
    names = _names("Doe^Jane", PatientID="12-34.567", OperatorsName=["Smith^Ann", "Wu^Yi"])
    for text in ("id 1234567", "12 34 567", "AnnSmith", "wuyi"):
        assert names.are_in(text), text
    assert not _names("Unknown").are_in("unknown")
