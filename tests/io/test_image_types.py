"""Values that are no HU, or not those of a plain CT, are refused or named, as the headers say it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_factory import ct_values, series, write_enhanced, write_series
from vastus.errors import GeometryError, UnreadableScanError, UnsupportedScanError
from vastus.io.image_types import how_computed
from vastus.io.scans import read_scan


def changed(folder: Path, change: Callable[[int, Dataset], object]) -> Path:
    """An ordinary series with something changed in each slice, lowest first."""
    for number, path in enumerate(write_series(folder, series())):
        dataset = pydicom.dcmread(path)
        change(number, dataset)
        dataset.save_as(path)
    return folder


@pytest.mark.parametrize(
    ("image_type", "what"),
    [
        (["DERIVED", "SECONDARY", "REFORMATTED", "MIP"], "projection"),
        (["DERIVED", "PRIMARY", "AXIAL", "CT_SOM5 MIP"], "projection"),
        (["DERIVED", "SECONDARY", "MPR", "CSAMIP"], "projection"),
        (["DERIVED", "PRIMARY", "AXIAL", "SUBTRACTION"], "difference"),
        (["DERIVED", "PRIMARY", "AXIAL", "DET_IODINE_MAP"], "substance"),
        (["DERIVED", "PRIMARY", "AXIAL", "MAT_SPECIFIC"], "substance"),
        (["DERIVED", "PRIMARY", "AXIAL", "EFF_ATOMIC_NUM"], "substance"),
        (["DERIVED", "PRIMARY", "PERFUSION"], "blood flow"),
    ],
)
def test_what_is_no_hu_is_refused(tmp_path: Path, image_type: list[str], what: str) -> None:
    changed(tmp_path, lambda _, s: setattr(s, "ImageType", image_type))
    with pytest.raises(UnsupportedScanError, match=what):
        read_scan(tmp_path)


@pytest.mark.parametrize(
    ("image_type", "what"),
    [
        (["DERIVED", "PRIMARY", "AXIAL", "VNC"], "contrast agent"),
        (["DERIVED", "PRIMARY", "AXIAL", "VMI"], "one energy"),
        (["DERIVED", "SECONDARY", "AXIAL", "MONO_E", "40KEV"], "one energy"),
    ],
)
def test_hu_that_are_not_those_of_a_plain_ct_are_named(tmp_path: Path, image_type: list[str], what: str) -> None:
    scan = read_scan(changed(tmp_path, lambda _, s: setattr(s, "ImageType", image_type)))
    assert any(what in warning for warning in scan.source.warnings)


def test_words_that_only_look_like_these_are_plain() -> None:
    for value in ("CT_SOM5 SPI DUAL", "HELICAL", "AXIAL", "MPR", "AVERAGE", "REFORMATTED", "SUBMANDIBULAR"):
        found = how_computed(["ORIGINAL", "PRIMARY", value])
        assert (found.no_hu, found.other_hu) == ("", "")


def test_the_type_of_a_frame_counts(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "ct.dcm", series())
    dataset = pydicom.dcmread(tmp_path / "ct.dcm")
    item = Dataset()
    item.FrameType = ["DERIVED", "PRIMARY", "VOLUME", "MAXIMUM"]
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        frame.CTImageFrameTypeSequence = [item]
    dataset.save_as(tmp_path / "ct.dcm")
    with pytest.raises(UnsupportedScanError, match="projection"):
        read_scan(tmp_path)


def test_loss_by_compression_is_named(tmp_path: Path) -> None:
    scan = read_scan(changed(tmp_path, lambda _, s: setattr(s, "LossyImageCompression", "01")))
    assert any("8 of 8 slices were compressed with loss" in warning for warning in scan.source.warnings)


def two_phases(number: int, dataset: Dataset) -> None:
    dataset.AcquisitionNumber = 1 + number % 2


def two_voltages(number: int, dataset: Dataset) -> None:
    dataset.KVP = 80 + 60 * (number % 2)


def two_counts(number: int, dataset: Dataset) -> None:
    dataset.InstanceNumber = 1 + number // 2 + 4 * (number % 2)


@pytest.mark.parametrize("change", [two_phases, two_voltages, two_counts])
def test_two_scans_between_each_other_are_refused(tmp_path: Path, change: Callable[[int, Dataset], object]) -> None:
    with pytest.raises(GeometryError, match="mixes two scans"):
        read_scan(changed(tmp_path, change))


@pytest.mark.parametrize("block", [1, 4])
def test_rotations_that_follow_each_other_are_one_scan(tmp_path: Path, block: int) -> None:
    changed(tmp_path, lambda n, s: setattr(s, "AcquisitionNumber", 1 + n // block))
    assert read_scan(tmp_path).volume.shape == (10, 12, 8)


def test_frames_without_a_place_of_their_own_do_not_vanish(tmp_path: Path) -> None:
    values = ct_values()

    def two_frames(number: int, dataset: Dataset) -> None:
        dataset.NumberOfFrames = 2
        dataset.PixelData = (values[[number, number]].astype(int) + 1024).astype("<u2").tobytes()

    with pytest.raises(UnsupportedScanError, match="several frames"):
        read_scan(changed(tmp_path, two_frames))


def test_frames_whose_place_is_not_said_do_not_vanish(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "ct.dcm", series())
    dataset = pydicom.dcmread(tmp_path / "ct.dcm")
    del dataset.PerFrameFunctionalGroupsSequence[-1]
    dataset.save_as(tmp_path / "ct.dcm")
    with pytest.raises(UnreadableScanError, match="8 frames but says the place of 7"):
        read_scan(tmp_path)
