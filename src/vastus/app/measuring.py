"""A result measured anew, from labels that a person has corrected."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from vastus.anatomy import UNLABELLED
from vastus.io.atomic import cleaned_up, hidden_path, put_in_place
from vastus.io.csv_tables import write_volume_rows
from vastus.io.labels import read_label_map, write_labels
from vastus.io.scans import read_scan
from vastus.io.structure_tables import table_in
from vastus.io.tables import (
    AGREEMENT,
    ALARMS,
    CONFIDENCE,
    LABELS_FILE,
    LEVELS_FILE,
    MEASURES_FILE,
    PAGE_FILE,
    RECORD_FILE,
    VOLUMES_FILE,
)


def measure_again(scan_path: Path, labels_path: Path, folder: Path, named: tuple[str, str]) -> None:
    """Replace the labels, tables and page of a result.

    Args:
        scan_path: the scan, on whose voxels the labels lie.
        labels_path: the corrected labels; voxels that nobody looked at count as background.
        folder: of the result.
        named: what the tables call the scan, and whose labels these are.

    Raises:
        InputError: scan or labels can't be read.
        OutputError: the results can't be written.
    """
    from vastus.morphometry import (
        fragment_warnings,
        measure_rows,
        measure_scan,
        too_large,
        write_level_rows,
        write_measure_rows,
    )
    from vastus.report.page import PageRecord, write_page

    subject, whose = named
    scan = read_scan(scan_path).volume
    table = table_in(folder)
    drawn = read_label_map(labels_path, partly=True, table=table).volume
    labels = drawn.with_array(np.where(drawn.array == UNLABELLED, 0, drawn.array).astype(np.uint8))
    found = measure_scan(scan, labels, subject, table=table)
    rows, measures = found.volume_rows(), measure_rows(found)
    record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    # What was said of the network's labels (doubts, confidence, times) is not true of these.
    for name in (CONFIDENCE, AGREEMENT, ALARMS, "seconds", "windows"):
        record.pop(name, None)
    record |= {"labels": whose, "warnings": [*too_large(found.structures), *fragment_warnings(found.structures)]}
    weights = record["weights"]
    page = PageRecord(
        subject=subject,
        weights=f"{weights['name']} ({weights['sha256'][:12]}), {whose}",
        trained_on=weights["trained_on"],
        device=record["device"],
        spacing_mm=scan.spacing_mm,
        versions=record["versions"],
        warnings=tuple(record["warnings"]),
        table=table,
    )
    staging = hidden_path(folder)
    with cleaned_up(lambda: shutil.rmtree(staging, ignore_errors=True)):
        staging.mkdir(mode=0o700)
        write_labels(labels, staging / LABELS_FILE, table=table)
        write_volume_rows(rows, staging / VOLUMES_FILE)
        write_measure_rows(measures, staging / MEASURES_FILE)
        write_level_rows(subject, found.areas, staging / LEVELS_FILE)
        write_page(staging / PAGE_FILE, scan, labels, rows, page, measures)
        (staging / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        for name in (LABELS_FILE, VOLUMES_FILE, MEASURES_FILE, LEVELS_FILE, PAGE_FILE, RECORD_FILE):
            put_in_place(staging / name, folder / name)
