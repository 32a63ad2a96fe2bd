"""Values that no CT has, at the border and inside, in every format; slices in another scale than the others."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from dicom_factory import series, write_series
from vastus.errors import UnsupportedScanError
from vastus.io.padding import without_padding
from vastus.io.scans import read_scan
from vastus.io.slice_levels import odd_slices

SHAPE = (12, 60, 50)  # slices, rows, columns


def body(noise: int = 15) -> np.ndarray:
    """Air around fat around muscle around bone, in HU."""
    rows, columns = np.ogrid[: SHAPE[1], : SHAPE[2]]
    far = np.hypot((rows - 30) / 28, (columns - 25) / 23)
    plane = np.select([far < 0.15, far < 0.75, far < 1.0], [700, 50, -100], -1000)
    hu = np.broadcast_to(plane, SHAPE).astype(np.int64)
    return hu + np.random.default_rng(0).integers(-noise, noise + 1, size=SHAPE)


def dicom(folder: Path, stored: np.ndarray, *, signed: bool, intercept: float = -1024.0, **extra: object) -> Path:
    spec = series(SHAPE[0], hu=np.zeros(SHAPE, np.int16), signed=signed, intercept=0.0, extra=extra)
    for plane, path in zip(stored, write_series(folder, spec), strict=True):
        dataset = pydicom.dcmread(path)
        dataset.RescaleIntercept = intercept
        dataset.PixelData = plane.astype(np.int64).astype("<u2").tobytes()
        dataset.save_as(path)
    return folder


def padded(stored: np.ndarray, value: int) -> np.ndarray:
    stored = stored.copy()
    stored[:, :6], stored[:, :, :6] = value, value
    return stored


@pytest.mark.parametrize(
    ("value", "signed"),
    [(63536, False), (65535, False), (32768, False), (62512, False), (63536, True), (32768, True), (64512, True)],
)
def test_padding_that_no_header_declares_is_air(tmp_path: Path, value: int, signed: bool):
    hu = body()
    volume = read_scan(dicom(tmp_path / "a", padded(hu + 1024, value), signed=signed)).volume
    found = volume.array.transpose(2, 1, 0)
    assert volume.array.dtype == np.int16
    assert found[:, :6].max() <= -1000 and found[:, :, :6].max() <= -1000
    np.testing.assert_array_equal(found[:, 6:, 6:], hu[:, 6:, 6:])


def test_padding_is_said_with_its_value(tmp_path: Path):
    warnings = read_scan(dicom(tmp_path, padded(body() + 1024, 63536), signed=False)).source.warnings
    assert any("62512 HU at the border" in w and "air" in w for w in warnings)


@pytest.mark.parametrize("value", [-2000, -3024, -32768, 31744, 64511, 1_000_000])
def test_padding_in_nifti_is_air(tmp_path: Path, value: int):
    hu = padded(body(), value).transpose(2, 1, 0)
    nibabel.save(nibabel.Nifti1Image(hu.astype(np.int32), np.diag([2.0, 2, 3, 1])), tmp_path / "a.nii")
    scan = read_scan(tmp_path / "a.nii")
    assert (scan.volume.array[:6] == -1024).all() and scan.volume.array.dtype == np.int16
    assert any(f"{value:g} HU" in w for w in scan.source.warnings)


def test_signed_values_called_unsigned_are_refused_with_value_and_place(tmp_path: Path):
    stored = body()  # intercept 0: air, fat and dark muscle are negative
    with pytest.raises(UnsupportedScanError, match=r"65\d\d\d.* at voxel \("):
        read_scan(dicom(tmp_path, stored, signed=False, intercept=0.0))


def test_values_that_wrapped_inside_the_body_are_refused(tmp_path: Path):
    hu = body()
    hu[5, 28:32, 20:24] = -32000
    with pytest.raises(UnsupportedScanError, match="overflow"):
        read_scan(dicom(tmp_path, hu + 1024, signed=True))


def test_metal_and_its_streaks_stay(tmp_path: Path):
    hu = body()
    hu[:, 28:32, 20:24] = 31743  # also where the end of the scan cuts it
    hu[5, 40, 20:24] = -4000
    volume = (
        read_scan(dicom(tmp_path, hu + 1024, signed=False, intercept=-1024.0)).volume
        if hu.min() > -1024
        else (read_scan(dicom(tmp_path, hu, signed=True, intercept=0.0)).volume)
    )
    np.testing.assert_array_equal(volume.array.transpose(2, 1, 0), hu)


@pytest.mark.parametrize("declared", [{"PixelPaddingValue": 40000, "PixelPaddingRangeLimit": 40100}])
def test_a_declared_range_of_padding_counts(tmp_path: Path, declared: dict[str, int]):
    stored = padded(body() + 1024, 40000)
    stored[:, 2] = 40050
    folder = dicom(tmp_path, stored, signed=False, **declared)
    assert (read_scan(folder).volume.array.transpose(2, 1, 0)[:, :6] == -1024).all()


def test_padding_declared_in_implicit_vr_counts(tmp_path: Path):
    hu = body()
    hu[:, 3, 3] = hu[:, 20, 20] = -2000
    for path in write_series(tmp_path, series(12, hu=hu.astype(np.int16), signed=True, intercept=0.0)):
        dataset = pydicom.dcmread(path)
        dataset.add_new("PixelPaddingValue", "SS", -2000)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        dataset.save_as(path, implicit_vr=True, little_endian=True)
    found = read_scan(tmp_path).volume.array.transpose(2, 1, 0)
    assert (found[:, 20, 20] == -1024).all()


def test_nothing_is_copied_where_nothing_is_to_be_done():
    hu = body().astype(np.int16)
    assert without_padding(hu, 0, Path("a"))[0] is hu


class TestSlices:
    @pytest.mark.parametrize(
        ("change", "slices"),
        [
            (lambda hu: hu + 1024, [4]),
            (lambda hu: hu + 1024, [0, 1, 2]),
            (lambda hu: hu - 1024, [5]),
            (lambda hu: np.zeros_like(hu) - 1000, [6]),
            (lambda hu: hu + 120, [3]),
            (lambda hu: hu * 2 + 1024, [11]),
        ],
    )
    def test_slices_of_another_scale_are_found(self, change, slices: list[int]):
        hu = body()
        for k in slices:
            hu[k] = change(hu[k])
        odd = odd_slices(hu, 0)
        assert odd is not None and list(odd.numbers) == slices

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_a_sound_body_has_none_along_any_axis(self, axis: int):
        assert odd_slices(np.moveaxis(body(), 0, axis), axis) is None

    def test_they_are_refused_with_their_files(self, tmp_path: Path):
        hu = body()
        hu[7] += 1024
        dicom(tmp_path, hu + 1024, signed=False)
        slow = sorted(pydicom.dcmread(p).ImagePositionPatient[2] for p in tmp_path.iterdir())[7]
        name = next(p.name for p in tmp_path.iterdir() if pydicom.dcmread(p).ImagePositionPatient[2] == slow)
        with pytest.raises(UnsupportedScanError, match=rf"1 of 12 slices.*{name}"):
            read_scan(tmp_path)

    def test_a_rescale_that_some_slices_lack_is_refused(self, tmp_path: Path):
        paths = write_series(tmp_path, series())
        dataset = pydicom.dcmread(paths[3])
        del dataset.RescaleIntercept
        dataset.save_as(paths[3])
        with pytest.raises(UnsupportedScanError, match=rf"1 of 8 slices lack.*{paths[3].name}"):
            read_scan(tmp_path)

    def test_a_rescale_that_differs_is_said(self, tmp_path: Path):
        write_series(tmp_path, series(slopes=(1.0, 0.5)))
        assert any("slope 0.5, intercept -1024 in 4" in w for w in read_scan(tmp_path).source.warnings)

    @pytest.mark.parametrize("slope", [0.0, -1.0])
    def test_a_slope_that_is_no_scale_is_refused(self, tmp_path: Path, slope: float):
        for path in write_series(tmp_path, series()):
            dataset = pydicom.dcmread(path)
            dataset.RescaleSlope = slope
            dataset.save_as(path)
        with pytest.raises(UnsupportedScanError, match="no scale of HU"):
            read_scan(tmp_path)

    def test_bits_that_lie_high_are_read_from_there(self, tmp_path: Path):
        spec = series()
        for path in write_series(tmp_path, spec):
            dataset = pydicom.dcmread(path)
            stored = np.frombuffer(dataset.PixelData, "<u2") << 4
            dataset.BitsStored, dataset.HighBit, dataset.PixelData = 12, 15, stored.astype("<u2").tobytes()
            dataset.save_as(path)
        np.testing.assert_array_equal(read_scan(tmp_path).volume.array, spec.hu.transpose(2, 1, 0))
