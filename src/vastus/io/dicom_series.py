"""A CT series from a DICOM folder or zip, as a ``Volume`` in Hounsfield units."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.errors import GeometryError, UnsupportedScanError
from vastus.io.dicom_choice import Stack, choose_stack
from vastus.io.dicom_complete import check_complete, check_one_acquisition, check_rescale
from vastus.io.dicom_files import read_dataset
from vastus.io.dicom_geometry import SAME_HEIGHT_MM, in_order, slice_grid, straighten
from vastus.io.dicom_headers import SliceHeader, take_inventory
from vastus.io.dicom_lie import contradictions, told_lie
from vastus.io.dicom_pixels import PixelReader
from vastus.io.dicom_store import open_store
from vastus.io.hounsfield import MIN_VOXELS_PER_AXIS
from vastus.io.padding import without_padding
from vastus.io.scan_types import Scan, ScanFormat, ScanSource, VoxelGrid
from vastus.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset


def read_dicom(path: Path, *, series: str | None, subject: str) -> Scan:
    """Read the CT of a folder, a zip, or the series that one file belongs to.

    The array runs along a row, a column and the slices' normal, F-ordered. A tilted gantry is straightened with a
    warning. Values are not yet checked to be HU.

    Args:
        path: folder, zip or file of DICOM.
        series: UID of the series to read, or its end; None chooses the best one.
        subject: name of the scan in tables and messages.

    Returns:
        The scan, with the source of its slices and its warnings.

    Raises:
        The errors of ``scans.read_scan``.
    """
    store = open_store(path)
    inventory = take_inventory(store)
    if path.is_file() and path.suffix.lower() != ".zip":
        series = series or _series_of(path)
    stack, reason, warnings = choose_stack(inventory, path, series)
    reader = PixelReader(store)
    slices, duplicates = _without_duplicates(stack, reader)
    if duplicates:
        warnings += (f"{duplicates} duplicate slices were dropped.",)
    if len(slices) < MIN_VOXELS_PER_AXIS:
        raise UnsupportedScanError(
            f"The series has {len(slices)} different slices; a volume needs at least {MIN_VOXELS_PER_AXIS}.", path=path
        )
    grid = slice_grid(slices)
    check_one_acquisition(slices)
    warnings += (*check_rescale(slices), *check_complete(slices), *_for_attenuation(slices[0]), *_altered(slices))
    warnings += tuple(contradictions(slices))
    hu, padded = without_padding(_stacked(slices, reader), 0, path)
    warnings += padded
    volume = Volume(hu.transpose(2, 1, 0), grid.affine)
    acquired = None
    if grid.shift_voxels is not None:
        acquired = VoxelGrid(volume.shape, volume.affine)
        straight, affine = straighten(hu, grid)
        volume = Volume(straight.transpose(2, 1, 0), affine)
        warnings += (f"The gantry was tilted by {grid.tilt_degrees:.1f} degrees; the slices were straightened.",)
    source = ScanSource(
        ScanFormat.DICOM,
        path,
        subject,
        slices[0].series_uid,
        tuple(dict.fromkeys(s.path for s in slices)),
        warnings,
        reason,
        acquired,
        told_lie(slices),
    )
    return Scan(volume, source)


def read_headers(source: ScanSource, *, with_pixels: bool = False) -> Iterator[Dataset]:
    """Return the data sets of ``source.dicom_files`` in slice order, for writers that refer to them.

    Args:
        source: of a scan read from DICOM.
        with_pixels: also the pixel data, which is most of the memory.
    """
    store = open_store(source.path)
    for path in source.dicom_files:
        with store.open(path) as file:
            yield read_dataset(file, force=True, stop_before_pixels=not with_pixels)


_ATTENUATION: Final = re.compile(r"ctac|\bac[ _-]*ct\b|\bct[ _-]*ac\b|atten", re.IGNORECASE)


def _for_attenuation(header: SliceHeader) -> tuple[str, ...]:
    """A CT that was made to correct a PET: low dose, thick slices, breathing; its name says so."""
    if not _ATTENUATION.search(header.description):
        return ()
    return (
        "By its description this CT was made to correct a PET for attenuation: a low dose and coarse slices. Volumes of"
        " small muscles and densities are less sure; take the diagnostic CT of the study if there is one.",
    )


def _altered(slices: list[SliceHeader]) -> Iterator[str]:
    """Warn of values that are not those that the scanner measured."""
    lossy = sum(header.lossy for header in slices)
    if lossy:
        yield (
            f"{lossy} of {len(slices)} slices were compressed with loss: their HU are not the measured ones, so that"
            " densities and borders are less sure. Take the uncompressed series if there is one."
        )
    for altered in sorted({header.altered for header in slices} - {""}):
        yield (
            f"By their ImageType the HU of this CT were computed {altered}: densities and what is called fat are not"
            " those of a plain CT. Take the plain series of the study if there is one."
        )


def _series_of(path: Path) -> str | None:
    from pydicom.errors import InvalidDicomError

    try:
        with path.open("rb") as file:
            header = read_dataset(file, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
        return str(header.SeriesInstanceUID)
    except (InvalidDicomError, AttributeError):
        return None


def _without_duplicates(stack: Stack, reader: PixelReader) -> tuple[list[SliceHeader], int]:
    """Return the slices in order; of several at one height the first, if the others equal it in place and pixels."""
    ordered, heights = in_order(stack)
    kept = [0]
    for i in range(1, len(ordered)):
        if heights[i] - heights[kept[-1]] > SAME_HEIGHT_MM:
            kept.append(i)
            continue
        first, other = ordered[kept[-1]], ordered[i]
        same_place = np.allclose(first.position_mm, other.position_mm, atol=SAME_HEIGHT_MM)
        if not (same_place and np.array_equal(reader.hounsfield(first), reader.hounsfield(other))):
            raise GeometryError(
                f"Two different slices lie at the same height: {first.path.name} and {other.path.name}.",
                path=other.path,
                remedy="The series mixes acquisitions; export each as its own series.",
            )
    return [ordered[i] for i in kept], len(ordered) - len(kept)


def _stacked(slices: list[SliceHeader], reader: PixelReader) -> NDArray[Any]:
    """Stack the slices, shape (slices, rows, columns): int16 if every slice is int16, else int32 or float32."""
    # Before the whole is asked for: a damaged header may announce more than the files hold.
    reader.hounsfield(slices[0])
    stacked = np.empty((len(slices), slices[0].rows, slices[0].columns), np.int16)
    for k, header in enumerate(slices):
        hu = reader.hounsfield(header)
        if hu.dtype != stacked.dtype and np.promote_types(hu.dtype, stacked.dtype) != stacked.dtype:
            wider = np.float32 if hu.dtype.kind == "f" else np.promote_types(hu.dtype, stacked.dtype)
            stacked = stacked.astype(wider)
        stacked[k] = hu
    return stacked
