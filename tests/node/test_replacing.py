from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from vastus.node.replacing import mark_as_replacing

SEG, REPORT = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34"


def _result(path: Path, kind: str, description: str = "Vastus") -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = kind, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.SeriesDescription = description
    dataset.save_as(path, enforce_file_format=True)
    return dataset


def test_a_newer_result_names_its_images_and_its_predecessor(tmp_path: Path) -> None:
    new = [tmp_path / "new-seg.dcm", tmp_path / "new-sr.dcm"]
    seg, _ = _result(new[0], SEG, "x" * 64), _result(new[1], REPORT)
    _result(tmp_path / "old-seg.dcm", SEG)
    old = _result(tmp_path / "old-sr.dcm", REPORT)
    (tmp_path / "damaged.dcm").write_bytes(b"no DICOM")
    older = [tmp_path / name for name in ("damaged.dcm", "old-seg.dcm", "old-sr.dcm")]
    for _ in range(2):
        mark_as_replacing(new, older, 12, 10)
    found, report = (pydicom.dcmread(path) for path in new)
    assert found.SeriesDescription.endswith("x (12 images, replaces 10)")
    assert len(found.SeriesDescription) <= 64 and found.SOPInstanceUID == seg.SOPInstanceUID
    assert "PredecessorDocumentsSequence" not in found
    assert report.SeriesDescription == "Vastus (12 images, replaces 10)"
    (study,) = report.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (instance,) = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == old.StudyInstanceUID and series.SeriesInstanceUID == old.SeriesInstanceUID
    assert instance.ReferencedSOPInstanceUID == old.SOPInstanceUID


def test_an_earlier_one_that_is_deleted_already_is_named_without_a_number(tmp_path: Path) -> None:
    _result(tmp_path / "a.dcm", REPORT)
    mark_as_replacing([tmp_path / "a.dcm"], [], 12, 0)
    found = pydicom.dcmread(tmp_path / "a.dcm")
    assert found.SeriesDescription == "Vastus (12 images, replaces earlier)"
    assert "PredecessorDocumentsSequence" not in found
