"""The tables of a cohort as a Word document, to be taken into a manuscript: text, captions, numbers, nothing drawn."""

from __future__ import annotations

import copy
import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vastus.cohort import narrative
from vastus.cohort.page import PageTable, word_tables
from vastus.cohort.results import CohortResults
from vastus.io.atomic import atomic_path
from vastus.io.stops import STOP_RED

if TYPE_CHECKING:
    from docx.document import Document

DOCUMENT_FILE: Final = "tables.docx"
_EPOCH = datetime.datetime(2000, 1, 1)
_POINTS = 8


def write_document(path: Path, results: CohortResults, note: str = "") -> bool:
    """Write results in sentences and the tables of the page, atomically; only if python-docx is installed.

    Args:
        path: file to write (.docx).
        results: everything computed for the cohort.
        note: a paragraph at the beginning.

    Returns:
        Whether it was written.

    Raises:
        OutputError: it can't be written.
    """
    if find_spec("docx") is None:
        return False
    from docx import Document as new_document
    from docx.enum.section import WD_ORIENT
    from docx.shared import Pt, RGBColor

    document: Any = new_document()
    document.core_properties.author = "Vastus"
    document.core_properties.created = document.core_properties.modified = _EPOCH  # two runs compare equal
    section = document.sections[0]
    section.orientation = WD_ORIENT.LANDSCAPE
    section.page_width, section.page_height = section.page_height, section.page_width
    document.styles["Normal"].font.size = Pt(10)
    document.add_heading(narrative.title(results), 0)
    for sentence in narrative.stop_sentences(results.dataset.problems):
        run = document.add_paragraph().add_run(sentence)
        run.font.bold, run.font.color.rgb = True, RGBColor.from_string(STOP_RED)
    for text in (
        note,
        f"{results.criteria.name}. {results.criteria.note or ''}",
        "For research; not a medical device.",
    ):
        if text.strip():
            document.add_paragraph(text.strip())
    document.add_heading("Results", 1)
    for sentence in (
        narrative.people_sentence(results),
        *narrative.association_sentences(results),
        *narrative.measure_sentences(results),
        narrative.prediction_caution(results),
        narrative.side_sentence(results),
        *narrative.change_sentences(results),
    ):
        if sentence:
            document.add_paragraph(sentence)
    document.add_heading("Tables", 1)
    for caption, table in word_tables(results):
        _add(document, caption, table)
    document.add_heading("Methods", 1)
    for paragraph in narrative.methods(results):
        document.add_paragraph(paragraph)
    with atomic_path(path) as temporary:
        document.save(str(temporary))
    return True


def _add(document: Document, caption: str, table: PageTable) -> None:
    """Add a real table of Word: its header is repeated on the next page, numbers are aligned right."""
    from docx.enum.text import WD_ALIGN_PARAGRAPH
    from docx.oxml import OxmlElement
    from docx.shared import Pt

    document.add_paragraph(caption, style="Caption").paragraph_format.keep_with_next = True
    target = document.add_table(rows=1, cols=len(table.header), style="Light List")
    first = target.rows[0]
    for column, cell in enumerate(first.cells):
        paragraph = cell.paragraphs[0]
        paragraph.add_run("").font.size = Pt(_POINTS)
        paragraph.paragraph_format.space_after = Pt(0)
        if column >= table.numeric_from:
            paragraph.alignment = WD_ALIGN_PARAGRAPH.RIGHT
    # To copy a row and fill it is much quicker than to set up each of its cells.
    for _ in table.rows:
        target._tbl.append(copy.deepcopy(first._tr))
    first._tr.get_or_add_trPr().append(OxmlElement("w:tblHeader"))
    for row, cells in zip(target._tbl.tr_lst, (table.header, *table.rows), strict=True):
        for cell, text in zip(row.tc_lst, cells, strict=True):
            cell.p_lst[0].r_lst[0].text = text
    document.add_paragraph()
