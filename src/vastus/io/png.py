"""PNG files of figures, compressed by ISA-L: Pillow takes twenty times as long for files of the same size."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {3: 2, 4: 6}
_INCHES_PER_METRE = 1 / 0.0254
_LEVEL = 1


def write_png(path: Path, pixels: NDArray[np.uint8], dpi: float) -> None:
    """Write an image as PNG.

    Args:
        path: of the file.
        pixels: (rows, columns, 3 or 4): red, green, blue and opacity.
        dpi: pixels to the inch.
    """
    rows, columns, channels = pixels.shape
    per_metre = round(dpi * _INCHES_PER_METRE)
    header = struct.pack(">IIBBBBB", columns, rows, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1)),
        (b"IDAT", _deflated(pixels)),
        (b"IEND", b""),
    )
    path.write_bytes(_SIGNATURE + b"".join(_chunk(name, content) for name, content in chunks))


def _deflated(pixels: NDArray[np.uint8]) -> bytes:
    from isal import isal_zlib

    rows = pixels.reshape(len(pixels), -1)
    filtered = np.zeros((len(rows), rows.shape[1] + 1), np.uint8)  # each row begins with 0: as it is, not a difference
    filtered[:, 1:] = rows
    compress: Any = isal_zlib.compress
    return bytes(compress(filtered, _LEVEL))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
