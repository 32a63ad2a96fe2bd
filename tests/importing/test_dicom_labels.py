from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

import dicom_factory as factory
from labelled_dicom import SHAPE, content_of, ct_series, label_values, write_ct_folder
from vastus.anatomy import BY_KEY
from vastus.dicom import formats
from vastus.dicom.outputs import write_dicom
from vastus.errors import GeometryError, LabelError, UnreadableScanError
from vastus.importing.dicom_labels import filled, read_dicom_labels, referenced_series
from vastus.importing.name_tables import meaning_of
from vastus.importing.source_labels import SEVERAL, SourceLabels
from vastus.io.scans import read_scan
from vastus.volume import Volume


@pytest.fixture(scope="module")
def ct_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ct_folder(tmp_path_factory.mktemp("ct"))


@pytest.fixture(scope="module")
def written(ct_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    write_dicom(content_of(ct_folder, label_values()), (formats.SEG, formats.RTSTRUCT), folder)
    return folder / "dicom"


def values_of(found: SourceLabels) -> np.ndarray:
    """Our label values by the names of the parts, shape (slices, rows, columns)."""
    array = np.zeros(found.volume.shape, np.uint8)
    for number, name in found.names.items():
        meaning = meaning_of(name)
        assert meaning is not None, name
        array[found.volume.array == number] = BY_KEY[meaning.members[0]].label_value(meaning.side)
    return array.transpose(2, 1, 0)


@pytest.mark.parametrize("name", ["seg.dcm", "rtstruct.dcm"])
def test_our_own_objects_come_back_voxel_for_voxel(written: Path, ct_folder: Path, name: str):
    scan = read_scan(ct_folder)
    assert referenced_series(written / name) == scan.source.series_uid
    found = read_dicom_labels(written / name, scan)
    assert found.volume.same_grid(scan.volume)
    assert np.array_equal(values_of(found), label_values())


def test_a_segmentation_by_highdicom_with_overlaps_and_coded_sides(ct_folder: Path, tmp_path: Path):
    images = [pydicom.dcmread(path) for path in sorted(ct_folder.iterdir())]
    pixels = np.zeros((*SHAPE, 2), np.uint8)
    pixels[2:5, 5:9, 4:8, 0] = 1
    pixels[4:7, 5:9, 4:8, 1] = 1
    descriptions = [
        hd.seg.SegmentDescription(
            n, label, codes.SCT.AnatomicalStructure, codes.SCT.Muscle, hd.seg.SegmentAlgorithmTypeValues.MANUAL
        )
        for n, label in ((1, "Gracilis"), (2, "Left femur"))
    ]
    side = hd.sr.CodedConcept("24028007", "SCT", "Right")
    descriptions[0].SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    seg = hd.seg.Segmentation(
        images, pixels, hd.seg.SegmentationTypeValues.BINARY, descriptions, hd.UID(), 1, hd.UID(), 1, "m", "n", "1", "2"
    )
    seg.save_as(tmp_path / "seg.dcm")
    found = read_dicom_labels(tmp_path / "seg.dcm", read_scan(ct_folder))
    assert found.names == {1: "Gracilis right", 2: "Left femur"}
    scan = read_scan(ct_folder)
    order = np.argsort([float(image.ImagePositionPatient[2]) for image in images])
    expected = (pixels[..., 0] + 2 * pixels[..., 1]).astype(np.uint16)[order]
    expected[expected == 3] = SEVERAL
    rising = scan.volume.affine[2, 2] > 0
    assert np.array_equal(found.volume.array.transpose(2, 1, 0), expected if rising else expected[::-1])


def test_another_ct_is_refused(written: Path, tmp_path: Path):
    moved = ct_series()
    places = [(x + 0.7, y, z + 1.1) for x, y, z in moved.positions]
    factory.write_series(tmp_path / "ct", moved.but(positions=places))
    scan = read_scan(tmp_path / "ct")
    for name in ("seg.dcm", "rtstruct.dcm"):
        with pytest.raises(GeometryError, match="CT"):
            read_dicom_labels(written / name, scan)


def test_other_files_are_refused(ct_folder: Path, tmp_path: Path):
    with pytest.raises(LabelError, match="not CT"):
        referenced_series(next(iter(sorted(ct_folder.iterdir()))))
    (tmp_path / "a.dcm").write_bytes(b"nothing")
    with pytest.raises(UnreadableScanError):
        referenced_series(tmp_path / "a.dcm")


def square(low: float, high: float, z: float) -> np.ndarray:
    """A square in x and y of the patient (LPS), mm."""
    corners = [(low, low), (high, low), (high, high), (low, high)]
    return np.array([(x, y, z) for x, y in corners])


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [0, 2, 1], [1, 0, 2]])
def test_contours_fill_centres_whatever_the_axes_of_the_scan(order: list[int]):
    plain = np.diag([-1.0, -1.0, 2.0, 1.0])  # voxel (i, j, k) lies at (i, j, 2 k) in DICOM's directions
    affine = plain[:, [*order, 3]]  # axis a of the array is axis order[a] of the patient
    grid = Volume(np.zeros(np.array([12, 13, 4])[order], np.uint8), affine)
    found = filled([square(1.5, 8.5, 4.0), square(3.5, 5.5, 4.0)], grid, Path("rt.dcm"))
    expected = np.zeros((12, 13, 4), bool)
    expected[2:9, 2:9, 2] = True
    expected[4:6, 4:6, 2] = False  # a contour inside another one is a hole
    assert np.array_equal(found, expected.transpose(order))


def test_a_contour_between_slices_is_refused():
    grid = Volume(np.zeros((12, 13, 4), np.uint8), np.diag([-1.0, -1.0, 2.0, 1.0]))
    with pytest.raises(GeometryError, match="no slice"):
        filled([square(1.5, 8.5, 3.0)], grid, Path("rt.dcm"))
    with pytest.raises(GeometryError, match="no slice"):
        filled([square(1.5, 8.5, 8.0)], grid, Path("rt.dcm"))
