"""A scan made of a part of its slices is refused or named, whatever made the others vanish."""

from __future__ import annotations

import copy
import gzip
import os
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicom_factory import CORONAL, ct_values, recompress, series, write_enhanced, write_series
from vastus.batch.inputs import find_scans
from vastus.errors import GeometryError, InputError, UnreadableScanError, UnsupportedScanError
from vastus.io.folders import walk_folders
from vastus.io.scans import read_scan


def bare(path: Path, *, implicit: bool = True, little: bool = True) -> None:
    """As old scanners and some exports write: no preamble, no file meta."""
    dataset = pydicom.dcmread(path)
    if not little:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = little, implicit
    plain = pydicom.Dataset({e.tag: e for e in dataset})
    write_dataset(stream, plain)
    path.write_bytes(stream.getvalue())


def without_preamble(path: Path) -> None:
    path.write_bytes(path.read_bytes()[128:])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A series whose files have no suffix."""
    for number, path in enumerate(write_series(tmp_path / "ct", series())):
        path.rename(path.with_name(f"IM{number:04d}"))
    return tmp_path / "ct"


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


class TestUnusualFiles:
    @pytest.mark.parametrize("every", [1, 2])
    @pytest.mark.parametrize(
        "change",
        [bare, without_preamble, lambda p: bare(p, implicit=False), lambda p: bare(p, implicit=False, little=False)],
    )
    def test_files_without_preamble_are_read_like_others(self, folder: Path, every: int, change):
        wanted = read_scan(folder).volume
        for path in files(folder)[::every]:
            change(path)
        found = read_scan(folder)
        np.testing.assert_array_equal(found.volume.array, wanted.array)
        assert found.volume.same_grid(wanted)
        assert read_scan(files(folder)[0]).volume.shape == wanted.shape

    @pytest.mark.parametrize("name", ["notes.txt", "picture.jpg", "list.json", ".hidden"])
    def test_a_slice_under_the_name_of_a_document_is_a_slice(self, folder: Path, name: str):
        files(folder)[-1].rename(folder / name)
        assert read_scan(folder).volume.shape[2] == 8

    @pytest.mark.parametrize("at", [0, 3, 7])
    @pytest.mark.parametrize("content", [bytes(4000), b"\x89garbage" * 300, b"\xff" * 2000])
    def test_a_file_that_is_not_recognised_among_slices_is_refused(self, folder: Path, at: int, content: bytes):
        path = files(folder)[at]
        path.write_bytes(content)
        with pytest.raises(UnreadableScanError, match=rf"among the slices.*{path.name}"):
            read_scan(folder)

    @pytest.mark.parametrize("suffix", [".gz", ".part", ".crdownload", ".tmp"])
    def test_a_packed_or_half_copied_slice_is_refused(self, folder: Path, suffix: str):
        path = files(folder)[7]
        path.with_name(path.name + suffix).write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
        with pytest.raises(UnreadableScanError, match=f"compressed or half copied.*{path.name}"):
            read_scan(folder)

    def test_notes_and_programs_beside_the_slices_are_named(self, folder: Path):
        (folder / "README").write_text("Exported on a Monday.\n")
        (folder / "viewer.exe").write_bytes(b"MZ\x90\0" * 100)
        scan = read_scan(folder)
        assert scan.volume.shape[2] == 8
        assert any("README" in w and "viewer.exe" in w for w in scan.source.warnings)

    def test_the_same_in_a_zip(self, folder: Path, tmp_path: Path):
        bare(files(folder)[2])
        files(folder)[5].rename(folder / "IM.txt")
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for path in files(folder):
                archive.write(path, path.name)
        assert read_scan(tmp_path / "a.zip").volume.shape[2] == 8

    def test_a_folder_of_other_suffixes_is_found_by_a_batch(self, tmp_path: Path):
        for path in write_series(tmp_path / "in" / "ct", series()):
            path.rename(path.with_suffix(".CT"))
        assert [s.path.name for s in find_scans([tmp_path / "in"], tmp_path / "out")] == ["ct"]


class TestLinks:
    def test_links_to_folders_and_files_are_followed(self, tmp_path: Path):
        write_series(tmp_path / "store" / "p1", series())
        (tmp_path / "study").mkdir()
        (tmp_path / "study" / "p1").symlink_to(tmp_path / "store" / "p1")
        assert read_scan(tmp_path / "study").volume.shape[2] == 8
        assert [s.name for s in find_scans([tmp_path / "study"], tmp_path / "out")] == ["p1"]
        (tmp_path / "files").mkdir()
        for path in (tmp_path / "store" / "p1").iterdir():
            (tmp_path / "files" / path.name).symlink_to(path)
        assert read_scan(tmp_path / "files").volume.shape[2] == 8

    def test_circles_end(self, tmp_path: Path):
        write_series(tmp_path / "study" / "p1", series())
        (tmp_path / "study" / "p1" / "up").symlink_to(tmp_path / "study")
        (tmp_path / "study" / "above").symlink_to(tmp_path)
        (tmp_path / "study" / "again").symlink_to(tmp_path / "study" / "p1")
        scan = read_scan(tmp_path / "study")
        assert scan.volume.shape[2] == 8 and not any("duplicate" in w for w in scan.source.warnings)
        assert len(list(find_scans([tmp_path / "study"], tmp_path / "out"))) == 1

    @pytest.mark.parametrize("at", [0, 4, 7])
    def test_a_link_that_leads_nowhere_is_refused(self, folder: Path, tmp_path: Path, at: int):
        path = files(folder)[at]
        path.unlink()
        path.symlink_to(tmp_path / "annex" / "gone")
        with pytest.raises(UnreadableScanError, match=rf"leads nowhere.*{path.name}"):
            read_scan(folder)
        (found,) = find_scans([folder.parent], tmp_path / "out")
        with pytest.raises(InputError):
            read_scan(found.path, series=found.series)

    def test_a_folder_of_dead_links_says_so(self, tmp_path: Path):
        (tmp_path / "ct").mkdir()
        for number in range(3):
            (tmp_path / "ct" / f"IM{number}").symlink_to(tmp_path / f"gone{number}")
        with pytest.raises(UnreadableScanError, match="datalad get"):
            read_scan(tmp_path / "ct")

    def test_a_locked_folder_is_refused_alone_and_entered_in_a_batch(self, tmp_path: Path, monkeypatch):
        write_series(tmp_path / "in" / "a", series())
        (tmp_path / "in" / "locked").mkdir()
        scandir = os.scandir

        def locked(path):
            if Path(path).name == "locked":
                raise PermissionError(13, "Permission denied")
            return scandir(path)

        monkeypatch.setattr("vastus.io.folders.os.scandir", locked)
        with pytest.raises(UnreadableScanError, match="Permission denied"):
            list(walk_folders(tmp_path / "in"))
        assert [s.name for s in find_scans([tmp_path / "in"], tmp_path / "out")] == ["a", "locked"]


class TestMissingSlices:
    def rewrite(self, paths: list[Path], **values: object) -> None:
        for number, path in enumerate(paths):
            dataset = pydicom.dcmread(path)
            for keyword, value in values.items():
                setattr(dataset, keyword, value[number] if isinstance(value, list) else value)
            dataset.save_as(path)

    def test_every_second_slice_is_refused_where_numbers_and_thickness_agree(self, tmp_path: Path):
        paths = write_series(tmp_path, series(12, hu=ct_values((12, 12, 10))))
        self.rewrite(paths, InstanceNumber=list(range(1, 13)), SliceThickness=3.0)
        for path in paths[1::2]:
            path.unlink()
        with pytest.raises(GeometryError, match=r"Only every 2\. slice"):
            read_scan(tmp_path)

    def test_lacking_numbers_thickness_and_counts_are_said(self, tmp_path: Path):
        paths = write_series(tmp_path, series())
        self.rewrite(paths, InstanceNumber=[5, 6, 7, 8, 9, 10, 11, 12], SliceThickness=1.5, ImagesInAcquisition=12)
        said = " ".join(read_scan(tmp_path).source.warnings)
        assert "begin at 5" in said and "1.5 mm thick but lie 3.00 mm apart" in said and "12 images" in said
        self.rewrite(paths, InstanceNumber=[1, 2, 3, 4, 5, 6, 7, 20])
        assert any("numbered 1 to 20, but there are 8" in w for w in read_scan(tmp_path).source.warnings)

    @pytest.mark.parametrize("change", [{"Modality": "OT"}, {"RescaleType": "HU_MOD"}, {"SamplesPerPixel": 3}])
    def test_slices_that_are_none_by_their_header_are_not_dropped(self, tmp_path: Path, change: dict[str, object]):
        paths = write_series(tmp_path, series(12, hu=ct_values((12, 12, 10))))
        self.rewrite(paths[1::2], **change)
        with pytest.raises(GeometryError, match="no CT slices by their header"):
            read_scan(tmp_path)

    def test_an_end_slice_of_another_frame_of_reference_is_not_dropped(self, tmp_path: Path):
        paths = write_series(tmp_path, series())
        self.rewrite(paths[-1:], FrameOfReferenceUID="1.2.3.99")
        with pytest.raises(GeometryError, match=rf"1 slices.*{paths[-1].name}"):
            read_scan(tmp_path)

    def test_an_end_slice_of_another_voxel_size_is_not_dropped(self, tmp_path: Path):
        spec = series()
        paths = write_series(tmp_path, spec)
        paths[-1].unlink()
        last = spec.but(hu=spec.hu[-1:], positions=spec.positions[-1:], pixel_spacing=(2.1, 2.1))
        write_series(tmp_path, last, prefix="last")
        with pytest.raises(GeometryError, match=r"1 slices.*last000"):
            read_scan(tmp_path)

    def test_a_localiser_in_the_series_is_still_left_out(self, tmp_path: Path):
        spec = series()
        write_series(tmp_path, spec)
        write_series(tmp_path, series(2, series_uid=spec.series_uid, orientation=CORONAL), prefix="l")
        assert any("2 slices of other size" in w and "l00" in w for w in read_scan(tmp_path).source.warnings)


class TestEnhanced:
    """Every transfer syntax that docs/reference-input.md names."""

    SPEC = series(4, hu=ct_values((4, 40, 30)))

    def frames(self, folder: Path, syntax: UID) -> list[bytes]:
        """The frames in the order of ``write_enhanced``, each compressed by another program."""
        found = []
        for path in reversed(write_series(folder / "single", self.SPEC)):
            if syntax in (JPEGLosslessSV1, JPEG2000Lossless):
                recompress(path, "JPEG" if syntax == JPEGLosslessSV1 else "JPEG2000")
            else:
                if syntax == JPEGLSLossless:
                    pytest.importorskip("jpeg_ls")
                dataset = pydicom.dcmread(path)
                dataset.compress(syntax, generate_instance_uid=False)
                dataset.save_as(path)
            dataset = pydicom.dcmread(path)
            found.append(next(iter(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))))
        return found

    @pytest.mark.parametrize("syntax", [RLELossless, JPEGLosslessSV1, JPEG2000Lossless, JPEGLSLossless])
    def test_compressed_frames_give_the_same(self, tmp_path: Path, syntax: UID):
        write_enhanced(tmp_path / "multi.dcm", self.SPEC)
        dataset = pydicom.dcmread(tmp_path / "multi.dcm")
        frames = self.frames(tmp_path, syntax)
        dataset.PixelData = encapsulate(frames)
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.file_meta.TransferSyntaxUID = pydicom.dcmread(
            next((tmp_path / "single").iterdir())
        ).file_meta.TransferSyntaxUID
        (tmp_path / "multi").mkdir()
        dataset.save_as(tmp_path / "multi" / "m.dcm")
        found = read_scan(tmp_path / "multi").volume
        np.testing.assert_array_equal(found.array, self.SPEC.hu.transpose(2, 1, 0))

    def test_big_endian_too(self, tmp_path: Path):
        write_enhanced(tmp_path / "little.dcm", self.SPEC)
        little = pydicom.dcmread(tmp_path / "little.dcm")
        little.PixelData = np.frombuffer(little.PixelData, "<u2").astype(">u2").tobytes()
        little.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        (tmp_path / "big").mkdir()
        plain = pydicom.Dataset({e.tag: e for e in little})
        plain.file_meta = little.file_meta
        pydicom.dcmwrite(
            tmp_path / "big" / "m.dcm", plain, implicit_vr=False, little_endian=False, enforce_file_format=True
        )
        np.testing.assert_array_equal(read_scan(tmp_path / "big").volume.array, self.SPEC.hu.transpose(2, 1, 0))

    def test_frames_in_other_units_than_hu_are_refused(self, tmp_path: Path):
        write_enhanced(tmp_path / "multi.dcm", self.SPEC)
        dataset = pydicom.dcmread(tmp_path / "multi.dcm")
        shared = dataset.SharedFunctionalGroupsSequence[0]
        shared.PixelValueTransformationSequence[0].RescaleType = "Z_EFF"
        dataset.save_as(tmp_path / "multi.dcm")
        with pytest.raises(UnsupportedScanError, match="Z_EFF"):
            read_scan(tmp_path / "multi.dcm")

    def test_frames_of_different_rescale_are_each_read_by_their_own(self, tmp_path: Path):
        write_enhanced(tmp_path / "multi.dcm", self.SPEC)
        dataset = pydicom.dcmread(tmp_path / "multi.dcm")
        stored = np.frombuffer(dataset.PixelData, "<u2").reshape(4, 40, 30).copy()
        transformation = dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0]
        for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            own = copy.deepcopy(transformation)
            own.RescaleIntercept = -1024 - number
            frame.PixelValueTransformationSequence = [own]
            stored[number] += number
        del dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
        dataset.PixelData = stored.tobytes()
        dataset.save_as(tmp_path / "multi.dcm")
        scan = read_scan(tmp_path / "multi.dcm")
        np.testing.assert_array_equal(scan.volume.array, self.SPEC.hu.transpose(2, 1, 0))
        assert any("rescale values differ" in w for w in scan.source.warnings)
