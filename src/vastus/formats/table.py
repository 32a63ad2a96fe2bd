"""Every kind of result that ``-f`` takes: a new one is one entry here, or in ``vastus.dicom.formats``.

Light, as the help text is made of it: an entry loads what it needs when it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vastus.dicom.formats import DICOM_FORMATS
from vastus.io.output_format import OutputFormat
from vastus.io.tables import SEGMENTS_FILE, WORKBOOK_FILE

if TYPE_CHECKING:
    from vastus.pipeline import SegmentedScan


def _write_segments(done: SegmentedScan) -> None:
    from vastus.io.labels import write_labels

    write_labels(done.segmentation.labels, done.folder / SEGMENTS_FILE, table=done.segmentation.table)


def _write_workbook(done: SegmentedScan) -> None:
    from vastus.formats.scan_workbook import write_scan_workbook

    write_scan_workbook(done.folder / WORKBOOK_FILE, done.measured, done.record)


PLAIN_FORMATS: Final = (
    OutputFormat("seg.nrrd", "segmentation for 3D Slicer, with names and colours", (SEGMENTS_FILE,), _write_segments),
    OutputFormat("xlsx", "all results as an Excel workbook", (WORKBOOK_FILE,), _write_workbook),
)
"""Of a scan in any format, beside its other results."""

OUTPUT_FORMATS: Final[tuple[OutputFormat[Any], ...]] = (*DICOM_FORMATS, *PLAIN_FORMATS)


def has_dicom(chosen: Sequence[OutputFormat[Any]]) -> bool:
    """Say whether a choice holds DICOM results, which need a DICOM scan."""
    return any(entry in DICOM_FORMATS for entry in chosen)


def write_formats(done: SegmentedScan, chosen: Sequence[OutputFormat[Any]]) -> tuple[Path, ...]:
    """Write the chosen results of a segmented scan beside its others.

    Args:
        done: what ``segment_to_folder`` gave.
        chosen: entries of ``OUTPUT_FORMATS``.

    Returns:
        The files written, DICOM objects first.

    Raises:
        UnsupportedScanError, GeometryError, LabelError: the scan or its labels do not fit a format.
        OutputError: a file can't be written.
    """
    paths: tuple[Path, ...] = ()
    dicom = [entry for entry in chosen if entry in DICOM_FORMATS]
    if dicom:
        from vastus.dicom.outputs import write_dicom_of

        paths = write_dicom_of(done, dicom)
    plain = [entry for entry in PLAIN_FORMATS if entry in chosen]
    for entry in plain:
        entry.write(done)
    return (*paths, *(done.folder / name for entry in plain for name in entry.files))
