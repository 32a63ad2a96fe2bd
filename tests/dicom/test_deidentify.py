from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from typer.testing import CliRunner

import dicom_factory as factory
from labelled_dicom import FULL_HEADER
from planted_identifiers import planted
from vastus.cli.main import app
from vastus.dicom.deidentify import Pseudonyms, deidentify, deidentify_folder, load_key, shifted
from vastus.dicom.kept_attributes import DATES, EMPTIED, UIDS, kept_tags
from vastus.errors import MissingInputError, SettingsError, UnreadableScanError
from vastus.io.scans import read_scan

MARK = "ZQXWVJ"
KEY = bytes(range(32))
TOP = (
    "PatientName",
    "PatientID",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientAddress",
    "PatientMotherBirthName",
    "PatientTelephoneNumbers",
    "PatientComments",
    "EthnicGroup",
    "Occupation",
    "AdditionalPatientHistory",
    "AccessionNumber",
    "StudyID",
    "StudyDescription",
    "SeriesDescription",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "OperatorsName",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "StationName",
    "DeviceSerialNumber",
    "ProtocolName",
    "RequestingPhysician",
    "ImageComments",
    "PerformedProcedureStepID",
    "PerformedProcedureStepDescription",
    "AcquisitionComments",
    "MedicalRecordLocator",
    "CurrentPatientLocation",
)
NESTED = (
    ("RequestAttributesSequence", "ScheduledProcedureStepDescription"),
    ("OtherPatientIDsSequence", "PatientID"),
    ("ReferencedImageSequence", "PatientName"),  # where no profile expects a name
    ("ProcedureCodeSequence", "CodeMeaning"),
    ("SourceImageSequence", "InstitutionName"),
)


def _marked(folder: Path) -> tuple[list[Path], int]:
    """A series with the marker in every place that can be thought of."""
    paths = factory.write_series(folder, factory.series(4, extra=FULL_HEADER))
    places = 0
    for path in paths:
        dataset = pydicom.dcmread(path)
        places = 0
        for number, keyword in enumerate(TOP):
            setattr(dataset, keyword, f"{MARK}^{number}" if "Name" in keyword else f"{MARK} {number}")
            places += 1
        for sequence, keyword in NESTED:
            item = Dataset()
            setattr(item, keyword, f"{MARK}^nested")
            deeper = Dataset()
            deeper.PatientName = f"{MARK}^deeper"
            item.ReferencedStudySequence = [deeper]
            setattr(dataset, sequence, [item])
            places += 2
        block = dataset.private_block(0x0029, "MAKER", create=True)
        block.add_new(0x10, "LO", MARK)
        inner = Dataset()
        inner.PatientName = MARK
        block.add_new(0x11, "SQ", [inner])
        block.add_new(0x12, "OB", MARK.encode())
        dataset.add_new(0x60003000, "OW", MARK.encode())
        dataset.ConvolutionKernel = MARK  # a harmless attribute, misused
        dataset.file_meta.SourceApplicationEntityTitle = MARK
        dataset.preamble = MARK.encode().ljust(128, b"\0")
        places += 7
        dataset.save_as(path, enforce_file_format=True)
    return paths, places


def test_no_planted_marker_is_left_in_forty_places(tmp_path: Path) -> None:
    _, places = _marked(tmp_path / "ct")
    assert places >= 40
    before = read_scan(tmp_path / "ct").volume
    done = deidentify_folder(tmp_path / "ct", tmp_path / "out", Pseudonyms(KEY))
    assert (done.images, done.left_out) == (4, 0)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) == 4
    for path in files:
        assert MARK.encode() not in path.read_bytes()
        assert MARK not in str(path)
    after = read_scan(tmp_path / "out").volume
    assert after.same_grid(before)
    assert (after.array == before.array).all()


def test_nothing_of_two_hundred_planted_identifiers_is_left(tmp_path: Path) -> None:
    made = planted()
    assert made.count >= 210
    (tmp_path / "ct").mkdir()
    original = tmp_path / "ct" / made.file_name
    made.dataset.save_as(original, enforce_file_format=True)
    assert len(made.left_in(original)) == made.count
    deidentify_folder(tmp_path / "ct", tmp_path / "out", Pseudonyms(KEY))
    (copy,) = (tmp_path / "out").rglob("*.dcm")
    assert made.left_in(copy) == []
    found = pydicom.dcmread(copy)
    assert found.ImageType == ["ORIGINAL", "PRIMARY", "AXIAL"]
    assert (found.KVP, found.RescaleIntercept, found.Rows) == (120, -1024, 2)
    assert found.PixelData == made.dataset.PixelData[:8]


def test_the_time_of_day_is_kept_nowhere_and_no_date_is_made_up(tmp_path: Path) -> None:
    extra = FULL_HEADER | {
        "AcquisitionDateTime": "20250102101112.123+0900",
        "LastMenstrualDate": "20250101",
        "ContentTime": "101112",
    }
    factory.write_series(tmp_path / "ct", factory.series(3, extra=extra))
    deidentify_folder(tmp_path / "ct", tmp_path / "out", Pseudonyms(KEY))
    found = pydicom.dcmread(next((tmp_path / "out").rglob("*.dcm")))
    assert "LastMenstrualDate" not in found
    assert found.StudyTime == found.ContentTime == found.PatientSex == ""
    assert len(found.AcquisitionDateTime) == 8 and found.AcquisitionDateTime == found.StudyDate


def test_numbers_stay_though_the_patients_number_is_one_of_them(tmp_path: Path) -> None:
    hu = np.full((4, 12, 10), -1000, np.int16)
    hu[:, 3:9, 3:8] = np.arange(30, 60).reshape(6, 5)
    extra = FULL_HEADER | {"PatientID": "1024", "AccessionNumber": "750", "OtherPatientIDs": ["120", "512"]}
    factory.write_series(tmp_path / "ct", factory.series(4, hu=hu, pixel_spacing=(0.75, 0.75), extra=extra))
    deidentify_folder(tmp_path / "ct", tmp_path / "out", Pseudonyms(KEY))
    before, after = read_scan(tmp_path / "ct").volume, read_scan(tmp_path / "out").volume
    assert after.same_grid(before) and (after.array == before.array).all()


def test_an_attribute_of_the_wrong_kind_or_form_goes() -> None:
    dataset = planted().dataset
    dataset.add_new("BodyPartExamined", "LO", "the leg of Ann")
    dataset.ScanOptions, dataset.PatientPosition, dataset.SoftwareVersions = "bed 3, ward 7", "MILLER", "von Müller"
    deidentify(dataset, Pseudonyms(KEY))
    assert "BodyPartExamined" not in dataset
    assert dataset.ScanOptions == dataset.PatientPosition == dataset.SoftwareVersions == ""


def test_codes_are_written_anew_from_the_tables_of_the_standard() -> None:
    dataset = planted().dataset
    known, own = Dataset(), Dataset()
    known.CodeValue, known.CodingSchemeDesignator, known.CodeMeaning = "68367000", "SCT", "thigh of Ann Miller"
    own.CodeValue, own.CodingSchemeDesignator, own.CodeMeaning = "4711", "99HOSPITAL", "thigh"
    dataset.AnatomicRegionSequence = [known, own]
    deidentify(dataset, Pseudonyms(KEY))
    (kept,) = dataset.AnatomicRegionSequence
    assert kept.CodeValue == "68367000" and kept.CodeMeaning.startswith("Thigh") and "Miller" not in kept.CodeMeaning


@pytest.mark.parametrize(("signed", "plain"), [(0, [0, 5, 4095, 2048]), (1, [0, 5, -1, -2048])])
def test_an_overlay_in_unused_bits_of_the_pixels_goes(signed: int, plain: list[int]) -> None:
    dataset = planted().dataset
    values = np.array(plain, "<i2").view("<u2")
    dataset.PixelRepresentation = signed
    dataset.PixelData = ((values & 0x0FFF) | np.uint16(0x5000)).astype("<u2").tobytes()
    dataset.add_new(0x60000102, "US", 12)
    deidentify(dataset, Pseudonyms(KEY))
    assert np.frombuffer(dataset.PixelData, "<i2" if signed else "<u2").tolist() == plain


def test_what_the_list_keeps_the_profile_does_not_delete() -> None:
    from dicomanonymizer.simpledicomanonymizer import initialize_actions

    profile = {(int(tag[0]) << 16) | int(tag[1]) for tag in initialize_actions() if len(tag) == 2}
    changed = UIDS | DATES | EMPTIED
    assert [word for tag, word in kept_tags().items() if tag in profile and word not in changed] == []
    assert len(kept_tags()) > 130


def test_uids_and_dates_change_together_and_the_same_way_with_the_same_key(tmp_path: Path) -> None:
    paths, _ = _marked(tmp_path / "ct")
    old = [pydicom.dcmread(path) for path in paths]
    results = []
    for name, key in (("a", KEY), ("b", KEY), ("c", KEY[::-1])):
        deidentify_folder(tmp_path / "ct", tmp_path / name, Pseudonyms(key))
        results.append(sorted(str(pydicom.dcmread(p).SOPInstanceUID) for p in (tmp_path / name).rglob("*.dcm")))
        new = [pydicom.dcmread(path) for path in (tmp_path / name).rglob("*.dcm")]
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            assert len({d[keyword].value for d in new}) == 1
            assert new[0][keyword].value != old[0][keyword].value
        assert len({d.SOPInstanceUID for d in new}) == 4
        assert new[0].SOPClassUID == factory.CT
        assert new[0].StudyDate not in ("", "20250102")
        assert new[0].PatientBirthDate == ""
    assert results[0] == results[1] != results[2]


def test_the_copies_say_that_they_are_deidentified(tmp_path: Path) -> None:
    _marked(tmp_path / "ct")
    deidentify_folder(tmp_path / "ct", tmp_path / "out", Pseudonyms(KEY))
    dataset = pydicom.dcmread(next((tmp_path / "out").rglob("*.dcm")))
    assert dataset.PatientIdentityRemoved == "YES"
    assert [c.CodeValue for c in dataset.DeidentificationMethodCodeSequence] == ["113100", "113107"]
    assert dataset.LongitudinalTemporalInformationModified == "MODIFIED"
    assert dataset.PatientID == dataset.PatientName == Pseudonyms(KEY).patient(f"{MARK} 1")


def test_documents_stay_behind_and_damaged_files_are_refused(tmp_path: Path) -> None:
    factory.write_series(tmp_path / "ct", factory.series(3))
    factory.write_series(tmp_path / "ct", factory.series(1, sop_class=factory.SECONDARY_CAPTURE), prefix="shot")
    done = deidentify_folder(tmp_path / "ct", tmp_path / "out", Pseudonyms(KEY))
    assert (done.images, done.left_out) == (3, 1)
    assert any("burnt-in" in warning for warning in done.warnings)
    (tmp_path / "none").mkdir()
    with pytest.raises(MissingInputError):
        deidentify_folder(tmp_path / "none", tmp_path / "out2", Pseudonyms(KEY))
    path = next((tmp_path / "ct").glob("s0*.dcm"))
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises((UnreadableScanError, MissingInputError)):
        deidentify_folder(path, tmp_path / "out3", Pseudonyms(KEY))


def test_one_damaged_series_never_takes_the_others_with_it_nor_is_half_copied(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        factory.write_series(tmp_path / "ct" / name, factory.series(3))
    last = sorted((tmp_path / "ct" / "b").iterdir())[-1]
    last.write_bytes(last.read_bytes()[:-100])
    args = ["deidentify", tmp_path / "ct", "-o", tmp_path / "out", "--key", tmp_path / "key"]
    done = CliRunner().invoke(app, [str(a) for a in args])
    assert done.exit_code == UnreadableScanError.exit_code
    assert last.name in done.output and "1 folder(s) with a damaged file" in done.output
    copied = [folder for folder in (tmp_path / "out").iterdir() if folder.is_dir()]
    assert [len(list(folder.iterdir())) for folder in copied] == [3, 3]


def test_dates_move_and_what_is_no_date_goes() -> None:
    assert shifted("20250301", -timedelta(days=1)) == "20250228"
    assert shifted("20250301101112.5", -timedelta(days=366)) == "20240229101112.5"
    assert shifted("March 2025", -timedelta(days=1)) == ""
    a, b = Pseudonyms(KEY).shift("A"), Pseudonyms(KEY).shift("B")
    assert timedelta(days=-3650) <= a < timedelta(0) and a != b


def test_the_command_makes_a_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    factory.write_series(tmp_path / "ct", factory.series(3))
    args = ["deidentify", tmp_path / "ct", "-o", tmp_path / "out", "--key", tmp_path / "key"]
    done = CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)
    assert done.exit_code == 0 and "3 images" in done.output and "genitals" in done.output
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert load_key(tmp_path / "key") == load_key(tmp_path / "key")
    (tmp_path / "short").write_bytes(b"short")
    with pytest.raises(SettingsError, match="32 bytes"):
        Pseudonyms(load_key(tmp_path / "short"))


def test_an_enhanced_ct_and_compressed_slices_stay_what_they_were(tmp_path: Path) -> None:
    (tmp_path / "enhanced").mkdir()
    factory.write_enhanced(tmp_path / "enhanced" / "a.dcm", factory.series(5, extra=FULL_HEADER))
    for name in ("JPEG", "JPEG2000"):
        for path in factory.write_series(tmp_path / name, factory.series(4, extra=FULL_HEADER)):
            factory.recompress(path, name)
    for name in ("enhanced", "JPEG", "JPEG2000"):
        deidentify_folder(tmp_path / name, tmp_path / "out" / name, Pseudonyms(KEY))
        before, after = read_scan(tmp_path / name).volume, read_scan(tmp_path / "out" / name).volume
        assert after.same_grid(before) and (after.array == before.array).all()
