"""Compressed pixels of DICOM, looked into without decoding them: comments in them, and the size that they announce."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_ITEM: Final = b"\xfe\xff\x00\xe0"
_HARMLESS_BYTES: Final = 64 << 20
_JPEG: Final = b"\xff\xd8"
_JPEG_2000: Final = b"\xff\x4f"
_END: Final = b"\xff\xd9"
_SCAN: Final = 0xDA
_TILE: Final = 0x90
_COMMENT: Final = 0xFE
_COMMENT_2000: Final = 0x64
_SIZE_2000: Final = 0x51
_APPLICATION: Final = range(0xE0, 0xF0)
_FRAME: Final = (frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}) | {0xF7}


def without_comments(pixels: bytes) -> bytes:
    """Encapsulated pixels with the comments and application data of JPEG, JPEG-LS and JPEG 2000 made zero.

    Lengths stay, so that offset tables stay true. What stands behind the end of an image is made zero, too.
    """
    changed = bytearray(pixels)
    for start, stop in _fragments(pixels):
        fragment = pixels[start:stop]
        if not fragment.startswith((_JPEG, _JPEG_2000)):
            continue
        for kind, first, last in _segments(fragment):
            if fragment.startswith(_JPEG_2000):
                spared = 2 if kind == _COMMENT_2000 else None  # whether it is text or binary
            else:
                spared = 0 if kind == _COMMENT or kind in _APPLICATION else None
            if spared is not None:
                changed[start + first + spared : start + last] = bytes(max(0, last - first - spared))
        end = fragment.rfind(_END)
        if end >= 0:
            changed[start + end + 2 : stop] = bytes(len(fragment) - end - 2)
    return bytes(changed)


def announced_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 stream announces; ``None`` if it is none of these."""
    if frame.startswith(_JPEG_2000):
        for kind, first, _ in _segments(frame):
            if kind == _SIZE_2000:
                x, y, left, top = (int.from_bytes(frame[first + 2 + 4 * n : first + 6 + 4 * n]) for n in range(4))
                return y - top, x - left
    elif frame.startswith(_JPEG):
        for kind, first, _ in _segments(frame):
            if kind in _FRAME:
                return int.from_bytes(frame[first + 1 : first + 3]), int.from_bytes(frame[first + 3 : first + 5])
    return None


def rle_size(frame: bytes) -> int:
    """How many bytes a frame in DICOM's run-length encoding unpacks to; at most 64 for each of its own."""
    if 64 * len(frame) <= _HARMLESS_BYTES:
        return 0
    total, place = 0, 64
    while place < len(frame):
        count = frame[place]
        if count == 128:
            place += 1
        elif count < 128:
            total, place = total + count + 1, place + count + 2
        else:
            total, place = total + 257 - count, place + 2
    return total


def _fragments(pixels: bytes) -> Iterator[tuple[int, int]]:
    place = 0
    while pixels[place : place + 4] == _ITEM:
        length = int.from_bytes(pixels[place + 4 : place + 8], "little")
        yield place + 8, min(len(pixels), place + 8 + length)
        place += 8 + length


def _segments(stream: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, begin and end of what it holds, up to the first coded data."""
    place = 2
    while place + 4 <= len(stream) and stream[place] == 0xFF:
        kind = stream[place + 1]
        if kind == 0xFF:
            place += 1
            continue
        if kind in (_SCAN, _TILE):
            return
        length = int.from_bytes(stream[place + 2 : place + 4])
        if length < 2:
            return
        yield kind, place + 4, min(len(stream), place + 2 + length)
        place += 2 + length
