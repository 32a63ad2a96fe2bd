"""Does a NRRD or MetaImage hold the voxels that its header announces? Where it does not, ITK gives what memory held."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vastus.errors import UnreadableScanError

_MOST_HEADER_BYTES = 1 << 20
_SLACK_BYTES: Final = 1024
_PIECE: Final = 1 << 20
_ZLIB_WRAPPER, _GZIP_WRAPPER = 15, 31
_META_BYTES: Final = {
    "MET_CHAR": 1,
    "MET_UCHAR": 1,
    "MET_SHORT": 2,
    "MET_USHORT": 2,
    "MET_INT": 4,
    "MET_UINT": 4,
    "MET_LONG_LONG": 8,
    "MET_ULONG_LONG": 8,
    "MET_FLOAT": 4,
    "MET_DOUBLE": 8,
}
_NRRD_BYTES: Final = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(
        ("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t", "float"), 4
    ),
    **dict.fromkeys(("int64", "int64_t", "uint64", "uint64_t", "double"), 8),
}


def check_voxel_bytes(path: Path, fields: Mapping[str, str]) -> None:
    """Refuse a file that breaks off, or that holds much more than its header says.

    Only what is sure is refused: of layouts that are seldom seen (text, lists of files, skipped bytes) nothing is said.

    Args:
        path: of the file.
        fields: of its header, by their names in lower case without spaces.

    Raises:
        UnreadableScanError: says how many bytes are there and how many belong there.
    """
    meta = path.name.lower().endswith((".mha", ".mhd"))
    found = _of_meta_image(path, fields) if meta else _of_nrrd(path, fields)
    if found is None:
        return
    file, offset, wrapper, expected = found
    if wrapper is None:
        there = _size(file) - offset
    else:
        there = _unpacked(file, offset, wrapper, expected, _packed_bytes(path, fields) if meta else None)
    if there < expected:
        raise UnreadableScanError(
            f"The file is truncated: {there} bytes of voxels where its header announces {expected}.",
            path=file,
            remedy="Copy or export it again.",
        )
    if there > expected + max(_SLACK_BYTES, expected // 64):
        raise UnreadableScanError(
            f"The file holds {there - expected} bytes more than its header announces, so that the size or the type of"
            " its voxels is not the one it says.",
            path=file,
            remedy="Export it again.",
        )


_Place = tuple[Path, int, int | None, int]
"""File, first byte, how it is packed (None: not), bytes of the voxels."""


def _of_meta_image(path: Path, fields: Mapping[str, str]) -> _Place | None:
    bytes_each = _META_BYTES.get(fields.get("elementtype", "").upper())
    sizes = _whole(fields.get("dimsize", ""))
    data = fields.get("elementdatafile", "")
    if bytes_each is None or not sizes or fields.get("headersize", "0") != "0":
        return None
    if fields.get("binarydata", "True").lower() != "true":
        return None
    expected = math.prod(sizes) * bytes_each * int((_whole(fields.get("elementnumberofchannels", "1")) or [1])[0])
    wrapper = _ZLIB_WRAPPER if fields.get("compresseddata", "").lower() == "true" else None
    if data == "LOCAL":
        offset = _after(path, rb"ElementDataFile\s*=[^\n]*\n")
        return None if offset is None else (path, offset, wrapper, expected)
    file = path.parent / data
    if not data or data == "LIST" or "%" in data or not file.is_file():
        return None
    return file, 0, wrapper, expected


def _of_nrrd(path: Path, fields: Mapping[str, str]) -> _Place | None:
    bytes_each = _NRRD_BYTES.get(fields.get("type", "").lower())
    sizes = _whole(fields.get("sizes", ""))
    encoding = fields.get("encoding", "").lower()
    if bytes_each is None or not sizes or encoding not in ("raw", "gzip", "gz"):
        return None
    if {"lineskip", "byteskip"} & fields.keys():
        return None
    if "datafile" in fields:
        file = path.parent / fields["datafile"]
        if "%" in fields["datafile"] or not file.is_file():
            return None
        return file, 0, None if encoding == "raw" else _GZIP_WRAPPER, math.prod(sizes) * bytes_each
    offset = _after(path, rb"\r?\n\r?\n")
    if offset is None:
        return None
    return path, offset, None if encoding == "raw" else _GZIP_WRAPPER, math.prod(sizes) * bytes_each


def _whole(text: str) -> list[int]:
    words = text.split()
    return [int(word) for word in words] if words and all(word.isdigit() for word in words) else []


def _after(path: Path, pattern: bytes) -> int | None:
    with path.open("rb") as file:
        match = re.search(pattern, file.read(_MOST_HEADER_BYTES))
    return None if match is None else match.end()


def _size(path: Path) -> int:
    return path.stat().st_size


def _packed_bytes(path: Path, fields: Mapping[str, str]) -> int:
    """Read the length of the packed voxels of a MetaImage from its header: without it ITK unpacks nothing."""
    header_size = _whole(fields.get("compresseddatasize", ""))
    if not header_size:
        raise UnreadableScanError(
            "The header does not say how long its compressed voxels are (CompressedDataSize).",
            path=path,
            remedy="Export it again, or uncompressed.",
        )
    return header_size[0]


def _unpacked(path: Path, offset: int, wrapper: int, enough: int, packed: int | None) -> int:
    """Count the bytes that a stream unpacks to; stop at twice the expected number.

    Args:
        path, offset: where it begins.
        wrapper: of zlib.
        enough: what is expected.
        packed: how many bytes of the file belong to it; None: all.
    """
    from isal import isal_zlib

    inflate: Any = isal_zlib.decompressobj(wrapper)
    count, left = 0, _size(path) if packed is None else packed
    with path.open("rb") as file:
        file.seek(offset)
        try:
            while (piece := file.read(min(_PIECE, left))) and not inflate.eof and count <= 2 * enough + _SLACK_BYTES:
                count += len(inflate.decompress(piece))
                left -= len(piece)
        except isal_zlib.IsalError:  # type: ignore[misc]  # its stub calls the class an instance
            return min(count, enough - 1)
    return count
