"""Scores of many cases -> means, and agreement of volumes, by structure, group and as a whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.evaluation import metrics as m
from vastus.evaluation.agreement import (
    BlandAltman,
    Estimate,
    bland_altman,
    koo_li_band,
    lin_ccc,
    pearson,
)
from vastus.evaluation.icc import icc_2_1, icc_3_1
from vastus.evaluation.policy import Presence
from vastus.evaluation.slices import Cells, SummaryLevel, case_volumes, filled_slices, grouped_means
from vastus.io.tables import SIDE, STRUCTURE, SUBJECT

if TYPE_CHECKING:
    import pandas as pd

LEVEL, NAME, METRIC, OVER, FIRST, SECOND = "level", "name", "metric", "over", "first", "second"
REFERENCE_NAME = "reference"


class Over(Enum):
    """Over what mean and SD are taken; what lies below is averaged first."""

    CASES = "cases"
    CLASSES = "classes"


_OVER_COLUMNS = {Over.CASES: SUBJECT, Over.CLASSES: STRUCTURE}


def summarise(scores: pd.DataFrame, table: StructureTable = BUILT_IN) -> pd.DataFrame:
    """Compute mean, SD (n - 1) and median of every metric and slice, with the numbers of values and of empty masks.

    Args:
        scores: columns of ``table.SCORE_COLUMNS`` and ``subject`` and ``model``.
        table: of the structures.

    Returns:
        Tidy: one row a model, slice, metric and ``over``. ``n`` is the number of cases or classes averaged, ``scores``
        the number of scores behind them, ``no_value`` the number of empty cells left out, and ``missed``, ``invented``,
        ``absent`` count the empty masks.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for model, of_model in scores.groupby(m.MODEL, sort=False):
        rows.extend(_summary_rows(str(model), of_model, table))
    return pd.DataFrame(rows)


def _summary_rows(model: str, scores: pd.DataFrame, table: StructureTable) -> Iterator[dict[str, Any]]:
    filled = list(filled_slices(scores, table))
    parts = [rows for _, rows in filled]
    averaged = {over: grouped_means(scores, parts, column) for over, column in _OVER_COLUMNS.items()}
    no_value = scores[list(m.METRIC_COLUMNS)].isna().to_numpy()
    presence = scores[m.PRESENCE].to_numpy()
    empty = {p.value: presence == p.value for p in Presence if p is not Presence.BOTH}
    for number, (part, rows) in enumerate(filled):
        counts = {name: int(np.count_nonzero(hit[rows])) for name, hit in empty.items()}
        head = {m.MODEL: model, LEVEL: part.level.value, NAME: part.name, SIDE: part.side}
        missing = no_value[rows].sum(axis=0)
        for over in Over:
            if over is Over.CLASSES and part.level is SummaryLevel.STRUCTURE:
                continue
            moments = _moments(averaged[over][number])
            for column, metric in enumerate(m.METRIC_COLUMNS):
                mean, sd, median, n = moments[column]
                yield (
                    head
                    | {
                        METRIC: metric,
                        OVER: over.value,
                        "mean": mean,
                        "sd": sd,
                        "median": median,
                        "n": n,
                        "scores": len(rows) - int(missing[column]),
                        "no_value": int(missing[column]),
                    }
                    | counts
                )


def _moments(values: Cells) -> list[tuple[float, float, float, int]]:
    """Mean, SD (n - 1), median and number of the values of each column that are none of them empty."""
    columns = np.ascontiguousarray(values.T)
    if np.isnan(columns).any():
        return [_moments_of(column[~np.isnan(column)][None])[0] for column in columns]
    return _moments_of(columns)


def _moments_of(rows: Cells) -> list[tuple[float, float, float, int]]:
    n = rows.shape[1]
    if not n:
        return [(math.nan, math.nan, math.nan, 0)] * len(rows)
    mean = rows.sum(axis=1) / n
    sd = np.sqrt(((mean[:, None] - rows) ** 2).sum(axis=1) / (n - 1)) if n > 1 else np.full(len(rows), np.nan)
    median = np.median(rows, axis=1)
    return [(*map(float, cells), n) for cells in zip(mean, sd, median, strict=True)]


def agreement_of(scores: pd.DataFrame, table: StructureTable = BUILT_IN) -> pd.DataFrame:
    """Compute the agreement of volumes over cases, of every model with the reference and of the models together.

    Volumes of a slice are summed within a case (both sides; all structures of a group). A missed or invented structure
    enters with 0 mm3; a case in which both volumes are 0 is left out and counted in ``absent``.

    Returns:
        Tidy: one row a pair and slice: n, Pearson r, ICC(2,1), ICC(3,1), Lin's CCC with 95% limits, Koo & Li bands,
        Bland-Altman bias (first - second) and limits in mm3.
    """
    import pandas as pd

    models = [str(name) for name in scores[m.MODEL].unique()]
    filled = list(filled_slices(scores, table))
    volumes = case_volumes(scores, [rows for _, rows in filled], models)
    of = dict(zip(models, volumes.of_models, strict=True)) | {REFERENCE_NAME: volumes.of_reference}
    pairs = [(name, REFERENCE_NAME) for name in models]
    pairs += [(a, b) for i, a in enumerate(models) for b in models[i + 1 :]]
    rows: list[dict[str, Any]] = []
    for number, (part, _) in enumerate(filled):
        for first, second in pairs:
            head = {FIRST: first, SECOND: second, LEVEL: part.level.value, NAME: part.name, SIDE: part.side}
            rows.append(head | _agreement_cells(of[first][number], of[second][number]))
    return pd.DataFrame(rows)


def _agreement_cells(first: Cells, second: Cells) -> dict[str, Any]:
    both = np.stack([first, second], axis=1)[~np.isnan(first)]
    present = (both > 0).any(axis=1)
    x, y = both[present].T
    icc2, icc3 = icc_2_1(both[present]), icc_3_1(both[present])
    cells: dict[str, Any] = {"n": int(present.sum()), "absent": int((~present).sum())}
    cells |= _estimate_cells("pearson_r", pearson(x, y))
    cells |= _estimate_cells("icc_2_1", icc2)
    cells |= {"icc_2_1_band": koo_li_band(icc2.value).value}
    cells |= {"icc_2_1_low_band": koo_li_band(icc2.low).value, "icc_2_1_high_band": koo_li_band(icc2.high).value}
    cells |= _estimate_cells("icc_3_1", icc3)
    cells |= {"icc_3_1_band": koo_li_band(icc3.value).value}
    cells |= _estimate_cells("lin_ccc", lin_ccc(x, y))
    return cells | _bland_altman_cells(bland_altman(x, y))


def _estimate_cells(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _bland_altman_cells(result: BlandAltman) -> dict[str, float]:
    cells = _estimate_cells("bias_mm3", result.bias) | {"difference_sd_mm3": result.sd}
    cells |= _estimate_cells("lower_limit_mm3", result.lower_limit)
    return cells | _estimate_cells("upper_limit_mm3", result.upper_limit)
