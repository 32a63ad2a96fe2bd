from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from vastus.errors import MissingInputError, SettingsError, UnreadableScanError, UnsupportedScanError
from vastus.io.labels import read_labels
from vastus.io.scans import ScanFormat, read_scan, scan_format, subject_name
from vastus.synthesis.phantom import make_phantom

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 2, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]])
SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")


def hu(shape: tuple[int, ...] = (6, 7, 8)) -> np.ndarray:
    values = np.random.default_rng(0).integers(-130, 100, size=shape).astype(np.int16)
    values[0] = -1000
    return values


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """Write by the libraries themselves, not by Vastus."""
    if path.name.endswith((".nii", ".nii.gz")):
        nibabel.save(nibabel.Nifti1Image(array, affine), path)
        return path
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T), isVector=False)
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    dimension = array.ndim
    if dimension == 3:
        image.SetSpacing(spacing.tolist())
        image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
        image.SetOrigin(lps[:3, 3].tolist())
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_array_and_place(tmp_path: Path, suffix: str):
    path = save(tmp_path / f"case.v1{suffix}", hu())
    scan = read_scan(path)
    np.testing.assert_array_equal(scan.volume.array, hu())
    np.testing.assert_allclose(scan.volume.affine, AFFINE, atol=1e-6)
    assert scan.volume.array.dtype == np.int16
    assert scan.volume.array.flags.f_contiguous and scan.volume.array.flags.writeable
    assert scan.source.subject == "case.v1"
    assert scan.source.path == path
    assert scan.source.warnings == ()


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_whole_numbers_in_floats_become_int16_others_stay(tmp_path: Path, suffix: str):
    whole = read_scan(save(tmp_path / f"a{suffix}", hu().astype(np.float64))).volume
    assert whole.array.dtype == np.int16
    broken = hu().astype(np.float32)
    broken[3, 3, 3] = 40.25
    volume = read_scan(save(tmp_path / f"b{suffix}", broken)).volume
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, broken)


class TestBadInput:
    """Each kind of bad input has a named error that says which file, in every format that can hold it."""

    def refused(self, path: Path, error: type[Exception], says: str) -> None:
        before = sorted(path.parent.rglob("*"))
        with pytest.raises(error, match=says) as caught:
            read_scan(path)
        assert path.name in str(caught.value)
        assert sorted(path.parent.rglob("*")) == before

    @pytest.mark.parametrize("name", ["none.nii.gz", "none.nrrd", "none", "none.dcm", "none.zip"])
    def test_path_not_there(self, tmp_path: Path, name: str):
        self.refused(tmp_path / name, MissingInputError, "no such file")

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_empty_file(self, tmp_path: Path, suffix: str):
        path = tmp_path / f"a{suffix}"
        path.touch()
        self.refused(path, UnreadableScanError, "empty")

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("kept", [0.2, 0.6, 0.95])
    def test_truncated_file(self, tmp_path: Path, suffix: str, kept: float):
        path = save(tmp_path / f"a{suffix}", hu((20, 20, 20)))
        data = path.read_bytes()
        path.write_bytes(data[: int(kept * len(data))])
        self.refused(path, UnreadableScanError, "truncated|damaged|not a NIfTI")

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_garbage(self, tmp_path: Path, suffix: str):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(np.random.default_rng(0).bytes(5000))
        self.refused(path, UnreadableScanError, "damaged|not a NIfTI")

    def test_damage_inside_a_gzip(self, tmp_path: Path):
        path = save(tmp_path / "a.nii.gz", hu((20, 20, 20)))
        data = bytearray(path.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 50] = bytes(50)
        path.write_bytes(bytes(data))
        self.refused(path, UnreadableScanError, "damaged|truncated")

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_four_dimensions(self, tmp_path: Path, suffix: str):
        self.refused(save(tmp_path / f"a{suffix}", hu((6, 7, 8, 3))), UnsupportedScanError, "4 dimensions|vectors")

    @pytest.mark.parametrize("suffix", [".nii", ".mha"])
    def test_fourth_dimension_of_one_is_no_matter(self, tmp_path: Path, suffix: str):
        assert read_scan(save(tmp_path / f"a{suffix}", hu((6, 7, 8, 1)))).volume.shape == (6, 7, 8)

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("shape", [(6, 7, 1), (6, 7, 2), (1, 7, 8)])
    def test_single_slice(self, tmp_path: Path, suffix: str, shape: tuple[int, ...]):
        values = hu((6, 7, 8))[: shape[0], : shape[1], : shape[2]]
        values[..., 0] = 30
        self.refused(save(tmp_path / f"a{suffix}", values), UnsupportedScanError, "at least 3|2 dimensions")

    def test_colours(self, tmp_path: Path):
        colour = np.zeros((6, 7, 8), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
        self.refused(save(tmp_path / "a.nii", colour), UnsupportedScanError, "colour")

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_nan_inside(self, tmp_path: Path, suffix: str):
        values = hu().astype(np.float32)
        values[3, 3, 3] = np.nan
        self.refused(save(tmp_path / f"a{suffix}", values), UnsupportedScanError, "1 NaN voxels")

    def test_only_nan(self, tmp_path: Path):
        values = np.full((6, 7, 8), np.nan, np.float32)
        self.refused(save(tmp_path / "a.nii.gz", values), UnsupportedScanError, "NaN")

    def test_infinity(self, tmp_path: Path):
        values = hu().astype(np.float32)
        values[0, 0, 0] = np.inf
        self.refused(save(tmp_path / "a.nii.gz", values), UnsupportedScanError, "infinite")

    def test_nan_padding_is_air_with_a_warning(self, tmp_path: Path):
        values = hu().astype(np.float32)
        values[:, :2, :] = np.nan
        scan = read_scan(save(tmp_path / "a.nii.gz", values))
        assert (scan.volume.array[:, :2] == -1024).all()
        np.testing.assert_array_equal(scan.volume.array[:, 2:], hu()[:, 2:])
        assert "96 NaN" in scan.source.warnings[0]

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda v: np.clip(v + 1024, 0, 4095).astype(np.uint16), "without its rescale intercept"),
            (lambda v: np.clip((v + 160) / 400 * 255, 0, 255).astype(np.uint8), "8-bit"),
            (lambda v: np.clip((v + 160) / 400, 0, 1).astype(np.float32), "normalising"),
            (lambda v: ((v - v.mean()) / v.std()).astype(np.float32), "normalising"),
            (lambda v: np.where(v < -900, -2000, v + 1024).astype(np.int16), "800 and 1300"),
            (lambda v: (v - 1024).astype(np.int16), "between -200 and 200"),
            (np.zeros_like, "every voxel is 0"),
        ],
    )
    @pytest.mark.parametrize("suffix", [".nii.gz", ".mha"])
    def test_values_that_are_not_hu(self, tmp_path: Path, suffix: str, change, says: str):
        body = make_phantom((8, 8, 16)).ct.array
        self.refused(save(tmp_path / f"a{suffix}", change(body)), UnsupportedScanError, says)

    @pytest.mark.parametrize("cut", [(None, None), (-160, 240), (-1024, 3071)])
    def test_clipped_hu_are_still_hu(self, tmp_path: Path, cut: tuple[int | None, int | None]):
        body = np.clip(make_phantom((8, 8, 16)).ct.array, *cut)
        assert read_scan(save(tmp_path / "a.nii.gz", body)).volume.array.min() == body.min()

    def test_unknown_format(self, tmp_path: Path):
        path = tmp_path / "a.stl"
        path.write_bytes(b"solid")
        self.refused(path, UnsupportedScanError, "not a format")

    def test_gzip_that_is_no_nifti(self, tmp_path: Path):
        path = tmp_path / "a.nii.gz"
        path.write_bytes(gzip.compress(b"hello" * 200))
        self.refused(path, UnreadableScanError, "not a NIfTI")

    def test_series_of_a_file_without_series(self, tmp_path: Path):
        with pytest.raises(SettingsError, match="DICOM"):
            read_scan(save(tmp_path / "a.nii.gz", hu()), series="1.2")


def test_shear_is_warned_of(tmp_path: Path):
    affine = AFFINE.copy()
    affine[1, 2] = 3.0 * np.tan(np.radians(10))
    scan = read_scan(save(tmp_path / "a.nii.gz", hu(), affine))
    assert "10.0 degrees off right angles" in scan.source.warnings[0]
    assert scan.volume.voxel_volume_mm3 == pytest.approx(12.0, rel=1e-5)


def test_format_without_a_suffix_is_told_by_content(tmp_path: Path):
    path = tmp_path / "IM0001"
    path.write_bytes(bytes(128) + b"DICM" + bytes(20))
    assert scan_format(path) is ScanFormat.DICOM
    assert scan_format(tmp_path) is ScanFormat.DICOM


@pytest.mark.parametrize(
    ("name", "subject"),
    [("P1.nii.gz", "P1"), ("a.b.NII", "a.b"), ("x.nrrd", "x"), ("x.mhd", "x"), ("s.zip", "s"), ("IM01", "IM01")],
)
def test_subject_is_the_name_of_the_file(name: str, subject: str):
    assert subject_name(Path("somewhere") / name) == subject


@pytest.mark.parametrize("name", ["x" * 300 + ".nii", "a\0b.nii"])
def test_a_name_that_no_system_takes_is_missing(tmp_path, name):
    assert subject_name(tmp_path / name) == name.removesuffix(".nii")
    with pytest.raises(MissingInputError):
        read_scan(tmp_path / name)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes without a name in a folder")
@pytest.mark.parametrize("name", [*(f"scan{suffix}" for suffix in SUFFIXES), "scan.zip", "scan"])
def test_a_pipe_is_refused_before_anything_is_taken_from_it(tmp_path: Path, name: str) -> None:
    pipe = tmp_path / name
    os.mkfifo(pipe)
    # Opened for both ends, or a reader would wait for a writer, and this test for ever.
    end = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(end, b"\x1f\x8b and the rest")
        with pytest.raises(UnreadableScanError, match="pipe") as refused:
            read_scan(pipe)
        assert "file first" in str(refused.value)
        assert os.read(end, 2) == b"\x1f\x8b"
    finally:
        os.close(end)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes without a name in a folder")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_labels_in_a_pipe_are_refused(tmp_path: Path, suffix: str) -> None:
    pipe = tmp_path / f"labels{suffix}"
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        with pytest.raises(UnreadableScanError, match="pipe"):
            read_labels(pipe)
    finally:
        os.close(end)
