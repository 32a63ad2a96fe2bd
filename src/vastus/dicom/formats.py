"""The kinds of DICOM results, as a table: a new one is one entry. Light: libraries are loaded when it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vastus.io.output_format import OutputFormat

if TYPE_CHECKING:
    from vastus.dicom.draft import DicomDraft

_HIGHDICOM: Final = ("Writing DICOM SEG and SR", ("highdicom",))


def _write_seg(draft: DicomDraft) -> tuple[str, ...]:
    from vastus.dicom.seg import SegKind

    return (draft.segment(SegKind.BINARY),)


def _write_labelmap(draft: DicomDraft) -> tuple[str, ...]:
    from vastus.dicom.seg import SegKind

    return (draft.segment(SegKind.LABELMAP),)


def _write_sr(draft: DicomDraft) -> tuple[str, ...]:
    from vastus.dicom.sr import make_sr

    content = draft.content
    return draft.save("sr.dcm", make_sr(draft.series, draft.segmentation, content.rows, content.algorithm))


def _write_rtstruct(draft: DicomDraft) -> tuple[str, ...]:
    from vastus.dicom.rtstruct import make_rtstruct

    return draft.save("rtstruct.dcm", make_rtstruct(draft.series, draft.content.algorithm))


def _write_pdf(draft: DicomDraft) -> tuple[str, ...]:
    from vastus.dicom.pdf import draw_pdf, make_pdf_object

    content = draft.content
    pdf = draw_pdf(content.scan.volume, content.labels, content.rows, content.algorithm)
    return draft.save("report.dcm", make_pdf_object(draft.series, pdf))


SEG: Final = OutputFormat("dicom-seg", "segmentation, one bit plane a structure", _write_seg, _HIGHDICOM)
LABELMAP: Final = OutputFormat(
    "dicom-labelmap",
    "segmentation, one byte a voxel",
    _write_labelmap,
    _HIGHDICOM,
    excludes=(("dicom-seg", "the report refers to one segmentation"),),
)
SR: Final = OutputFormat("sr", "structured report of the measures", _write_sr, _HIGHDICOM)
RTSTRUCT: Final = OutputFormat("rtstruct", "contours", _write_rtstruct)
PDF: Final = OutputFormat("pdf", "report as encapsulated PDF", _write_pdf, ("Writing a PDF", ("reportlab",)))

DICOM_FORMATS: Final = (SEG, LABELMAP, SR, RTSTRUCT, PDF)
"""In the order in which they are written: a report refers to a segmentation."""
