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

VOLUME_COLUMNS: Final = (SUBJECT, STRUCTURE, GROUP, SIDE, VOLUME_MM3, MEAN_HU, TRUNCATED)
"""Columns of ``volumes.csv``: one row a structure and side, always all 58. An absent structure has an empty volume
and HU (never 0), ``truncated`` is ``true`` or ``false``; side is ``right`` or ``left`` (``unknown`` rows are added
only when the side of a structure can't be told)."""

LABELS_FILE: Final = "labels.nii.gz"
VOLUMES_FILE: Final = "volumes.csv"
MEASURES_FILE: Final = "measures.csv"
RECORD_FILE: Final = "run.json"
PAGE_FILE: Final = "report.html"
