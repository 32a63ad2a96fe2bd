"""Names of the columns in the tables that Vastus writes and reads: the one place that knows them."""

from __future__ import annotations

from typing import Final

SUBJECT: Final = "subject"
STRUCTURE: Final = "structure"
GROUP: Final = "group"
SIDE: Final = "side"
VOLUME_MM3: Final = "volume_mm3"
MEAN_HU: Final = "mean_hu"
TRUNCATED: Final = "truncated"

FRAGMENT: Final = "fragment"
"""Whether what is labelled is too small to be the structure (``vastus.muscle_volumes.find_fragments``); a table without
the column is older than it."""

ALL: Final = "all"
"""In place of a structure or group: the row speaks of all of them."""
BOTH_SIDES: Final = "both"
ALL_MUSCLES: Final = "all_muscles"
SUBCUTANEOUS_FAT: Final = "subcutaneous_fat"
INTERMUSCULAR_FAT: Final = "intermuscular_fat"
MUSCLES: Final = "muscles"
BONES: Final = "bones"
FOREGROUND: Final = "foreground"
"""Names in tables that are not those of a structure or group: no structure of one's own may have one of them."""

VOLUME_COLUMNS: Final = (SUBJECT, STRUCTURE, GROUP, SIDE, VOLUME_MM3, MEAN_HU, TRUNCATED, FRAGMENT)
"""Columns of ``volumes.csv``: one row a structure and side, always all 58. An absent structure has an empty volume
and HU (never 0), ``truncated`` and ``fragment`` are ``true`` or ``false``; side is ``right`` or ``left`` (``unknown``
rows are added only when the side of a structure can't be told)."""

MEASURE: Final = "measure"
VALUE: Final = "value"
UNIT: Final = "unit"
CONFIDENCE: Final = "confidence"
"""Name of the rows in ``measures.csv`` (unit 1), and of the entry in ``run.json``, that say how sure the network is:
the mean probability of the labels given, of each structure and side, and of the scan (structure and group ``all``,
side ``both``). Only where a network made the labels."""
AGREEMENT: Final = "agreement"
"""Entry of ``run.json``: what agreement (Dice) with a reader is expected of each structure."""
ALARMS: Final = "alarms"
"""Entry of ``run.json``: sentences that must stop a reader: scans of which no number is to be used, structures that are
likely wrong."""
MISSING: Final = "missing"
"""Entry of ``run.json``: structures that should be in the scan and were not found."""
EXPECTED_AGREEMENT: Final = "expected_agreement"
EXPECTED_LOW: Final = "expected_agreement_low"
EXPECTED_HIGH: Final = "expected_agreement_high"
PROBABILITY_WRONG: Final = "probability_wrong"
"""Names of the rows in ``measures.csv`` (unit 1): expected Dice, the interval around it, the chance of a Dice below
0.7. Empty where the weights have no model of agreement (``vastus.quality``)."""
LIKELY_WRONG: Final = 0.5
"""From this chance on a structure is called likely wrong."""
LEVEL: Final = "level"

CONFIDENCE_COLUMNS: Final = (SUBJECT, STRUCTURE, SIDE, CONFIDENCE, EXPECTED_AGREEMENT, PROBABILITY_WRONG)
"""Columns of ``confidence.csv`` of an archive: the scan (``all``, ``both``), then what was found in it. The last two
are empty where they are not known."""

MEASURE_COLUMNS: Final = (SUBJECT, STRUCTURE, GROUP, SIDE, MEASURE, VALUE, UNIT, TRUNCATED, FRAGMENT)
"""Columns of ``measures.csv``, tidy: one row a value. ``structure`` is a key, ``all`` in rows of a group,
``subcutaneous_fat`` or ``intermuscular_fat``; ``group`` is ``all`` for all muscles together; side may be ``both``."""

LEVEL_COLUMNS: Final = (
    SUBJECT,
    SIDE,
    LEVEL,
    "position_mm",
    "percent",
    "x_mm",
    "y_mm",
    "z_mm",
    STRUCTURE,
    GROUP,
    "area_mm2",
    TRUNCATED,
)
"""Columns of ``levels.csv``: one row an area. x, y, z are RAS+ millimetres of the point on the femur's axis."""

LABELS_FILE: Final = "labels.nii.gz"
VOLUMES_FILE: Final = "volumes.csv"
MEASURES_FILE: Final = "measures.csv"
LEVELS_FILE: Final = "levels.csv"
CONFIDENCE_FILE: Final = "confidence.csv"
MEASURES_RECORD_FILE: Final = "measures.json"
RECORD_FILE: Final = "run.json"
PAGE_FILE: Final = "report.html"
STRUCTURE_TABLE_FILE: Final = "structure_table.csv"
"""What the structures are, where they are not the built-in ones: beside a label map, or in a data set."""
SCANS_FOLDER: Final = "scans"
"""In the folder of an archive: the results of each scan, in a folder of its name."""
DICOM_FOLDER: Final = "dicom"
SEG_FILE: Final = "seg.dcm"
SR_FILE: Final = "sr.dcm"
RTSTRUCT_FILE: Final = "rtstruct.dcm"
PDF_FILE: Final = "report.dcm"
SEGMENTS_FILE: Final = "labels.seg.nrrd"
WORKBOOK_FILE: Final = "results.xlsx"
FURTHER_FILES: Final = (SEGMENTS_FILE, WORKBOOK_FILE)
"""Only where they were asked for; an older run's do not belong to new labels."""
