"""Values of DICOM headers that do not fit their pixels, or that are no numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

import dicom_factory as factory
from vastus.errors import GeometryError, UnreadableScanError, UnsupportedScanError
from vastus.io.scans import read_scan

COUNT = 8
HU = factory.ct_values((COUNT, 12, 10))


def changed(folder: Path, change: Callable[[Any, int], object], only: int | None = None) -> Path:
    for number, path in enumerate(factory.write_series(folder, factory.series(COUNT, hu=HU))):
        if only is None or number == only:
            dataset = pydicom.dcmread(path)
            change(dataset, number)
            dataset.save_as(path)
    return folder


def raw(keyword: str, text: str) -> Callable[[Any, int], object]:
    """A value that pydicom would not write, e.g. with a comma."""

    def change(dataset: Any, _: int) -> None:
        tag = Tag(tag_for_keyword(keyword))
        dataset._dict[tag] = RawDataElement(tag, "DS", len(text), text.encode(), 0, False, True)

    return change


@pytest.fixture(autouse=True)
def no_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)


@pytest.mark.parametrize("only", [None, 0, 3])
@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("PixelSpacing", "2,0\\2,0"),
        ("PixelSpacing", "nan\\2 "),
        ("PixelSpacing", "inf\\2 "),
        ("PixelSpacing", "2 "),
        ("RescaleSlope", "1,0 "),
        ("RescaleSlope", "one "),
        ("RescaleIntercept", "-1024,0 "),
        ("ImagePositionPatient", "nan\\-11\\100 "),
        ("ImagePositionPatient", "-9,0\\-11,0\\100,0"),
    ],
)
def test_numbers_that_are_none_are_refused(tmp_path: Path, keyword: str, text: str, only: int | None) -> None:
    with pytest.raises(GeometryError, match="says no usable position, direction, pixel spacing or rescale values"):
        read_scan(changed(tmp_path, raw(keyword, text), only))


@pytest.mark.parametrize("only", [None, 3])
def test_pixels_for_a_larger_image_than_announced_are_refused(tmp_path: Path, only: int | None) -> None:
    def add(dataset: Any, _: int) -> None:
        dataset.PixelData = dataset.PixelData + bytes(2 * 10)

    with pytest.raises(UnreadableScanError, match="20 bytes of pixels more"):
        read_scan(changed(tmp_path, add, only))


def test_an_image_that_says_half_its_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableScanError, match="pixels more than its header announces"):
        read_scan(changed(tmp_path, lambda dataset, _: setattr(dataset, "Rows", 6)))


def test_a_byte_of_padding_is_none_too_many(tmp_path: Path) -> None:
    def add(dataset: Any, _: int) -> None:
        dataset.PixelData = dataset.PixelData + bytes(2)

    assert np.array_equal(read_scan(changed(tmp_path, add)).volume.array.transpose(2, 1, 0), HU)


def test_values_that_stand_in_a_table_are_no_hounsfield_units(tmp_path: Path) -> None:
    def table(dataset: Any, _: int) -> None:
        del dataset.RescaleSlope, dataset.RescaleIntercept
        item = factory._item(LUTDescriptor=[4096, 0, 16], ModalityLUTType="HU", LUTData=bytes(8192))
        dataset.ModalityLUTSequence = [item]

    with pytest.raises(UnsupportedScanError, match="Modality LUT"):
        read_scan(changed(tmp_path, table))


@pytest.mark.parametrize("high", [11, 15])
def test_signed_pixels_of_12_bits_keep_their_sign(tmp_path: Path, high: int) -> None:
    def pack(dataset: Any, number: int) -> None:
        dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 1, 12, high
        dataset.RescaleIntercept = 0
        stored = (HU[number].astype(np.int32) & 0x0FFF) << (high - 11)
        dataset.PixelData = stored.astype("<u2").tobytes()

    assert np.array_equal(read_scan(changed(tmp_path, pack)).volume.array.transpose(2, 1, 0), HU)


@pytest.mark.parametrize("extra", [{"ImagerPixelSpacing": [1.5, 1.5]}, {"SpacingBetweenSlices": -3.0}])
def test_positions_and_pixel_spacing_count_more_than_what_else_is_said(tmp_path: Path, extra: dict[str, Any]) -> None:
    def say(dataset: Any, _: int) -> None:
        for keyword, value in extra.items():
            setattr(dataset, keyword, value)

    assert read_scan(changed(tmp_path, say)).volume.spacing_mm == pytest.approx((2.0, 2.0, 3.0))
