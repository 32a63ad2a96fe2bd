"""Names count for more than numbers, wherever a label map has them."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from vastus.anatomy import BY_VALUE, LABELS, Side
from vastus.errors import LabelError
from vastus.io.label_names import SIDELESS, split_side, value_of
from vastus.io.labels import read_label_map, read_labels
from vastus.io.nifti import NiftiText, write_nifti_labels
from vastus.volume import Volume

NAMES = ("femur_left", "sartorius_right", "vastus_lateralis_left", "hip_bone_right")
VALUES = {"femur_left": 228, "sartorius_right": 101, "vastus_lateralis_left": 203, "hip_bone_right": 129}


def truth() -> np.ndarray:
    """Shape (slices, rows, columns): each name a block."""
    array = np.zeros((6, 8, 10), np.uint8)
    for number, name in enumerate(NAMES):
        array[1:4, 2 * number : 2 * number + 2, 2:7] = VALUES[name]
    return array


def slicer(path: Path, segments: list[tuple[str, int, int]], array: np.ndarray, **more: str) -> Path:
    """A segmentation as 3D Slicer saves it: (name, label value, layer)."""
    image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
    image.SetSpacing((2.0, 2.0, 3.0))
    for number, (name, value, layer) in enumerate(segments):
        for key, text in {
            "ID": f"Segment_{number + 1}",
            "Name": name,
            "LabelValue": str(value),
            "Layer": str(layer),
        }.items():
            image.SetMetaData(f"Segment{number}_{key}", text)
    for key, text in more.items():
        image.SetMetaData(key, text)
    sitk.WriteImage(image, str(path), True)
    return path


def numbered(order: tuple[str, ...]) -> np.ndarray:
    result = np.zeros_like(truth())
    for number, name in enumerate(order, start=1):
        result[truth() == VALUES[name]] = number
    return result


@pytest.mark.parametrize("order", [NAMES, NAMES[::-1], (NAMES[2], NAMES[0], NAMES[3], NAMES[1])])
def test_renumbered_and_reordered_segments_of_slicer(tmp_path: Path, order: tuple[str, ...]):
    segments = [(name, number, 0) for number, name in enumerate(order, start=1)]
    found = read_label_map(slicer(tmp_path / "a.seg.nrrd", segments, numbered(order)))
    np.testing.assert_array_equal(found.volume.array, truth().transpose(2, 1, 0))
    assert found.warnings == ()


def test_layers_become_one(tmp_path: Path):
    array = np.zeros((*truth().shape, 2), np.uint8)
    segments = []
    for number, name in enumerate(NAMES):
        layer, value = number % 2, number // 2 + 1
        array[truth() == VALUES[name], layer] = value
        segments.append((name, value, layer))
    found = read_labels(slicer(tmp_path / "a.seg.nrrd", segments, array))
    np.testing.assert_array_equal(found.array, truth().transpose(2, 1, 0))
    array[2, 0:2, 2:7, 1] = 1
    with pytest.raises(LabelError, match="overlap in 10 voxels"):
        read_labels(slicer(tmp_path / "b.seg.nrrd", segments, array))


def test_segments_with_unknown_names_are_refused_with_them(tmp_path: Path):
    segments = [(name, number, 0) for number, name in enumerate(("Segment_1", *NAMES[1:]), start=1)]
    with pytest.raises(LabelError, match=r"1 \(Segment_1\).*a\.seg\.nrrd"):
        read_labels(slicer(tmp_path / "a.seg.nrrd", segments, numbered(NAMES)))


def test_an_unknown_segment_without_a_voxel_does_not_matter(tmp_path: Path):
    segments = [(name, number, 0) for number, name in enumerate((*NAMES, "scratch"), start=1)]
    assert read_labels(slicer(tmp_path / "a.seg.nrrd", segments, numbered(NAMES))).array.max() == 228


def test_a_value_without_a_segment_is_refused(tmp_path: Path):
    segments = [(name, number, 0) for number, name in enumerate(NAMES[:3], start=1)]
    with pytest.raises(LabelError, match=r"4 \(without a name\)"):
        read_labels(slicer(tmp_path / "a.seg.nrrd", segments, numbered(NAMES)))


def test_the_label_table_of_a_nifti_counts(tmp_path: Path):
    rows = "".join(f'<Label Key="{n}"><![CDATA[{name}]]></Label>' for n, name in enumerate(NAMES, start=1))
    table = f"<CaretExtension><VolumeInformation><LabelTable>{rows}</LabelTable></VolumeInformation></CaretExtension>"
    array = numbered(NAMES).transpose(2, 1, 0)
    write_nifti_labels(Volume(array, np.diag([2.0, 2, 3, 1])), tmp_path / "a.nii.gz", NiftiText("", table))
    found = read_label_map(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(found.volume.array, truth().transpose(2, 1, 0))
    assert found.warnings == ()


def nameless(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0), np.diag([2.0, 2, 3, 1])), path)
    return path


@pytest.mark.parametrize("place", ["labelsTr/a.nii.gz", "a.nii.gz"])
@pytest.mark.parametrize("version", [1, 2])
def test_the_dataset_json_beside_nnunets_labels_counts(tmp_path: Path, place: str, version: int):
    labels = {"background": 0} | {name: n for n, name in enumerate(NAMES, start=1)}
    listed = labels if version == 2 else {str(value): name for name, value in labels.items()}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": listed}))
    found = read_label_map(nameless(tmp_path / place, numbered(NAMES)))
    np.testing.assert_array_equal(found.volume.array, truth().transpose(2, 1, 0))


def test_a_dataset_json_of_other_values_does_not_count(tmp_path: Path):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "sartorius": 1}}))
    np.testing.assert_array_equal(
        read_labels(nameless(tmp_path / "a.nii.gz", truth())).array, truth().transpose(2, 1, 0)
    )


def test_slicers_colour_table_beside_its_export_counts(tmp_path: Path):
    lines = "".join(f"{n} {name} 10 20 30 255\n" for n, name in enumerate(("Background", *NAMES)))
    (tmp_path / "a_ColorTable.ctbl").write_text("# Color table\n" + lines)
    found = read_labels(nameless(tmp_path / "a.nii.gz", numbered(NAMES)))
    np.testing.assert_array_equal(found.array, truth().transpose(2, 1, 0))


def test_values_without_names_and_sides_are_warned_of(tmp_path: Path):
    assert any(
        "every name is wrong" in w for w in read_label_map(nameless(tmp_path / "a.nii.gz", numbered(NAMES))).warnings
    )
    assert read_label_map(nameless(tmp_path / "b.nii.gz", truth())).warnings == ()


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Femur left", "femur_left"),
        ("LEFT FEMUR", "femur_left"),
        ("femur (L)", "femur_left"),
        ("hip_left", "hip_bone_left"),
        ("Gluteus medius, right", "gluteus_medius_right"),
        ("Musculus sartorius", "sartorius"),
        ("sartorius_unknown", "sartorius"),
    ],
)
def test_names_are_known_however_they_are_spelt(name: str, label: str):
    assert BY_VALUE[value_of(name) or -1].name == label


def test_every_name_is_its_own_and_others_are_none():
    for label in LABELS:
        assert value_of(label.name) == label.value
        title = label.structure.english + ("" if label.side is Side.UNKNOWN else f" {label.side.value}")
        assert value_of(title) == label.value
    assert [value_of(n) for n in ("Segment_1", "left", "liver", "")] == [None, None, None, 0]
    assert value_of("Background") == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("femur_left", ("femur", Side.LEFT)),
        ("Left Femur", ("femur", Side.LEFT)),
        ("FEMUR (R)", ("femur", Side.RIGHT)),
        ("rib_left_1", ("rib left 1", Side.UNKNOWN)),
        ("left", ("left", Side.UNKNOWN)),
        ("spleen", ("spleen", Side.UNKNOWN)),
    ],
)
def test_a_side_is_parted_from_a_name(name: str, expected: tuple[str, Side]) -> None:
    assert split_side(name) == expected


def test_unlabelled_voxels_stay_when_a_table_renumbers_the_others(tmp_path: Path) -> None:
    array = np.zeros((4, 4, 4), np.uint8)
    array[:, 0, 0] = [1, 255, 255, 0]
    (tmp_path / "labelsTr").mkdir()
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "labelsTr" / "a.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "femur": 1, "ignore": 255}}))
    found = read_labels(tmp_path / "labelsTr" / "a.nii.gz", partly=True)
    assert found.array[:, 0, 0].tolist() == [28, 255, 255, 0]


@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
def test_whole_numbers_that_a_scale_made_uneven_are_whole(tmp_path: Path, dtype: type) -> None:
    image = nibabel.Nifti1Image(truth().astype(float), np.diag([2.0, 2.0, 3.0, 1.0]))
    image.header.set_data_dtype(dtype)  # nibabel then chooses a slope: 100.998 for 101
    nibabel.save(image, tmp_path / "labels.nii.gz")
    assert not np.array_equal(nibabel.load(tmp_path / "labels.nii.gz").get_fdata(), truth())
    assert np.array_equal(read_labels(tmp_path / "labels.nii.gz").array, truth())


def test_values_far_from_whole_are_refused(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(truth().astype(float), np.diag([2.0, 2.0, 3.0, 1.0]))
    image.header.set_data_dtype(np.uint8)
    nibabel.save(image, tmp_path / "labels.nii.gz")
    with pytest.raises(LabelError, match="unknown values"):
        read_labels(tmp_path / "labels.nii.gz")


def plain(path: Path, array: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, np.diag([2.0, 2.0, 3.0, 1.0])), path)
    return path


def test_a_mask_has_the_name_of_its_file(tmp_path: Path) -> None:
    mask = (truth() == VALUES["femur_left"]).astype(np.uint8)
    found = read_label_map(plain(tmp_path / "femur_left.nii.gz", mask))
    assert np.array_equal(found.volume.array, mask * VALUES["femur_left"]) and SIDELESS not in found.warnings
    assert SIDELESS in read_label_map(plain(tmp_path / "case_1.nii.gz", mask)).warnings


def test_a_file_named_like_a_structure_with_other_values_keeps_them(tmp_path: Path) -> None:
    assert np.array_equal(read_labels(plain(tmp_path / "femur_left.nii.gz", truth())).array, truth())


@pytest.mark.parametrize("name", ["case.txt", "case.label", "labels.txt"])
def test_the_descriptions_of_itk_snap_beside_a_label_map_count(tmp_path: Path, name: str) -> None:
    rows = [f'{n:5d}   255    0    0        1  1  1    "{label}"' for n, label in enumerate(("Clear Label", *NAMES))]
    (tmp_path / name).write_text("# ITK-SnAP Label Description File\n" + "\n".join(rows))
    found = read_label_map(plain(tmp_path / "case.nii.gz", numbered(NAMES)))
    assert np.array_equal(found.volume.array, truth()) and found.warnings == ()


def test_the_names_of_mitk_count(tmp_path: Path) -> None:
    labels = [{"name": name, "value": number} for number, name in enumerate(NAMES, start=1)]
    groups = json.dumps([{"labels": labels}])
    path = slicer(
        tmp_path / "mitk.nrrd", [], numbered(NAMES), **{"org.mitk.multilabel.segmentation.labelgroups": groups}
    )
    assert np.array_equal(read_labels(path).array.transpose(2, 1, 0), truth())


def test_a_value_with_two_names_is_refused(tmp_path: Path) -> None:
    segments = [(name, number, 0) for number, name in enumerate(NAMES, start=1)]
    path = slicer(tmp_path / "a.seg.nrrd", [*segments, ("gracilis_left", 2, 0)], numbered(NAMES))
    with pytest.raises(LabelError, match="2 has two names: 'sartorius_right' and 'gracilis_left'"):
        read_labels(path)
