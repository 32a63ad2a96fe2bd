from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from dicom_factory import (
    CORONAL,
    MR,
    PRONE,
    SECONDARY_CAPTURE,
    SeriesSpec,
    ct_values,
    recompress,
    series,
    write_enhanced,
    write_series,
)
from vastus.errors import (
    AmbiguousSeriesError,
    GeometryError,
    MissingInputError,
    UnreadableScanError,
    UnsupportedScanError,
)
from vastus.io import dicom_store
from vastus.io.dicom_choice import Kernel, kernel_of
from vastus.io.dicom_series import read_headers
from vastus.io.scans import ScanFormat, read_scan
from vastus.volume import Volume, resample_like, to_ras

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def world_values(volume: Volume) -> dict[tuple[float, ...], int]:
    """Every voxel's value by its place in the world: what must not depend on how a file orders them."""
    index = np.indices(volume.shape).reshape(3, -1)
    world = volume.affine[:3, :3] @ index + volume.affine[:3, 3:]
    return {tuple(np.round(w, 2) + 0.0): int(v) for w, v in zip(world.T, volume.array.ravel(), strict=True)}


def expected_values(spec: SeriesSpec) -> dict[tuple[float, ...], int]:
    """The same straight from the definition in DICOM PS3.3 C.7.6.2.1.1."""
    row, column = np.array(spec.orientation).reshape(2, 3)
    between_rows, between_columns = spec.pixel_spacing
    values = {}
    for k, position in enumerate(spec.positions):
        for r in range(spec.hu.shape[1]):
            for c in range(spec.hu.shape[2]):
                lps = np.array(position) + row * between_columns * c + column * between_rows * r
                values[tuple(np.round(LPS_TO_RAS @ lps, 2) + 0.0)] = int(spec.hu[k, r, c])
    return values


@pytest.mark.parametrize("orientation", [(1.0, 0, 0, 0, 1, 0), PRONE, (-1.0, 0, 0, 0, 1, 0), CORONAL])
@pytest.mark.parametrize("downwards", [False, True])
def test_every_voxel_lies_where_its_header_says(tmp_path: Path, orientation: tuple[float, ...], downwards: bool):
    spec = series(5, orientation=orientation, pixel_spacing=(2.0, 1.5))
    normal = np.cross(orientation[:3], orientation[3:])
    positions = [tuple(np.array([5.0, 6.0, 7.0]) + 3.0 * k * normal * (-1 if downwards else 1)) for k in range(5)]
    spec = spec.but(positions=positions)
    write_series(tmp_path, spec)

    scan = read_scan(tmp_path)

    assert world_values(scan.volume) == expected_values(spec)
    assert scan.volume.array.dtype == np.int16
    assert scan.volume.array.flags.f_contiguous


def test_oblique_slices_have_the_oblique_affine(tmp_path: Path):
    c, s = np.cos(0.3), np.sin(0.3)
    orientation = (c, s, 0.0, -s * c, c * c, s)
    normal = np.cross(orientation[:3], orientation[3:])
    spec = series(5, orientation=orientation).but(positions=[tuple(2.5 * k * normal) for k in range(5)])
    write_series(tmp_path, spec)

    volume = read_scan(tmp_path).volume

    np.testing.assert_allclose(volume.affine[:3, 0], LPS_TO_RAS @ orientation[:3] * 2.0, atol=1e-6)
    np.testing.assert_allclose(volume.affine[:3, 1], LPS_TO_RAS @ orientation[3:] * 2.0, atol=1e-6)
    np.testing.assert_allclose(volume.affine[:3, 2], LPS_TO_RAS @ normal * 2.5, atol=1e-5)
    np.testing.assert_array_equal(volume.array, spec.hu.transpose(2, 1, 0))


def test_source_says_what_was_read_in_slice_order(tmp_path: Path):
    folder = tmp_path / "case7"
    spec = series()
    paths = write_series(folder, spec)

    source = read_scan(folder).source

    assert (source.kind, source.subject, source.series_uid) == (ScanFormat.DICOM, "case7", spec.series_uid)
    assert source.dicom_files == tuple(paths)
    assert source.chosen_because == "the only CT series"
    heights = [float(header.ImagePositionPatient[2]) for header in read_headers(source)]
    assert heights == sorted(heights)
    assert "PixelData" not in next(iter(read_headers(source)))
    assert "PixelData" in next(iter(read_headers(source, with_pixels=True)))


def test_slope_of_each_slice_counts(tmp_path: Path):
    hu = (ct_values((6, 12, 10)) // 4 * 4).astype(np.int16)
    write_series(tmp_path, series(6, hu=hu, slopes=(1.0, 2.0, 4.0), signed=True))
    np.testing.assert_array_equal(read_scan(tmp_path).volume.array, hu.transpose(2, 1, 0))


def test_broken_slope_gives_float(tmp_path: Path):
    hu = ct_values((6, 12, 10))
    write_series(tmp_path, series(6, hu=hu, slopes=(0.5, 0.25)))
    volume = read_scan(tmp_path).volume
    np.testing.assert_array_equal(volume.array, hu.transpose(2, 1, 0))
    write_series(tmp_path / "b", series(6, hu=hu, slopes=(0.3,)))
    volume = read_scan(tmp_path / "b").volume
    assert volume.array.dtype == np.float32
    assert np.abs(volume.array - hu.transpose(2, 1, 0)).max() <= 0.15 + 1e-3


def test_compressed_slices_give_the_same(tmp_path: Path):
    spec = series()
    write_series(tmp_path / "plain", spec)
    write_series(tmp_path / "rle", spec.but(compressed=True))
    np.testing.assert_array_equal(read_scan(tmp_path / "rle").volume.array, read_scan(tmp_path / "plain").volume.array)


def test_compressed_signed_slices_give_the_same(tmp_path: Path):
    spec = series(signed=True, intercept=0.0, compressed=True)
    write_series(tmp_path, spec)
    np.testing.assert_array_equal(read_scan(tmp_path).volume.array, spec.hu.transpose(2, 1, 0))


@pytest.mark.parametrize(("compressor", "name"), [("JPEG", "JPEG Lossless"), ("JPEG2000", "JPEG 2000")])
@pytest.mark.parametrize("signed", [False, True])
def test_jpeg_slices_give_the_same_without_further_packages(tmp_path: Path, compressor: str, name: str, signed: bool):
    spec = series(3, hu=ct_values((3, 40, 30)), signed=signed, intercept=0.0 if signed else -1024.0)
    paths = write_series(tmp_path, spec)
    for path in paths:
        recompress(path, compressor)
    assert pydicom.dcmread(paths[0]).file_meta.TransferSyntaxUID.name.startswith(name)
    np.testing.assert_array_equal(read_scan(tmp_path).volume.array, spec.hu.transpose(2, 1, 0))


def test_bits_above_bits_stored_are_ignored(tmp_path: Path):
    spec = series()
    for path in write_series(tmp_path, spec):
        dataset = pydicom.dcmread(path)
        stored = np.frombuffer(dataset.PixelData, "<u2") | 0x8000
        dataset.BitsStored, dataset.HighBit, dataset.PixelData = 12, 11, stored.tobytes()
        dataset.save_as(path)
    np.testing.assert_array_equal(read_scan(tmp_path).volume.array, spec.hu.transpose(2, 1, 0))


def test_padding_becomes_air_unless_it_would_be_tissue(tmp_path: Path):
    hu = ct_values()
    hu[:, 0, 0] = -2000
    spec = series(hu=hu, signed=True, intercept=0.0, extra={"PixelPaddingValue": -2000})
    write_series(tmp_path / "a", spec)
    volume = read_scan(tmp_path / "a").volume
    assert (volume.array[0, 0] == -1024).all()
    write_series(tmp_path / "b", spec.but(extra={"PixelPaddingValue": 40}))
    assert (read_scan(tmp_path / "b").volume.array == 40).sum() == (hu == 40).sum() > 0


def test_enhanced_ct_frames_give_the_same(tmp_path: Path):
    spec = series()
    write_series(tmp_path / "single", spec)
    write_enhanced(tmp_path / "multi.dcm", spec)
    single, multi = read_scan(tmp_path / "single").volume, read_scan(tmp_path / "multi.dcm").volume
    assert single.same_grid(multi)
    np.testing.assert_array_equal(single.array, multi.array)


def test_one_file_stands_for_its_series(tmp_path: Path):
    spec = series()
    paths = write_series(tmp_path, spec)
    write_series(tmp_path, series(), prefix="other")
    scan = read_scan(paths[3])
    assert scan.source.series_uid == spec.series_uid
    assert scan.volume.shape == (10, 12, 8)


class TestDuplicates:
    def test_identical_ones_are_dropped_with_a_warning(self, tmp_path: Path):
        spec = series()
        write_series(tmp_path, spec)
        write_series(tmp_path, spec.but(hu=spec.hu[2:4], positions=spec.positions[2:4]), prefix="copy")
        scan = read_scan(tmp_path)
        np.testing.assert_array_equal(scan.volume.array, spec.hu.transpose(2, 1, 0))
        assert any("2 duplicate" in warning for warning in scan.source.warnings)

    def test_contradicting_ones_are_refused(self, tmp_path: Path):
        spec = series()
        write_series(tmp_path, spec)
        write_series(tmp_path, spec.but(hu=spec.hu[2:3] + 1, positions=spec.positions[2:3]), prefix="other")
        with pytest.raises(GeometryError, match=r"other000\.dcm"):
            read_scan(tmp_path)


class TestGaps:
    def test_missing_slice_is_refused_with_the_gap(self, tmp_path: Path):
        paths = write_series(tmp_path, series())
        paths[4].unlink()
        with pytest.raises(GeometryError, match=rf"1 slice is missing.*{paths[5].name}.*6\.00 mm.*3\.00 mm"):
            read_scan(tmp_path)

    def test_uneven_steps_are_refused(self, tmp_path: Path):
        spec = series()
        positions = [(x, y, z + (1.0 if k == 5 else 0.0)) for k, (x, y, z) in enumerate(spec.positions)]
        write_series(tmp_path, spec.but(positions=positions))
        with pytest.raises(GeometryError, match="unevenly spaced"):
            read_scan(tmp_path)

    def test_creeping_steps_are_refused(self, tmp_path: Path):
        hu = ct_values((60, 12, 10))
        heights = np.cumsum(np.r_[np.full(30, 3.0), np.full(30, 3.1)])
        spec = series(60, hu=hu).but(positions=[(0.0, 0.0, float(h)) for h in heights])
        write_series(tmp_path, spec)
        with pytest.raises(GeometryError, match="changes along the series"):
            read_scan(tmp_path)

    def test_rounded_positions_are_taken(self, tmp_path: Path):
        spec = series()
        positions = [(x, y, round(z * 1.003, 1)) for x, y, z in spec.positions]
        write_series(tmp_path, spec.but(positions=positions))
        assert read_scan(tmp_path).volume.shape == (10, 12, 8)

    def test_a_slice_moved_sideways_is_refused(self, tmp_path: Path):
        spec = series()
        positions = [(x + (4.0 if k == 3 else 0.0), y, z) for k, (x, y, z) in enumerate(spec.positions)]
        paths = write_series(tmp_path, spec.but(positions=positions))
        with pytest.raises(GeometryError, match=rf"sideways by 4\.00 mm.*{paths[3].name}"):
            read_scan(tmp_path)


class TestGantryTilt:
    SIZE = (30, 40, 40)

    def tilted(self) -> SeriesSpec:
        """A ball of muscle in air, seen by a gantry tilted by 20 degrees about the left-right axis."""
        angle = np.radians(20.0)
        orientation = (1.0, 0.0, 0.0, 0.0, np.cos(angle), np.sin(angle))
        positions = [(-39.0, -37.0, -72.0 + 4.0 * k) for k in range(self.SIZE[0])]
        spec = series(self.SIZE[0], hu=np.zeros(self.SIZE)).but(positions=positions, orientation=orientation)
        row, column = np.array(orientation).reshape(2, 3)
        r, c = np.arange(self.SIZE[1])[:, None, None], np.arange(self.SIZE[2])[None, :, None]
        hu = np.full(self.SIZE, -1000.0)
        for k, position in enumerate(positions):
            world = np.array(position) + 2.0 * c * row + 2.0 * r * column
            hu[k][np.linalg.norm(world, axis=-1) < 25.0] = 50
        return spec.but(hu=hu.astype(np.int16))

    def test_ball_stays_a_ball_of_its_volume_at_its_place(self, tmp_path: Path):
        write_series(tmp_path, self.tilted())

        scan = read_scan(tmp_path)

        assert any("tilted by 20.0 degrees" in warning for warning in scan.source.warnings)
        axes = scan.volume.affine[:3, :3] / scan.volume.spacing_mm
        np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-4)
        inside = np.argwhere(scan.volume.array > -475)
        world = inside @ scan.volume.affine[:3, :3].T + scan.volume.affine[:3, 3]
        np.testing.assert_allclose(world.mean(axis=0), 0.0, atol=0.5)
        assert np.linalg.norm(world, axis=1).max() < 25.0 + 3.0
        volume_mm3 = len(inside) * scan.volume.voxel_volume_mm3
        assert volume_mm3 == pytest.approx(4 / 3 * np.pi * 25.0**3, rel=0.03)

    def test_labels_come_back_to_the_slices_of_the_files(self, tmp_path: Path):
        spec = self.tilted()
        write_series(tmp_path, spec)
        scan = read_scan(tmp_path)
        acquired = scan.source.acquired_grid
        assert acquired is not None
        ball = scan.volume.with_array((scan.volume.array > -475).astype(np.uint8))

        back = resample_like(ball, Volume(np.empty(acquired.shape, np.uint8), acquired.affine), order=0)

        truth = (spec.hu > -475).transpose(2, 1, 0)
        overlap = 2 * (back.array.astype(bool) & truth).sum() / (back.array.sum() + truth.sum())
        assert overlap > 0.97

    def test_float_series_too(self, tmp_path: Path):
        write_series(tmp_path, self.tilted().but(slopes=(0.3,)))
        assert read_scan(tmp_path).volume.array.dtype == np.float32


class TestChoice:
    def test_localiser_capture_and_other_modalities_are_left_out(self, tmp_path: Path):
        spec = series()
        write_series(tmp_path, spec)
        write_series(tmp_path, series(4, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")), prefix="l")
        write_series(tmp_path, series(4, sop_class=SECONDARY_CAPTURE), prefix="c")
        write_series(tmp_path, series(4, modality="MR", sop_class=MR), prefix="m")
        scan = read_scan(tmp_path)
        assert scan.source.series_uid == spec.series_uid
        assert any("4 x localiser" in w and "4 x MR" in w and "4 x secondary" in w for w in scan.source.warnings)

    def test_localiser_slices_within_the_series_are_left_out(self, tmp_path: Path):
        spec = series()
        write_series(tmp_path, spec)
        write_series(tmp_path, series(2, series_uid=spec.series_uid, orientation=CORONAL), prefix="l")
        scan = read_scan(tmp_path)
        assert scan.volume.shape == (10, 12, 8)
        assert any("2 slices of other size or direction" in w for w in scan.source.warnings)

    @pytest.mark.parametrize(
        ("worse", "reason"),
        [
            (
                series(
                    12,
                    step=2.0,
                    orientation=CORONAL,
                    positions=[(0.0, 3.0 * k, 0.0) for k in range(12)],
                    hu=ct_values((12, 12, 10)),
                ),
                "axial",
            ),
            (series(8, image_type=("DERIVED", "SECONDARY", "REFORMATTED")), "not reformatted"),
            (series(5), "longest"),
            (series(8, kernel="B70f"), "softest kernel"),
            (series(5, step=5.25), "thinnest slices"),
        ],
    )
    def test_the_fitting_series_is_chosen_and_says_why(self, tmp_path: Path, worse: SeriesSpec, reason: str):
        better = series()
        write_series(tmp_path / "b", better)
        write_series(tmp_path / "a", worse)
        source = read_scan(tmp_path).source
        assert source.series_uid == better.series_uid
        assert source.chosen_because == f"of 2 CT series: {reason}"

    def test_equal_ones_are_refused_and_one_can_be_named(self, tmp_path: Path):
        one, other = series(), series()
        write_series(tmp_path / "1", one)
        write_series(tmp_path / "2", other)
        with pytest.raises(AmbiguousSeriesError) as caught:
            read_scan(tmp_path)
        assert one.series_uid in str(caught.value) and other.series_uid in str(caught.value)
        assert "Secret" not in str(caught.value) and "P1" not in str(caught.value)
        assert read_scan(tmp_path, series=other.series_uid).source.series_uid == other.series_uid
        assert read_scan(tmp_path, series=one.series_uid[-12:]).source.chosen_because == "named with --series"
        with pytest.raises(MissingInputError, match=one.series_uid):
            read_scan(tmp_path, series="9.9.9")

    @pytest.mark.parametrize("change", [{"patient": "P2"}, {"study_uid": "1.2.3.99"}])
    def test_two_patients_or_studies_are_never_chosen_between(self, tmp_path: Path, change: dict[str, str]):
        write_series(tmp_path / "1", series())
        write_series(tmp_path / "2", series(4, **change))
        with pytest.raises(AmbiguousSeriesError, match="several studies or patients"):
            read_scan(tmp_path)

    def test_naming_an_mr_series_is_refused(self, tmp_path: Path):
        mr = series(4, modality="MR", sop_class=MR)
        write_series(tmp_path / "1", series())
        write_series(tmp_path / "2", mr)
        with pytest.raises(UnsupportedScanError, match="modality MR"):
            read_scan(tmp_path, series=mr.series_uid)

    @pytest.mark.parametrize(
        ("name", "kernel"),
        [
            ("B30f", Kernel.SOFT),
            ("Br40d", Kernel.SOFT),
            ("I31f", Kernel.SOFT),
            ("B70s", Kernel.SHARP),
            ("Br60", Kernel.SHARP),
            ("SOFT", Kernel.SOFT),
            ("STANDARD", Kernel.SOFT),
            ("BONEPLUS", Kernel.SHARP),
            ("LUNG", Kernel.SHARP),
            ("FC08", Kernel.SOFT),
            ("FC51", Kernel.SHARP),
            ("B", Kernel.SOFT),
            ("YA", Kernel.SHARP),
            ("", Kernel.UNKNOWN),
        ],
    )
    def test_kernels(self, name: str, kernel: Kernel):
        assert kernel_of(name) is kernel


class TestRefusals:
    def test_folder_without_dicom(self, tmp_path: Path):
        with pytest.raises(MissingInputError, match="no DICOM"):
            read_scan(tmp_path)
        (tmp_path / "notes.txt").write_text("hello")
        (tmp_path / "data.bin").write_bytes(b"hello")
        with pytest.raises(MissingInputError, match="no DICOM"):
            read_scan(tmp_path)

    def test_mr_only(self, tmp_path: Path):
        write_series(tmp_path, series(4, modality="MR", sop_class=MR))
        with pytest.raises(UnsupportedScanError, match="only: 4 x MR"):
            read_scan(tmp_path)

    def test_units_other_than_hu(self, tmp_path: Path):
        write_series(tmp_path, series(4, extra={"RescaleType": "Z_EFF"}))
        with pytest.raises(UnsupportedScanError, match="Z_EFF"):
            read_scan(tmp_path)

    @pytest.mark.parametrize("count", [1, 2])
    def test_too_few_slices(self, tmp_path: Path, count: int):
        write_series(tmp_path, series(count))
        with pytest.raises(UnsupportedScanError, match=f"{count} usable slice"):
            read_scan(tmp_path)

    def test_copies_of_one_slice_are_not_a_volume(self, tmp_path: Path):
        spec = series(1)
        for k in range(4):
            write_series(tmp_path, spec, prefix=f"c{k}")
        with pytest.raises(UnsupportedScanError, match="1 different slices"):
            read_scan(tmp_path)

    @pytest.mark.parametrize(
        "change",
        [
            {"orientation": CORONAL, "positions": [(0.0, 3.0 * k, 0.0) for k in range(8)]},
            {"pixel_spacing": (1.0, 1.0)},
            {"frame_of_reference": "1.9.9"},
            {"hu": ct_values((8, 14, 10))},
        ],
    )
    def test_mixed_series(self, tmp_path: Path, change: dict[str, object]):
        spec = series()
        write_series(tmp_path / "1", spec)
        write_series(tmp_path / "2", spec.but(**change), prefix="t")
        with pytest.raises(GeometryError, match="mixes slices of 2"):
            read_scan(tmp_path)

    def test_truncated_slice(self, tmp_path: Path):
        paths = write_series(tmp_path, series())
        paths[2].write_bytes(paths[2].read_bytes()[:-40])
        with pytest.raises(UnreadableScanError, match=paths[2].name):
            read_scan(tmp_path)

    def test_truncated_compressed_slice(self, tmp_path: Path):
        paths = write_series(tmp_path, series(compressed=True))
        paths[2].write_bytes(paths[2].read_bytes()[:-120])
        with pytest.raises(UnreadableScanError, match=paths[2].name):
            read_scan(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"\0" * 300, b"no dicom at all, but a long enough text to look at"])
    def test_damaged_slice(self, tmp_path: Path, content: bytes):
        paths = write_series(tmp_path, series())
        paths[2].write_bytes(content)
        with pytest.raises(UnreadableScanError, match=paths[2].name):
            read_scan(tmp_path)

    def test_header_cut_off(self, tmp_path: Path):
        paths = write_series(tmp_path, series())
        whole = paths[2].read_bytes()
        for length in (140, 400, 700, 900):
            paths[2].write_bytes(whole[:length])
            with pytest.raises((UnreadableScanError, GeometryError), match=paths[2].name):
                read_scan(tmp_path)

    def test_slice_without_position(self, tmp_path: Path):
        paths = write_series(tmp_path, series())
        dataset = pydicom.dcmread(paths[2])
        del dataset.ImagePositionPatient
        dataset.save_as(paths[2])
        with pytest.raises(GeometryError, match=paths[2].name):
            read_scan(tmp_path)

    def test_directions_that_are_no_right_angle(self, tmp_path: Path):
        write_series(tmp_path, series(orientation=(1.0, 0.0, 0.0, 0.7, 0.7, 0.0)))
        with pytest.raises(GeometryError, match="right angles"):
            read_scan(tmp_path)

    def test_missing_intercept_is_recognised(self, tmp_path: Path):
        for path in write_series(tmp_path, series()):
            dataset = pydicom.dcmread(path)
            del dataset.RescaleIntercept
            dataset.save_as(path)
        with pytest.raises(UnsupportedScanError, match="rescale intercept"):
            read_scan(tmp_path)

    def test_inverted_pixels(self, tmp_path: Path):
        write_series(tmp_path, series(extra={"PhotometricInterpretation": "MONOCHROME1"}))
        with pytest.raises(UnsupportedScanError, match="MONOCHROME1"):
            read_scan(tmp_path)


class TestZip:
    def zipped(self, tmp_path: Path, spec: SeriesSpec) -> Path:
        write_series(tmp_path / "in", spec)
        archive = tmp_path / "case9.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for path in (tmp_path / "in").iterdir():
                file.write(path, f"export/deep/{path.name}")
            file.writestr("__MACOSX/export/._s001.dcm", b"junk")
            file.writestr("README.txt", b"junk")
        return archive

    def test_zip_gives_the_same_as_the_folder(self, tmp_path: Path):
        spec = series()
        archive = self.zipped(tmp_path, spec)
        scan = read_scan(archive)
        np.testing.assert_array_equal(scan.volume.array, read_scan(tmp_path / "in").volume.array)
        assert scan.source.subject == "case9"
        heights = [float(header.ImagePositionPatient[2]) for header in read_headers(scan.source)]
        assert heights == [position[2] for position in spec.positions]

    def test_names_that_lead_out_are_refused(self, tmp_path: Path):
        for name in ("../evil.dcm", "/etc/evil.dcm", "a\\..\\..\\evil.dcm", "C:/evil.dcm"):
            archive = tmp_path / "evil.zip"
            with zipfile.ZipFile(archive, "w") as file:
                file.writestr(name, b"x")
            with pytest.raises(UnreadableScanError, match="lead out"):
                read_scan(archive)
        assert [p.name for p in tmp_path.iterdir()] == ["evil.zip"]

    def test_bombs_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        archive = self.zipped(tmp_path, series())
        for limit in ("MAX_MEMBERS", "MAX_MEMBER_BYTES", "MAX_TOTAL_BYTES"):
            with monkeypatch.context() as patch:
                patch.setattr(dicom_store, limit, 3)
                with pytest.raises(UnreadableScanError, match="too many or too large"):
                    read_scan(archive)

    def test_damaged_zip(self, tmp_path: Path):
        archive = self.zipped(tmp_path, series())
        data = archive.read_bytes()
        archive.write_bytes(data[: len(data) // 2])
        with pytest.raises(UnreadableScanError):
            read_scan(archive)
        archive.write_bytes(b"")
        with pytest.raises(UnreadableScanError):
            read_scan(archive)

    def test_damaged_member(self, tmp_path: Path):
        archive = self.zipped(tmp_path, series())
        data = bytearray(archive.read_bytes())
        data[300:340] = bytes(40)
        archive.write_bytes(bytes(data))
        with pytest.raises(UnreadableScanError, match=r"\.dcm"):
            read_scan(archive)


SHARED = Path(__file__).parents[2].parent / "shared" / "ct"


def ras_array(volume: Volume) -> NDArray[np.generic]:
    return to_ras(volume).array


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="the real scans are not here")
class TestRealScans:
    @pytest.mark.parametrize("patient", ["STS_013", "STS_023"])
    def test_dicom_equals_the_nifti_of_the_same_patient(self, patient: str):
        dicom = read_scan(SHARED / "sts_thigh" / "dicom" / patient)
        nifti = read_scan(SHARED / "sts_thigh" / f"{patient}_CT.nii.gz")
        assert to_ras(dicom.volume).same_grid(to_ras(nifti.volume))
        np.testing.assert_array_equal(ras_array(dicom.volume), ras_array(nifti.volume))
        assert any("RTSTRUCT" in warning for warning in dicom.source.warnings)

    def test_knee_slices_lie_inside_the_whole_legs(self):
        knee = read_scan(SHARED / "vhf_knee_dicom").volume
        legs = read_scan(SHARED / "vhf_knee.nii.gz").volume
        back = resample_like(knee, legs, order=0, outside=-9999).array
        there = back > -9999
        assert there.sum() == 287 * 262 * 20
        np.testing.assert_array_equal(back[there], legs.array[there])

    def test_five_slices_of_the_pelvis(self):
        volume = read_scan(SHARED / "vhf_pelvis_dicom").volume
        assert volume.shape == (512, 512, 5)
        assert volume.spacing_mm == pytest.approx((1.0, 1.0, 1.0))
        assert volume.array.min() == -1024


@pytest.mark.parametrize(
    ("description", "told"),
    [
        ("CTAC 3.75 thick", True),
        ("AC CT WB", True),
        ("CT_Attenuation", True),
        ("WB CT-AC", True),
        ("thigh", False),
        ("CT ACETABULUM", False),
        ("CT IMAGE", False),
    ],
)
def test_a_ct_for_the_attenuation_of_a_pet_is_told_by_its_description(tmp_path: Path, description: str, told: bool):
    write_series(tmp_path, series(5, description=description))
    warnings = read_scan(tmp_path).source.warnings
    assert any("correct a PET" in warning for warning in warnings) is told
