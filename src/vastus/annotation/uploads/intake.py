"""What comes over the network and is not trusted: label maps and scans.

Nothing is taken from a file's name; the first bytes tell the format. Before a reader of a library sees a file, its
header is checked: a label map must have the voxels of its case, so that a few kilobytes can't unpack to gigabytes, and
a NRRD may not point to another file of this machine. A label map may be flipped, transposed or cropped against its
case, as 3D Slicer writes them, as long as every voxel of it is a voxel of the case.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, UNLABELLED, StructureTable
from vastus.annotation.names import tidy_note
from vastus.annotation.refusals import TooLargeError, UnreadableUploadError, WrongGridError
from vastus.dicom.codestreams import announced_size, rle_size
from vastus.errors import LabelError, VastusError
from vastus.io.itk_images import read_itk
from vastus.io.nifti import read_nifti
from vastus.io.scan_types import VoxelGrid
from vastus.volume import Volume, place_on

_HEADER_ROOM: Final = 4 << 20
"""Bytes that a header with its extensions may take."""
_LARGEST_VOXEL: Final = 8
_GREY_NIFTI_TYPES: Final = frozenset({2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280})
_NRRD_HEADER_LIMIT: Final = 1 << 20
_CHUNK: Final = 1 << 20
_GZIP: Final = 31
_NOT_LABELS: Final = frozenset({"background", "foreground_scribbles", "background_scribbles"})


_IMPLICIT: Final = "1.2.840.10008.1.2"
_RLE: Final = "1.2.840.10008.1.2.5"
_PLAIN_DICOM: Final = (_IMPLICIT, "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_PACKED_DICOM: Final = (_RLE, *(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91, 201, 202, 203)))


class UploadFormat(Enum):
    """Formats that are taken over the network."""

    NIFTI = ".nii"
    NIFTI_GZ = ".nii.gz"
    NRRD = ".nrrd"


@dataclass(frozen=True, slots=True)
class Segments:
    """What a client's label values mean: value in the file -> value of the project's table (0: drop)."""

    values: Mapping[int, int]

    @classmethod
    def from_label_info(cls, label_info: object, table: StructureTable = BUILT_IN) -> Segments | None:
        """Read MONAI Label's ``label_info``: 3D Slicer numbers its segments 1, 2, ... in the order of this list.

        Raises:
            LabelError: a name that the table does not know.
        """
        if not isinstance(label_info, list) or not label_info:
            return None
        names = [tidy_note(str(entry.get("name", ""))) if isinstance(entry, dict) else "" for entry in label_info]
        unknown = sorted({n for n in names if n not in table.value_of_name and n not in _NOT_LABELS})
        if unknown:
            raise LabelError(
                f"The label map holds segments with unknown names: {', '.join(unknown)[:300]}.",
                remedy="`vastus classes` lists the known ones, with _right or _left appended."
                if table.is_built_in
                else "GET /info/ lists the known ones.",
            )
        return cls({position: table.value_of_name.get(name, 0) for position, name in enumerate(names, start=1)})


def upload_format(path: Path) -> UploadFormat:
    """The format, by the first bytes.

    Raises:
        UnreadableUploadError: none of those that are taken.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] == b"\x1f\x8b":
        return UploadFormat.NIFTI_GZ
    if start == b"NRRD":
        return UploadFormat.NRRD
    if start in (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c", b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c"):
        return UploadFormat.NIFTI
    raise UnreadableUploadError("This is neither NIfTI nor NRRD.", remedy="Send .nii.gz or .nrrd.")


def read_upload(path: Path, voxel_limit: int) -> Volume:
    """Read an image that came over the network, without ever unpacking more than it may hold.

    Args:
        path: the received bytes; the name does not matter.
        voxel_limit: how many voxels it may have.

    Raises:
        TooLargeError: more voxels, or a stream that unpacks to more.
        UnreadableUploadError: not a grey volume in one of the formats.
    """
    kind = upload_format(path)
    try:
        if kind is UploadFormat.NRRD:
            _check_nrrd(path, voxel_limit)
            return _as(path, kind, read_itk)
        _check_nifti(path, kind, voxel_limit)
        return _as(path, kind, read_nifti)
    except (TooLargeError, UnreadableUploadError):
        raise
    except VastusError as error:
        raise UnreadableUploadError(f"The file can't be used: {error.problem}") from error
    except Exception as error:
        # Readers of libraries meet bytes that someone may have made up: whatever they raise means the same.
        raise UnreadableUploadError(f"The file is damaged ({type(error).__name__}).") from error


def read_label_upload(
    path: Path,
    grid: VoxelGrid,
    segments: Segments | None = None,
    also: frozenset[int] = frozenset(),
    table: StructureTable = BUILT_IN,
) -> Volume:
    """Read a label map of a case.

    Args:
        path: the received bytes.
        grid: of the case.
        segments: what the values mean, if they are not those of the table.
        also: values that may occur besides (a stroke of background).
        table: of the structures.

    Returns:
        uint8 values of the table and ``UNLABELLED``, on the grid of the case.

    Raises:
        TooLargeError, UnreadableUploadError: see ``read_upload``.
        WrongGridError: some of its voxels are not voxels of the case.
        LabelError: unknown values.
    """
    found = read_upload(path, int(np.prod(grid.shape)))
    values = _whole_numbers(found.array)
    return Volume(_on_grid(_known(values, segments, also, table), found.affine, grid), grid.affine)


def check_dicom_upload(path: Path, voxel_limit: int) -> int:
    """Refuse a DICOM file that unpacks to more than its header says, or says too much, before any reader sees it.

    Args:
        path: the received bytes.
        voxel_limit: how many voxels it may have.

    Returns:
        How many it has.

    Raises:
        TooLargeError: more voxels, or pixels that unpack to more.
        UnreadableUploadError: a transfer syntax that is not taken here, or a damaged file.
    """
    try:
        return _checked_dicom(path, voxel_limit)
    except (TooLargeError, UnreadableUploadError):
        raise
    except Exception as error:
        raise UnreadableUploadError(f"The DICOM file is damaged ({type(error).__name__}).") from error


def _checked_dicom(path: Path, voxel_limit: int) -> int:
    from pydicom import dcmread
    from pydicom.filereader import _read_file_meta_info, read_preamble

    with path.open("rb") as file:
        # By hand: reading a deflated file would inflate it as a whole.
        read_preamble(file, True)
        syntax = str(_read_file_meta_info(file).get("TransferSyntaxUID") or _IMPLICIT)
    if syntax not in (*_PLAIN_DICOM, *_PACKED_DICOM):
        raise UnreadableUploadError(
            "The DICOM file is packed in a way that is not taken over the network.", remedy="Send it uncompressed."
        )
    dataset = dcmread(path, force=True)
    rows, columns, frames = int(dataset.Rows), int(dataset.Columns), int(dataset.get("NumberOfFrames") or 1)
    if rows < 1 or columns < 1 or frames < 1:
        raise UnreadableUploadError("The header of the DICOM file is damaged: a size below 1.")
    _refuse_voxels([columns, rows, frames], voxel_limit)
    if syntax in _PACKED_DICOM:
        _check_frames(dataset, (rows, columns), frames, syntax)
    return rows * columns * frames


def _check_frames(dataset: Any, size: tuple[int, int], frames: int, syntax: str) -> None:
    """A decoder believes the compressed stream, not the header."""
    from pydicom.encaps import generate_frames

    room = size[0] * size[1] * max(1, int(dataset.BitsAllocated) // 8) * int(dataset.get("SamplesPerPixel") or 1)
    for frame in generate_frames(dataset.PixelData, number_of_frames=frames):
        unpacked = rle_size(frame) if syntax == _RLE else len(frame)
        if unpacked > 2 * room + _HEADER_ROOM:
            raise TooLargeError("The pixels of the DICOM file unpack to more than its header announces.")
        if syntax != _RLE and announced_size(frame) != size:
            raise UnreadableUploadError("The compressed pixels do not have the size that the header announces.")


def _as(path: Path, kind: UploadFormat, read: Callable[[Path], Volume]) -> Volume:
    """Readers look at the suffix of a name: give the file the one that its bytes call for."""
    if path.name.endswith(kind.value):
        return read(path)
    named = path.with_name(path.name + kind.value)
    path.rename(named)
    try:
        return read(named)
    finally:
        named.rename(path)


def _check_nifti(path: Path, kind: UploadFormat, voxel_limit: int) -> None:
    """Refuse by the header what is too large, and then a stream that unpacks to more than the header says."""
    import nibabel

    packed = kind is UploadFormat.NIFTI_GZ
    with path.open("rb") as file:
        start = file.read(4096)
    if packed:
        start = _inflated_start(start)
    kinds: tuple[Any, ...] = (nibabel.Nifti1Header, nibabel.Nifti2Header)
    header_kind = next((k for k in kinds if k.may_contain_header(start[: k.sizeof_hdr])), None)
    if header_kind is None:
        raise UnreadableUploadError("This is not a NIfTI file.")
    header: Any = header_kind(start[: header_kind.sizeof_hdr], check=False)
    dims = [int(n) for n in header["dim"][1 : 1 + max(0, min(7, int(header["dim"][0])))]]
    if not dims or any(n < 1 for n in dims):
        raise UnreadableUploadError("The header of the NIfTI is damaged: a size below 1.")
    _refuse_voxels(dims, voxel_limit)
    if int(header["datatype"]) not in _GREY_NIFTI_TYPES:
        raise UnreadableUploadError("The voxels of the NIfTI are colours or complex numbers.")
    limit = math.prod(dims) * _LARGEST_VOXEL + _HEADER_ROOM
    if (_inflated_size(path, limit) if packed else path.stat().st_size) > limit:
        raise TooLargeError(
            f"The file holds more than {limit >> 20} MiB, more than its header announces.",
            remedy="Send one image, nothing behind it.",
        )


def _inflated_start(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj(_GZIP).decompress(packed, 1024)
    except zlib.error as error:
        raise UnreadableUploadError("The gzip stream is damaged.") from error


def _inflated_size(path: Path, limit: int) -> int:
    """How much a gzip unpacks to, counted without keeping any of it; stops soon after ``limit``."""
    total = 0
    with path.open("rb") as file:
        inflate, data = zlib.decompressobj(_GZIP), b""
        try:
            while total <= limit and (data := data or file.read(_CHUNK)):
                total += len(inflate.decompress(data, _CHUNK))
                data = inflate.unconsumed_tail
                if inflate.eof:
                    data = inflate.unused_data or file.read(_CHUNK)
                    inflate = zlib.decompressobj(_GZIP)
        except zlib.error as error:
            raise UnreadableUploadError("The gzip stream is damaged.") from error
    return total


def _check_nrrd(path: Path, voxel_limit: int) -> None:
    with path.open("rb") as file:
        head = file.read(_NRRD_HEADER_LIMIT)
    text = head.replace(b"\r\n", b"\n").split(b"\n\n", 1)[0].decode("latin-1")
    fields = {}
    for line in text.splitlines()[1:]:
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#") and not value.startswith("="):
            fields[name.strip().lower().replace(" ", "")] = value.strip()
    if "datafile" in fields:
        raise UnreadableUploadError("A NRRD that points to another file is not taken.", remedy="Send one file.")
    try:
        sizes = [int(n) for n in fields["sizes"].split()]
    except (KeyError, ValueError) as error:
        raise UnreadableUploadError("The header of the NRRD has no sizes.") from error
    if any(n < 1 for n in sizes):
        raise UnreadableUploadError("The header of the NRRD is damaged: a size below 1.")
    if len(sizes) != 3:
        raise UnreadableUploadError(
            "The NRRD does not hold one three-dimensional image.",
            remedy="In 3D Slicer, segments must not overlap: save as .nii.gz (MONAI Label settings).",
        )
    _refuse_voxels(sizes, voxel_limit)


def _refuse_voxels(sizes: list[int], voxel_limit: int) -> None:
    if math.prod(sizes) > voxel_limit:
        shown = " x ".join(str(n) for n in sizes)
        raise TooLargeError(f"{shown} voxels are too many: {voxel_limit} at most.")


def _whole_numbers(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Whole numbers of 0..255, whatever type they are stored in."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "f" and (not np.isfinite(array).all() or not (array == np.rint(array)).all()):
        raise LabelError("Label values must be whole numbers.")
    if array.min(initial=0) < 0 or array.max(initial=0) > 255:
        _refuse_unknown([int(v) for v in np.unique(array) if not 0 <= v <= 255])
    return array.astype(np.uint8)


def _known(
    values: NDArray[np.uint8], segments: Segments | None, also: frozenset[int], table: StructureTable
) -> NDArray[np.uint8]:
    """Values of the table; those of a client's own numbering are translated if they all belong to it."""
    present = occurring(values)
    meaning = segments.values if segments is not None else {}
    own = not meaning or any(v not in meaning for v in present)
    if own:
        _refuse_unknown([v for v in present if v not in table.by_value and v not in also and v != UNLABELLED])
        return values
    lookup = np.zeros(256, dtype=np.uint8)
    for value, label in meaning.items():
        lookup[min(value, 255)] = label
    return lookup[values]


def occurring(values: NDArray[np.uint8]) -> list[int]:
    """The values besides 0 that occur, in order; in chunks, as bincount widens its input eightfold."""
    flat = values.ravel(order="K")
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, flat.size, 1 << 16):
        counts += np.bincount(flat[start : start + (1 << 16)], minlength=256)
    return [int(v) for v in np.flatnonzero(counts) if v]


def _refuse_unknown(unknown: list[int]) -> None:
    if unknown:
        shown = ", ".join(map(str, unknown[:12])) + (f" and {len(unknown) - 12} more" if len(unknown) > 12 else "")
        raise LabelError(
            f"The label map holds unknown values: {shown}.", remedy="`vastus classes` lists the known ones."
        )


def _on_grid(labels: NDArray[np.uint8], affine: NDArray[np.float64], grid: VoxelGrid) -> NDArray[np.uint8]:
    """Put labels onto the grid of the case by whole voxels: flipped, transposed or cropped ones find their place."""
    target = Volume(np.broadcast_to(np.uint8(0), grid.shape), grid.affine)
    placed = place_on(Volume(labels, affine), target)
    if placed is None:
        shape = " x ".join(str(n) for n in labels.shape)
        case_shape = " x ".join(str(n) for n in grid.shape)
        raise WrongGridError(
            f"The label map ({shape} voxels) does not lie on the voxels of its case ({case_shape}).",
            remedy="Resample it onto the scan with nearest neighbours, or check that it belongs to this case.",
        )
    result: NDArray[np.uint8] = placed.array
    return result
