"""NIfTI in and out: bytes straight into an array, geometry from nibabel's header.

The bytes are inflated by Intel's ISA-L (236 MB of int16: 0.2 s, against 0.6 s by zlib; 118 MB of labels deflated in
0.03 s, against 0.49 s) and viewed in place, in F order as the file holds them. Which of sform and qform counts is
nibabel's decision: the sform if its code is set, then the qform.
"""

from __future__ import annotations

import io
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.errors import GeometryError, UnreadableScanError, UnsupportedScanError, VastusError
from vastus.io.atomic import atomic_path
from vastus.io.dimensions import three_dimensions
from vastus.io.folders import refuse_pipe
from vastus.io.nifti_header import first_voxel, label_names, no_place, place, refused, scaling
from vastus.io.scan_types import ReadImage
from vastus.light_imports import load_nibabel
from vastus.volume import Volume

NIFTI_SUFFIXES = (".nii", ".nii.gz")
GZIP_LEVEL = 1
"""Of ISA-L, for label maps: smaller files than zlib's level 1; levels 2 and 3 gain nothing."""
CODES_LABEL_TABLE = (0, 30)
"""Extension codes under which the label table is written: 0 first, where TotalSegmentator's and other readers on
nibabel look (nibabel can't give the content of 30), and 30, Caret's own, where Connectome Workbench looks."""
_INTENT_LABEL = 1002
_GZIP_WRAPPER = 31
_GZIP_MAGIC = b"\x1f\x8b"
_PIECE_BYTES = 1 << 16
"""Of a file, inflated at once where care is needed: label maps grow sixtyfold."""
_ROOM_BYTES = 1 << 22
"""Inflated at once in the common case. Each piece waits for the interpreter once, so many small ones are slow beside
other work; a larger one leaves the processor's cache."""
_LIKELY_RATIO = 16
"""Of a scan's voxels to the file: a damaged file may announce anything."""
_LIKELY_BYTES = 256 * 2**20
"""Room that is taken for any file that announces as much: a whole thigh's label map."""
_MOST_HEADER_BYTES = 1 << 24
"""Header with its extensions: no table of names is that long."""


FileBytes = bytes | bytearray | NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class NiftiText:
    """What is written into a header besides the grid: a description (79 bytes) and an XML extension."""

    description: str
    extension: str = ""


def read_nifti(path: Path) -> Volume:
    """Read a NIfTI-1 or -2 image with its scaling applied.

    Returns:
        Integers as stored when there is nothing to scale, float32 otherwise; F-ordered.

    Raises:
        UnreadableScanError: truncated or damaged.
        UnsupportedScanError: not a three-dimensional grey image.
        GeometryError: no usable affine.
    """
    return read_nifti_image(path).volume


def read_nifti_image(path: Path) -> ReadImage:
    """Do the same as ``read_nifti``, with warnings (missing or contradictory orientation, units) and the label table.

    Raises:
        UnreadableScanError, UnsupportedScanError, GeometryError: as ``read_nifti``.
    """
    raw = read_bytes(path)
    header = _header(raw, path)
    try:
        return _image(raw, header, path)
    except VastusError:
        raise
    except Exception as error:  # fields of a damaged header make nibabel and NumPy raise nearly anything
        raise refused(f"{type(error).__name__}", path) from error


def _image(raw: FileBytes, header: Any, path: Path) -> ReadImage:
    shape = three_dimensions(tuple(int(n) for n in header.get_data_shape()), path)
    stored, layout = _stored(raw, header, shape, path)
    try:
        scaling_of = scaling(header)
    except ValueError as error:
        raise refused(f"its scaling is no number ({error})", path) from error
    try:
        affine, placing = place(header, shape)
    except Exception as error:  # nibabel has no error of its own for a quaternion that is none
        raise no_place(error, path) from error
    try:
        volume = Volume(_scaled(stored, scaling_of), affine)
    except GeometryError as error:
        raise GeometryError(error.problem, path=path) from error
    return ReadImage(volume, (*layout, *placing), label_names(header))


def write_nifti_labels(volume: Volume, path: Path, text: NiftiText, like: Path | None = None) -> None:
    """Write a uint8 label map; gzip when the name ends in ``.gz``.

    Args:
        volume: uint8.
        path: the target.
        text: description and extension.
        like: a NIfTI of the same grid whose sform and qform, with their codes, are copied bit by bit.
    """
    from isal import isal_zlib

    nibabel = load_nibabel()
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(volume.shape)
    header.set_xyzt_units("mm")
    header["intent_code"] = _INTENT_LABEL
    header["descrip"] = text.description.encode("ascii", "replace")[:79]
    _set_grid(header, volume, like)
    if text.extension:
        content = text.extension.encode("utf-8")
        header.extensions.extend(nibabel.nifti1.Nifti1Extension(code, content) for code in CODES_LABEL_TABLE)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        head = _header_bytes(header)
        body = np.ascontiguousarray(volume.array.T).data
        if path.suffix == ".gz":
            deflate: Any = isal_zlib.compressobj(GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WRAPPER)
            file.write(deflate.compress(head))
            file.write(deflate.compress(body))
            file.write(deflate.flush())
        else:
            file.write(head)
            file.write(body)


def read_bytes(path: Path) -> FileBytes:
    """Read the bytes of a file; a gzip file (of one or several members) is decompressed.

    Returns:
        A buffer that may be written to, where the file was decompressed.

    Raises:
        UnreadableScanError: empty, not readable, a pipe, or the gzip stream is cut off or damaged.
    """
    refuse_pipe(path)
    try:
        with path.open("rb") as file:
            start = file.read(2)
            whole = _inflated_at_once(path) if start == _GZIP_MAGIC else None
        data = path.read_bytes() if whole is None else b""
    except OSError as error:
        raise UnreadableScanError(f"The file can't be read ({error.strerror}).", path=path) from error
    if whole is not None:
        return whole
    if not data:
        raise UnreadableScanError("The file is empty (0 bytes).", path=path)
    return _inflated_with_care(data, path) if data[:2] == _GZIP_MAGIC else data


def _room_for(announced: int, file_bytes: int) -> int:
    """How many bytes are taken for a file that announces so many: a damaged one may announce anything."""
    return min(announced, max(_LIKELY_BYTES, _LIKELY_RATIO * file_bytes))


def _inflated_at_once(path: Path) -> NDArray[np.uint8] | None:
    """Inflate a file straight into the room that it announces; None where it holds anything else than announced.

    The file ends with the length of its last member: most files have one.
    """
    from isal import igzip, isal_zlib

    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(-min(4, size), os.SEEK_END)
        announced = int.from_bytes(file.read(), "little")
    if announced != _room_for(announced, size):
        return None
    # Not a bytearray: that would be filled with zeros first, by one thread that holds the interpreter.
    room = np.empty(announced, np.uint8)
    end, more = 0, 1
    open_gzip: Any = igzip.open
    try:
        with open_gzip(path) as stream:
            while more and end < announced:
                more = stream.readinto(room[end : end + _ROOM_BYTES].data)
                end += more
            return room if end == announced and not stream.read(1) else None
    except (EOFError, OSError, isal_zlib.IsalError):  # type: ignore[misc]  # its stub calls the class an instance
        return None


def _inflated_with_care(data: bytes, path: Path) -> bytearray:
    """Inflate member by member what is not as it announces: many members, something behind the last, damage."""
    from isal import isal_zlib

    room = bytearray(_room_for(int.from_bytes(data[-4:], "little"), len(data)))
    end = 0
    rest = memoryview(data)
    try:
        while bytes(rest[:2]) == _GZIP_MAGIC:
            inflate: Any = isal_zlib.decompressobj(_GZIP_WRAPPER)
            while rest and not inflate.eof:
                piece = inflate.decompress(rest[:_PIECE_BYTES])
                rest = rest[_PIECE_BYTES:]
                room[end : end + len(piece)] = piece
                end += len(piece)
            if not inflate.eof:
                raise UnreadableScanError(
                    "The file is truncated: its gzip stream ends early.", path=path, remedy="Copy or export it again."
                )
            rest = memoryview(data)[len(data) - len(rest) - len(inflate.unused_data) :]
    except isal_zlib.IsalError as error:  # type: ignore[misc]  # its stub calls the class an instance
        raise UnreadableScanError(
            f"The file is damaged ({error}).", path=path, remedy="Copy or export it again."
        ) from error
    del room[end:]
    return room


def _header(raw: FileBytes, path: Path) -> Any:
    nibabel = load_nibabel()
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    kind: Any = None
    for candidate in (nibabel.Nifti1Header, nibabel.Nifti2Header):
        if candidate.may_contain_header(bytes(raw[: candidate.sizeof_hdr])):
            kind = candidate
    if kind is None:
        raise UnreadableScanError("This is not a NIfTI file.", path=path)
    try:
        return kind.from_fileobj(io.BytesIO(bytes(raw[:_MOST_HEADER_BYTES])), check=True)
    except (HeaderDataError, WrapStructError, ValueError) as error:
        raise UnreadableScanError(f"The NIfTI header is damaged ({error}).", path=path) from error


def _stored(
    raw: FileBytes, header: Any, shape: tuple[int, int, int], path: Path
) -> tuple[NDArray[Any], tuple[str, ...]]:
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise UnsupportedScanError(f"The voxels are {dtype} (colour or complex), not grey values.", path=path)
    if min(shape) < 1:
        raise refused(f"its size is {shape}", path)
    count = math.prod(shape)
    try:
        offset, warnings = first_voxel(header, len(raw), count * dtype.itemsize)
    except ValueError as error:
        raise refused(str(error), path) from error
    return np.frombuffer(raw, dtype, count, offset).reshape(shape, order="F"), warnings


def _scaled(stored: NDArray[Any], scaling_of: tuple[float, float] | None) -> NDArray[Any]:
    # Writable, aligned and native: as it is, if it is so, else as a copy, and the file's bytes can go.
    as_it_is = stored.dtype.isnative and stored.flags.writeable and stored.flags.aligned
    native = stored if as_it_is else stored.astype(stored.dtype.newbyteorder("="), order="F")
    if scaling_of is None or scaling_of == (1.0, 0.0):
        return native
    slope, intercept = scaling_of
    if native.dtype.kind in "iu" and slope == 1.0 and intercept.is_integer():
        # Whole numbers stay whole numbers: CT numbers with an intercept of -1024.
        low, high = int(native.min()) + int(intercept), int(native.max()) + int(intercept)
        if np.iinfo(np.int16).min <= low and high <= np.iinfo(np.int16).max:
            return (native.astype(np.int32) + np.int32(intercept)).astype(np.int16)
    result: NDArray[Any] = native.astype(np.float32, order="F")
    with np.errstate(over="ignore"):  # an infinity is refused as one
        result *= np.float32(slope)
        result += np.float32(intercept)
    return result


def _set_grid(header: Any, volume: Volume, like: Path | None) -> None:
    if like is not None and like.name.lower().endswith(NIFTI_SUFFIXES):
        source: Any = load_nibabel().load(like)
        if source.header.sizeof_hdr == header.sizeof_hdr and np.allclose(source.affine, volume.affine, atol=1e-4):
            names = ("pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d")
            for name in (*names, "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"):
                header[name] = source.header[name]
            return
    from nibabel.spatialimages import HeaderDataError

    header.set_sform(volume.affine, code="scanner")
    try:
        header.set_qform(volume.affine, code="scanner", strip_shears=False)
    except HeaderDataError:
        # A quaternion can't hold a shear. The sform alone is exact, and it counts first.
        header.set_qform(volume.affine, code="unknown")


def _header_bytes(header: Any) -> bytes:
    header["vox_offset"] = 352 + header.extensions.get_sizeondisk()
    header["magic"] = b"n+1"
    stream = io.BytesIO()
    header.write_to(stream)
    return stream.getvalue().ljust(int(header["vox_offset"]), b"\0")
