"""Is this file DICOM, and its data set: with the preamble, without it, or without any file header at all."""

from __future__ import annotations

import io
import struct
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, BinaryIO, Final

if TYPE_CHECKING:
    from pydicom import Dataset

DICOM_SUFFIXES: Final = (".dcm", ".ima", ".dicom", ".dic")
HEAD_BYTES: Final = 132
_FIRST_GROUPS: Final = (0x0002, 0x0008)
_VRS: Final = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)
_UNFINISHED: Final = (".part", ".partial", ".crdownload", ".filepart", ".tmp", ".download")
_PACKED: Final = (".gz", ".bz2", ".xz", ".zst", ".7z")


def is_dicom(head: bytes) -> bool:
    """Tell whether a file begins like DICOM; a bare data set of old scanners and some exports counts, too.

    Args:
        head: the first 132 bytes.
    """
    return head[128:132] == b"DICM" or head[:4] == b"DICM" or _is_bare(head)


def _is_bare(head: bytes) -> bool:
    """Tell whether a file begins with an element of group 2 or 8: a known VR, or implicit with a plausible length."""
    if len(head) < 12:
        return False
    for order in ("<", ">"):
        group, element, length = struct.unpack_from(order + "HHI", head)
        if group in _FIRST_GROUPS and element < 0x2000:
            if head[4:6] in _VRS:
                return True
            if order == "<" and length <= 0x10000:
                return True
    return False


def read_dataset(file: BinaryIO, *, force: bool = False, **options: Any) -> Dataset:
    """Read a file of any of the three kinds with ``pydicom.dcmread``.

    Args:
        file: seekable, at its start.
        force: read it whatever it begins with.
        options: of ``dcmread``.

    Raises:
        pydicom.errors.InvalidDicomError: it is not DICOM.
    """
    from pydicom import config, dcmread

    # Its warnings about a value that breaks a rule quote the value, which may be a patient's.
    config.settings.reading_validation_mode = config.IGNORE
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if head[:4] == b"DICM" and head[128:132] != b"DICM":
        return dcmread(io.BytesIO(bytes(128) + file.read()), **options)
    return dcmread(file, force=force or _is_bare(head), **options)


def suffix_class(name: PurePath) -> str:
    """Classify the end of a file name: numbers and UIDs are no suffix."""
    suffix = name.suffix.lower()
    return "" if not suffix[1:] or suffix[1:].isdigit() else suffix


def is_unfinished(name: PurePath) -> bool:
    """Tell whether a file name is that of an unfinished copy."""
    return name.name.lower().endswith(_UNFINISHED)


def is_packed(name: PurePath) -> bool:
    """Tell whether a file name is that of one compressed file."""
    return name.name.lower().endswith(_PACKED)


def is_text(start: bytes) -> bool:
    """Tell whether the start of a file is text: then the file is a note or a list, not a slice."""
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 4:
            return False
        text = start[: error.start].decode("utf-8")
    return all(c.isprintable() or c in "\r\n\t\f" for c in text)
