from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vastus.errors import GeometryError, UnreadableScanError
from vastus.io.nifti import read_nifti


def stored() -> np.ndarray:
    return np.random.default_rng(1).integers(-900, 900, size=(5, 6, 7)).astype(np.int16)


def oblique(angles: tuple[float, float, float]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * [0.8, 0.9, 2.5]
    affine[:3, 3] = [-12.5, 33.25, 1000.5]
    return affine


@pytest.mark.parametrize("codes", [(1, 1), (0, 1), (1, 0), (0, 2), (2, 4)])
def test_affine_is_nibabels_for_every_pair_of_codes(tmp_path: Path, codes: tuple[int, int]):
    image = nibabel.Nifti1Image(stored(), None)
    image.set_qform(oblique((10, 20, 30)), code=codes[0])
    image.set_sform(oblique((-5, 40, 170)), code=codes[1])
    nibabel.save(image, tmp_path / "a.nii.gz")
    expected = oblique((-5, 40, 170)) if codes[1] else oblique((10, 20, 30))
    volume = read_nifti(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(volume.affine, expected, atol=1e-4)
    np.testing.assert_array_equal(volume.affine, nibabel.load(tmp_path / "a.nii.gz").affine)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<u1", ">f4", "<f8", "<i4", ">u2"])
def test_every_type_and_byte_order(tmp_path: Path, kind: type, dtype: str):
    array = np.abs(stored() % 200).astype(dtype)
    image = kind(array, oblique((0, 0, 0)))
    image.header.set_data_dtype(np.dtype(dtype))
    header = image.header.as_byteswapped(">") if dtype.startswith(">") else image.header
    nibabel.save(kind(array, oblique((0, 0, 0)), header), tmp_path / "a.nii")
    volume = read_nifti(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.array, array.astype("f8"))
    assert volume.array.dtype.isnative


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, -1024.0), (2.0, -1024.0), (0.5, 3.25), (1.0, 0.0)])
def test_scaling_is_applied(tmp_path: Path, slope: float, intercept: float):
    image = nibabel.Nifti1Image(stored(), np.eye(4))
    image.header.set_slope_inter(slope, intercept)
    image = nibabel.Nifti1Image(stored(), np.eye(4), image.header)
    nibabel.save(image, tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[112:120] = np.array([slope, intercept], "<f4").tobytes()
    data[352:] = stored().tobytes(order="F")
    (tmp_path / "a.nii").write_bytes(bytes(data))
    volume = read_nifti(tmp_path / "a.nii")
    np.testing.assert_allclose(volume.array, stored() * slope + intercept)
    assert volume.array.dtype == (np.int16 if slope == 1.0 else np.float32)


def test_slope_of_zero_means_no_scaling(tmp_path: Path):
    nibabel.save(nibabel.Nifti1Image(stored(), np.eye(4)), tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[112:120] = bytes(8)
    (tmp_path / "a.nii").write_bytes(bytes(data))
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii").array, stored())


def test_gzip_of_several_members(tmp_path: Path):
    nibabel.save(nibabel.Nifti1Image(stored(), np.eye(4)), tmp_path / "a.nii")
    raw = (tmp_path / "a.nii").read_bytes()
    pieces = [gzip.compress(raw[i : i + 200]) for i in range(0, len(raw), 200)]
    (tmp_path / "b.nii.gz").write_bytes(b"".join(pieces))
    np.testing.assert_array_equal(read_nifti(tmp_path / "b.nii.gz").array, stored())


def test_singular_affine_is_refused_with_the_file(tmp_path: Path):
    image = nibabel.Nifti1Image(stored(), None)
    image.set_sform(np.diag([1.0, 1.0, 0.0, 1.0]), code=1)
    nibabel.save(image, tmp_path / "flat.nii")
    with pytest.raises(GeometryError, match=r"flat\.nii"):
        read_nifti(tmp_path / "flat.nii")


@pytest.mark.parametrize(
    "behind",
    [b"", bytes(700), b"what a mail program appended", gzip.compress(b"", mtime=0)],
    ids=["nothing", "zeros", "words", "empty member"],  # one name in every process that runs the tests
)
def test_what_lies_behind_the_gzip_stream_does_no_harm(tmp_path: Path, behind: bytes):
    nibabel.save(nibabel.Nifti1Image(stored(), np.eye(4)), tmp_path / "a.nii")
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()) + behind)
    found = read_nifti(tmp_path / "b.nii.gz").array
    np.testing.assert_array_equal(found, stored())
    assert found.flags.writeable


@pytest.mark.parametrize("change", ["announced", "checksum", "inside", "cut"])
def test_a_damaged_gzip_stream_is_refused_with_the_file(tmp_path: Path, change: str):
    nibabel.save(nibabel.Nifti1Image(stored(), np.eye(4)), tmp_path / "a.nii")
    data = bytearray(gzip.compress((tmp_path / "a.nii").read_bytes()))
    if change == "cut":
        del data[-100:]
    else:
        data[{"announced": -1, "checksum": -8, "inside": len(data) // 2}[change]] ^= 0x55
    (tmp_path / "b.nii.gz").write_bytes(bytes(data))
    with pytest.raises(UnreadableScanError, match=r"b\.nii\.gz"):
        read_nifti(tmp_path / "b.nii.gz")
