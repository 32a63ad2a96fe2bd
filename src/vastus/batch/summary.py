"""What a run leaves for people: the page of the archive, whom to look at first, and what failed."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.batch.ledger import Ledger
from vastus.batch.review import ScanToReview, findings, read_archive, warned
from vastus.batch.task import ScanState
from vastus.io.atomic import write_text
from vastus.io.structure_tables import table_in
from vastus.io.tables import PAGE_FILE, SCANS_FOLDER, SUBJECT, VOLUMES_FILE

INDEX_FILE: Final = "index.html"
LOOK_FIRST_FILE: Final = "look_first.csv"
FAILED_FILE: Final = "failed.csv"
THUMBNAIL_FILE: Final = "thumbnail.jpg"
_TEMPLATE = Path(__file__).parent / "templates" / "index.html"
_SLOT = "/*DATA*/"
_SUMMED: Final = {
    True: ("Thigh", "muscles of the thigh that the scan shows (anterior, medial, posterior)"),
    False: ("Muscles", "all muscles of the table that the scan shows, without those of the midline"),
}
_ML = 1e-3


@dataclass(frozen=True, slots=True)
class ScanLine:
    """One scan on the page; volumes in millilitres, ``sure``: the network's confidence in the scan."""

    name: str
    state: str
    right_ml: float | None
    left_ml: float | None
    found: int
    cut: int
    findings: tuple[ScanToReview, ...]
    error: str
    seconds: float | None
    sure: float | None = None


def write_summary(ledger: Ledger) -> int:
    """Write page and lists; returns how many scans should be looked at first.

    Raises:
        OutputError: they can't be written.
    """
    table = table_in(ledger.folder)
    archive = read_archive(ledger.folder / VOLUMES_FILE, table)
    standing_out = findings(archive)
    place = {name: n for n, name in enumerate(archive.names)}
    muscles = archive.muscles_mm3
    lines = []
    for row in ledger.rows():
        n = place.get(row["name"])
        told = tuple(warned(text) for text in json.loads(row["warnings"] or "[]"))
        if n is None or row["state"] != ScanState.DONE.value:
            lines.append(ScanLine(row["name"], row["state"], None, None, 0, 0, (), row["error"] or "", row["seconds"]))
            continue
        right, left = (None if math.isnan(value) else round(float(value) * _ML, 1) for value in muscles[n])
        lines.append(
            ScanLine(
                row["name"],
                row["state"],
                right,
                left,
                int((archive.volume_mm3[n] > 0).sum()),
                int(archive.truncated[n].sum()),
                tuple(sorted((*standing_out[n], *told), key=lambda one: -one.weight)),
                "",
                row["seconds"],
                None if math.isnan(archive.confidence[n, -1]) else float(archive.confidence[n, -1]),
            )
        )
    first = sorted((line for line in lines if line.findings), key=lambda line: -_weight(line))
    _write_csv(
        ledger.folder / LOOK_FIRST_FILE,
        (SUBJECT, "reasons", "findings", "weight"),
        [
            (
                line.name,
                " ".join(dict.fromkeys(f.reason.value for f in line.findings)),
                "; ".join(f.text for f in line.findings),
                f"{_weight(line):.1f}",
            )
            for line in first
        ],
    )
    failed = [
        (row["name"], row["path"], row["series"] or "", row["state"], row["attempts"], row["error"], row["message"])
        for row in ledger.rows()
        if row["state"] in (ScanState.REFUSED.value, ScanState.SET_ASIDE.value, ScanState.WAITING.value)
    ]
    _write_csv(
        ledger.folder / FAILED_FILE, (SUBJECT, "path", "series", "state", "attempts", "error", "message"), failed
    )
    write_text(ledger.folder / INDEX_FILE, render(lines, ledger.folder, table))
    return len(first)


def render(lines: list[ScanLine], folder: Path, table: StructureTable = BUILT_IN) -> str:
    """The page: everything inline but the thumbnails, which lie in the scans' folders."""
    rows = [_entry(line, folder) for line in lines]
    summed, words = _SUMMED[table.has_whole_thigh]
    # A "<" could end the script element; as an escape it is the same to JSON.
    data = json.dumps(rows, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    page = _TEMPLATE.read_text(encoding="utf-8").replace("{{summed}}", summed).replace("{{summed in words}}", words)
    return page.replace(_SLOT, data)


def _entry(line: ScanLine, folder: Path) -> dict[str, Any]:
    place = folder / SCANS_FOLDER / line.name
    href = f"{SCANS_FOLDER}/{quote(line.name)}/"
    total = None if line.right_ml is None or line.left_ml is None else round(line.right_ml + line.left_ml, 1)
    sides = None
    if total:
        sides = round(200 * ((line.right_ml or 0.0) - (line.left_ml or 0.0)) / total, 1)
    return {
        "name": line.name,
        "state": line.state,
        "right": line.right_ml,
        "left": line.left_ml,
        "total": total,
        "sides": sides,
        "found": line.found,
        "cut": line.cut,
        "weight": round(_weight(line), 1),
        "flags": [[f.reason.value, f.text] for f in line.findings],
        "error": line.error,
        "sure": None if line.sure is None else round(line.sure, 2),
        "seconds": None if line.seconds is None else round(line.seconds, 1),
        "thumb": href + THUMBNAIL_FILE if (place / THUMBNAIL_FILE).is_file() else "",
        "page": href + PAGE_FILE if (place / PAGE_FILE).is_file() else "",
    }


def _weight(line: ScanLine) -> float:
    return max((f.weight for f in line.findings), default=0.0)


def _write_csv(path: Path, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, stream.getvalue())
