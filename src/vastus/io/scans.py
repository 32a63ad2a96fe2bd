"""``read_scan``: any supported CT, whatever its format, as a ``Volume`` in Hounsfield units.

Nothing is written by reading. What can't be read right is refused by a named error that says what is wrong and
which file.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from vastus.errors import MissingInputError, SettingsError, UnsupportedScanError
from vastus.io.dicom_files import HEAD_BYTES, is_dicom
from vastus.io.folders import is_folder, is_there, refuse_pipe
from vastus.io.hounsfield import as_hounsfield
from vastus.io.itk_images import META_IMAGE_SUFFIXES, NRRD_SUFFIXES, read_itk_image
from vastus.io.nifti import NIFTI_SUFFIXES, read_nifti_image
from vastus.io.scan_types import Scan, ScanFormat, ScanSource
from vastus.io.voxel_sizes import refuse_impossible_sizes
from vastus.volume import Volume

__all__ = ["Scan", "ScanFormat", "ScanSource", "read_scan", "scan_format", "subject_name"]

_SHEAR_LIMIT_DEGREES = 1.0
_SUFFIXES = {
    ScanFormat.NIFTI: NIFTI_SUFFIXES,
    ScanFormat.NRRD: NRRD_SUFFIXES,
    ScanFormat.META_IMAGE: META_IMAGE_SUFFIXES,
    ScanFormat.DICOM: (".dcm", ".ima", ".dicom", ".zip"),
}


def read_scan(path: Path | str, *, series: str | None = None) -> Scan:
    """Read a CT scan.

    Args:
        path: NIfTI, NRRD or MetaImage file, a folder of DICOM files (searched with its subfolders), a zip of such a
            folder, or one DICOM file of a series (its siblings in the folder are read with it).
        series: SeriesInstanceUID, or its end, if a folder holds several series.

    Returns:
        The scan in HU, with its source and warnings.

    Raises:
        MissingInputError: the path does not exist or holds no scan.
        UnreadableScanError: truncated or damaged.
        UnsupportedScanError: not a CT volume in HU (MR, 4D, a single slice, NaN inside, other units ...).
        GeometryError: slices missing, unevenly spaced, contradictory.
        AmbiguousSeriesError: several series fit equally well; the message lists them.
    """
    path = Path(path)
    if not is_there(path):
        raise MissingInputError("There is no such file or folder.", path=path)
    kind = scan_format(path)
    if kind is ScanFormat.DICOM:
        from vastus.io.dicom_series import read_dicom

        scan = read_dicom(path, series=series, subject=subject_name(path))
    else:
        if series is not None:
            raise SettingsError("A series can be chosen in DICOM input only.", path=path)
        image = read_nifti_image(path) if kind is ScanFormat.NIFTI else read_itk_image(path)
        source = ScanSource(
            kind, path, subject_name(path), warnings=image.warnings, chosen_because="the only image in the file"
        )
        scan = Scan(image.volume, source)
    refuse_impossible_sizes(scan.volume, path)
    names = [file.name for file in scan.source.dicom_files] if kind is ScanFormat.DICOM else None
    volume, warnings = as_hounsfield(scan.volume, path, names)
    shear = _shear_degrees(volume)
    if shear > _SHEAR_LIMIT_DEGREES:
        warnings += (f"The axes of the image are {shear:.1f} degrees off right angles; shapes may be distorted.",)
    return Scan(volume, dataclasses.replace(scan.source, warnings=scan.source.warnings + warnings))


def _shear_degrees(volume: Volume) -> float:
    axes = volume.affine[:3, :3] / volume.spacing_mm
    cosines = np.abs(axes.T @ axes - np.eye(3))
    return float(np.degrees(np.arcsin(min(1.0, cosines.max()))))


def scan_format(path: Path) -> ScanFormat:
    """Find the format of a path by its suffix or, without a known suffix, by its first bytes.

    Raises:
        UnsupportedScanError: neither tells.
        UnreadableScanError: a pipe.
    """
    if path.is_dir():
        return ScanFormat.DICOM
    refuse_pipe(path)
    name = path.name.lower()
    for kind, suffixes in _SUFFIXES.items():
        if name.endswith(suffixes):
            return kind
    with path.open("rb") as file:
        start = file.read(HEAD_BYTES)
    if is_dicom(start):
        return ScanFormat.DICOM
    raise UnsupportedScanError(
        "This is not a format that Vastus reads.",
        path=path,
        remedy="Give NIfTI, NRRD, MetaImage, or a folder or zip of DICOM files.",
    )


def subject_name(path: Path) -> str:
    """Return the name of a scan in tables: that of its folder, or of its file without suffixes."""
    absolute = path.absolute()
    name = absolute.name or "scan"
    if is_folder(path):
        return name
    lower = name.lower()
    for suffix in (".nii.gz", *(s for suffixes in _SUFFIXES.values() for s in suffixes)):
        if lower.endswith(suffix):
            return name[: -len(suffix)] or name
    return name
