from __future__ import annotations

from pathlib import Path

import pytest

from foreign_labels import mask, numbered, save, save_scan
from vastus.errors import MissingInputError, SettingsError
from vastus.importing.discovery import Kind, case_name, find_cases


def test_a_totalsegmentator_data_set_brings_its_scans(tmp_path: Path):
    for case in ("s01", "s02"):
        save(mask("femur_left"), tmp_path / case / "segmentations" / "femur_left.nii.gz")
        save(mask("spleen"), tmp_path / case / "segmentations" / "spleen.nii.gz")
        save_scan(tmp_path / case / "ct.nii.gz")
    found = find_cases([tmp_path], None)
    assert [(case.name, case.kind) for case in found] == [("s01", Kind.MASKS), ("s02", Kind.MASKS)]
    assert [case.image for case in found] == [tmp_path / name / "ct.nii.gz" for name in ("s01", "s02")]
    assert find_cases([tmp_path / "s01"], None)[0] == found[0]


def test_label_maps_beside_their_scans(tmp_path: Path):
    for name in ("a", "b"):
        save(numbered({"femur_left": 1}), tmp_path / f"{name}_labels.nii.gz")
    scan = save_scan(tmp_path / "a_ct.nii.gz")
    found = find_cases([tmp_path], None)
    assert [(case.name, case.image) for case in found] == [("a", scan), ("b", None)]


def test_an_nnunet_data_set(tmp_path: Path):
    save(numbered({"femur_left": 1}), tmp_path / "labelsTr" / "x.nii.gz")
    scan = save_scan(tmp_path / "imagesTr" / "x_0000.nii.gz")
    (tmp_path / "dataset.json").write_text('{"labels": {"femur_left": 1}}')
    (case,) = find_cases([tmp_path], None)
    assert (case.name, case.image, case.kind) == ("x", scan, Kind.LABEL_MAP)


def test_one_label_map_and_one_scan_need_no_names(tmp_path: Path):
    labels = save(numbered({"femur_left": 1}), tmp_path / "segmentation.nii.gz")
    scan = save_scan(tmp_path / "other" / "thigh.nii.gz")
    (case,) = find_cases([labels], scan)
    assert case.image == scan


def test_wrong_sources_are_refused(tmp_path: Path):
    labels = [save(numbered({"femur_left": 1}), tmp_path / part / "a.nii.gz") for part in ("one", "two")]
    with pytest.raises(SettingsError, match="one name: a"):
        find_cases(labels, None)
    with pytest.raises(MissingInputError, match="no such file"):
        find_cases([tmp_path / "none"], None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingInputError, match="no labels"):
        find_cases([tmp_path / "empty"], None)
    other = save(numbered({"femur_left": 1}), tmp_path / "two" / "b.nii.gz")
    with pytest.raises(SettingsError, match="One CT is given"):
        find_cases([labels[0], other], save_scan(tmp_path / "ct.nii.gz"))


@pytest.mark.parametrize(
    ("path", "name"), [("p1_seg.nii.gz", "p1"), ("p1.seg.nrrd", "p1"), ("p1_dseg.nii", "p1"), ("labels.nii", "labels")]
)
def test_case_names(path: str, name: str):
    assert case_name(Path(path)) == name
