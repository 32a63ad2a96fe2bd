"""Correlation of volume / height^2 with sarcopenia and with muscle mass, strength and speed, for each sex.

The statistics are SciPy's (r, p, Fisher-z interval) and statsmodels' (power); Holm's correction and the correlation
with age held constant are written out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vastus.anatomy import StructureTable
from vastus.cohort import columns
from vastus.cohort.dataset import STATUS, StudyData
from vastus.cohort.table_one import STRATA, stratum
from vastus.cohort.volumes_table import feature_label, features_of
from vastus.multiple_tests import benjamini_hochberg, holm

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

LEAST_PEOPLE = 4
"""A correlation needs at least so many people (the interval divides by n - 3)."""
LEAST_PER_GROUP = 2
SMALL_GROUP = 10
"""Below this the report warns that a group is tiny."""
POWER = 0.8
ALPHA = 0.05
CONTINUOUS: tuple[str, ...] = (columns.SMI, columns.GRIP, columns.GAIT, columns.CHAIR)


def status_correlations(dataset: StudyData) -> pd.DataFrame:
    """Compute the point-biserial correlation of sarcopenia (1 with, 0 without) with every muscle and group.

    Returns:
        Rows: stratum, feature, label, kind (muscle or group), n_without, n_with, r, ci_low, ci_high, p, p_holm, p_fdr
        (over the muscles, or the groups, of one stratum), r_age, p_age (partial, age held constant).
    """
    import pandas as pd

    rows = []
    for name, sex in STRATA:
        people = stratum(dataset.people, dataset.people, sex)
        index = stratum(dataset.index_cm3_m2, dataset.people, sex)
        of_status, ages = (people[column].to_numpy(float) for column in (STATUS, columns.AGE))
        for feature in features_of(dataset.table):
            x, status, age = _complete(index[feature].to_numpy(float), of_status, ages)
            row = _describe_feature(name, feature, dataset.table)
            counts = [int((status == value).sum()) for value in (0, 1)]
            row |= {"n_without": counts[0], "n_with": counts[1]}
            enough = min(counts) >= LEAST_PER_GROUP
            row |= correlate(x, status) if enough else correlate(x[:0], status[:0])
            row |= partial(x, status, age) if enough else partial(x[:0], status[:0], age[:0])
            rows.append(row)
    return adjust(pd.DataFrame(rows), ["stratum", "kind"])


def continuous_correlations(dataset: StudyData) -> pd.DataFrame:
    """Compute Pearson and Spearman correlation of each muscle and group with SMI, grip, gait speed and chair stands.

    Returns:
        Rows: stratum, outcome, feature, label, kind, n, r, ci_low, ci_high, p, rho, p_rho, p_holm, p_fdr (of Pearson,
        over the muscles, or the groups, of one stratum and outcome).
    """
    import pandas as pd
    from scipy import stats

    rows = []
    for name, sex in STRATA:
        people = stratum(dataset.people, dataset.people, sex)
        index = stratum(dataset.index_cm3_m2, dataset.people, sex)
        for outcome in CONTINUOUS:
            if people[outcome].notna().sum() < LEAST_PEOPLE:
                continue
            of_people = people[outcome].to_numpy(float)
            for feature in features_of(dataset.table):
                x, y = _complete(index[feature].to_numpy(float), of_people)
                row = {
                    **_describe_feature(name, feature, dataset.table),
                    "outcome": outcome,
                    "n": len(x),
                    **correlate(x, y),
                }
                spearman = stats.spearmanr(x, y) if _can_correlate(x, y) else None
                row["rho"] = float(spearman.statistic) if spearman else float("nan")
                row["p_rho"] = float(spearman.pvalue) if spearman else float("nan")
                rows.append(row)
    if not rows:
        names = ["stratum", "outcome", "feature", "label", "kind", "n", "r", "ci_low", "ci_high", "p", "rho", "p_rho"]
        return pd.DataFrame(columns=[*names, "p_holm", "p_fdr"])
    return adjust(pd.DataFrame(rows), ["stratum", "outcome", "kind"])


def correlate(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Compute Pearson's r (point-biserial if y is 0/1) with its 95 % interval and p; empty if it is not defined."""
    from scipy import stats

    if not _can_correlate(x, y):
        return dict.fromkeys(("r", "ci_low", "ci_high", "p"), float("nan"))
    result = stats.pearsonr(x, y)
    interval = result.confidence_interval(1 - ALPHA)
    return {
        "r": float(result.statistic),
        "ci_low": float(interval.low),
        "ci_high": float(interval.high),
        "p": float(result.pvalue),
    }


def partial(x: np.ndarray, y: np.ndarray, age: np.ndarray) -> dict[str, float]:
    """Compute the correlation of x and y with age held constant, over people whose age is known.

    Args:
        x, y: values of each person, (N,).
        age: in years, NaN where unknown, (N,).

    Returns:
        ``r_age`` and ``p_age``, NaN if they are not defined.
    """
    import numpy as np

    known = ~np.isnan(age)
    x, y, age = x[known], y[known], age[known]
    if len(x) <= LEAST_PEOPLE or not _can_correlate(x, y) or age.min() == age.max():
        return {"r_age": float("nan"), "p_age": float("nan")}
    from scipy import stats

    # The correlation of what age leaves of both; one degree of freedom less than without it (Fisher 1924).
    line = np.column_stack([np.ones(len(age)), age])
    rest_x, rest_y = (v - line @ np.linalg.lstsq(line, v, rcond=None)[0] for v in (x, y))
    r = float(np.clip(stats.pearsonr(rest_x, rest_y).statistic, -1.0, 1.0))
    freedom = len(x) - 3
    if abs(r) == 1.0:
        return {"r_age": r, "p_age": 0.0}
    return {"r_age": r, "p_age": float(2.0 * stats.t.sf(abs(r) * np.sqrt(freedom / (1.0 - r * r)), freedom))}


def adjust(table: pd.DataFrame, family: list[str]) -> pd.DataFrame:
    """Add ``p_holm`` and ``p_fdr`` (Benjamini-Hochberg), over the rows of each family that have a p."""
    import numpy as np

    p = table["p"].to_numpy(float)
    for correct, column in ((holm, "p_holm"), (benjamini_hochberg, "p_fdr")):
        adjusted = np.full(len(p), np.nan)
        for rows in table.groupby(family, sort=False).indices.values():
            adjusted[rows] = correct(p[rows])
        table[column] = adjusted
    return table


def power_note(n_without: int, n_with: int) -> str:
    """Say what two groups of that size can show at all: the smallest difference and r found with 80 % power."""
    import math

    from statsmodels.stats.power import TTestIndPower

    if min(n_without, n_with) < LEAST_PER_GROUP:
        return f"{n_without} people without and {n_with} with sarcopenia: no correlation can be computed."
    d = float(
        TTestIndPower().solve_power(
            effect_size=None, nobs1=n_without, ratio=n_with / n_without, alpha=ALPHA, power=POWER
        )
    )
    if not math.isfinite(d):
        return f"{n_without} people without and {n_with} with sarcopenia: the power can't be computed."
    share = n_without * n_with / (n_without + n_with) ** 2
    r = d / math.sqrt(d**2 + 1 / share)
    tiny = " One group is tiny: intervals are wide, and one person can change the result." * (
        min(n_without, n_with) < SMALL_GROUP
    )
    return (
        f"{n_without} people without and {n_with} with sarcopenia: a difference of {d:.2f} SD (|r| about {r:.2f}) is "
        f"found with {POWER:.0%} power at p < {ALPHA:g}, before correction.{tiny}"
    )


def _can_correlate(x: np.ndarray, y: np.ndarray) -> bool:
    return len(x) >= LEAST_PEOPLE and x.min() < x.max() and y.min() < y.max()


def _describe_feature(stratum_name: str, feature: str, table: StructureTable) -> dict[str, object]:
    kind = "group" if feature.startswith("group:") else "muscle"
    return {"stratum": stratum_name, "feature": feature, "label": feature_label(feature, table), "kind": kind}


def _complete(x: np.ndarray, y: np.ndarray, *extra: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the values where both x and y are known (``extra`` may stay empty)."""
    import numpy as np

    known = ~(np.isnan(x) | np.isnan(y))
    return tuple(values[known] for values in (x, y, *extra))
