"""The kinds of DICOM results, as a table: a new one is one entry. Light: libraries are loaded when it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vastus.io.output_format import OutputFormat
from vastus.io.tables import PDF_FILE, RTSTRUCT_FILE, SEG_FILE, SR_FILE

if TYPE_CHECKING:
    from vastus.dicom.draft import DicomDraft

_HIGHDICOM: Final = ("Writing DICOM SEG and SR", ("highdicom",))


def _write_seg(draft: DicomDraft) -> None:
    from vastus.dicom.seg import SegKind

    draft.segment(SegKind.BINARY)


def _write_labelmap(draft: DicomDraft) -> None:
    from vastus.dicom.seg import SegKind

    draft.segment(SegKind.LABELMAP)


def _write_sr(draft: DicomDraft) -> None:
    from vastus.dicom.sr import make_sr

    content = draft.content
    draft.save(SR_FILE, make_sr(draft.series, draft.segmentation, content.rows, content.algorithm, content.stops))


def _write_rtstruct(draft: DicomDraft) -> None:
    from vastus.dicom.rtstruct import make_rtstruct

    draft.save(RTSTRUCT_FILE, make_rtstruct(draft.series, draft.content.algorithm))


def _write_pdf(draft: DicomDraft) -> None:
    from vastus.dicom.pdf import draw_pdf, make_pdf_object

    content = draft.content
    pdf = draw_pdf(content.scan.volume, content.labels, content.rows, content.algorithm, content.table, content.stops)
    draft.save(PDF_FILE, make_pdf_object(draft.series, pdf, content.stops))


SEG: Final = OutputFormat(
    "dicom-seg", "segmentation, one bit plane a structure", (SEG_FILE,), _write_seg, needs=_HIGHDICOM
)
LABELMAP: Final = OutputFormat(
    "dicom-labelmap",
    "segmentation, one byte a voxel",
    (SEG_FILE,),
    _write_labelmap,
    needs=_HIGHDICOM,
    excludes=(("dicom-seg", "the report refers to one segmentation"),),
)
SR: Final = OutputFormat("sr", "structured report of the measures", (SEG_FILE, SR_FILE), _write_sr, needs=_HIGHDICOM)
RTSTRUCT: Final = OutputFormat("rtstruct", "contours", (RTSTRUCT_FILE,), _write_rtstruct)
PDF: Final = OutputFormat(
    "pdf", "report as encapsulated PDF", (PDF_FILE,), _write_pdf, needs=("Writing a PDF", ("reportlab",))
)

DICOM_FORMATS: Final = (SEG, LABELMAP, SR, RTSTRUCT, PDF)
"""In the order in which they are written: a report refers to a segmentation, and one alone writes one."""
