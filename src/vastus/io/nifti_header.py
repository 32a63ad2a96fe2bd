"""What a NIfTI header says about scaling, place and layout, checked before it is believed.

Nothing here is new to a header that is in order. One that contradicts itself is refused, or read by the standard with a
warning: which of the two is said at each function.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final
from xml.etree import ElementTree

import numpy as np

from vastus.errors import GeometryError, UnreadableScanError
from vastus.volume import Affine

MM_OF_UNIT: Final[Mapping[int, float]] = {1: 1000.0, 3: 0.001}
"""Codes of NIfTI for metre and micrometre; every other code is read as mm, as other programs do."""
UNIT_NAMES: Final[Mapping[int, str]] = {1: "metres", 2: "mm", 3: "micrometres"}
NO_ORIENTATION: Final = (
    "The file says no orientation (sform and qform codes are 0): left and right, front and back, head and feet are"
    " guessed. The sides may be swapped. Export the scan again with its orientation."
)
_DIFFERENT_VOXELS = 0.1
_DIFFERENT_SIZE = 0.01
_LEAST_OFFSET = {348: 352, 540: 544}
_TABLE_CODES = (0, 30)


def scaling(header: Any) -> tuple[float, float] | None:
    """Return slope and intercept; None if nothing must be scaled.

    A slope of 0 means by the standard that nothing is scaled; NaN for both is how one library says the same.

    Raises:
        ValueError: one of the two is no number while the other one says something.
    """
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0.0 or (math.isnan(slope) and (math.isnan(intercept) or intercept == 0.0)):
        return None
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise ValueError(f"slope {slope:g}, intercept {intercept:g}")
    return slope, intercept


def first_voxel(header: Any, file_bytes: int, voxel_bytes: int) -> tuple[int, tuple[str, ...]]:
    """Find the byte at which the voxels begin, and warnings.

    Args:
        header: of a single file.
        file_bytes: its length.
        voxel_bytes: what the voxels take by the header.

    Raises:
        ValueError: they would begin inside the header, or the file does not end with them.
    """
    begin = float(header["vox_offset"])
    least = _LEAST_OFFSET[int(header.sizeof_hdr)]
    warnings: tuple[str, ...] = ()
    offset = int(begin) if math.isfinite(begin) and begin == int(begin) else -1
    if offset < least:
        if file_bytes != least + voxel_bytes:
            raise ValueError(f"the voxels would begin at byte {begin:g}, inside the header, which ends at {least}")
        warnings = (f"The header says that the voxels begin at byte {begin:g}, inside itself; byte {least} was taken.",)
        offset = least
    over = file_bytes - offset - voxel_bytes
    if over < 0:
        raise ValueError(f"the file is truncated: {file_bytes} bytes where {offset + voxel_bytes} are announced")
    row_bytes = voxel_bytes // max(1, int(header["dim"][2])) // max(1, int(header["dim"][3]))
    if over > max(row_bytes, 1024):
        raise ValueError(
            f"the file holds {over} bytes more than its header announces, so that the size or the type of its voxels"
            " is not the one it says"
        )
    if over:
        warnings += (f"The file holds {over} bytes behind its voxels; they were ignored.",)
    return offset, warnings


def place(header: Any, shape: tuple[int, int, int]) -> tuple[Affine, tuple[str, ...]]:
    """Return the affine in mm, and warnings about an orientation that is missing or given in two ways.

    The sform counts if its code is set, then the qform, as in nibabel. An sform that can't be used gives way to a
    qform that can.

    Raises:
        ValueError: no usable matrix.
    """
    factor = MM_OF_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    sform = header.get_sform() if header["sform_code"] else None
    try:
        qform = header.get_qform() if header["qform_code"] else None
    except Exception:  # a quaternion longer than 1, zooms of 0
        qform = None
        if sform is None or not _usable(sform):
            raise
    warnings: list[str] = []
    if sform is None and qform is None:
        affine = header.get_base_affine()
        warnings.append(NO_ORIENTATION)
    elif sform is None or (qform is not None and _usable(qform) and not _usable(sform)):
        affine = qform
        if sform is not None:
            warnings.append("The sform of the file can't be used; its qform was taken.")
    else:
        affine = sform
        warnings += _contradictions(header, sform, qform, shape)
    result: Affine = np.array(affine, dtype=np.float64)
    result[:3] *= factor
    if factor != 1.0:
        warnings.append(f"The sizes were converted from {UNIT_NAMES[int(header['xyzt_units']) & 7]} to mm.")
    return result, tuple(warnings)


def _usable(affine: Affine) -> bool:
    with np.errstate(all="ignore"):
        return bool(np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 0)


def _contradictions(header: Any, sform: Affine, qform: Affine | None, shape: tuple[int, int, int]) -> Iterator[str]:
    if not _usable(sform):
        return
    sizes = np.linalg.norm(sform[:3, :3], axis=0)
    if qform is None or not _usable(qform):
        pixdim = np.abs(np.array(header["pixdim"][1:4], dtype=np.float64))
        if (pixdim > 0).all() and (np.abs(pixdim / sizes - 1) > _DIFFERENT_SIZE).any():
            yield f"The header says two voxel sizes: {_sizes(pixdim)} in pixdim, {_sizes(sizes)} in the sform (taken)."
        return
    corners = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    corners[:, :3] *= np.array(shape) - 1
    apart = np.linalg.norm(corners @ (sform - qform)[:3].T, axis=1).max()
    if apart <= _DIFFERENT_VOXELS * sizes.min():
        return
    from nibabel.orientations import aff2axcodes

    axes = ["".join(str(code) for code in aff2axcodes(matrix)) for matrix in (sform, qform)]
    if axes[0] != axes[1]:
        yield (
            f"Left and right, front and back, or head and feet are said in two ways: axes run {axes[0]} by the sform,"
            f" {axes[1]} by the qform. The sform was taken; a program that takes the qform shows the labels elsewhere."
        )
        return
    other = np.linalg.norm(qform[:3, :3], axis=0)
    what = f", with voxels of {_sizes(sizes)} and {_sizes(other)}" if np.abs(sizes / other - 1).max() > 1e-3 else ""
    yield f"Sform and qform of the file lie up to {apart:.1f} mm apart{what}. The sform was taken."


def _sizes(values: Any) -> str:
    return " x ".join(f"{float(v):.4g}" for v in values)


def label_names(header: Any) -> dict[int, str]:
    """Read the names of label values from a Connectome Workbench table of the header; empty if there is none."""
    names: dict[int, str] = {}
    for extension in getattr(header, "extensions", ()):
        if extension.get_code() not in _TABLE_CODES:
            continue
        content = getattr(extension, "_raw", None)
        content = content if isinstance(content, bytes) else extension.get_content()
        text = content if isinstance(content, bytes) else str(content).encode()
        if b"<LabelTable" not in text or b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            continue
        try:
            tree = ElementTree.fromstring(text.strip(b"\0 \r\n\t"))
        except ElementTree.ParseError:
            continue
        for row in tree.iter("Label"):
            key = row.get("Key", "")
            if key.lstrip("-").isdigit() and (row.text or "").strip():
                names.setdefault(int(key), (row.text or "").strip())
    return names


def refused(what: str, path: Any) -> UnreadableScanError:
    """Make the error for a header that contradicts its file or itself."""
    return UnreadableScanError(f"The NIfTI header is damaged: {what}.", path=path, remedy="Copy or export it again.")


def no_place(reason: object, path: Any) -> GeometryError:
    """Make the error for a header without a usable matrix."""
    return GeometryError(f"The header says no usable place and direction ({reason}).", path=path)
