"""What reading a scan gives: the volume, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from vastus.anatomy import Side
from vastus.volume import Affine, Volume


class ScanFormat(Enum):
    """Format a scan was read from."""

    NIFTI = "NIfTI"
    NRRD = "NRRD"
    META_IMAGE = "MetaImage"
    DICOM = "DICOM"


@dataclass(frozen=True, slots=True, eq=False)
class VoxelGrid:
    """Shape and affine of a volume without its voxels."""

    shape: tuple[int, int, int]
    affine: Affine


class LyingOn(Enum):
    """What side of the patient lies on the table."""

    BACK = "back"
    FRONT = "front"
    RIGHT = "right side"
    LEFT = "left side"


@dataclass(frozen=True, slots=True)
class ToldLie:
    """How the body lies by the words of a header, apart from the directions of its axes.

    Attributes:
        on: what lies on the table; None: not said.
        side: of the leg that the scan is of; None: not said, or both.
        on_named, side_named: the attributes that say it, with their values, e.g. ``PatientPosition HFS``.
    """

    on: LyingOn | None = None
    side: Side | None = None
    on_named: str = ""
    side_named: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ScanSource:
    """Where a scan came from.

    Attributes:
        kind: the format.
        path: what the user gave: a file, a folder or a zip.
        subject: stem of the file or name of the folder; never taken from a header.
        series_uid: DICOM only.
        dicom_files: in slice order (``array[:, :, k]`` is slice k), one only for a multi-frame object; for a zip the
            path of the archive with the member's name appended. ``dicom_series.read_headers`` opens them.
        warnings: what a user should know, to be shown and recorded.
        chosen_because: why this series, in words.
        acquired_grid: only after a gantry tilt was straightened: the sheared grid of the slices as they are in the
            files. ``resample_like`` onto it brings labels back to the files' slices.
        told: how the body lies by the header's words.
    """

    kind: ScanFormat
    path: Path
    subject: str
    series_uid: str | None = None
    dicom_files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()
    chosen_because: str = ""
    acquired_grid: VoxelGrid | None = None
    told: ToldLie = ToldLie()


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """A CT in HU (int16 where nothing is lost, else float32) and its source."""

    volume: Volume
    source: ScanSource


@dataclass(frozen=True, slots=True, eq=False)
class ReadImage:
    """What a file of one image holds.

    Attributes:
        volume: voxels and place.
        warnings: what the header leaves open or says in two ways.
        names: of label values, where the header has a table of them.
    """

    volume: Volume
    warnings: tuple[str, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)
