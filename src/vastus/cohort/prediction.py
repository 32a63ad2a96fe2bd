"""How well single volumes tell who has sarcopenia: logistic regression, ROC curve, AUC with bootstrap interval."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vastus.cohort import columns
from vastus.cohort.dataset import STATUS, StudyData
from vastus.cohort.table_one import STRATA, stratum
from vastus.cohort.volumes_table import feature_label
from vastus.light_imports import load_models

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

PREDICTORS = 3
"""Muscles with the largest \\|r\\| taken per stratum, and the best group."""
RESAMPLES = 2000
LEAST_PER_GROUP = 3


@dataclass(frozen=True, slots=True, eq=False)
class RocCurve:
    """ROC curve of one predictor."""

    stratum: str
    label: str
    auc: float
    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Result of ``predict_status``: a table with one row a stratum and predictor, and the curves."""

    table: pd.DataFrame
    curves: tuple[RocCurve, ...]


def predict_status(dataset: StudyData, correlations: pd.DataFrame, seed: int = 0) -> Prediction:
    """Fit and rate the best predictors of each stratum.

    The predictors are chosen on the same people, so every figure is apparent (optimistic), not validated.

    Args:
        dataset: the people and their volume / height^2.
        correlations: of ``status_correlations``.
        seed: of the bootstrap.

    Returns:
        Rows: stratum, feature, label, n_without, n_with, odds_ratio (per SD of volume / height^2), or_low, or_high,
        p_logistic, odds_ratio_age (adjusted for age), p_age_adjusted, auc, auc_low, auc_high, note.
    """
    import pandas as pd

    load_models()
    rows, curves = [], []
    for name, sex in STRATA:
        people = stratum(dataset.people, dataset.people, sex)
        index = stratum(dataset.index_cm3_m2, dataset.people, sex)
        for feature in _best(correlations[correlations["stratum"] == name]):
            known = index[feature].notna() & people[STATUS].notna()
            x = index.loc[known, feature].to_numpy(float)
            status = people.loc[known, STATUS].to_numpy(float)
            age = people.loc[known, columns.AGE].to_numpy(float)
            if min((status == 0).sum(), (status == 1).sum()) < LEAST_PER_GROUP:
                continue
            label = feature_label(feature, dataset.table)
            row: dict[str, object] = {"stratum": name, "feature": feature, "label": label}
            row |= {"n_without": int((status == 0).sum()), "n_with": int((status == 1).sum())}
            rows.append(row | logistic(x, status, age) | area_under_curve(x, status, seed))
            curves.append(_curve(name, label, x, status))
    names = [
        "stratum",
        "feature",
        "label",
        "n_without",
        "n_with",
        "odds_ratio",
        "or_low",
        "or_high",
        "p_logistic",
        "odds_ratio_age",
        "p_age_adjusted",
        "auc",
        "auc_low",
        "auc_high",
        "note",
    ]
    return Prediction(pd.DataFrame(rows, columns=names), tuple(curves))


def logistic(x: np.ndarray, status: np.ndarray, age: np.ndarray) -> dict[str, object]:
    """Compute the odds ratio of sarcopenia per SD of x, alone and with age; empty with a note if there is none.

    Args:
        x: volumes of each person, (N,).
        status: sarcopenia, 0 or 1, (N,).
        age: in years, NaN where unknown, (N,).

    Returns:
        Odds ratio, its limits and p, alone and with age, and ``note``.
    """
    import numpy as np

    z = (x - x.mean()) / x.std(ddof=1)
    single = _fit_logit(np.column_stack([np.ones_like(z), z]), status)
    out: dict[str, object] = dict.fromkeys(("odds_ratio", "or_low", "or_high", "p_logistic"), float("nan"))
    out |= {"odds_ratio_age": float("nan"), "p_age_adjusted": float("nan"), "note": ""}
    if single is None:
        return out | {"note": "the volume separates the groups: no finite odds ratio"}
    out |= {"odds_ratio": single[0], "or_low": single[1], "or_high": single[2], "p_logistic": single[3]}
    known = ~np.isnan(age)
    if known.all() and age.min() < age.max():
        scaled_age = (age - age.mean()) / age.std(ddof=1)
        both = _fit_logit(np.column_stack([np.ones_like(z), z, scaled_age]), status)
        if both is None:
            out["note"] = "with age the groups are separated: no finite adjusted odds ratio"
        else:
            out |= {"odds_ratio_age": both[0], "p_age_adjusted": both[3]}
    return out


def area_under_curve(x: np.ndarray, status: np.ndarray, seed: int) -> dict[str, float]:
    """Compute the AUC for "a small volume means sarcopenia", with a stratified percentile bootstrap interval.

    Args:
        x: volumes of each person, (N,).
        status: sarcopenia, 0 or 1, (N,).
        seed: of the bootstrap.

    Returns:
        The AUC with its limits.
    """
    import numpy as np
    from scipy import stats

    without, with_ = x[status == 0], x[status == 1]
    # Who has the larger volume, for every pair: 1, a half for equal ones, 0. Resamples only weigh the pairs anew, so
    # that their U is a product of matrices, and the same to the last bit as by ranks.
    larger = np.sign(without[:, None] - with_[None, :]) * 0.5 + 0.5

    def auc(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        del axis  # always the last
        times_a, times_b = (_times(drawn, n) for drawn, n in zip((a, b), larger.shape, strict=True))
        return ((times_a @ larger) * times_b).sum(-1) / larger.size

    value = float(larger.mean())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # perfect separation: every resample is 1, which SciPy calls degenerate
        low, high = stats.bootstrap(
            tuple(map(np.arange, larger.shape)),
            auc,
            n_resamples=RESAMPLES,
            method="percentile",
            vectorized=True,
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return {"auc": value, "auc_low": float(low), "auc_high": float(high)}


def _times(drawn: np.ndarray, count: int) -> np.ndarray:
    """How often each of 0..count stands in each row, shape (rows, count)."""
    import numpy as np

    rows = np.atleast_2d(drawn)
    at = rows + count * np.arange(len(rows))[:, None]
    return np.bincount(at.ravel(), minlength=count * len(rows)).reshape(len(rows), count).astype(float)


def _best(correlations: pd.DataFrame) -> list[str]:
    """Find the muscles with the largest absolute r, and the best group."""
    ranked = correlations[correlations["r"].notna()]
    ranked = ranked.reindex(ranked["r"].abs().sort_values(ascending=False, kind="stable").index)
    muscles = ranked.loc[ranked["kind"] == "muscle", "feature"].head(PREDICTORS)
    return [*muscles, *ranked.loc[ranked["kind"] == "group", "feature"].head(1)]


def _fit_logit(design: np.ndarray, status: np.ndarray) -> tuple[float, float, float, float] | None:
    """Fit odds ratio, 95 % interval and p of the second column; None if the groups are separated."""
    import numpy as np
    from statsmodels.discrete.discrete_model import Logit
    from statsmodels.tools.sm_exceptions import PerfectSeparationError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fit = Logit(status, design).fit(disp=False, maxiter=200)
        except (PerfectSeparationError, np.linalg.LinAlgError):
            return None
        predicted = fit.predict()
        error = fit.bse[1]
    separated = np.all((predicted > 0.5) == (status > 0.5)) and np.abs(predicted - status).max() < 1e-3
    if separated or not fit.mle_retvals["converged"] or not np.isfinite(error):
        return None
    low, high = np.exp(fit.conf_int()[1])
    return float(np.exp(fit.params[1])), float(low), float(high), float(fit.pvalues[1])


def _curve(name: str, label: str, x: np.ndarray, status: np.ndarray) -> RocCurve:
    from sklearn.metrics import auc, roc_curve

    false_positive, true_positive, _ = roc_curve(status, -x, drop_intermediate=False)
    return RocCurve(name, label, float(auc(false_positive, true_positive)), false_positive, true_positive)
