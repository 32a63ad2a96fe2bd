"""Files of NRRD and MetaImage that hold fewer or more voxels than they say: ITK alone gives what memory held."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from vastus.errors import UnreadableScanError
from vastus.io.labels import read_labels
from vastus.io.scans import read_scan

SHAPE = (20, 18, 12)


def hounsfield() -> np.ndarray:
    values = np.random.default_rng(0).integers(-120, 90, SHAPE).astype(np.int16)
    values[:4] = -1000
    return values


RAW = hounsfield().tobytes(order="F")


def nrrd(folder: Path, data: bytes, encoding: str, more: str = "") -> Path:
    path = folder / "image.nrrd"
    path.write_bytes(
        b"NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 20 18 12\nspace directions:"
        b" (4,0,0) (0,4,0) (0,0,5)\nspace origin: (0,0,0)\nendian: little\n"
        + f"encoding: {encoding}\n{more}\n".encode()
        + data
    )
    return path


def meta_image(folder: Path, data: bytes, compressed: bool, more: str = "") -> Path:
    path = folder / "image.mha"
    path.write_bytes(
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"CompressedData = {compressed}\n"
        f"{more}TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 4 4 5\nDimSize = 20 18 12\n"
        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n".encode()
        + data
    )
    return path


def sized(packed: bytes) -> str:
    return f"CompressedDataSize = {len(packed)}\n"


WHOLE = {
    "nrrd": lambda folder, raw: nrrd(folder, raw, "raw"),
    "nrrd gzip": lambda folder, raw: nrrd(folder, gzip.compress(raw), "gzip"),
    "mha": lambda folder, raw: meta_image(folder, raw, False),
    "mha compressed": lambda folder, raw: meta_image(folder, zlib.compress(raw), True, sized(zlib.compress(raw))),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_whole_file_is_read(tmp_path: Path, kind: str) -> None:
    assert np.array_equal(read_scan(WHOLE[kind](tmp_path, RAW)).volume.array, hounsfield())


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("change", [RAW[:-4000], RAW[:10], b"", RAW * 2])
def test_fewer_or_more_voxels_than_announced_are_refused(tmp_path: Path, kind: str, change: bytes) -> None:
    with pytest.raises(UnreadableScanError, match=r"truncated|bytes more"):
        read_scan(WHOLE[kind](tmp_path, change))


@pytest.mark.parametrize("kept", [0, 40, 3000])
def test_a_compressed_stream_that_breaks_off_is_refused(tmp_path: Path, kept: int) -> None:
    packed = zlib.compress(RAW)
    for said in (packed, packed[:kept]):
        with pytest.raises(UnreadableScanError, match="truncated"):
            read_scan(meta_image(tmp_path, packed[:kept], True, sized(said)))
    with pytest.raises(UnreadableScanError, match="truncated"):
        read_scan(nrrd(tmp_path, gzip.compress(RAW)[:kept], "gzip"))


def test_a_compressed_stream_of_unknown_or_wrong_length_is_refused(tmp_path: Path) -> None:
    # ITK unpacks nothing then, prints a line, and gives whatever memory held.
    with pytest.raises(UnreadableScanError, match="CompressedDataSize"):
        read_scan(meta_image(tmp_path, zlib.compress(RAW), True))
    with pytest.raises(UnreadableScanError, match="truncated"):
        read_scan(meta_image(tmp_path, zlib.compress(RAW), True, "CompressedDataSize = 900\n"))


def test_label_maps_too(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.int16)
    labels[5:15, 5:15] = 101
    packed = zlib.compress(labels.tobytes(order="F"))
    path = meta_image(tmp_path, packed[: len(packed) - 8], True, f"CompressedDataSize = {len(packed)}\n")
    with pytest.raises(UnreadableScanError, match="truncated"):
        read_labels(path)


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", [np.int16, np.float32, np.int32])
def test_what_itk_writes_is_read(tmp_path: Path, suffix: str, compressed: bool, kind: type) -> None:
    image = sitk.GetImageFromArray(np.ascontiguousarray(hounsfield().astype(kind).T))
    image.SetSpacing((4.0, 4.0, 5.0))
    sitk.WriteImage(image, str(tmp_path / f"written{suffix}"), useCompression=compressed)
    assert np.array_equal(read_scan(tmp_path / f"written{suffix}").volume.array, hounsfield())


def test_bytes_that_are_skipped_are_not_counted(tmp_path: Path) -> None:
    path = nrrd(tmp_path, bytes(5000) + RAW, "raw", "byte skip: 5000\n")
    assert np.array_equal(read_scan(path).volume.array, hounsfield())


def test_a_key_that_is_no_text_does_not_end_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "labels.seg.nrrd"
    written = nrrd(tmp_path, np.full(SHAPE, 101, np.int16).tobytes(), "raw", "k\u00e9y:=x\n")
    path.write_bytes(written.read_bytes().replace("k\u00e9y".encode(), b"k\xe9\xffy"))
    assert (read_labels(path).array == 101).all()


def test_a_file_of_voxels_beside_the_header_has_the_size_that_this_says(tmp_path: Path) -> None:
    head = nrrd(tmp_path, b"", "raw").read_text().rstrip("\n")
    (tmp_path / "image.nhdr").write_text(f"{head}\ndata file: voxels.raw\n")
    (tmp_path / "voxels.raw").write_bytes(RAW)
    assert np.array_equal(read_scan(tmp_path / "image.nhdr").volume.array, hounsfield())
    (tmp_path / "voxels.raw").write_bytes(bytes(6000) + RAW)  # a header that nobody skips moves every voxel
    with pytest.raises(UnreadableScanError, match="6000 bytes more"):
        read_scan(tmp_path / "image.nhdr")
