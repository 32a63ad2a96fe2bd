"""The bulk of a BINARY Segmentation, written frame by frame: what each frame is, then its bits.

58 structures in 450 slices are ten thousand frames. A data set item each, as pydicom and highdicom keep them, takes
longer to build and to write than the network takes to find the structures. Of an item only the references to slice and
segment differ, so the parts are encoded once a slice, and joined as bytes. The two elements made here have the highest
tags of a Segmentation: they follow what pydicom has written of the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final

import numpy as np

from vastus.anatomy import Code
from vastus.dicom.objects import code_item
from vastus.dicom.source import LabelledSeries, SliceReference
from vastus.errors import UnsupportedScanError

_ITEM: Final = b"\xfe\xff\x00\xe0"
_DERIVATION_IMAGE: Final = 0x00089124
_SOURCE_IMAGE: Final = 0x00082112
_REFERENCED_CLASS: Final = 0x00081150
_REFERENCED_INSTANCE: Final = 0x00081155
_REFERENCED_FRAME: Final = 0x00081160
_LOCATIONS_PRESERVED: Final = 0x0028135A
_FRAME_CONTENT: Final = 0x00209111
_DIMENSION_INDEX_VALUES: Final = 0x00209157
_PLANE_POSITION: Final = 0x00209113
_POSITION: Final = 0x00200032
_SEGMENT_IDENTIFICATION: Final = 0x0062000A
_REFERENCED_SEGMENT_NUMBER: Final = 0x0062000B
_PER_FRAME_GROUPS: Final = 0x52009230
_PIXEL_DATA: Final = 0x7FE00010
_PURPOSE: Final = Code("DCM", "121322", "Source image for image processing operation")
_DERIVATION: Final = Code("DCM", "113076", "Segmentation")
_LARGEST_BYTES: Final = 2**32 - 2
_AT_A_TIME: Final = 8
"""Frames packed together: eight of any size fill whole bytes, and the bits of frames lie without gaps."""

Frames = list[tuple[int, int]]
"""Segment number (from 1) and slice (from 0) of each frame."""


def frames_of(series: LabelledSeries) -> Frames:
    """The frames that hold a voxel, segment by segment, in slice order."""
    return [
        (number, int(k))
        for number, label in enumerate(series.labels, start=1)
        for k in np.flatnonzero(series.counts[:, label.value])
    ]


def append_frames(file: BinaryIO, series: LabelledSeries, frames: Frames) -> None:
    """Write functional groups and pixels behind everything else of the object (Explicit VR Little Endian).

    Args:
        file: open for writing, at its end.
        series: the labels.
        frames: as ``frames_of`` gives them; their number stands in the header.

    Raises:
        UnsupportedScanError: more bits than one DICOM object can hold.
    """
    pixels = len(frames) * series.values.shape[1] * series.values.shape[2]
    size = 2 * -(-pixels // 16)
    groups = b"".join(_items(series, frames))
    if max(size, len(groups)) > _LARGEST_BYTES:
        raise UnsupportedScanError(
            f"{len(frames)} frames are more than one BINARY segmentation can hold.", remedy="Choose dicom-labelmap."
        )
    file.write(_header(_PER_FRAME_GROUPS, b"SQ", len(groups)))
    file.write(groups)
    file.write(_header(_PIXEL_DATA, b"OB", size))
    written = 0
    for bits in _packed(series, frames):
        written += file.write(bits)
    file.write(bytes(size - written))


def _packed(series: LabelledSeries, frames: Frames) -> Iterator[bytes]:
    values = [label.value for label in series.labels]
    planes = np.empty((_AT_A_TIME, *series.values.shape[1:]), np.bool_)
    for start in range(0, len(frames), _AT_A_TIME):
        some = frames[start : start + _AT_A_TIME]
        for plane, (number, k) in zip(planes, some, strict=False):
            np.equal(series.values[k], values[number - 1], out=plane)
        yield np.packbits(planes[: len(some)], bitorder="little").tobytes()


def _items(series: LabelledSeries, frames: Frames) -> Iterator[bytes]:
    purpose, derivation = _purpose_and_derivation()
    before = [
        _sequence(_DERIVATION_IMAGE, _sequence(_SOURCE_IMAGE, _image(s, purpose)) + derivation) for s in series.slices
    ]
    behind = [_sequence(_PLANE_POSITION, _text(_POSITION, b"DS", _decimals(s.position_mm))) for s in series.slices]
    for number, k in frames:
        index = _short(_DIMENSION_INDEX_VALUES, b"UL", struct.pack("<II", number, k + 1))
        segment = _short(_REFERENCED_SEGMENT_NUMBER, b"US", struct.pack("<H", number))
        item = b"".join(
            (before[k], _sequence(_FRAME_CONTENT, index), behind[k], _sequence(_SEGMENT_IDENTIFICATION, segment))
        )
        yield _ITEM + struct.pack("<I", len(item)) + item


def _purpose_and_derivation() -> tuple[bytes, bytes]:
    """The two coded parts of a frame's reference to its image, the same for all."""
    from pydicom import Dataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    encoded = []
    for keyword, code in (("PurposeOfReferenceCodeSequence", _PURPOSE), ("DerivationCodeSequence", _DERIVATION)):
        dataset = Dataset()
        setattr(dataset, keyword, [code_item(code)])
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_dataset(buffer, dataset)
        encoded.append(buffer.getvalue())
    return encoded[0], encoded[1]


def _image(source: SliceReference, purpose: bytes) -> bytes:
    frame = b"" if source.frame is None else _text(_REFERENCED_FRAME, b"IS", str(source.frame))
    return b"".join(
        (
            _text(_REFERENCED_CLASS, b"UI", source.sop_class_uid),
            _text(_REFERENCED_INSTANCE, b"UI", source.sop_instance_uid),
            frame,
            _text(_LOCATIONS_PRESERVED, b"CS", "YES"),
            purpose,
        )
    )


def _decimals(values: tuple[float, ...]) -> str:
    from pydicom.valuerep import format_number_as_ds

    return "\\".join(format_number_as_ds(value) for value in values)


def _text(tag: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii")
    return _short(tag, vr, value + (b"\0" if vr == b"UI" else b" ") * (len(value) % 2))


def _sequence(tag: int, item: bytes) -> bytes:
    """A sequence of one item."""
    return _header(tag, b"SQ", len(item) + 8) + _ITEM + struct.pack("<I", len(item)) + item


def _header(tag: int, vr: bytes, length: int) -> bytes:
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, length)


def _short(tag: int, vr: bytes, value: bytes) -> bytes:
    """An element of a VR whose length has two bytes; the value is even already."""
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value
