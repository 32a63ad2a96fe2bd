"""Headers as hospitals write them: results are written all the same, and names come back equal."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

import dicom_factory as factory
from labelled_dicom import content_of, ct_series, label_values
from vastus.dicom import formats
from vastus.dicom.outputs import DicomFormat, write_dicom
from vastus.dicom.patient import patient_and_study
from vastus.dicom.source import with_checked_headers
from vastus.errors import UnsupportedScanError
from vastus.io.scans import read_scan

QUICK = (formats.SEG, formats.SR, formats.RTSTRUCT)
"""All but the PDF, whose object is made as that of contours is."""
LABELMAP = (formats.LABELMAP,)
KOREAN = "Hong^Gildong=洪^吉洞=홍^길동"
JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"
HALF_WIDTH = "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"
CHINESE = "Wang^XiaoDong=王^小东"


def ct(folder: Path, **raw: str | bytes | list[str]) -> Path:
    """A series with values put into its headers as they are, whatever the rules of their type."""
    for path in factory.write_series(folder, ct_series()):
        dataset = pydicom.dcmread(path)
        for keyword, text in raw.items():
            if keyword == "SpecificCharacterSet" or isinstance(text, list):
                setattr(dataset, keyword, text)
                continue
            value = text if isinstance(text, bytes) else text.encode()
            value += b" " * (len(value) % 2)
            tag = Tag(keyword)
            dataset._dict[tag] = RawDataElement(tag, dictionary_VR(keyword), len(value), value, 0, False, True)
        dataset.save_as(path, enforce_file_format=True)
    return folder


def results(folder: Path, tmp_path: Path, formats: tuple[DicomFormat, ...] = QUICK) -> list[pydicom.Dataset]:
    return [
        pydicom.dcmread(path) for path in write_dicom(content_of(folder, label_values()), formats, tmp_path / "out")
    ]


def header(sets: str | list[str], **raw: str | bytes) -> pydicom.Dataset:
    """A header as it is read from a file."""
    dataset = pydicom.Dataset()
    if sets:
        dataset.SpecificCharacterSet = sets
    for keyword, text in raw.items():
        value = text if isinstance(text, bytes) else text.encode()
        tag = Tag(keyword)
        dataset._dict[tag] = RawDataElement(tag, dictionary_VR(keyword), len(value), value, 0, False, True)
    return through_a_file(dataset)


def through_a_file(dataset: pydicom.Dataset) -> pydicom.Dataset:
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, implicit_vr=False, little_endian=True)
    stream.seek(0)
    return pydicom.dcmread(stream, force=True)


CHARACTER_SETS = [
    (["", "ISO 2022 IR 149"], KOREAN),
    (["", "ISO 2022 IR 87"], JAPANESE),
    (["ISO 2022 IR 13", "ISO 2022 IR 87"], HALF_WIDTH),
    ("GB18030", CHINESE),
    ("GBK", CHINESE),
    ("ISO_IR 192", KOREAN),
    ("ISO_IR 100", "Müller^Jürgen"),
    ("ISO_IR 144", "Иванов^Иван"),
    (["", "ISO 2022 IR 144"], "Иванов^Иван"),
    (["ISO 2022 IR 6", "ISO 2022 IR 100"], "Müller^Jürgen"),
    ("UTF-8", KOREAN),
    ("", "Doe^John"),
]


@pytest.mark.parametrize(("sets", "name"), CHARACTER_SETS)
def test_names_of_any_character_set_come_back_equal(sets: str | list[str], name: str):
    dataset = pydicom.Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192" if sets == "UTF-8" else sets
    dataset.PatientName, dataset.StudyDescription = name, name.partition("=")[0]
    source = through_a_file(dataset)
    assert str(source.PatientName) == name  # else the test tests nothing
    if sets == "UTF-8":
        source.SpecificCharacterSet = sets
    found = patient_and_study(source)
    back = through_a_file(found.elements)
    assert str(back.PatientName) == name and back.StudyDescription == name.partition("=")[0]
    assert back.get("SpecificCharacterSet", "") == ("" if name.isascii() else "ISO_IR 192")
    assert found.warnings == ()


def test_a_chinese_name_with_escapes_comes_back_equal():
    name = b"Wang^XiaoDong=\x1b$)A\xcd\xf5^\x1b$)A\xd0\xa1\xb6\xab"  # as the standard writes it, PS3.5 K.2
    found = patient_and_study(header(["", "ISO 2022 IR 58"], PatientName=name))
    assert str(through_a_file(found.elements).PatientName) == CHINESE


@pytest.mark.parametrize(("sets", "name"), [CHARACTER_SETS[0], CHARACTER_SETS[2]])
def test_every_kind_of_result_holds_the_name(tmp_path: Path, sets: list[str], name: str):
    folder = ct(tmp_path / "ct")
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.SpecificCharacterSet, dataset.PatientName = sets, name
        dataset.save_as(path, enforce_file_format=True)
    written = results(folder, tmp_path, (*QUICK, formats.PDF)) + results(folder, tmp_path / "2", LABELMAP)
    assert [str(result.PatientName) for result in written] == [name] * 5
    assert {result.SpecificCharacterSet for result in written} == {"ISO_IR 192"}


@pytest.mark.parametrize("term", ["ISO_IR 999", "KSC5601", "klingon", ["", "ISO 2022 IR 999"]])
def test_a_character_set_that_is_none_is_said(term: str | list[str]):
    text = ("\\".join(term) if isinstance(term, list) else term).encode()
    source = pydicom.Dataset()
    for keyword, value in (
        ("SpecificCharacterSet", text + b" " * (len(text) % 2)),
        ("PatientName", "홍^길동".encode()),
    ):
        tag = Tag(keyword)
        source._dict[tag] = RawDataElement(tag, dictionary_VR(keyword), len(value), value, 0, False, True)
    found = patient_and_study(source)
    assert any("character set" in w for w in found.warnings)
    assert str(through_a_file(found.elements).PatientName) == "홍^길동"


@pytest.mark.parametrize(
    ("keyword", "text", "kept"),
    [
        ("PatientBirthDate", "1951-02-03", "19510203"),
        ("PatientBirthDate", "1951.02.03", "19510203"),
        ("PatientBirthDate", "1951/2/3", "19510203"),
        ("PatientBirthDate", "19510230", ""),
        ("PatientBirthDate", "1951", ""),
        ("PatientBirthDate", "03.02.1951", ""),
        ("PatientBirthDate", "00000000", ""),
        ("PatientBirthDate", "unknown", ""),
        ("StudyDate", "2025-01-02", "20250102"),
        ("StudyDate", "99999999", ""),
        ("StudyDate", "20250102101112", "20250102"),
        ("StudyTime", "10:11:12", "101112"),
        ("StudyTime", "101112.1234567", "101112.123456"),
        ("StudyTime", "257000", ""),
        ("StudyTime", "noon", ""),
        ("PatientSex", "female", "F"),
        ("PatientSex", "m", "M"),
        ("PatientSex", "W", ""),
        ("PatientSex", "2", ""),
        ("PatientAge", "65Y", "065Y"),
        ("PatientAge", "065y", "065Y"),
        ("PatientAge", "old", ""),
        ("PatientWeight", "80,5", "80.5"),
        ("PatientWeight", "80 kg", ""),
        ("PatientSize", "nan", ""),
        ("PatientWeight", "80.5000000000000000001", "80.5"),
    ],
)
def test_values_against_the_rules_are_mended_or_empty(keyword: str, text: str, kept: str):
    found = patient_and_study(header("", **{keyword: text + " " * (len(text) % 2)}))
    said = " ".join(found.warnings)
    assert keyword in said and (len(text) < 3 or text not in said)
    assert str(found.elements.get(keyword) or "") == kept


ODD = (
    {
        "PatientBirthDate": "1951-02-03",
        "StudyDate": "99999999",
        "StudyTime": "noon",
        "PatientSex": "W",
        "PatientAge": "old",
        "PatientWeight": "80,5",
        "PatientSize": "tall",
    },
    {
        "PatientName": "HONG",
        "PatientID": "A\\B",
        "StudyID": "S" * 40,
        "ReferringPhysicianName": "Doctor",
        "SliceThickness": "3 mm",
        "EthnicGroup": b"\xb1\xe8",
        "ImageType": "CT",
        "KVP": "many",
    },
    {
        "PatientName": "A^B\\C^D",
        "PatientID": "0" * 100,
        "AccessionNumber": "A" * 30,
        "StudyDescription": "x" * 300,
        "SliceThickness": "",
        "PatientComments": "\x1b\x00\xff",
        "PositionReferenceIndicator": "x" * 100,
        "PatientBirthTime": "late",
        "PatientSpeciesDescription": "?" * 100,
    },
    {
        "PatientName": b"\xb1\xe8^\xb1\xe6",
        "PatientIdentityRemoved": "maybe",
        "SliceThickness": "inf",
        "OtherPatientIDs": "\\\\",
        "StudyDate": "",
        "PatientSex": "",
    },
    {"PatientName": "X" * 200, "SliceThickness": "3.000000000000000000000"},
)


@pytest.mark.parametrize("values", ODD, ids="+".join)
def test_nothing_that_results_hardly_need_ends_them(tmp_path: Path, values: dict[str, str | bytes], capfd):
    folder = ct(tmp_path / "ct", **values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # also no library may quote a value on the terminal
        written = results(folder, tmp_path)
        written += results(folder, tmp_path / "2", LABELMAP)
    assert len(written) == 4
    assert not capfd.readouterr().err


def test_what_every_result_must_repeat_is_asked_for_before_any_work(tmp_path: Path):
    folder = ct(tmp_path / "ct")
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        del dataset.FrameOfReferenceUID
        dataset.save_as(path)
    with pytest.raises(UnsupportedScanError, match="FrameOfReferenceUID"):
        with_checked_headers(read_scan(folder))


def test_warnings_of_the_header_become_the_scans(tmp_path: Path):
    scan = with_checked_headers(read_scan(ct(tmp_path / "ct", PatientSex="female")))
    assert any("PatientSex" in w for w in scan.source.warnings)


def test_files_without_preamble_have_results_too(tmp_path: Path):
    folder = ct(tmp_path / "ct")
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[128:])
    assert len(results(folder, tmp_path)) == 3
