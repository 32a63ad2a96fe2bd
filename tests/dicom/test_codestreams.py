from __future__ import annotations

import pytest

from vastus.dicom.codestreams import announced_size, without_comments

SECRET = b"ZQXWVJ of ward 7"
LENGTH = (len(SECRET) + 2).to_bytes(2)
FRAME = b"\x00\x0b\x08\x00\x10\x00\x20\x01\x01\x11\x00"  # 16 rows, 32 columns, one component
SIZE = b"\x00\x29\x00\x00" + b"".join(n.to_bytes(4) for n in (33, 18, 1, 2, 8, 8, 0, 0)) + b"\x00\x01\x0f\x01\x01"


def _jpeg(marker: bytes) -> bytes:
    return (
        b"\xff\xd8\xff\xe1"
        + LENGTH
        + SECRET
        + b"\xff\xfe"
        + LENGTH
        + SECRET
        + b"\xff"
        + marker
        + FRAME
        + b"\xff\xda\x00\x08\x01\x01\x00\x00\x00\x00"
        + b"coded"
        + b"\xff\xd9"
        + SECRET
    )


def _jpeg_2000() -> bytes:
    comment = (len(SECRET) + 4).to_bytes(2) + b"\x00\x01" + SECRET
    return b"\xff\x4f\xff\x51" + SIZE + b"\xff\x64" + comment + b"\xff\x90\x00\x0acoded\xff\xd9"


def _items(*fragments: bytes) -> bytes:
    return b"".join(b"\xfe\xff\x00\xe0" + len(f).to_bytes(4, "little") + f for f in fragments)


@pytest.mark.parametrize("stream", [_jpeg(b"\xc3"), _jpeg(b"\xf7"), _jpeg_2000()], ids=["JPEG", "JPEG-LS", "JPEG 2000"])
def test_comments_go_and_the_codes_stay(stream: bytes) -> None:
    pixels = _items(b"", stream, b"RLE or a second piece")
    cleared = without_comments(pixels)
    assert SECRET not in cleared and len(cleared) == len(pixels)
    assert b"coded" in cleared and cleared.endswith(b"RLE or a second piece")
    assert announced_size(stream) == (16, 32)


def test_damaged_streams_are_no_error() -> None:
    for stream in (b"", b"\xff\xd8", b"\xff\xd8\xff\xfe\x00", b"\xff\x4f\xff\x51\x00\x01", b"\xff\xd8\x00\x00\x00\x00"):
        without_comments(_items(b"", stream))
        announced_size(stream)
    assert announced_size(b"RLE") is None
