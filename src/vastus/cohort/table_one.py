"""Table 1: who the people are, by sarcopenia, for everybody and each sex."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from vastus.cohort import columns
from vastus.cohort.dataset import BMI, STATUS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

NORMAL_P = 0.05
"""Shapiro-Wilk p above which both groups count as normal: mean +- SD and Welch's t-test, else median and
Mann-Whitney's U test."""
SMALL_EXPECTED = 5
"""Expected count below which Fisher's exact test replaces the chi-squared test."""

_NUMERIC = (
    columns.AGE,
    columns.HEIGHT,
    columns.WEIGHT,
    BMI,
    columns.SMI,
    columns.GRIP,
    columns.GAIT,
    columns.CHAIR,
    columns.SPPB,
    columns.TUG,
    columns.CALF,
)
_CATEGORICAL = (columns.SEX, columns.FRACTURE_TYPE, columns.FRACTURE_SIDE)
LABELS: dict[str, str] = {
    columns.AGE: "Age (years)",
    columns.HEIGHT: "Height (cm)",
    columns.WEIGHT: "Weight (kg)",
    BMI: "BMI (kg/m²)",
    columns.SMI: "SMI (kg/m²)",
    columns.GRIP: "Grip strength (kg)",
    columns.GAIT: "Gait speed (m/s)",
    columns.CHAIR: "Five chair stands (s)",
    columns.SPPB: "SPPB (points)",
    columns.TUG: "Timed up and go (s)",
    columns.CALF: "Calf circumference (cm)",
    columns.SEX: "Sex",
    columns.FRACTURE_TYPE: "Fracture type",
    columns.FRACTURE_SIDE: "Fracture side",
}
STRATA: tuple[tuple[str, str | None], ...] = (("All", None), ("Women", "F"), ("Men", "M"))
"""Names of the strata and the value of ``sex`` (None: everybody)."""


def stratum(frame: pd.DataFrame, people: pd.DataFrame, sex: str | None) -> pd.DataFrame:
    """Return the rows of one stratum of a frame that shares its index with ``people``.

    Args:
        frame: any table with a row for each person.
        people: the people, with their sex.
        sex: ``F`` or ``M``; None keeps all.

    Returns:
        The rows.
    """
    return frame if sex is None else frame[people[columns.SEX] == sex]


def table_one(people: pd.DataFrame) -> pd.DataFrame:
    """Describe and compare.

    Args:
        people: ``Dataset.people``; those without a status are in neither group.

    Returns:
        Rows: stratum, variable, level (of a category, else empty), n_without, without, n_with, with, test, p.
    """
    import pandas as pd

    rows: list[dict[str, object]] = []
    for name, sex in STRATA:
        part = stratum(people, people, sex)
        part = part[part[STATUS].notna()]
        groups = [part[part[STATUS] == value] for value in (0, 1)]
        for variable in _NUMERIC:
            if part[variable].notna().any():
                rows.append({"stratum": name, **_numeric_row(variable, groups)})
        for variable in _CATEGORICAL:
            if part[variable].notna().any() and not (variable == columns.SEX and sex is not None):
                rows += [{"stratum": name, **row} for row in _category_rows(variable, groups)]
    return pd.DataFrame(
        rows, columns=["stratum", "variable", "level", "n_without", "without", "n_with", "with", "test", "p"]
    )


def compare_two(first: np.ndarray, second: np.ndarray) -> tuple[str, float]:
    """Test with Welch's t-test if both groups look normal, else Mann-Whitney U: (name, p); none below two values."""
    from scipy import stats

    if min(len(first), len(second)) < 2:
        return "too few", float("nan")
    if is_normal(first) and is_normal(second):
        return "Welch t", float(stats.ttest_ind(first, second, equal_var=False).pvalue)
    return "Mann-Whitney U", float(stats.mannwhitneyu(first, second, alternative="two-sided").pvalue)


def is_normal(values: np.ndarray) -> bool:
    """Tell whether Shapiro-Wilk does not reject normality; never for fewer than three or constant values."""
    from scipy import stats

    if len(values) < 3 or values.min() == values.max():
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # SciPy warns above 5,000 values
        return bool(stats.shapiro(values).pvalue > NORMAL_P)


def _numeric_row(variable: str, groups: list[pd.DataFrame]) -> dict[str, object]:
    values = [group[variable].dropna().to_numpy() for group in groups]
    normal = all(is_normal(v) for v in values)
    test, p = compare_two(*values)
    texts = [_describe(v, normal) for v in values]
    return {
        "variable": variable,
        "level": "",
        "n_without": len(values[0]),
        "without": texts[0],
        "n_with": len(values[1]),
        "with": texts[1],
        "test": test,
        "p": p,
    }


def _describe(values: np.ndarray, normal: bool) -> str:
    import numpy as np

    if len(values) == 0:
        return ""
    digits = 2 if np.median(np.abs(values)) < 10 else 1
    if normal:
        return f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"
    low, median, high = np.percentile(values, (25, 50, 75))
    return f"{median:.{digits}f} [{low:.{digits}f}–{high:.{digits}f}]"


def _category_rows(variable: str, groups: list[pd.DataFrame]) -> list[dict[str, object]]:
    import pandas as pd

    counts = pd.concat([g[variable].value_counts() for g in groups], axis=1).fillna(0).astype(int).sort_index()
    test, p = _compare_counts(counts.to_numpy())
    totals = counts.to_numpy().sum(axis=0)
    rows: list[dict[str, object]] = []
    for position, (level, pair) in enumerate(zip(counts.index, counts.to_numpy(), strict=True)):
        texts = [f"{n} ({100 * n / max(total, 1):.0f} %)" for n, total in zip(pair, totals, strict=True)]
        rows.append(
            {
                "variable": variable,
                "level": str(level),
                "n_without": int(pair[0]),
                "without": texts[0],
                "n_with": int(pair[1]),
                "with": texts[1],
                "test": test if position == 0 else "",
                "p": p if position == 0 else float("nan"),
            }
        )
    return rows


def _compare_counts(counts: np.ndarray) -> tuple[str, float]:
    from scipy import stats

    if counts.shape[0] < 2 or (counts.sum(axis=0) == 0).any():
        return "too few", float("nan")
    if (stats.contingency.expected_freq(counts) < SMALL_EXPECTED).any():
        return "Fisher exact", float(stats.fisher_exact(counts).pvalue)
    return "chi-squared", float(stats.chi2_contingency(counts, correction=False).pvalue)
