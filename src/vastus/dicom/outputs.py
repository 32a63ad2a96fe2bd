"""The DICOM results of one scan, chosen by name and written to a folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vastus.dicom.extra import need
from vastus.dicom.objects import Algorithm
from vastus.dicom.seg import SegKind, write_seg
from vastus.dicom.source import LabelledSeries, labelled_series
from vastus.errors import SettingsError
from vastus.io.atomic import atomic_folder
from vastus.io.csv_tables import VolumeRow
from vastus.io.scan_types import Scan
from vastus.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

    from vastus.pipeline import SegmentedScan

DICOM_FOLDER: Final = "dicom"
_SEG_FILE: Final = "seg.dcm"


class DicomFormat(Enum):
    """A kind of DICOM result, by its name on the command line."""

    SEG = "dicom-seg"
    LABELMAP = "dicom-labelmap"
    SR = "sr"
    RTSTRUCT = "rtstruct"
    PDF = "pdf"


@dataclass(frozen=True, slots=True, eq=False)
class DicomContent:
    """What the results are made of.

    Attributes:
        scan: as read, from DICOM.
        labels: uint8 label values on the grid of the scan.
        rows: the rows of ``volumes.csv``.
        algorithm: what made the labels.
    """

    scan: Scan
    labels: Volume
    rows: tuple[VolumeRow, ...]
    algorithm: Algorithm


def parse_formats(text: str) -> tuple[DicomFormat, ...]:
    """Read a list such as ``dicom-seg,sr``; check that the libraries for it are there.

    Raises:
        SettingsError: an unknown name, or both kinds of segmentation.
        MissingExtraError: a library is not installed.
    """
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    known = {f.value: f for f in DicomFormat}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise SettingsError(f"Unknown format {', '.join(unknown) or '(none)'}.", remedy=f"Known: {', '.join(known)}.")
    formats = tuple(dict.fromkeys(known[name] for name in names))
    if {DicomFormat.SEG, DicomFormat.LABELMAP} <= set(formats):
        raise SettingsError("Choose dicom-seg or dicom-labelmap, not both: the report refers to one segmentation.")
    if {DicomFormat.SEG, DicomFormat.LABELMAP, DicomFormat.SR} & set(formats):
        need("Writing DICOM SEG and SR", "highdicom")
    if DicomFormat.PDF in formats:
        need("Writing a PDF", "reportlab")
    return formats


def write_dicom(content: DicomContent, formats: tuple[DicomFormat, ...], folder: Path) -> tuple[Path, ...]:
    """Write the chosen objects as ``folder/dicom/seg.dcm``, ``sr.dcm``, ``rtstruct.dcm``, ``report.dcm``.

    A report refers to a segmentation: with ``sr`` alone, a BINARY one is written too. Older DICOM results in the
    folder are replaced as a whole.

    Raises:
        UnsupportedScanError, GeometryError, LabelError: as ``labelled_series``.
        OutputError: the folder can't be written to.
    """
    import warnings

    target = folder / DICOM_FOLDER
    series = labelled_series(content.scan.source, content.labels)
    shutil.rmtree(target, ignore_errors=True)
    with atomic_folder(target) as staging, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of highdicom quote the patient's name
        names = _write(content, series, formats, staging)
    return tuple(target / name for name in names)


def write_dicom_of(done: SegmentedScan, formats: tuple[DicomFormat, ...]) -> tuple[Path, ...]:
    """Write the DICOM results of a segmented scan beside its other results; see ``write_dicom``."""
    weights = done.record["weights"]
    algorithm = Algorithm(f"{weights['name']} ({weights['sha256'][:12]})")
    return write_dicom(DicomContent(done.scan, done.segmentation.labels, done.rows, algorithm), formats, done.folder)


def _write(
    content: DicomContent, series: LabelledSeries, formats: tuple[DicomFormat, ...], folder: Path
) -> tuple[str, ...]:
    made: dict[str, Dataset] = {}
    if {DicomFormat.SEG, DicomFormat.LABELMAP, DicomFormat.SR} & set(formats):
        kind = SegKind.LABELMAP if DicomFormat.LABELMAP in formats else SegKind.BINARY
        seg = write_seg(series, content.algorithm, folder / _SEG_FILE, kind)
        if DicomFormat.SR in formats:
            from vastus.dicom.sr import make_sr

            made["sr.dcm"] = make_sr(series, seg, content.rows, content.algorithm)
    if DicomFormat.RTSTRUCT in formats:
        from vastus.dicom.rtstruct import make_rtstruct

        made["rtstruct.dcm"] = make_rtstruct(series, content.algorithm)
    if DicomFormat.PDF in formats:
        from vastus.dicom.pdf import draw_pdf, make_pdf_object

        pdf = draw_pdf(content.scan.volume, content.labels, content.rows, content.algorithm)
        made["report.dcm"] = make_pdf_object(series, pdf)
    for name, dataset in made.items():
        dataset.save_as(folder / name, enforce_file_format=True)
    return (*([_SEG_FILE] if (folder / _SEG_FILE).exists() else []), *made)
