from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from vastus.anatomy import BY_KEY, BY_VALUE, LABELS, Side
from vastus.errors import GeometryError, LabelError, MissingInputError, OutputError, UnreadableScanError
from vastus.io.labels import read_labels, write_labels
from vastus.volume import Volume

FORMATS = (".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha")


def label_volume(affine: np.ndarray | None = None) -> Volume:
    values = np.array([0, *BY_VALUE], dtype=np.uint8)
    array = values[np.random.default_rng(0).integers(0, len(values), size=(9, 10, 11))]
    return Volume(array, oblique() if affine is None else affine)


def oblique() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (8, -20, 100), degrees=True).as_matrix() * [0.75, 0.875, 2.5]
    affine[:3, 3] = [-100.25, 50.5, 900.0]
    return affine


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_is_written_is_read(tmp_path: Path, suffix: str, order: str):
    volume = label_volume()
    volume = volume.with_array(np.asarray(volume.array, order=order))
    write_labels(volume, tmp_path / f"labels{suffix}")
    back = read_labels(tmp_path / f"labels{suffix}")
    np.testing.assert_array_equal(back.array, volume.array)
    assert back.same_grid(volume)
    assert back.array.dtype == np.uint8
    assert [p.name for p in tmp_path.iterdir()] == [f"labels{suffix}"]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_other_programs_see_the_same_place(tmp_path: Path, suffix: str):
    volume = label_volume()
    write_labels(volume, tmp_path / f"labels{suffix}")
    image = sitk.ReadImage(str(tmp_path / f"labels{suffix}"))
    for index in [(0, 0, 0), (8, 3, 10)]:
        x, y, z = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose((-x, -y, z), (volume.affine @ [*index, 1])[:3], atol=1e-3)
        assert image[index] == volume.array[index]


def test_nifti_holds_the_names_and_colours(tmp_path: Path):
    write_labels(label_volume(), tmp_path / "labels.nii.gz")
    header = nibabel.load(tmp_path / "labels.nii.gz").header
    assert header.extensions.get_codes() == [0, 30]
    assert header.get_intent()[0] == "label"
    tree = ElementTree.fromstring(header.extensions[0].get_content())
    names = {int(row.attrib["Key"]): (row.text, row.attrib) for row in tree.iter("Label")}
    assert {value: label.name for value, label in BY_VALUE.items()} == {v: n[0] for v, n in names.items()}
    femur = BY_KEY["femur"]
    attributes = names[femur.label_value(Side.LEFT)][1]
    assert [round(255 * float(attributes[c])) for c in ("Red", "Green", "Blue")] == list(femur.colour)


def test_nifti_lists_values_without_side_only_where_they_occur(tmp_path: Path):
    array = np.zeros((4, 4, 4), np.uint8)
    array[0, 0, 0] = 1
    write_labels(Volume(array, np.eye(4)), tmp_path / "a.nii")
    tree = ElementTree.fromstring(nibabel.load(tmp_path / "a.nii").header.extensions[0].get_content())
    keys = {int(row.attrib["Key"]) for row in tree.iter("Label")}
    assert keys == {1} | {label.value for label in LABELS if label.side is not Side.UNKNOWN}


def test_nrrd_holds_the_segments_of_slicer(tmp_path: Path):
    array = np.zeros((4, 5, 6), np.uint8)
    array[0, 0, 0], array[1, 1, 1] = 128, 201
    write_labels(Volume(array, np.eye(4)), tmp_path / "a.seg.nrrd")
    image = sitk.ReadImage(str(tmp_path / "a.seg.nrrd"))
    segments = {image.GetMetaData(f"Segment{n}_Name"): image.GetMetaData(f"Segment{n}_LabelValue") for n in (0, 1)}
    assert segments == {"femur_right": "128", "sartorius_left": "201"}
    assert not image.HasMetaDataKey("Segment2_Name")
    assert image.GetMetaData("Segment0_Extent") == "0 3 0 4 0 5"


@pytest.mark.parametrize("codes", [(1, 1), (0, 2), (4, 1), (2, 0)])
def test_sform_and_qform_of_the_input_are_kept_bit_by_bit(tmp_path: Path, codes: tuple[int, int]):
    scan = nibabel.Nifti1Image(np.zeros((9, 10, 11), np.int16), None)
    scan.set_qform(oblique(), code=codes[0])
    scan.set_sform(oblique(), code=codes[1])
    nibabel.save(scan, tmp_path / "scan.nii.gz")
    affine = nibabel.load(tmp_path / "scan.nii.gz").affine
    write_labels(label_volume(affine), tmp_path / "labels.nii.gz", like=tmp_path / "scan.nii.gz")
    before, after = (nibabel.load(tmp_path / f"{n}.nii.gz").header for n in ("scan", "labels"))
    for name in ("qform_code", "sform_code", "pixdim", "srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x"):
        np.testing.assert_array_equal(before[name], after[name])


def test_like_of_another_grid_is_not_believed(tmp_path: Path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((9, 10, 11), np.int16), np.eye(4)), tmp_path / "scan.nii")
    write_labels(label_volume(), tmp_path / "labels.nii", like=tmp_path / "scan.nii")
    assert read_labels(tmp_path / "labels.nii").same_grid(label_volume())


def test_sheared_grid_survives_in_nifti_and_is_refused_elsewhere(tmp_path: Path):
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1, 2] = 0.7
    write_labels(label_volume(affine), tmp_path / "a.nii.gz")
    np.testing.assert_allclose(read_labels(tmp_path / "a.nii.gz").affine, affine, atol=1e-6)
    with pytest.raises(GeometryError, match="sheared"):
        write_labels(label_volume(affine), tmp_path / "a.mha")
    assert not (tmp_path / "a.mha").exists()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32, np.uint16])
def test_whole_numbers_of_any_type_are_taken(tmp_path: Path, dtype: type):
    volume = label_volume()
    nibabel.save(nibabel.Nifti1Image(volume.array.astype(dtype), volume.affine), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.nii.gz").array, volume.array)
    write_labels(volume.with_array(volume.array.astype(dtype)), tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(read_labels(tmp_path / "b.nii.gz").array, volume.array)


@pytest.mark.parametrize(
    ("value", "dtype", "shown"),
    [
        (30, np.uint8, "30"),
        (100, np.uint8, "100"),
        (255, np.uint8, "255"),
        (-1, np.int16, "-1"),
        (357, np.int16, "357"),
        (1.5, np.float32, "1.5"),
        (np.nan, np.float32, "nan"),
    ],
)
def test_unknown_values_are_named(tmp_path: Path, value: float, dtype: type, shown: str):
    array = np.zeros((4, 4, 4), dtype)
    array[1, 2, 3] = value
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(LabelError, match=rf"unknown values: {shown}\..*a\.nii\.gz"):
        read_labels(tmp_path / "a.nii.gz")
    with pytest.raises(LabelError):
        write_labels(Volume(array, np.eye(4)), tmp_path / "b.nii.gz")
    assert not (tmp_path / "b.nii.gz").exists()


def test_refusals_of_paths(tmp_path: Path):
    with pytest.raises(MissingInputError):
        read_labels(tmp_path / "none.nii.gz")
    with pytest.raises(OutputError, match="written in"):
        write_labels(label_volume(), tmp_path / "a.png")
    with pytest.raises(OutputError):
        write_labels(label_volume(), tmp_path / "no_folder" / "a.nii.gz")
    (tmp_path / "empty.nii.gz").touch()
    with pytest.raises(UnreadableScanError):
        read_labels(tmp_path / "empty.nii.gz")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(LabelError):
        read_labels(tmp_path / "a.txt")


def _beside_a_dataset(tmp_path: Path, values: list[int]) -> Path:
    array = np.zeros((4, 4, 4), np.uint8)
    array[:, 0, 0] = values
    path = tmp_path / "labelsTr" / "a.nii.gz"
    path.parent.mkdir()
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    labels = {"background": 0, "femur": 3, "adductors": 9, "not_drawn": 10, "ignore": 11}
    merged = {"adductors": ["adductor_longus", "adductor_brevis"], "not_drawn": ["background", "gracilis"]}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels, "merged": merged}))
    return path


def test_sets_of_structures_and_ignored_voxels_of_a_data_set_are_unlabelled(tmp_path: Path) -> None:
    path = _beside_a_dataset(tmp_path, [3, 9, 10, 11])
    assert read_labels(path, partly=True).array[:, 0, 0].tolist() == [28, 255, 255, 255]


def test_where_every_voxel_must_be_known_sets_of_structures_are_refused_by_name(tmp_path: Path) -> None:
    path = _beside_a_dataset(tmp_path, [3, 9, 0, 0])
    with pytest.raises(LabelError, match="no single structure: adductors"):
        read_labels(path)
    (tmp_path / "labelsTr" / "a.nii.gz").unlink()
    (tmp_path / "labelsTr").rmdir()
    assert read_labels(_beside_a_dataset(tmp_path, [3, 0, 0, 0])).array[0, 0, 0] == 28
