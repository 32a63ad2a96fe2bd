"""Damaged, hostile and contradictory DICOM: a named refusal or a right result, never a crash, never a hang."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, RLELossless

import dicom_factory as factory
from labelled_dicom import FULL_HEADER, content_of
from vastus.dicom import formats
from vastus.dicom.deidentify import Pseudonyms, deidentify_folder
from vastus.dicom.outputs import write_dicom
from vastus.errors import InputError, VastusError
from vastus.io.scans import read_scan

FILES = 500
SECONDS_EACH = 5.0


def _mutate(content: bytes, rng: random.Random) -> bytes:
    """One of the things that go wrong with files: bits, bytes, lengths, cuts, insertions, repeats."""
    data = bytearray(content)
    # Most of the damage goes where it matters: into the header.
    header = len(data) - 240
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(128, header if rng.random() < 0.9 else len(data))
        way = rng.randrange(6)
        if way == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif way == 1:
            data[at] = rng.randrange(256)
        elif way == 2:
            data[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\xff\xff\xff\x7f"))
        elif way == 3:
            del data[at : at + rng.randrange(1, 40)]
        elif way == 4:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 40)))
        else:
            data[at:at] = data[max(0, at - 60) : at]
        header = min(header, len(data) - 1)
    if rng.random() < 0.1:
        del data[rng.randrange(132, len(data)) :]
    return bytes(data)


def test_five_hundred_mutated_files_crash_and_hang_nothing(tmp_path: Path) -> None:
    spec = factory.series(3, hu=factory.ct_values((3, 12, 10)), extra=FULL_HEADER)
    paths = factory.write_series(tmp_path / "ct", spec)
    original = paths[1].read_bytes()
    values = np.zeros((3, 12, 10), np.uint8)
    values[:, 4:8, 4:8] = 101
    refused = read = 0
    slowest = 0.0
    for seed in range(FILES):
        paths[1].write_bytes(_mutate(original, random.Random(seed)))
        start = time.monotonic()
        try:
            scan = read_scan(tmp_path / "ct")
            assert np.isfinite(scan.volume.array).all()
            read += 1
        except InputError:
            refused += 1
        slowest = max(slowest, time.monotonic() - start)
    assert slowest < SECONDS_EACH
    # Both happen, else the mutations test nothing.
    assert refused > FILES // 10 and read > FILES // 10
    assert refused + read == FILES


@pytest.mark.parametrize("seed", range(20))
def test_mutated_headers_crash_neither_writing_nor_deidentifying(tmp_path: Path, seed: int) -> None:
    spec = factory.series(3, hu=factory.ct_values((3, 12, 10)), extra=FULL_HEADER)
    paths = factory.write_series(tmp_path / "ct", spec)
    paths[0].write_bytes(_mutate(paths[0].read_bytes(), random.Random(1000 + seed)))
    values = np.zeros((3, 12, 10), np.uint8)
    values[:, 4:8, 4:8] = 101
    try:
        write_dicom(content_of(tmp_path / "ct", values), (formats.RTSTRUCT,), tmp_path / "out")
    except VastusError:
        assert not (tmp_path / "out" / "dicom").exists()
    with contextlib.suppress(VastusError):
        deidentify_folder(tmp_path / "ct", tmp_path / "anonymous", Pseudonyms(bytes(32)))
    for path in (tmp_path / "anonymous").rglob("*.dcm"):
        assert b"Secret" not in path.read_bytes()


def test_an_image_that_announces_far_more_pixels_than_it_has_is_refused(tmp_path: Path) -> None:
    paths = factory.write_series(tmp_path / "ct", factory.series(4, compressed=True))
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.Rows = dataset.Columns = 65535  # 8 GiB in a file of a few hundred bytes
        dataset.save_as(path)
    start = time.monotonic()
    with pytest.raises(InputError):
        read_scan(tmp_path / "ct")
    assert time.monotonic() - start < SECONDS_EACH


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_a_wrong_transfer_syntax_is_refused(tmp_path: Path, syntax: str) -> None:
    for path in factory.write_series(tmp_path / "ct", factory.series(4)):
        content = path.read_bytes()
        at = content.index(b"1.2.840.10008.1.2.1\0")
        dataset = pydicom.dcmread(path)
        padded = syntax.encode().ljust(len(syntax) + len(syntax) % 2, b"\0")
        length = len(padded).to_bytes(2, "little")
        path.write_bytes(content[: at - 2] + length + padded + content[at + 20 :])
        assert dataset.Rows == 12
    with pytest.raises(InputError):
        read_scan(tmp_path / "ct")


def test_a_half_sent_series_is_refused(tmp_path: Path) -> None:
    paths = factory.write_series(tmp_path / "ct", factory.series(10))
    for path in (paths[3], paths[4], paths[7]):
        path.unlink()
    with pytest.raises(InputError):
        read_scan(tmp_path / "ct")


def test_two_series_under_one_uid_are_refused(tmp_path: Path) -> None:
    factory.write_series(tmp_path / "ct", factory.series(6, series_uid="1.2.9"), prefix="a")
    other = factory.series(6, series_uid="1.2.9", hu=factory.ct_values((6, 12, 10), seed=5))
    factory.write_series(tmp_path / "ct", other, prefix="b", seed=2)
    with pytest.raises(InputError):
        read_scan(tmp_path / "ct")


def test_geometry_that_changes_in_mid_series_is_refused(tmp_path: Path) -> None:
    paths = factory.write_series(tmp_path / "ct", factory.series(8))
    for path in paths[4:]:
        dataset = pydicom.dcmread(path)
        dataset.PixelSpacing = [1.0, 1.0]
        dataset.save_as(path)
    with pytest.raises(InputError):
        read_scan(tmp_path / "ct")


def test_names_and_uids_that_look_like_paths_lead_nowhere(tmp_path: Path) -> None:
    paths = factory.write_series(tmp_path / "ct", factory.series(4, patient="../../../etc", extra=FULL_HEADER))
    for number, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = f"../../evil{number}"
        dataset.SeriesDescription = "/etc/passwd"
        dataset.save_as(path)
    values = np.zeros((4, 12, 10), np.uint8)
    values[1:3, 4:8, 4:8] = 101
    try:
        write_dicom(content_of(tmp_path / "ct", values), (formats.RTSTRUCT,), tmp_path / "out")
        deidentify_folder(tmp_path / "ct", tmp_path / "anonymous", Pseudonyms(bytes(32)))
    except VastusError:
        pass
    assert {path.name for path in tmp_path.iterdir()} <= {"ct", "out", "anonymous"}
    assert not list(tmp_path.parent.glob("evil*"))


def test_an_element_that_no_file_may_hold_does_not_reach_the_copy(tmp_path: Path) -> None:
    """Found by tools/fuzz_dicom.py: an element of the command group. It is in no list of what stays."""
    paths = factory.write_series(tmp_path / "ct", factory.series(3))
    content = paths[1].read_bytes()
    at = content.index(b"\x08\x00\x16\x00UI")
    paths[1].write_bytes(content[:at] + b"\x00\x00\x10\x09US\x02\x00\x01\x00" + content[at:])
    deidentify_folder(tmp_path / "ct", tmp_path / "anonymous", Pseudonyms(bytes(32)))
    copies = [pydicom.dcmread(path) for path in (tmp_path / "anonymous").rglob("*.dcm")]
    assert len(copies) == len(paths)
    assert not any(element.tag.group == 0 for copy in copies for element in copy)
