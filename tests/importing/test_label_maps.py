from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foreign_labels import AFFINE, BOXES, SHAPE, mask, numbered, save, scan
from vastus.errors import GeometryError, LabelError
from vastus.importing.label_maps import label_stem, read_label_file, read_mask_folder
from vastus.importing.source_labels import SEVERAL


def test_masks_become_numbers_and_where_two_meet_nobody_can_tell(tmp_path: Path):
    for name in ("femur_left", "spleen"):
        save(mask(name), tmp_path / f"{name}.nii.gz")
    wide = mask("femur_right")
    wide[4:6, 6:12, 1:11] = 1  # two slices of the left one
    save(wide, tmp_path / "femur_right.nii.gz")
    found = read_mask_folder(tmp_path, scan())
    assert found.names == {1: "femur_left", 2: "femur_right", 3: "spleen"}
    expected = numbered({"femur_left": 1, "femur_right": 2, "spleen": 3}, np.uint16)
    expected[4:6, 6:12, 1:11] = SEVERAL
    assert np.array_equal(found.volume.array, expected)


def test_a_flipped_and_cropped_mask_finds_its_place(tmp_path: Path):
    affine = AFFINE @ np.diag([-1.0, 1, 1, 1])
    affine[0, 3] = AFFINE[0, 3] + 2.0 * (SHAPE[0] - 1)
    affine[:3, 3] += affine[:3, 2]  # without the lowest slice
    save(mask("femur_left")[::-1, :, 1:], tmp_path / "femur_left.nii.gz", affine)
    assert np.array_equal(read_mask_folder(tmp_path, scan()).volume.array, mask("femur_left"))


def test_a_mask_that_lies_elsewhere_is_named(tmp_path: Path):
    shifted = AFFINE.copy()
    shifted[2, 3] += 1.5
    save(mask("femur_left"), tmp_path / "femur_left.nii.gz", shifted)
    with pytest.raises(GeometryError, match="femur_left"):
        read_mask_folder(tmp_path, scan())


def test_a_table_counts_before_a_dataset_json_beside(tmp_path: Path):
    path = save(numbered({"femur_left": 7}), tmp_path / "labelsTr" / "a.nii.gz")
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "femur_left": 7}}')
    assert read_label_file(path, {}).names == {0: "background", 7: "femur_left"}
    assert read_label_file(path, {7: "hip"}).names == {7: "hip"}


def test_numbers_without_any_names_are_refused(tmp_path: Path):
    path = save(numbered({"femur_left": 7}), tmp_path / "a.nii.gz")
    with pytest.raises(LabelError, match="--names"):
        read_label_file(path, {})


@pytest.mark.parametrize("value", [1.5, -1.0, 65535.0, np.nan])
def test_values_that_are_no_numbers_of_labels_are_refused(tmp_path: Path, value: float):
    array = np.zeros(SHAPE, np.float32)
    array[BOXES["spleen"]] = value
    with pytest.raises(LabelError, match="whole numbers"):
        read_label_file(save(array, tmp_path / "a.nii.gz"), {1: "femur"})


def test_stems():
    names = ["a.nii.gz", "b.seg.nrrd", "c.mha", "d.dcm", ".e.nii.gz"]
    assert [label_stem(Path(name)) for name in names] == ["a", "b", "c", "", ""]
