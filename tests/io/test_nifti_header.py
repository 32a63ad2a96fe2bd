"""Headers that contradict themselves or their file: refused by a named error, or read right with a warning."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest

from vastus.errors import GeometryError, InputError, UnreadableScanError
from vastus.io.labels import read_label_map, read_labels
from vastus.io.nifti import read_nifti_image
from vastus.io.scans import read_scan
from vastus.synthesis.phantom import make_phantom

SLOPE, INTERCEPT, OFFSET, UNITS, SFORM_CODE, QFORM_CODE = 112, 116, 108, 123, 254, 252


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    phantom = make_phantom((8.0, 8.0, 10.0), noise_hu=3)
    path = tmp_path_factory.mktemp("nifti") / "plain.nii"
    nibabel.save(nibabel.Nifti1Image(phantom.ct.array, phantom.ct.affine), path)
    return path


def patched(plain: Path, path: Path, *changes: tuple[object, ...]) -> Path:
    raw = bytearray(plain.read_bytes())
    for offset, form, *values in changes:
        struct.pack_into(str(form), raw, int(str(offset)), *values)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    ("slope", "intercept"),
    [(1.0, math.nan), (1.0, math.inf), (math.inf, 0.0), (-math.inf, 0.0), (math.nan, 5.0), (2.0, -math.inf)],
)
def test_scaling_that_is_no_number_is_refused(plain: Path, tmp_path: Path, slope: float, intercept: float):
    path = patched(plain, tmp_path / "a.nii", (SLOPE, "<f", slope), (INTERCEPT, "<f", intercept))
    for read in (read_scan, read_labels):
        with pytest.raises(UnreadableScanError, match=r"scaling is no number.*a\.nii"):
            read(path)


@pytest.mark.parametrize(
    ("slope", "intercept"), [(0.0, math.nan), (math.nan, math.nan), (math.nan, 0.0), (0.0, -1024.0)]
)
def test_no_scaling_in_all_its_spellings(plain: Path, tmp_path: Path, slope: float, intercept: float):
    path = patched(plain, tmp_path / "a.nii", (SLOPE, "<f", slope), (INTERCEPT, "<f", intercept))
    np.testing.assert_array_equal(read_scan(path).volume.array, read_scan(plain).volume.array)


def test_voxels_that_begin_inside_the_header_are_read_behind_it(plain: Path, tmp_path: Path):
    scan = read_scan(patched(plain, tmp_path / "a.nii", (OFFSET, "<f", 0.0)))
    np.testing.assert_array_equal(scan.volume.array, read_scan(plain).volume.array)
    assert any("byte 0, inside itself" in w for w in scan.source.warnings)


@pytest.mark.parametrize("offset", [348.0, 100.0, -352.0, 352.5, math.nan, math.inf, 1e30])
def test_other_starts_inside_the_header_never_shift_the_voxels(plain: Path, tmp_path: Path, offset: float):
    path = patched(plain, tmp_path / "a.nii", (OFFSET, "<f", offset))
    path.write_bytes(path.read_bytes() + bytes(3))  # so that the length does not tell where they begin
    with pytest.raises(UnreadableScanError, match=r"damaged.*a\.nii"):
        read_scan(path)


def test_a_file_longer_than_its_header_says_is_refused(plain: Path, tmp_path: Path):
    path = tmp_path / "a.nii"
    path.write_bytes(plain.read_bytes() * 2)
    with pytest.raises(UnreadableScanError, match="more than its header announces"):
        read_scan(path)


def test_a_few_bytes_behind_the_voxels_are_said(plain: Path, tmp_path: Path):
    path = tmp_path / "a.nii"
    path.write_bytes(plain.read_bytes() + bytes(40))
    scan = read_scan(path)
    assert any("40 bytes behind" in w for w in scan.source.warnings)
    np.testing.assert_array_equal(scan.volume.array, read_scan(plain).volume.array)


@pytest.mark.parametrize(("code", "factor"), [(1, 0.001), (3, 1000.0), (2, 1.0), (0, 1.0)])
def test_the_unit_of_length_counts_in_scans_and_labels(plain: Path, tmp_path: Path, code: int, factor: float):
    image = nibabel.load(plain)
    affine = np.diag([factor, factor, factor, 1.0]) @ image.affine
    other = nibabel.Nifti1Image((np.asarray(image.dataobj) > 200).astype(np.uint8), affine)
    scan = nibabel.Nifti1Image(np.asarray(image.dataobj), affine)
    for made, name in ((scan, "scan.nii"), (other, "labels.nii")):
        made.header["xyzt_units"] = code | 8
        nibabel.save(made, tmp_path / name)
    np.testing.assert_allclose(read_scan(tmp_path / "scan.nii").volume.affine, image.affine, rtol=1e-5)
    np.testing.assert_allclose(read_labels(tmp_path / "labels.nii").affine, image.affine, rtol=1e-5)


@pytest.mark.parametrize(("factor", "unit"), [(1000.0, "micrometre"), (0.001, "metre"), (10.0, "ten times")])
def test_sizes_that_no_person_has_are_refused_with_the_likely_unit(
    plain: Path, tmp_path: Path, factor: float, unit: str
):
    image = nibabel.load(plain)
    affine = np.diag([factor, factor, factor, 1.0]) @ image.affine
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), tmp_path / "a.nii")
    with pytest.raises(GeometryError, match=rf"a\.nii|{unit}") as caught:
        read_scan(tmp_path / "a.nii")
    assert "mm" in str(caught.value)


def test_centimetres_called_millimetres_are_refused(tmp_path: Path):
    hu = np.full((160, 130, 20), -1000, np.int16)
    hu[20:140, 20:110] = 40
    hu[20:140, 20:60] = -100
    nibabel.save(nibabel.Nifti1Image(hu, np.diag([0.25, 0.25, 0.5, 1.0])), tmp_path / "a.nii")
    with pytest.raises(GeometryError, match="centimetre"):
        read_scan(tmp_path / "a.nii")


class TestOrientation:
    def test_codes_of_zero_are_said(self, plain: Path, tmp_path: Path):
        path = patched(plain, tmp_path / "a.nii", (QFORM_CODE, "<h", 0), (SFORM_CODE, "<h", 0))
        assert any("no orientation" in w and "sides" in w for w in read_scan(path).source.warnings)
        assert any("no orientation" in w for w in read_nifti_image(path).warnings)

    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
    def test_a_mirror_between_sform_and_qform_is_said(self, plain: Path, tmp_path: Path, suffix: str):
        image = nibabel.load(plain)
        image.set_sform(image.affine, 1)
        image.set_qform(np.diag([-1.0, 1.0, 1.0, 1.0]) @ image.affine, 1)
        nibabel.save(image, tmp_path / f"a{suffix}")
        scan = read_scan(tmp_path / f"a{suffix}")
        assert any("said in two ways" in w and "RAS" in w and "LAS" in w for w in scan.source.warnings)
        np.testing.assert_allclose(scan.volume.affine, image.get_sform(), atol=1e-4)

    def test_a_shift_and_another_size_are_said_with_their_amount(self, plain: Path, tmp_path: Path):
        image = nibabel.load(plain)
        moved = image.affine.copy()
        moved[0, 3] += 50
        image.set_sform(image.affine, 1)
        image.set_qform(moved, 1)
        nibabel.save(image, tmp_path / "shift.nii")
        assert any("50.0 mm apart" in w for w in read_scan(tmp_path / "shift.nii").source.warnings)
        image.set_qform(np.diag([1.2, 1.0, 1.0, 1.0]) @ image.affine, 1)
        nibabel.save(image, tmp_path / "size.nii")
        assert any("voxels of 8 x 8 x 10 and 9.6" in w for w in read_scan(tmp_path / "size.nii").source.warnings)

    def test_rounding_is_no_contradiction(self, plain: Path, tmp_path: Path):
        image = nibabel.load(plain)
        image.set_sform(image.affine * 1.00001, 1)
        image.set_qform(image.affine, 1)
        nibabel.save(image, tmp_path / "a.nii")
        assert read_scan(tmp_path / "a.nii").source.warnings == ()

    def test_voxel_sizes_said_in_two_ways(self, plain: Path, tmp_path: Path):
        path = patched(plain, tmp_path / "a.nii", (QFORM_CODE, "<h", 0), (80, "<3f", 1.0, 1.0, 1.0))
        assert any("two voxel sizes" in w for w in read_scan(path).source.warnings)

    def test_an_empty_sform_gives_way_to_the_qform(self, plain: Path, tmp_path: Path):
        image = nibabel.load(plain)
        image.set_qform(image.affine, 1)
        nibabel.save(image, tmp_path / "both.nii")
        path = patched(tmp_path / "both.nii", tmp_path / "a.nii", (SFORM_CODE, "<h", 1), (280, "<12f", *([0.0] * 12)))
        scan = read_scan(path)
        np.testing.assert_allclose(scan.volume.affine, image.affine, atol=1e-3)
        assert any("sform of the file can't be used" in w for w in scan.source.warnings)

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_a_place_that_is_no_number_is_refused(self, plain: Path, tmp_path: Path, value: float):
        for change in ((280, "<f", value), (292, "<f", value)):
            path = patched(plain, tmp_path / "a.nii", (QFORM_CODE, "<h", 0), (SFORM_CODE, "<h", 1), change)
            with pytest.raises(GeometryError, match=r"a\.nii"):
                read_scan(path)


def test_labels_without_orientation_are_said(tmp_path: Path):
    image = nibabel.Nifti1Image(np.full((4, 4, 4), 101, np.uint8), np.eye(4))
    image.set_sform(np.eye(4), 0)
    image.set_qform(np.eye(4), 0)
    nibabel.save(image, tmp_path / "labels.nii")
    assert any("no orientation" in w for w in read_label_map(tmp_path / "labels.nii").warnings)


@pytest.mark.parametrize("seed", range(300))
def test_a_damaged_header_never_ends_in_a_traceback(plain: Path, tmp_path: Path, seed: int):
    rng = np.random.default_rng(seed)
    raw = bytearray(plain.read_bytes())
    for _ in range(int(rng.integers(1, 8))):
        raw[int(rng.integers(4, 344))] = int(rng.choice([0, 1, 127, 128, 255, rng.integers(256)]))
    (tmp_path / "a.nii").write_bytes(raw)
    for read in (read_scan, read_labels):
        try:
            read(tmp_path / "a.nii")
        except InputError as error:
            assert "a.nii" in str(error)
