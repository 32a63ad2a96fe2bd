"""The DICOM results of one scan, chosen by name and written to a folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from vastus.dicom.draft import DicomContent, DicomDraft
from vastus.dicom.formats import DICOM_FORMATS
from vastus.dicom.objects import Algorithm
from vastus.dicom.source import labelled_series
from vastus.errors import OutputError
from vastus.io.atomic import atomic_folder
from vastus.io.output_format import OutputFormat, choose_formats
from vastus.io.stops import stops_of_record
from vastus.io.tables import DICOM_FOLDER

if TYPE_CHECKING:
    from vastus.pipeline import SegmentedScan

_OUR_FILES: Final = frozenset(name for entry in DICOM_FORMATS for name in entry.files)
DicomFormat: TypeAlias = OutputFormat[DicomDraft]


def parse_formats(text: str) -> tuple[DicomFormat, ...]:
    """Read a list of DICOM formats such as ``dicom-seg,sr``; see ``output_format.choose_formats``.

    Raises:
        SettingsError: an unknown name, or both kinds of segmentation.
        MissingExtraError: a library is not installed.
    """
    return choose_formats(text, DICOM_FORMATS)


def write_dicom(content: DicomContent, formats: Sequence[DicomFormat], folder: Path) -> tuple[Path, ...]:
    """Write the chosen objects as ``folder/dicom/seg.dcm``, ``sr.dcm``, ``rtstruct.dcm``, ``report.dcm``.

    A report refers to a segmentation: with ``sr`` alone, a BINARY one is written too. Older DICOM results in the
    folder are replaced as a whole.

    Raises:
        UnsupportedScanError, GeometryError, LabelError: as ``labelled_series``.
        OutputError: the folder can't be written to, or holds something else than DICOM results of Vastus.
    """
    import warnings

    target = folder / DICOM_FOLDER
    _refuse_what_is_not_ours(target)
    series = labelled_series(content.scan.source, content.labels, content.table)
    shutil.rmtree(target, ignore_errors=True)
    with atomic_folder(target) as staging, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of highdicom quote the patient's name
        names = _write(DicomDraft(content, series, staging), formats)
    return tuple(target / name for name in names)


def _refuse_what_is_not_ours(target: Path) -> None:
    """Refuse to replace a folder that holds more than our results: that of the scan itself may be called ``dicom``."""
    others = sorted({path.name for path in target.iterdir()} - _OUR_FILES) if target.is_dir() else []
    if others:
        raise OutputError(
            f"The folder for the DICOM results holds something else, such as {others[0]}.",
            path=target,
            remedy="Choose another output folder with -o.",
        )


def write_dicom_of(done: SegmentedScan, formats: Sequence[DicomFormat]) -> tuple[Path, ...]:
    """Write the DICOM results of a segmented scan beside its other results; see ``write_dicom``."""
    weights = done.record["weights"]
    algorithm = Algorithm(f"{weights['name']} ({weights['sha256'][:12]})")
    segmented = done.segmentation
    stops = stops_of_record(done.record)
    content = DicomContent(done.scan, segmented.labels, done.rows, algorithm, segmented.table, stops)
    return write_dicom(content, formats, done.folder)


def _write(draft: DicomDraft, formats: Sequence[DicomFormat]) -> tuple[str, ...]:
    """Write formats in the order of the table; returns the names of the files, the segmentation first."""
    chosen = [entry for entry in DICOM_FORMATS if entry in formats]
    for entry in chosen:
        entry.write(draft)
    return tuple(dict.fromkeys(name for entry in chosen for name in entry.files))
