"""Encapsulated PDF: the montage and the table of volumes on two pages, for a PACS that shows documents."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from vastus.anatomy import BUILT_IN, Side, StructureTable
from vastus.dicom.objects import Algorithm, new_object
from vastus.dicom.source import LabelledSeries
from vastus.io.csv_tables import VolumeRow
from vastus.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

SERIES_NUMBER = 7304
_SOP_CLASS = "1.2.840.10008.5.1.4.1.1.104.1"
_TITLE, _TITLE_OF_OWN = "Muscles and bones from hip to knee", "Structures and their volumes"
_MANY_ROWS = 35
"""A longer table gets thinner rows, so that it still is one page: a table has 51 structures at most."""
_NOTE = "For research; not a medical device. * cut by the edge of the scan."


def make_pdf_object(series: LabelledSeries, pdf: bytes) -> Dataset:
    """Wrap a PDF for the study of a series."""
    from pydicom.uid import ExplicitVRLittleEndian

    result = new_object(series, _SOP_CLASS, ExplicitVRLittleEndian)
    result.Modality, result.SeriesNumber, result.ConversionType = "DOC", SERIES_NUMBER, "WSD"
    result.SeriesDescription = "Vastus report"
    result.ContentDate, result.ContentTime = result.InstanceCreationDate, result.InstanceCreationTime
    result.AcquisitionDateTime = ""
    result.BurnedInAnnotation, result.DocumentTitle = "NO", _title(series.table)
    result.ConceptNameCodeSequence = []
    result.MIMETypeOfEncapsulatedDocument = "application/pdf"
    result.EncapsulatedDocumentLength = len(pdf)
    result.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return result


def draw_pdf(
    ct: Volume, labels: Volume, rows: Iterable[VolumeRow], algorithm: Algorithm, table: StructureTable = BUILT_IN
) -> bytes:
    """The PDF itself: no patient data is in it, the DICOM header carries them."""
    from PIL import Image
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    from vastus.report.montage import MontageScan, draw_montage

    stream = io.BytesIO()
    page = Canvas(stream, pagesize=A4)
    page.setTitle(_title(table))
    page.setCreator(f"{algorithm.name} {algorithm.version}")
    width, height = A4
    _heading(page, height, algorithm, _title(table))
    listed = _table(rows, table)
    _, table_height = listed.wrapOn(page, width - 30 * mm, height)
    listed.drawOn(page, 15 * mm, height - 36 * mm - table_height)
    page.showPage()
    _heading(page, height, algorithm, _title(table))
    jpeg = io.BytesIO()
    Image.fromarray(draw_montage([MontageScan("", ct, labels, table)])).save(jpeg, "JPEG", quality=85)
    picture = ImageReader(jpeg)
    across, down = picture.getSize()
    scale = min((width - 20 * mm) / across, (height - 60 * mm) / down)
    page.drawImage(picture, 10 * mm, height - 36 * mm - down * scale, across * scale, down * scale)
    page.showPage()
    page.save()
    return stream.getvalue()


def _title(table: StructureTable) -> str:
    return _TITLE if table.is_built_in else _TITLE_OF_OWN


def _heading(page: Any, height: float, algorithm: Algorithm, title: str) -> None:
    from reportlab.lib.units import mm

    page.setFont("Helvetica-Bold", 14)
    page.drawString(15 * mm, height - 18 * mm, title)
    page.setFont("Helvetica", 8)
    page.drawString(15 * mm, height - 24 * mm, f"{algorithm.name} {algorithm.version}, weights {algorithm.weights}")
    page.drawString(15 * mm, height - 29 * mm, _NOTE)


def _table(rows: Iterable[VolumeRow], table: StructureTable) -> Any:
    from reportlab.lib import colors
    from reportlab.platypus import Table, TableStyle

    by_label = {(row.structure, row.side): row for row in rows}
    sides = [Side.RIGHT, Side.LEFT]
    seen = {side for (_, side), row in by_label.items() if row.volume_mm3 is not None}
    sides += [side for side in (Side.UNKNOWN, Side.MIDLINE) if side in seen]
    lines = [["Structure", *(f"{side.value}: {what}" for side in sides for what in ("cm³", "mean HU"))]]
    for structure in table.rows:
        cells = [cell for side in sides for cell in _cells(by_label.get((structure.key, side)))]
        lines.append([structure.drawn_name, *cells])
    padding = 2 if len(lines) <= _MANY_ROWS else 0.5
    style = [
        ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 8),
        ("FONT", (0, 1), (-1, -1), "Helvetica", 8),
        ("ALIGN", (1, 0), (-1, -1), "RIGHT"),
        ("LINEBELOW", (0, 0), (-1, -1), 0.25, colors.lightgrey),
        ("TOPPADDING", (0, 0), (-1, -1), padding),
        ("BOTTOMPADDING", (0, 0), (-1, -1), padding),
    ]
    return Table(lines, style=TableStyle(style))


def _cells(row: VolumeRow | None) -> tuple[str, str]:
    if row is None or row.volume_mm3 is None:
        return "-", "-"
    mark = " fragment" if row.fragment else " *" if row.truncated else ""
    return f"{row.volume_mm3 / 1000:.1f}{mark}", "-" if row.mean_hu is None else f"{row.mean_hu:.1f}"
