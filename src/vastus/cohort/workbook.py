"""A cohort as one workbook: a row a patient, then the statistics, then what every column means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vastus.cohort.results import CohortResults
from vastus.cohort.volumes_table import feature_label
from vastus.io.workbook import Column, Sheet, write_workbook

if TYPE_CHECKING:
    import pandas as pd

_INDEX_UNIT: Final = "cm³/m²"
_UNITS: Final = (
    ("_cm3_m2", _INDEX_UNIT),
    ("_kg_m2", "kg/m²"),
    ("_cm3", "cm³"),
    ("_mm3", "mm³"),
    ("_percent", "%"),
    ("_years", "years"),
    ("_cm", "cm"),
    ("_kg", "kg"),
    ("_m_s", "m/s"),
    ("_s", "s"),
    ("days", "days"),
)
"""Unit by the end of a column's name."""
_MEANINGS: Final = {
    "subject": "The person as in the clinical table.",
    "id": "The person or scan as in the input.",
    "sex": "F or M.",
    "sarcopenia": "1 with, 0 without, empty where the values do not settle it.",
    "stratum": "All, women or men.",
    "feature": "Key of the muscle or group.",
    "label": "Name of the muscle or group.",
    "kind": "Muscle or group.",
    "n": "People or pairs with a value.",
    "n_with": "People with sarcopenia and a value.",
    "n_without": "People without sarcopenia and with a value.",
    "r": "Point-biserial or Pearson's correlation.",
    "rho": "Spearman's rank correlation.",
    "ci_low": "Lower end of the 95 % interval of r.",
    "ci_high": "Upper end of the 95 % interval of r.",
    "p": "Two-sided p, not corrected.",
    "p_holm": "p after Holm's correction within the sex.",
    "p_fdr": "p after Benjamini-Hochberg within the sex.",
    "r_age": "Partial correlation, age held constant.",
    "p_age": "p of the partial correlation.",
    "odds_ratio": "Odds ratio of sarcopenia per standard deviation.",
    "or_low": "Lower end of its 95 % interval.",
    "or_high": "Upper end of its 95 % interval.",
    "auc": "Area under the ROC curve, apparent.",
    "auc_low": "Lower end of its 95 % bootstrap interval.",
    "auc_high": "Upper end of its 95 % bootstrap interval.",
    "test": "Name of the test that gave p.",
    "reason": "Why the person or scan was left out.",
}
_LONG: Final = ("volumes_per_height2", "roc_curves")
"""Tables with many rows a person: the first stands as its own sheet with a row a person, the second is in the CSV."""


def write_cohort_workbook(path: Path, results: CohortResults) -> None:
    """Write everything that ``tables`` holds as sheets; people and structures have a row for each patient.

    Raises:
        OutputError: it can't be written.
    """
    write_workbook(path, _sheets(results))


def _sheets(results: CohortResults) -> Iterator[Sheet]:
    tables = dict(results.tables())
    yield _sheet("people", tables.pop("people"))
    yield _structures(results)
    for stem, table in tables.items():
        if stem not in _LONG and len(table.columns):
            yield _sheet(stem, table)


def _structures(results: CohortResults) -> Sheet:
    """Make a row for each patient and a column for each muscle or group; empty if it is not whole on both sides."""
    index = results.dataset.index_cm3_m2
    columns = (
        Column("subject", "", _MEANINGS["subject"]),
        *(
            Column(feature_label(f), _INDEX_UNIT, "Right and left volume together, divided by height squared.")
            for f in index.columns
        ),
    )
    rows = [(name, *values) for name, values in zip(index.index, index.to_numpy(), strict=True)]
    return Sheet("structures", columns, rows)


def _sheet(name: str, table: pd.DataFrame) -> Sheet:
    columns = tuple(Column(str(c), _unit(str(c)), _MEANINGS.get(str(c), "")) for c in table.columns)
    return Sheet(name, columns, table.itertuples(index=False, name=None))


def _unit(column: str) -> str:
    return next((unit for end, unit in _UNITS if column.endswith(end)), "")
