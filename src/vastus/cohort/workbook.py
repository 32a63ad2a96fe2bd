"""A cohort as one workbook: a row a patient, then the statistics, then what every column means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vastus.cohort import narrative
from vastus.cohort.results import CohortResults
from vastus.cohort.volumes_table import feature_label
from vastus.io.workbook import STOP, Column, Sheet, write_workbook

if TYPE_CHECKING:
    import pandas as pd

_INDEX_UNIT: Final = "cm³/m²"
_UNITS: Final = (
    ("_cm3_m2", _INDEX_UNIT),
    ("_kg_m2", "kg/m²"),
    ("_cm3", "cm³"),
    ("_mm3", "mm³"),
    ("_percent", "%"),
    ("percent_of_expected", "%"),
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
    "scan": "Name of the person's first scan in the table of volumes.",
    "scan_date": "Day of the scan, as year-month-day.",
    "sex": "F or M.",
    "mass_method": "How the muscle mass was measured: dxa or bia.",
    "fracture_side": "Right or left.",
    "fracture_type": "As in the clinical table.",
    "amputation": "Of a lower limb, as in the clinical table.",
    "implant": "Metal in the scan, as in the clinical table.",
    "image_quality": "As in the clinical table.",
    "age_years": "Age.",
    "height_cm": "Height.",
    "weight_kg": "Weight.",
    "bmi_kg_m2": "Weight divided by height squared.",
    "smi_kg_m2": "Skeletal muscle index: lean mass of the limbs divided by height squared.",
    "asm_kg": "Lean mass of the limbs (appendicular skeletal muscle).",
    "grip_kg": "Grip strength.",
    "gait_m_s": "Usual gait speed.",
    "chair_stand_s": "Time for five chair stands.",
    "sppb": "Short Physical Performance Battery, 0 to 12 points.",
    "tug_s": "Timed Up and Go.",
    "calf_cm": "Largest girth of the calf.",
    "sarc_f": "SARC-F questionnaire, 0 to 10 points.",
    "sarc_calf": "SARC-CalF: SARC-F with the calf, 0 to 20 points.",
    "stage": "Stage of sarcopenia by the chosen criteria.",
    "stage_reason": "The values and cutoffs that settled the stage, or what is lacking.",
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
    "outcome": "The clinical value that is correlated with the volume.",
    "p_rho": "p of Spearman's rho.",
    "p_logistic": "p of the odds ratio.",
    "odds_ratio_age": "Odds ratio with age in the model.",
    "p_age_adjusted": "p of the odds ratio with age in the model.",
    "variable": "What is compared between people with and without sarcopenia.",
    "level": "The category, where the variable has categories.",
    "without": "Mean ± SD, median [quartiles] or number (percent) without sarcopenia.",
    "with": "The same with sarcopenia.",
    "fractured_cm3": "Mean volume on the fractured side.",
    "other_cm3": "Mean volume on the other side.",
    "difference_cm3": "Fractured minus other side, mean.",
    "difference_percent": "Mean of each person's difference in percent of the other side.",
    "days": "Between the first and the last scan; in summaries the median.",
    "side": "Right, left, both, fractured or other side.",
    "first_cm3": "Volume in the first scan.",
    "last_cm3": "Volume in the last scan.",
    "change_cm3": "Last minus first; in summaries the mean.",
    "change_percent": "The same in percent of the first; in summaries the mean.",
    "sd_cm3": "Standard deviation of change_cm3.",
    "sd_percent": "Standard deviation of change_percent.",
    "test": "Name of the test that gave p.",
    "test_between": "Name of the test between the two most frequent fracture types.",
    "p_between": "p between these two; in the first row of the stratum.",
    "thigh_muscle_to_femur": "Volume of the thigh's muscles divided by that of the femur.",
    "published_mean": "Published mean of it for this sex and age.",
    "structure": "Key of the muscle.",
    "percent_of_expected": "Volume in percent of what is expected by height and mass of healthy young adults.",
    "step": "Step of the selection.",
    "before": "People before the step.",
    "removed": "People that it removed.",
    "after": "People after it.",
    "note": "What to know about the row.",
    "row": "Row of the clinical table.",
    "column": "Column of the clinical table.",
    "what": "What is wrong.",
    "first": "Group by the first criteria.",
    "second": "Group by the second criteria.",
    "first_stage": "Stage by the first criteria.",
    "second_stage": "Stage by the second criteria.",
    "changed": "1 where the two criteria give different groups.",
    "first_reason": "What settled it by the first criteria.",
    "second_reason": "What settled it by the second criteria.",
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
    stops = narrative.stop_sentences(results.dataset.problems)
    if stops:
        column = Column(STOP, "", "What to know before any number is used.")
        yield Sheet(STOP, (column,), [(text,) for text in stops], range(len(stops)))
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
            Column(
                feature_label(f, results.dataset.table),
                _INDEX_UNIT,
                "Right and left volume together, divided by height squared.",
            )
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
