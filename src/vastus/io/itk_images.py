"""NRRD and MetaImage through SimpleITK, whose LPS geometry becomes RAS+ here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vastus.errors import GeometryError, UnreadableScanError, UnsupportedScanError
from vastus.io.atomic import atomic_path
from vastus.io.dimensions import three_dimensions
from vastus.io.folders import refuse_pipe
from vastus.io.itk_headers import check_text_header
from vastus.io.scan_types import ReadImage
from vastus.volume import Affine, Volume

NRRD_SUFFIXES = (".nrrd", ".nhdr")
META_IMAGE_SUFFIXES = (".mha", ".mhd")
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_itk(path: Path) -> Volume:
    """Read a three-dimensional grey NRRD or MetaImage; F-ordered, dtype as stored.

    Raises:
        UnreadableScanError: truncated, damaged, empty, or not of that format.
        UnsupportedScanError: not three-dimensional, or colour.
        GeometryError: no voxel sizes, or in units that are not known.
    """
    return read_itk_image(path).volume


def read_itk_image(path: Path) -> ReadImage:
    """Do the same as ``read_itk``, with warnings about a missing orientation or other units.

    Raises:
        UnreadableScanError, UnsupportedScanError, GeometryError: as ``read_itk``.
    """
    image, factor, warnings = open_itk(path, layers=False)
    return ReadImage(as_volume(image, factor, path), warnings)


def open_itk(path: Path, *, layers: bool) -> tuple[Any, float, tuple[str, ...]]:
    """Open an image with SimpleITK; also return the factor that brings its lengths to mm, and warnings.

    Args:
        path: of the file.
        layers: take voxels of several components too, as the layers of 3D Slicer's segmentations.

    Raises:
        UnreadableScanError, UnsupportedScanError, GeometryError: as ``read_itk``.
    """
    import SimpleITK as sitk

    refuse_pipe(path)
    if path.stat().st_size == 0:
        raise UnreadableScanError("The file is empty (0 bytes).", path=path)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        size = tuple(n for n in reader.GetSize())
        _refuse_other_than_grey_volume(reader, size, path, layers=layers)
        factor, warnings = check_text_header(path)
        image = reader.Execute()
        while image.GetDimension() > 3:
            image = image[..., 0]
    except RuntimeError as error:
        raise UnreadableScanError(
            f"The file is truncated, damaged or not of its format ({_last_line(error)}).",
            path=path,
            remedy="Copy or export it again.",
        ) from error
    return image, factor, warnings


def as_volume(image: Any, factor: float, path: Path) -> Volume:
    """Return the array and the affine of an image; of several components, the first one.

    Args:
        image: a SimpleITK image of three dimensions.
        factor: brings its lengths to mm.
        path: its file, for messages.

    Returns:
        The volume, axes in the order of the file.

    Raises:
        GeometryError: a singular affine.
    """
    import SimpleITK as sitk

    array = sitk.GetArrayFromImage(image)
    first = array if array.ndim == 3 else array[..., 0]
    affine = _ras_affine(image)
    affine[:3] *= factor
    try:
        return Volume(first.transpose(2, 1, 0), affine)
    except GeometryError as error:
        raise GeometryError(error.problem, path=path) from error


def write_itk_labels(volume: Volume, path: Path, metadata: dict[str, str]) -> None:
    """Write a uint8 label map in the format of the suffix, with key/value pairs in the header (kept by NRRD only).

    Args:
        volume: label map, uint8.
        path: file to write; the suffix decides the format.
        metadata: key/value pairs of the header.

    Raises:
        GeometryError: the grid is sheared, which the format can't hold.
    """
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array.transpose(2, 1, 0)))
    lps = _LPS_TO_RAS @ volume.affine
    direction = lps[:3, :3] / volume.spacing_mm
    if np.abs(direction.T @ direction - np.eye(3)).max() > 1e-4:
        raise GeometryError(
            "A sheared grid can't be written in this format.", path=path, remedy="Write .nii.gz instead."
        )
    image.SetSpacing(volume.spacing_mm)
    image.SetDirection(tuple(direction.ravel()))
    image.SetOrigin(tuple(lps[:3, 3]))
    for key, value in metadata.items():
        image.SetMetaData(key, value)
    with atomic_path(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True, compressionLevel=1)


def _refuse_other_than_grey_volume(reader: Any, size: tuple[int, ...], path: Path, *, layers: bool) -> None:
    three_dimensions(size, path)
    if reader.GetNumberOfComponents() != 1 and not layers:
        raise UnsupportedScanError("The voxels are vectors or colours, not grey values.", path=path)


def _ras_affine(image: Any) -> Affine:
    dimension = image.GetDimension()
    affine = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
    affine[:3, :3] = directions * np.array(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    result: Affine = _LPS_TO_RAS @ affine
    return result


def _last_line(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "no reason given"
