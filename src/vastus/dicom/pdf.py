"""Encapsulated PDF: the montage and the table of volumes on two pages, for a PACS that shows documents."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from vastus.anatomy import BUILT_IN, Side, StructureTable
from vastus.dicom.objects import Algorithm, new_object, stop_title
from vastus.dicom.source import LabelledSeries
from vastus.io.csv_tables import VolumeRow
from vastus.io.stops import NO_STOPS, STOP_RED, Stops
from vastus.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

SERIES_NUMBER = 7304
_SOP_CLASS = "1.2.840.10008.5.1.4.1.1.104.1"
_TITLE, _TITLE_OF_OWN = "Muscles and bones from hip to knee", "Structures and their volumes"
_MANY_ROWS = 35
"""A longer table gets thinner rows, so that it still is one page: a table has 51 structures at most."""
_NOTE = "For research; not a medical device. * cut by the edge of the scan."
_PALE = "#ffe9e9"
_LIKELY_WRONG, _MISSED, _NOT_FOUND = "likely wrong", "missed", "-"
_LONGEST_ALARM = 900
"""Letters: the table below must stay on its page."""


def make_pdf_object(series: LabelledSeries, pdf: bytes, stops: Stops = NO_STOPS) -> Dataset:
    """Wrap a PDF for the study of a series; what stops a reader is seen in the list of series too."""
    from pydicom.uid import ExplicitVRLittleEndian

    result = new_object(series, _SOP_CLASS, ExplicitVRLittleEndian)
    result.Modality, result.SeriesNumber, result.ConversionType = "DOC", SERIES_NUMBER, "WSD"
    result.SeriesDescription = stop_title("Vastus report", stops)
    result.ContentDate, result.ContentTime = result.InstanceCreationDate, result.InstanceCreationTime
    result.AcquisitionDateTime = ""
    result.BurnedInAnnotation, result.DocumentTitle = "NO", stop_title(_title(series.table), stops)
    result.ConceptNameCodeSequence = []
    result.MIMETypeOfEncapsulatedDocument = "application/pdf"
    result.EncapsulatedDocumentLength = len(pdf)
    result.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return result


def draw_pdf(
    ct: Volume,
    labels: Volume,
    rows: Iterable[VolumeRow],
    algorithm: Algorithm,
    table: StructureTable = BUILT_IN,
    stops: Stops = NO_STOPS,
) -> bytes:
    """The PDF itself: no patient data is in it, the DICOM header carries them.

    What stops a reader stands in a red box on top of both pages, and in the table at the numbers that it is about.
    """
    from PIL import Image
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    from vastus.report.montage import MontageScan, draw_montage

    stream = io.BytesIO()
    page = Canvas(stream, pagesize=A4)
    page.setTitle(stop_title(_title(table), stops))
    page.setCreator(f"{algorithm.name} {algorithm.version}")
    width, height = A4
    top = _heading(page, (width, height), algorithm, _title(table), stops)
    listed = _table(rows, table, stops)
    _, table_height = listed.wrapOn(page, width - 30 * mm, height)
    listed.drawOn(page, 15 * mm, top - table_height)
    page.showPage()
    top = _heading(page, (width, height), algorithm, _title(table), stops)
    jpeg = io.BytesIO()
    Image.fromarray(draw_montage([MontageScan("", ct, labels, table)])).save(jpeg, "JPEG", quality=85)
    picture = ImageReader(jpeg)
    across, down = picture.getSize()
    scale = min((width - 20 * mm) / across, (top - 24 * mm) / down)
    page.drawImage(picture, 10 * mm, top - down * scale, across * scale, down * scale)
    page.showPage()
    page.save()
    return stream.getvalue()


def _title(table: StructureTable) -> str:
    return _TITLE if table.is_built_in else _TITLE_OF_OWN


def _heading(page: Any, size: tuple[float, float], algorithm: Algorithm, title: str, stops: Stops) -> float:
    """Draw the title and the alarms; returns the height at which the rest begins."""
    from reportlab.lib.units import mm

    width, height = size
    page.setFont("Helvetica-Bold", 14)
    page.drawString(15 * mm, height - 18 * mm, title)
    page.setFont("Helvetica", 8)
    page.drawString(15 * mm, height - 24 * mm, f"{algorithm.name} {algorithm.version}, weights {algorithm.weights}")
    page.drawString(15 * mm, height - 29 * mm, _NOTE)
    top = float(height - 36 * mm)
    if not stops.alarms:
        return top
    box = _alarm_box(stops, width - 30 * mm)
    _, box_height = box.wrapOn(page, width - 30 * mm, height)
    box.drawOn(page, 15 * mm, top - box_height)
    return top - float(box_height) - 4 * mm


def _alarm_box(stops: Stops, width: float) -> Any:
    """What stops a reader, red, as on the page of the scan."""
    from reportlab.lib import colors
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph, Table, TableStyle

    red = colors.HexColor(f"#{STOP_RED}")
    title = ParagraphStyle("title", fontName="Helvetica-Bold", fontSize=13, leading=17, textColor=red)
    plain = ParagraphStyle("plain", fontName="Helvetica", fontSize=8.5, leading=11, textColor=red)
    lines = [Paragraph(_printable(stops.title.upper()), title)]
    lines += [Paragraph(_printable(_shortened(alarm)), plain) for alarm in stops.alarms]
    style = [
        ("BOX", (0, 0), (-1, -1), 1.5, red),
        ("BACKGROUND", (0, 0), (-1, -1), colors.HexColor(_PALE)),
        ("TOPPADDING", (0, 0), (-1, -1), 3),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
    ]
    return Table([[line] for line in lines], colWidths=[width], style=TableStyle(style))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_ALARM else f"{text[:_LONGEST_ALARM]} ..."


def _printable(text: str) -> str:
    """Text as markup of a paragraph, in the letters of the built-in fonts."""
    from xml.sax.saxutils import escape

    plain = text.replace("\u2212", "-").replace("\u2013", "-").replace("\u2014", "-")
    return escape(plain.encode("cp1252", "replace").decode("cp1252"))


def _table(rows: Iterable[VolumeRow], table: StructureTable, stops: Stops) -> Any:
    from reportlab.lib import colors
    from reportlab.platypus import Table, TableStyle

    by_label = {(row.structure, row.side): row for row in rows}
    sides = [Side.RIGHT, Side.LEFT]
    seen = {side for (_, side), row in by_label.items() if row.volume_mm3 is not None}
    sides += [side for side in (Side.UNKNOWN, Side.MIDLINE) if side in seen]
    lines = [["Structure", *(f"{side.value}: {what}" for side in sides for what in ("cm³", "mean HU"))]]
    padding = 2 if len(table.rows) < _MANY_ROWS else 0.5
    red: list[tuple[Any, ...]] = []
    for structure in table.rows:
        line: list[Any] = [structure.drawn_name]
        for side in sides:
            row = by_label.get((structure.key, side))
            mark = _mark(row, stops, (structure.key, side.value))
            if mark:
                at = len(line), len(lines)
                red.append(("TEXTCOLOR", at, (at[0] + 1, at[1]), colors.HexColor(f"#{STOP_RED}")))
            line += _cells(row, mark)
        lines.append(line)
    style = [
        ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 8),
        ("FONT", (0, 1), (-1, -1), "Helvetica", 8),
        ("ALIGN", (1, 0), (-1, -1), "RIGHT"),
        ("LINEBELOW", (0, 0), (-1, -1), 0.25, colors.lightgrey),
        ("TOPPADDING", (0, 0), (-1, -1), padding),
        ("BOTTOMPADDING", (0, 0), (-1, -1), padding),
        *red,
    ]
    if stops.unusable:
        style.append(("TEXTCOLOR", (1, 1), (-1, -1), colors.grey))
        lines = [lines[0], *([name, *(_struck(cell) for cell in cells)] for name, *cells in lines[1:])]
    return Table(lines, style=TableStyle(style))


def _struck(cell: str) -> Any:
    """A number that must not be used, with a line through it."""
    if cell == _NOT_FOUND:
        return cell
    from reportlab.lib import colors
    from reportlab.lib.enums import TA_RIGHT
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph

    grey = ParagraphStyle(
        "grey", fontName="Helvetica", fontSize=8, leading=9.6, textColor=colors.grey, alignment=TA_RIGHT
    )
    return Paragraph(f"<strike>{_printable(cell)}</strike>", grey)


def _mark(row: VolumeRow | None, stops: Stops, place: tuple[str, str]) -> str:
    """What stops a reader at a number; a fragment says so itself."""
    missed = f" {_MISSED}" if place in stops.missed else ""
    return f"{missed} {_LIKELY_WRONG}" if place in stops.wrong and row is not None and not row.fragment else missed


def _cells(row: VolumeRow | None, stop: str) -> tuple[str, str]:
    if row is None or row.volume_mm3 is None:
        return f"{_NOT_FOUND}{stop}", _NOT_FOUND
    mark = " fragment" if row.fragment else " *" if row.truncated else ""
    volume = f"{row.volume_mm3 / 1000:.1f}{mark}{stop}"
    return volume, _NOT_FOUND if row.mean_hu is None else f"{row.mean_hu:.1f}"
